use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0022_outside";
pub(crate) const DESCRIPTION: &str = "which tries wait outside whatever their task was made since, and how long a job has been silent";

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

// A version that was departed from counts for the try that was under way then, and for no later one: each claim forgets it
// from now on.
pub(crate) const UP: &str = "
ALTER TABLE task_instance ADD COLUMN is_outside BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE task_instance SET is_outside = TRUE WHERE state = 'deferred';
UPDATE task_instance SET departed_from = NULL WHERE departed_from IS NOT NULL AND state <> 'removed';
ALTER TABLE job ADD COLUMN silent_for BIGINT NOT NULL DEFAULT 0;
";

const DOWN: &str = "
ALTER TABLE job DROP COLUMN silent_for;
ALTER TABLE task_instance DROP COLUMN is_outside;
";
