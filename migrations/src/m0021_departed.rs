pub(crate) const NAME: &str = "m0021_departed";
pub(crate) const DESCRIPTION: &str = "the version that a try began with whose task its run does not have any more";

// Of interest while the try has a lease. No reference: the version may be gone before the row is.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN departed_from BIGINT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN departed_from;
";
