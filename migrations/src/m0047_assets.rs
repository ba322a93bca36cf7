pub(crate) const NAME: &str = "m0047_assets";
pub(crate) const DESCRIPTION: &str = "assets have numbers, their events what was said of them, and the runs they called for";

// Who has had to do with an asset since before this was noted is taken to have had since its DAG was first seen.
pub(crate) const UP: &str = "
CREATE TABLE asset (
    id {ID_NEVER_REUSED},
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

ALTER TABLE asset_user ADD COLUMN since BIGINT NOT NULL DEFAULT 0;
UPDATE asset_user SET since = COALESCE((SELECT d.first_seen_at FROM dag d WHERE d.dag_id = asset_user.dag_id), 0);

INSERT INTO asset (name, created_at) SELECT known.name, MIN(known.at) FROM (
    SELECT asset AS name, since AS at FROM asset_user UNION ALL SELECT asset, at FROM asset_event
) AS known GROUP BY known.name ORDER BY known.name;

ALTER TABLE asset_event ADD COLUMN map_index BIGINT NOT NULL DEFAULT -1;
ALTER TABLE asset_event ADD COLUMN extra TEXT NOT NULL DEFAULT '{}';

CREATE TABLE asset_event_run (
    event_id BIGINT NOT NULL REFERENCES asset_event (id),
    run_id BIGINT NOT NULL REFERENCES dag_run (id),
    PRIMARY KEY (event_id, run_id)
){BY_KEY};
CREATE INDEX asset_event_run_of_run ON asset_event_run (run_id, event_id);
";

pub(crate) const DOWN: &str = "
DROP TABLE asset_event_run;
ALTER TABLE asset_event DROP COLUMN extra;
ALTER TABLE asset_event DROP COLUMN map_index;
ALTER TABLE asset_user DROP COLUMN since;
DROP TABLE asset;
";
