use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0011_triggered_runs";
pub(crate) const DESCRIPTION: &str = "which run a task has asked for: one for each generation of its instance";

pub(crate) struct Migration;

impl MigrationName for Migration {
    fn name(&self) -> &str {
        NAME
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, UP).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, DOWN).await
    }
}

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

const DOWN: &str = "
DROP TABLE triggered_run;
";
