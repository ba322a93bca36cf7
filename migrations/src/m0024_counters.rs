use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0024_counters";
pub(crate) const DESCRIPTION: &str = "what all processes together have counted, for the metrics";

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

// `labels` is a JSON list of texts. Counts only grow.
pub(crate) const UP: &str = "
CREATE TABLE counter (
    name TEXT NOT NULL,
    labels TEXT NOT NULL,
    value BIGINT NOT NULL,
    PRIMARY KEY (name, labels)
);
";

const DOWN: &str = "
DROP TABLE counter;
";
