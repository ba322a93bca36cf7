use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0005_dependencies";
pub(crate) const DESCRIPTION: &str = "why a run winds down, which way a branch took";

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

// `ending`: set while only teardowns are still run, and kept when the run has failed. `choice`: JSON, see the model's
// `Choice`.
pub(crate) const UP: &str = "
ALTER TABLE dag_run ADD COLUMN ending TEXT;
ALTER TABLE task_instance ADD COLUMN choice TEXT;
";

const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN choice;
ALTER TABLE dag_run DROP COLUMN ending;
";
