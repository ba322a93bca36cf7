pub(crate) const NAME: &str = "m0003_processes";
pub(crate) const DESCRIPTION: &str = "jobs, the leader's epoch, signals to the scheduler, import errors";

// A signal's id must not return: the scheduler deletes by id what it has read.
pub(crate) const UP: &str = "
CREATE TABLE job (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    hostname TEXT NOT NULL,
    pid BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    heartbeat_at BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX job_newest ON job (kind, heartbeat_at);

CREATE TABLE leader (
    id BIGINT PRIMARY KEY CHECK (id = 1),
    epoch BIGINT NOT NULL,
    job_id TEXT,
    since BIGINT
);
INSERT INTO leader (id, epoch) VALUES (1, 0);

CREATE TABLE signal (
    id {ID_NEVER_REUSED},
    kind TEXT NOT NULL,
    dag_id TEXT,
    run_id BIGINT,
    created_at BIGINT NOT NULL
);

CREATE TABLE import_error (
    file_path TEXT PRIMARY KEY,
    diagnostics TEXT NOT NULL,
    first_seen_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL
);
";

pub(crate) const DOWN: &str = "
DROP TABLE import_error;
DROP TABLE signal;
DROP TABLE leader;
DROP TABLE job;
";
