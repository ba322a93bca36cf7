//! Pools.

use chrono::{DateTime, Utc};

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    pub name: String,
    /// -1: without limit.
    pub slots: i64,
    pub description: Option<String>,
    pub include_deferred: bool,
}

impl Store {
    /// By name.
    pub async fn pools(&self) -> Result<Vec<PoolRow>> {
        todo!()
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_pool(&self, row: &PoolRow, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{row:?} {actor} {now}")
    }

    /// Returns whether there was one. `default_pool` stays.
    pub async fn delete_pool(&self, name: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{name} {actor} {now}")
    }
}
