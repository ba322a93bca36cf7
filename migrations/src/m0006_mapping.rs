pub(crate) const NAME: &str = "m0006_mapping";
pub(crate) const DESCRIPTION: &str = "how long results are that tasks are mapped over, names of mapped instances";

// `length`: of a result that is a list, so that the scheduler never reads the list itself.
pub(crate) const UP: &str = "
ALTER TABLE xcom ADD COLUMN length BIGINT;
ALTER TABLE task_instance ADD COLUMN rendered_map_index TEXT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN rendered_map_index;
ALTER TABLE xcom DROP COLUMN length;
";
