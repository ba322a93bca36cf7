use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0027_failed_runs";
pub(crate) const DESCRIPTION: &str = "counting and listing the runs that failed among many others";

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

// One of every state would be taken where the index by DAG is the right one.
pub(crate) const UP: &str = "
CREATE INDEX dag_run_failed ON dag_run (run_after, id) WHERE state = 'failed';
";

const DOWN: &str = "
DROP INDEX dag_run_failed;
";
