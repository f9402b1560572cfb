-- Instances that may live on this host: adopted or swept after a restart.
CREATE TABLE instances (
    id         TEXT   NOT NULL PRIMARY KEY,
    workload   TEXT   NOT NULL,
    isolation  TEXT   NOT NULL,
    created_at BIGINT NOT NULL
) WITHOUT ROWID;

-- Ends of workloads that the control plane has not acknowledged. `body` is JSON with a version of its own.
CREATE TABLE outbox (
    workload   TEXT   NOT NULL PRIMARY KEY,
    generation BIGINT NOT NULL,
    body       TEXT   NOT NULL
) WITHOUT ROWID;
