-- record is the whole record in the api crate's shape, as JSON; version says which shape.
CREATE TABLE benchmarks (
    id         TEXT   NOT NULL PRIMARY KEY,
    created_at BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    record     TEXT   NOT NULL
);
