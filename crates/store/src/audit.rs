//! Who did what.

use chrono::{DateTime, Utc};
use serde_json::Value;

use crate::{Page, Result, Store, Tx};

#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub id: i64,
    pub at: DateTime<Utc>,
    /// `cli`, `scheduler`, `rest:<user>`.
    pub actor: String,
    /// `trigger`, `clear`, `pause`, …
    pub action: String,
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub details: Value,
}

#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub actor: Option<String>,
    pub limit: u64,
    pub offset: u64,
}

impl Store {
    /// Newest first.
    pub async fn audit_log(&self, filter: &AuditFilter) -> Result<Page<AuditRow>> {
        todo!("{filter:?}")
    }

    /// For what faces do without changing a row here: a sign-in, a download. `row.id` is not looked at.
    pub async fn record_audit(&self, row: &AuditRow) -> Result<()> {
        todo!("{row:?}")
    }
}

impl Tx {
    /// Joins this transaction.
    pub async fn audit(&self, row: &AuditRow) -> Result<()> {
        todo!("{row:?}")
    }
}
