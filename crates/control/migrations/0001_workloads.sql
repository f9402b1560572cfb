-- Times are milliseconds since 1970, durations milliseconds. JSON columns hold the shapes of the api crate.
-- status never says 'running': who runs is known in memory only, and is asked of the nodes after a restart.
CREATE TABLE workloads (
    id               TEXT    NOT NULL PRIMARY KEY,
    project          TEXT    NOT NULL,
    status           TEXT    NOT NULL,
    isolation        TEXT    NOT NULL,
    isolation_used   TEXT,
    isolation_reason TEXT,
    runtime          TEXT    NOT NULL,
    node             TEXT,
    -- The newest placement. Of an unfinished workload with a program, node says whether a node may have it.
    generation       BIGINT  NOT NULL,
    idempotent       BOOLEAN NOT NULL,
    input_digest     TEXT    NOT NULL,
    output           TEXT,
    exit_code        BIGINT,
    error            TEXT,
    resources        TEXT    NOT NULL,
    network          TEXT    NOT NULL,
    usage            TEXT,
    start_kind       TEXT,
    queued_ms        DOUBLE PRECISION,
    start_ms         DOUBLE PRECISION,
    run_ms           DOUBLE PRECISION,
    duration_ms      DOUBLE PRECISION,
    created_at       BIGINT  NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    logs_truncated   BOOLEAN NOT NULL,
    labels           TEXT
);

-- The id ends each index: pages are cut by it.
CREATE INDEX workloads_status ON workloads (status, id);
CREATE INDEX workloads_runtime ON workloads (runtime, id);
CREATE INDEX workloads_isolation_used ON workloads (isolation_used, id);
CREATE INDEX workloads_finished_at ON workloads (finished_at) WHERE finished_at IS NOT NULL;

-- What an unfinished workload runs, where it may have to be placed after a restart. Deleted with its end.
CREATE TABLE workload_programs (
    workload_id TEXT   NOT NULL PRIMARY KEY,
    runtime     TEXT   NOT NULL,
    -- 'file' or 'archive'; entrypoint is the file's name or the path inside of the archive.
    form        TEXT   NOT NULL,
    entrypoint  TEXT   NOT NULL,
    code        BLOB   NOT NULL,
    input       BLOB   NOT NULL,
    args        TEXT   NOT NULL,
    env         TEXT   NOT NULL
);

CREATE TABLE idempotency_keys (
    project        TEXT   NOT NULL,
    key            TEXT   NOT NULL,
    -- SHA-256 of the request's body.
    request_digest BLOB   NOT NULL,
    workload_id    TEXT   NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (project, key)
);
CREATE INDEX idempotency_keys_workload_id ON idempotency_keys (workload_id);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
