use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0017_dag_heads";
pub(crate) const DESCRIPTION: &str = "what lists show of each DAG, beside its row";

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

// JSON. Forgetting what the files were like has them all read again, which fills it in.
pub(crate) const UP: &str = "
ALTER TABLE dag ADD COLUMN head TEXT;
DELETE FROM dag_file;
";

const DOWN: &str = "
ALTER TABLE dag DROP COLUMN head;
";
