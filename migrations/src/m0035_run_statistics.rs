pub(crate) const NAME: &str = "m0035_run_statistics";
pub(crate) const DESCRIPTION: &str = "the newest runs of a DAG are found by its own index where one DAG has most of the runs";

// From a history of few DAGs PostgreSQL concludes that any DAG has most of the runs, and walks all of them for one that has
// none.
pub(crate) const UP: &str = "
{POSTGRES_ONLY}ALTER TABLE dag_run ALTER COLUMN dag_id SET (n_distinct = 1000);
ANALYZE dag_run (dag_id);{END}
";

pub(crate) const DOWN: &str = "
{POSTGRES_ONLY}ALTER TABLE dag_run ALTER COLUMN dag_id RESET (n_distinct);{END}
";
