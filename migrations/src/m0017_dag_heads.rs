pub(crate) const NAME: &str = "m0017_dag_heads";
pub(crate) const DESCRIPTION: &str = "what lists show of each DAG, beside its row; what callbacks are told";

// `head` and `callback` are JSON; `content_hash` is that of the version. Forgetting what the files were like has them all read again, which fills it in.
pub(crate) const UP: &str = "
ALTER TABLE dag ADD COLUMN head TEXT;
ALTER TABLE dag ADD COLUMN content_hash TEXT;
DELETE FROM dag_file;

CREATE INDEX dag_run_latest ON dag_run (run_after, id);

CREATE TABLE notification (
    id {ID},
    dag_id TEXT NOT NULL,
    run_name TEXT NOT NULL,
    logical_date BIGINT NOT NULL,
    task_id TEXT,
    map_index BIGINT,
    try_number BIGINT,
    event TEXT NOT NULL,
    reason TEXT,
    callback TEXT NOT NULL,
    at BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    next_at BIGINT,
    sent_at BIGINT,
    error TEXT
);
CREATE INDEX notification_due ON notification (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX notification_unsent ON notification (id) WHERE sent_at IS NULL;
CREATE INDEX notification_by_age ON notification (at);
";

pub(crate) const DOWN: &str = "
DROP TABLE notification;
DROP INDEX dag_run_latest;
ALTER TABLE dag DROP COLUMN content_hash;
ALTER TABLE dag DROP COLUMN head;
";
