pub(crate) const NAME: &str = "m0007_execution";
pub(crate) const DESCRIPTION: &str = "tries that wait without a slot";

// Of a try that was put off: when it first started, and how often it was put off. A timeout is measured from the first.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN first_start BIGINT;
ALTER TABLE task_instance ADD COLUMN put_offs BIGINT NOT NULL DEFAULT 0;
";

pub(crate) const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN put_offs;
ALTER TABLE task_instance DROP COLUMN first_start;
";
