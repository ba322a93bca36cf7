//! DAG files that could not be read, each with its diagnostics.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::dags::file_alert::tell_of_import_error;
use crate::sql::{micros, values};
use crate::{Result, SignalKind, Store, sql};

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
    /// Raises an alert for each DAG in service whose file it is, unless it was broken before.
    pub async fn set_import_error(&self, file_path: &str, diagnostics: &[Value], now: DateTime<Utc>) -> Result<()> {
        let tx = self.begin_in_turn("record an import error").await?;
        tell_of_import_error(&tx, file_path, diagnostics, now).await?;
        let sql = "INSERT INTO import_error (file_path, diagnostics, first_seen_at, last_seen_at) \
                   VALUES ($1, $2, $3, $3) ON CONFLICT (file_path) DO UPDATE \
                   SET diagnostics = excluded.diagnostics, last_seen_at = excluded.last_seen_at";
        let values = values![file_path, json!(diagnostics).to_string(), micros(now)];
        sql::run(&tx.inner, "record an import error", sql, values).await?;
        tx.signal(SignalKind::DagChanged, None, None, now).await?;
        tx.commit().await
    }

    /// By path.
    pub async fn import_errors(&self) -> Result<Vec<ImportErrorRow>> {
        let sql = "SELECT * FROM import_error ORDER BY file_path";
        let rows = sql::all(self.reader(), "list import errors", sql, vec![]).await?;
        rows.iter()
            .map(|row| {
                Ok(ImportErrorRow {
                    file_path: row.text("file_path")?,
                    diagnostics: row.json("diagnostics")?,
                    first_seen_at: row.instant("first_seen_at")?,
                    last_seen_at: row.instant("last_seen_at")?,
                })
            })
            .collect()
    }
}
