//! The schema of the metadata database: numbered migrations, each with an up and a down.
//!
//! Invariants:
//! - A migration that was released never changes; the next one mends it.
//! - Additive first: a column is added nullable or with a default, and what still reads the old form keeps working.
//! - A text of SQL serves both databases; `{ID}` and the like stand where they differ (see [`dialect`]).
//! - Instants are BIGINT microseconds since 1970 in UTC, JSON is TEXT, states are TEXT under a CHECK.
//! - Numbers only order: they need not follow each other, and one that was never released is not used again.
//! - Nothing here commits: the caller holds the global lock and one transaction around all of it.

mod dialect;

use sea_orm_migration::sea_orm::DbErr;
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};
pub use sea_orm_migration::{MigratorTrait, sea_orm};

/// One step of the schema, as its module says it.
#[derive(Clone, Copy)]
pub struct Migration {
    pub name: &'static str,
    /// What it is for.
    pub description: &'static str,
    up: &'static str,
    down: &'static str,
}

macro_rules! migrations {
    ($($module:ident,)+) => {
        $(mod $module;)+

        /// Every migration, oldest first.
        pub const KNOWN: &[Migration] = &[$(Migration {
            name: $module::NAME,
            description: $module::DESCRIPTION,
            up: $module::UP,
            down: $module::DOWN,
        },)+];
    };
}

migrations! {
    m0001_dags_and_runs,
    m0002_settings_and_people,
    m0003_processes,
    m0004_time,
    m0005_dependencies,
    m0006_mapping,
    m0007_execution,
    m0008_state_changes,
    m0009_assets,
    m0010_speed,
    m0011_triggered_runs,
    m0012_given_up,
    m0014_ledger,
    m0015_people,
    m0017_dag_heads,
    m0020_browsing,
    m0021_departed,
    m0022_outside,
    m0023_identities,
    m0024_counters,
    m0027_failed_runs,
    m0028_webhooks,
    m0029_grant_ids,
    m0030_leases,
    m0034_backfill_runs,
    m0035_run_statistics,
    m0037_checks,
    m0038_shown_results,
    m0039_ended_runs,
    m0040_items,
    m0047_assets,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, self.up).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        dialect::run(manager, self.down).await
    }
}

pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        KNOWN.iter().map(|migration| Box::new(*migration) as Box<dyn MigrationTrait>).collect()
    }
}

/// The statements of every migration's up, for one database, in order.
pub fn show_sql(backend: sea_orm::DbBackend) -> String {
    let statements = |known: &Migration| {
        let up = dialect::translate(backend, known.up);
        format!("-- {}: {}\n{up}\n", known.name, known.description)
    };
    KNOWN.iter().map(statements).collect()
}
