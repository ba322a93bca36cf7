use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0007_execution";
pub(crate) const DESCRIPTION: &str = "tries that wait without a slot";

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

// Of a try that was put off: when it first started, and how often it was put off. A timeout is measured from the first.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN first_start BIGINT;
ALTER TABLE task_instance ADD COLUMN put_offs BIGINT NOT NULL DEFAULT 0;
";

const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN put_offs;
ALTER TABLE task_instance DROP COLUMN first_start;
";
