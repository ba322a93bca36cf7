//! The schema of the metadata database: numbered migrations, each with an up and a down.
//!
//! Invariants:
//! - A migration that was released never changes; the next one mends it.
//! - Additive first: a column is added nullable or with a default, and what still reads the old form keeps working.
//! - A text of SQL serves both databases; `{ID}` and the like stand where they differ (see [`dialect`]).
//! - Instants are BIGINT microseconds since 1970 in UTC, JSON is TEXT, states are TEXT under a CHECK.
//! - Nothing here commits: the caller holds the global lock and one transaction around all of it.

mod dialect;
mod m0001_dags_and_runs;
mod m0002_settings_and_people;
mod m0003_processes;
mod m0004_time;
mod m0005_dependencies;
mod m0008_state_changes;

use sea_orm_migration::MigrationTrait;
pub use sea_orm_migration::{MigratorTrait, sea_orm};

pub struct Migrator;

/// A migration and what it is for, oldest first.
pub const KNOWN: &[(&str, &str)] = &[
    (m0001_dags_and_runs::NAME, m0001_dags_and_runs::DESCRIPTION),
    (m0002_settings_and_people::NAME, m0002_settings_and_people::DESCRIPTION),
    (m0003_processes::NAME, m0003_processes::DESCRIPTION),
    (m0004_time::NAME, m0004_time::DESCRIPTION),
    (m0005_dependencies::NAME, m0005_dependencies::DESCRIPTION),
    (m0008_state_changes::NAME, m0008_state_changes::DESCRIPTION),
];

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_dags_and_runs::Migration),
            Box::new(m0002_settings_and_people::Migration),
            Box::new(m0003_processes::Migration),
            Box::new(m0004_time::Migration),
            Box::new(m0005_dependencies::Migration),
            Box::new(m0008_state_changes::Migration),
        ]
    }
}

/// The statements of every migration's up, for one database, in order.
pub fn show_sql(backend: sea_orm::DbBackend) -> String {
    [
        m0001_dags_and_runs::UP,
        m0002_settings_and_people::UP,
        m0003_processes::UP,
        m0004_time::UP,
        m0005_dependencies::UP,
        m0008_state_changes::UP,
    ]
    .iter()
    .zip(KNOWN)
    .map(|(up, (name, description))| format!("-- {name}: {description}\n{}\n", dialect::translate(backend, up)))
    .collect()
}
