use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0039_ended_runs";
pub(crate) const DESCRIPTION: &str = "counting and listing the runs that ended lately, whatever their dates";

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

pub(crate) const UP: &str = "
CREATE INDEX dag_run_ended ON dag_run (end_date, state) WHERE end_date IS NOT NULL;
";

const DOWN: &str = "
DROP INDEX dag_run_ended;
";
