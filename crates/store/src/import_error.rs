//! DAG files that could not be read, each with its diagnostics.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct ImportErrorRow {
    /// Relative to the dags folder.
    pub file_path: String,
    /// One JSON object each, as the reader of DAG files made them.
    pub diagnostics: Vec<Value>,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
}

impl Store {
    pub async fn set_import_error(&self, file_path: &str, diagnostics: &[Value], now: DateTime<Utc>) -> Result<()> {
        todo!("{file_path} {diagnostics:?} {now}")
    }

    pub async fn clear_import_error(&self, file_path: &str, now: DateTime<Utc>) -> Result<()> {
        todo!("{file_path} {now}")
    }

    /// By path.
    pub async fn import_errors(&self) -> Result<Vec<ImportErrorRow>> {
        todo!()
    }
}
