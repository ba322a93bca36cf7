pub(crate) const NAME: &str = "m0022_outside";
pub(crate) const DESCRIPTION: &str = "which tries wait outside whatever their task was made since, and how long a job has been silent";

// A version that was departed from counts for the try that was under way then, and for no later one: each claim forgets it
// from now on.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN is_outside BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE task_instance SET is_outside = TRUE WHERE state = 'deferred';
UPDATE task_instance SET departed_from = NULL WHERE departed_from IS NOT NULL AND state <> 'removed';
ALTER TABLE job ADD COLUMN silent_for BIGINT NOT NULL DEFAULT 0;
";

pub(crate) const DOWN: &str = "
ALTER TABLE job DROP COLUMN silent_for;
ALTER TABLE task_instance DROP COLUMN is_outside;
";
