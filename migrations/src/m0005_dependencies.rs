pub(crate) const NAME: &str = "m0005_dependencies";
pub(crate) const DESCRIPTION: &str = "why a run winds down, which way a branch took";

// `ending`: set while only teardowns are still run, and kept when the run has failed. `choice`: JSON, see the model's
// `Choice`.
pub(crate) const UP: &str = "
ALTER TABLE dag_run ADD COLUMN ending TEXT;
ALTER TABLE task_instance ADD COLUMN choice TEXT;
";

pub(crate) const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN choice;
ALTER TABLE dag_run DROP COLUMN ending;
";
