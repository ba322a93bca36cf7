use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0020_browsing";
pub(crate) const DESCRIPTION: &str = "finding the instances that failed among a million others";

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

// Instances that succeed, which are nearly all, are never in it.
pub(crate) const UP: &str = "
CREATE INDEX task_instance_troubled ON task_instance (state, id)
    WHERE state IN ('failed', 'upstream_failed', 'up_for_retry');
";

const DOWN: &str = "
DROP INDEX task_instance_troubled;
";
