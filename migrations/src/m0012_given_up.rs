use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0012_given_up";
pub(crate) const DESCRIPTION: &str = "which task instances were skipped because their run was given up";

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

// Of those that are there it is known by their reason, which is that of their run.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN given_up BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE task_instance SET given_up = TRUE WHERE state = 'skipped' AND EXISTS (
    SELECT 1 FROM dag_run r WHERE r.id = task_instance.run_id AND r.state = 'failed'
    AND (r.ending = task_instance.state_reason OR r.state_reason = task_instance.state_reason)
);
";

const DOWN: &str = "
ALTER TABLE task_instance DROP COLUMN given_up;
";
