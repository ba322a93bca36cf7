use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0037_checks";
pub(crate) const DESCRIPTION: &str = "what checks found stands in the ledger";

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

// JSON: name, whether it passed, what was found.
pub(crate) const UP: &str = "
ALTER TABLE load_ledger ADD COLUMN checks TEXT;
";

const DOWN: &str = "
ALTER TABLE load_ledger DROP COLUMN checks;
";
