//! Variables, sealed by whoever writes them.

use chrono::{DateTime, Utc};

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableRow {
    pub key: String,
    /// Ciphertext, stored as given.
    pub sealed_value: String,
    pub description: Option<String>,
}

impl Store {
    /// By key.
    pub async fn variables(&self) -> Result<Vec<VariableRow>> {
        todo!()
    }

    pub async fn variable(&self, key: &str) -> Result<Option<VariableRow>> {
        todo!("{key}")
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_variable(&self, row: &VariableRow, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{} {actor} {now}", row.key)
    }

    /// Returns whether there was one.
    pub async fn delete_variable(&self, key: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{key} {actor} {now}")
    }
}
