//! Connections, with their secrets sealed by whoever writes them.

use chrono::{DateTime, Utc};

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    pub conn_id: String,
    pub conn_type: String,
    pub description: Option<String>,
    pub host: Option<String>,
    pub login: Option<String>,
    pub schema: Option<String>,
    pub port: Option<u16>,
    /// Ciphertext, stored as given.
    pub sealed_password: Option<String>,
    /// Ciphertext of the JSON object of extras, stored as given.
    pub sealed_extra: Option<String>,
}

impl Store {
    /// By id.
    pub async fn connections(&self) -> Result<Vec<ConnectionRow>> {
        todo!()
    }

    pub async fn connection(&self, conn_id: &str) -> Result<Option<ConnectionRow>> {
        todo!("{conn_id}")
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_connection(&self, row: &ConnectionRow, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{} {actor} {now}", row.conn_id)
    }

    /// Returns whether there was one.
    pub async fn delete_connection(&self, conn_id: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{conn_id} {actor} {now}")
    }
}
