use sea_orm_migration::prelude::*;

use crate::dialect;

pub(crate) const NAME: &str = "m0030_leases";
pub(crate) const DESCRIPTION: &str = "a lease says for how long it was given; its owner's signs of life keep it";

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

    /// The next heartbeat of an older program extends what it holds.
    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        Ok(())
    }
}

// Heartbeats had moved the ends of leases on; what is left running is told apart from the dead after 30 seconds again.
pub(crate) const UP: &str = "
UPDATE task_instance SET lease_expires_at = queued_at + 30000000 WHERE lease_owner IS NOT NULL AND queued_at IS NOT NULL;
";
