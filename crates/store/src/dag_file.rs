//! From read DAG files to stored versions.

use chrono::{DateTime, Utc};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;

use crate::{Result, Store};

#[derive(Debug, Clone, Copy)]
pub struct SyncDag<'a> {
    pub dag: &'a Dag,
    /// Relative to the dags folder.
    pub file_path: &'a str,
    /// The file's text, for the code page.
    pub source: &'a str,
    pub paused_at_creation: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncWhat {
    Created,
    NewVersion,
    Unchanged,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncOutcome {
    /// The DAG's newest version.
    pub version_key: i64,
    pub what: SyncWhat,
}

impl Store {
    /// Stores a DAG that was read without an error: a new version only if its content changed. Its file's import error is
    /// removed, and it is no longer stale.
    pub async fn sync_dag(&self, file: SyncDag<'_>, now: DateTime<Utc>) -> Result<SyncOutcome> {
        self.sync_dags(&[file], now).await.map(|outcomes| outcomes[0])
    }

    /// Many in one transaction; outcomes in the order given.
    pub async fn sync_dags(&self, files: &[SyncDag<'_>], now: DateTime<Utc>) -> Result<Vec<SyncOutcome>> {
        todo!("{files:?} {now}")
    }

    /// Marks every DAG that is not among `present` stale, and clears the import errors of files not among
    /// `present_files`. Returns the newly stale.
    pub async fn mark_stale(
        &self,
        present: &[DagId],
        present_files: &[String],
        now: DateTime<Utc>,
    ) -> Result<Vec<DagId>> {
        todo!("{present:?} {present_files:?} {now}")
    }
}
