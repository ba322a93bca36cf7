//! What a data movement did, for people who are asked whether a number is right.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What a movement may be.
pub const STAGES: [&str; 13] = [
    "extract",
    "upload",
    "load",
    "build",
    "check",
    "delete",
    "reconcile",
    "lookback",
    "put",
    "get",
    "copy",
    "move",
    "sql",
];

/// One movement of rows: an extract, an upload, a load, a check. `None` means "not known", never zero.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// One of [`STAGES`].
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
    /// What was read from a database, so that it can be read again and compared.
    #[serde(default)]
    pub read: Option<RowsRead>,
    /// What was written into a table, for the same.
    #[serde(default)]
    pub written: Option<RowsWritten>,
    /// What was looked at: the data-quality record of a check, a copy or a table that was built.
    #[serde(default)]
    pub checks: Vec<Checked>,
}

/// One thing that must be true of the data, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// `rows >= 1`, `unique(id)`.
    pub name: String,
    pub passed: bool,
    /// In words: `0 rows`, `3 keys occur more than once, for example id=7`.
    pub found: String,
}

impl LedgerEntry {
    /// Rows of a load that came in and changed nothing: an older version of a row, or one that was loaded before.
    pub fn rows_unchanged(&self) -> Option<u64> {
        let changed = self.rows_inserted? + self.rows_updated? + self.rows_rejected?;
        self.rows_read?.checked_sub(changed)
    }

    /// How many of its checks passed, and how many there are; `None` where nothing was checked.
    pub fn checks_passed(&self) -> Option<(usize, usize)> {
        let passed = self.checks.iter().filter(|check| check.passed).count();
        (!self.checks.is_empty()).then_some((passed, self.checks.len()))
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsRead {
    pub conn_id: String,
    /// The whole query, secrets masked.
    pub query: String,
    /// A hash of the rows that does not care for their order, taken as they went by.
    pub fingerprint: Option<String>,
    /// Columns whose values were not written as they were read, and what became of them: [`MASKED`], [`DROPPED`],
    /// [`hashed_with`], [`moved_from`], or other words.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, String>,
    /// Columns whose empty texts were written as NULL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_as_null: Vec<String>,
    /// The newest value of the column that says what is new, where that is a moment: rows up to it are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<DateTime<Utc>>,
    /// The zones by whose clocks a window was read, by column: of those that have no zone of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clocks: BTreeMap<String, String>,
}

impl RowsRead {
    /// The zone from which the column's times were taken to UTC; `None`: they were written as they stood, which is as UTC.
    pub fn moved_from(&self, column: &str) -> Option<&str> {
        self.changed.get(column).and_then(|how| zone_moved_from(how))
    }
}

/// What became of a column's values in [`RowsRead::changed`] when it was left out.
pub const DROPPED: &str = "dropped";
/// The same when each became the same stars.
pub const MASKED: &str = "masked";

const HASHED_WITH: &str = "hashed with the key of ";
const MOVED_FROM: &str = "moved to UTC from ";

/// The same when they were hashed; `conn_id` holds the key.
pub fn hashed_with(conn_id: &str) -> String {
    format!("{HASHED_WITH}{conn_id}")
}

/// Whose key it was.
pub fn hash_key_of(how: &str) -> Option<&str> {
    how.strip_prefix(HASHED_WITH)
}

/// The same when times without a zone were taken to UTC from the clocks of `zone`.
pub fn moved_from(zone: &str) -> String {
    format!("{MOVED_FROM}{zone}")
}

/// The zone of those clocks.
pub fn zone_moved_from(how: &str) -> Option<&str> {
    how.strip_prefix(MOVED_FROM)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsWritten {
    pub conn_id: String,
    pub schema: Option<String>,
    pub table: String,
    /// The columns written in the order of those read; `None`: as they are named there.
    pub columns: Option<Vec<String>>,
    pub method: WriteMethod,
    /// Columns that tell rows apart, where the load named them.
    pub keys: Vec<String>,
}

/// What became of rows that were in the table before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriteMethod {
    Append,
    Replace,
    Upsert,
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

impl Checkpoint {
    /// By this name a try tells of its log.
    pub const LOG: &str = "log";

    /// Of a log that lacks lines.
    pub fn of_lost_lines(lost: u64, at: DateTime<Utc>) -> Self {
        let message = format!("{lost} lines of this log could not be written (is the disk full?)");
        Self { name: Self::LOG.to_owned(), message, rows: None, bytes: None, total_rows: None, at }
    }
}
