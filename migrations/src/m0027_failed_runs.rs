pub(crate) const NAME: &str = "m0027_failed_runs";
pub(crate) const DESCRIPTION: &str = "counting and listing the runs that failed among many others";

// One of every state would be taken where the index by DAG is the right one.
pub(crate) const UP: &str = "
CREATE INDEX dag_run_failed ON dag_run (run_after, id) WHERE state = 'failed';
";

pub(crate) const DOWN: &str = "
DROP INDEX dag_run_failed;
";
