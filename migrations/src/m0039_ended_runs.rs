pub(crate) const NAME: &str = "m0039_ended_runs";
pub(crate) const DESCRIPTION: &str = "counting and listing the runs that ended lately, whatever their dates";

pub(crate) const UP: &str = "
CREATE INDEX dag_run_ended ON dag_run (end_date, state) WHERE end_date IS NOT NULL;
";

pub(crate) const DOWN: &str = "
DROP INDEX dag_run_ended;
";
