//! The schema's life: migrations, under one lock for all processes.

use chrono::{DateTime, Utc};

use crate::Result;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// `m0001_…`
    pub name: String,
    pub description: String,
    /// None: pending.
    pub applied_at: Option<DateTime<Utc>>,
}

/// Applies what is pending, making the database (SQLite) if need be. Returns the names applied. With `wait`, a second
/// process waits for the first; without, it fails with `MigrationInProgress`.
pub async fn migrate(url: &str, wait: bool, now: DateTime<Utc>) -> Result<Vec<String>> {
    todo!("{} {wait} {now}", url.len())
}

/// Takes back every migration after `to` (a name; `""` for all), newest first. Returns the names taken back.
pub async fn downgrade(url: &str, to: &str, wait: bool) -> Result<Vec<String>> {
    todo!("{} {to} {wait}", url.len())
}

/// Every migration that this program knows, in order. Writes nothing.
pub async fn status(url: &str) -> Result<Vec<MigrationStatus>> {
    todo!("{}", url.len())
}

/// Ok if the schema is exactly this program's. Errors as [`crate::Store::open`].
pub async fn check(url: &str) -> Result<()> {
    todo!("{}", url.len())
}

/// Removes everything and migrates anew.
pub async fn reset(url: &str, now: DateTime<Utc>) -> Result<()> {
    todo!("{} {now}", url.len())
}
