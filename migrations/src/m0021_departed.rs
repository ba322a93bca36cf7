use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0021_departed";
pub(crate) const DESCRIPTION: &str = "the version that a try began with whose task its run does not have any more";

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

// Of interest while the try has a lease. No reference: the version may be gone before the row is.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN departed_from BIGINT;
";

const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN departed_from;
";
