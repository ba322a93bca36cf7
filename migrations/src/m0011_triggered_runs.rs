pub(crate) const NAME: &str = "m0011_triggered_runs";
pub(crate) const DESCRIPTION: &str = "which run a task has asked for: one for each generation of its instance";

// The key is what keeps a task instance from triggering twice, whatever becomes of its tries.
pub(crate) const UP: &str = "
CREATE TABLE triggered_run (
    instance_id BIGINT NOT NULL REFERENCES task_instance (id),
    generation BIGINT NOT NULL,
    run_id BIGINT NOT NULL REFERENCES dag_run (id),
    PRIMARY KEY (instance_id, generation)
){BY_KEY};
CREATE INDEX triggered_run_of_run ON triggered_run (run_id);
";

pub(crate) const DOWN: &str = "
DROP TABLE triggered_run;
";
