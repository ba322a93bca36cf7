use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0010_speed";
pub(crate) const DESCRIPTION: &str = "what each DAG file was like when it was last read";

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

// `dags` is JSON: each DAG of the file with the hash of its content. `stamps` is JSON: of the file and of every file that it includes or looked for in vain.
pub(crate) const UP: &str = "
CREATE TABLE dag_file (
    file_path TEXT PRIMARY KEY,
    dags TEXT NOT NULL,
    stamps TEXT NOT NULL,
    reader TEXT NOT NULL
);
";

const DOWN: &str = "
DROP TABLE dag_file;
";
