pub(crate) const NAME: &str = "m0009_assets";
pub(crate) const DESCRIPTION: &str = "assets: their events and who waits for them; alerts";

// `asset_user` says which DAG's newest version makes or awaits an asset; `asset_queue` which events a DAG has yet to use.
pub(crate) const UP: &str = "
CREATE TABLE asset_user (
    asset TEXT NOT NULL,
    dag_id TEXT NOT NULL,
    task_id TEXT NOT NULL,
    PRIMARY KEY (asset, dag_id, task_id)
){BY_KEY};
CREATE INDEX asset_user_of_dag ON asset_user (dag_id);

CREATE TABLE asset_event (
    id {ID_NEVER_REUSED},
    asset TEXT NOT NULL,
    instance_id BIGINT,
    dag_id TEXT,
    run_id TEXT,
    task_id TEXT,
    interval_start BIGINT NOT NULL,
    interval_end BIGINT NOT NULL,
    actor TEXT,
    at BIGINT NOT NULL
);
CREATE INDEX asset_event_newest ON asset_event (asset, id);

CREATE TABLE asset_queue (
    dag_id TEXT NOT NULL,
    event_id BIGINT NOT NULL REFERENCES asset_event (id),
    PRIMARY KEY (dag_id, event_id)
){BY_KEY};

ALTER TABLE dag_run ADD COLUMN asset_events TEXT;

CREATE TABLE alert (
    id {ID},
    dag_id TEXT NOT NULL,
    run_id BIGINT NOT NULL,
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    at BIGINT NOT NULL,
    seen_at BIGINT,
    seen_by TEXT,
    UNIQUE (run_id, kind)
);
CREATE INDEX alert_unseen ON alert (at) WHERE seen_at IS NULL;
";

pub(crate) const DOWN: &str = "
DROP TABLE alert;
ALTER TABLE dag_run DROP COLUMN asset_events;
DROP TABLE asset_queue;
DROP TABLE asset_event;
DROP TABLE asset_user;
";
