//! What a data movement did, for people who are asked whether a number is right.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One movement of rows: an extract, an upload, a load, a check. `None` means "not known", never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// `extract`, `upload`, `load`, `check`, `delete`.
    pub stage: String,
    /// Where the rows came from, without secrets: `mysql_prod: SELECT …`, `s3://bucket/key`.
    pub source: String,
    pub target: String,
    pub rows_read: Option<u64>,
    pub rows_written: Option<u64>,
    pub rows_inserted: Option<u64>,
    pub rows_updated: Option<u64>,
    pub rows_deleted: Option<u64>,
    pub rows_rejected: Option<u64>,
    pub bytes: Option<u64>,
    /// `sha256:<hex>` of the bytes moved.
    pub checksum: Option<String>,
    /// Ids of remote statements or queries, so that cost and blame can be found again.
    pub remote_ids: Vec<String>,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
}

/// A named step that a task reports while it works.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub name: String,
    pub message: String,
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    /// The rows expected in all, when known: makes a progress bar.
    pub total_rows: Option<u64>,
    pub at: DateTime<Utc>,
}
