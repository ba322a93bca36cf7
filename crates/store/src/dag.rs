//! DAGs and their versions, as everybody reads them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::NextRun;
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;

use crate::{Page, Result, RunSummary, Store};

#[derive(Debug, Clone)]
pub struct DagRow {
    pub dag_id: DagId,
    pub file_path: String,
    pub is_paused: bool,
    pub is_stale: bool,
    pub has_import_error: bool,
    pub version_key: i64,
    /// Counts from 1.
    pub version_number: u32,
    pub dag: Arc<Dag>,
    pub next: Option<NextRun>,
    pub first_seen_at: DateTime<Utc>,
    pub last_changed_at: DateTime<Utc>,
    /// Newest first, as many as were asked for.
    pub last_runs: Vec<RunSummary>,
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct DagFilter {
    /// Part of the id, any case.
    pub search: Option<String>,
    pub tag: Option<String>,
    pub is_paused: Option<bool>,
    pub include_stale: bool,
    /// How many runs each row carries.
    pub last_runs: u32,
    /// 0: all.
    pub limit: u64,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DagVersionRow {
    pub version_key: i64,
    pub number: u32,
    pub content_hash: String,
    pub file_path: String,
    /// The file's text.
    pub source: String,
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// By id.
    pub async fn dags(&self, filter: &DagFilter) -> Result<Page<DagRow>> {
        todo!("{filter:?}")
    }

    pub async fn dag(&self, dag_id: &str, last_runs: u32) -> Result<Option<DagRow>> {
        todo!("{dag_id} {last_runs}")
    }

    /// Newest first.
    pub async fn dag_versions(&self, dag_id: &str) -> Result<Vec<DagVersionRow>> {
        todo!("{dag_id}")
    }
}
