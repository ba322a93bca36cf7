pub(crate) const NAME: &str = "m0004_time";
pub(crate) const DESCRIPTION: &str = "what became of due dates that became no run";

// A row stands for one date, or for a stretch of them that were passed over together.
pub(crate) const UP: &str = "
ALTER TABLE dag ADD COLUMN passed_start BIGINT;
ALTER TABLE dag ADD COLUMN passed_end BIGINT;

CREATE TABLE schedule_slot (
    id {ID},
    dag_id TEXT NOT NULL,
    logical_date BIGINT NOT NULL,
    last_logical_date BIGINT NOT NULL,
    data_interval_start BIGINT NOT NULL,
    data_interval_end BIGINT NOT NULL,
    slots BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX schedule_slot_newest ON schedule_slot (dag_id, logical_date);
CREATE INDEX schedule_slot_age ON schedule_slot (created_at);
";

pub(crate) const DOWN: &str = "
DROP TABLE schedule_slot;
ALTER TABLE dag DROP COLUMN passed_end;
ALTER TABLE dag DROP COLUMN passed_start;
";
