use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0038_shown_results";
pub(crate) const DESCRIPTION: &str = "results are kept as they may be shown, too";

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

// Whoever shows a result later may not know what was a secret when it was written. Null: there was none in it.
pub(crate) const UP: &str = "
ALTER TABLE xcom ADD COLUMN shown TEXT;
";

const DOWN: &str = "
ALTER TABLE xcom DROP COLUMN shown;
";
