pub(crate) const NAME: &str = "m0008_state_changes";
pub(crate) const DESCRIPTION: &str = "backfills that pause, run backwards or run some of a DAG's tasks only";

// A version that is a part of another has a negative number: it is nobody's newest.
pub(crate) const UP: &str = "
ALTER TABLE dag_version ADD COLUMN part_of BIGINT;
ALTER TABLE backfill ADD COLUMN is_paused BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE backfill ADD COLUMN is_reversed BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE backfill ADD COLUMN task_selection TEXT;
ALTER TABLE dag_run ADD COLUMN marked_state TEXT;
";

// Without the column they are versions like others, and such a number cannot be read.
pub(crate) const DOWN: &str = "
UPDATE dag_version SET number = 1000000 - number WHERE part_of IS NOT NULL;
ALTER TABLE dag_version DROP COLUMN part_of;
ALTER TABLE backfill DROP COLUMN is_paused;
ALTER TABLE backfill DROP COLUMN is_reversed;
ALTER TABLE backfill DROP COLUMN task_selection;
ALTER TABLE dag_run DROP COLUMN marked_state;
";
