use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0034_backfill_runs";
pub(crate) const DESCRIPTION: &str = "how many runs a backfill began with";

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

// A later backfill takes runs over, and then they are no longer found by this one's id. Unknown of those made before.
pub(crate) const UP: &str = "
ALTER TABLE backfill ADD COLUMN runs BIGINT;
";

const DOWN: &str = "
ALTER TABLE backfill DROP COLUMN runs;
";
