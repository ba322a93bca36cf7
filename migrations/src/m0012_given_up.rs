pub(crate) const NAME: &str = "m0012_given_up";
pub(crate) const DESCRIPTION: &str = "which task instances were skipped because their run was given up";

// Of those that are there it is known by their reason, which is that of their run.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN given_up BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE task_instance SET given_up = TRUE WHERE state = 'skipped' AND EXISTS (
    SELECT 1 FROM dag_run r WHERE r.id = task_instance.run_id AND r.state = 'failed'
    AND (r.ending = task_instance.state_reason OR r.state_reason = task_instance.state_reason)
);
";

pub(crate) const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN given_up;
";
