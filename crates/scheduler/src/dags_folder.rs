//! The folder of DAG files: read, checked, and brought into the store.
//!
//! A broken file keeps the last good version of its DAG in service; a file that is gone makes its DAG stale, and its
//! history stays. Files whose size and time of change are as they were are not read again.

mod files;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use millrace_dagfile::{Defaults, Diagnostic, ReadOptions, Severity, read_dag_bytes};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_operator_api::entry::Catalogue;
use millrace_store::{DagFilter, Store, StoreError, SyncDag, SyncWhat};
use serde_json::Value;

pub use files::{dag_file_paths, read_sibling};
use files::{Stamp, read_bounded, stamp};
pub use watch::FolderWatch;

#[derive(Debug, Clone)]
pub struct FolderOptions {
    pub folder: PathBuf,
    pub catalogue: Catalogue,
    pub defaults: Defaults,
    /// New DAGs start paused.
    pub paused_at_creation: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read the DAGs folder {path}")]
    Io {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a look at the folder changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// DAGs that are new or have a new version.
    pub changed: Vec<DagId>,
    /// DAGs whose files are gone.
    pub stale: Vec<DagId>,
    /// Files that can't be used now.
    pub broken: Vec<String>,
    /// Files that were read in this look.
    pub files_read: usize,
}

/// What a file was when it was last read.
struct Seen {
    stamp: Option<Stamp>,
    /// The `.sql` and `.sh` files that belong to it.
    siblings: Vec<(String, Option<Stamp>)>,
    dag_id: Option<DagId>,
    errors: Vec<Value>,
}

/// A file that was read just now.
struct Fresh {
    path: String,
    seen: Seen,
    dag: Option<Dag>,
    source: String,
}

/// Remembers what it has read.
pub struct DagFolder {
    options: FolderOptions,
    seen: BTreeMap<String, Seen>,
}

/// One look at the whole folder, for commands.
pub async fn sync_folder(store: &Store, options: &FolderOptions, now: DateTime<Utc>) -> Result<SyncReport, FolderError> {
    DagFolder::new(options.clone()).sync(store, now).await
}

impl DagFolder {
    pub fn new(options: FolderOptions) -> Self {
        Self { options, seen: BTreeMap::new() }
    }

    /// Brings what has changed since the last look into the store.
    pub async fn sync(&mut self, store: &Store, now: DateTime<Utc>) -> Result<SyncReport, FolderError> {
        let paths = self.paths()?;
        let changed: Vec<String> = paths.iter().filter(|path| self.has_changed(path)).cloned().collect();
        let is_first = self.seen.is_empty();
        let gone = self.seen.len() != paths.len() || changed.iter().any(|path| !self.seen.contains_key(path));
        if changed.is_empty() && !gone && !is_first {
            return Ok(SyncReport { broken: self.broken(), ..SyncReport::default() });
        }
        let options = self.options.clone();
        let to_read = changed.clone();
        // Parsing a thousand files takes a while; the runtime's threads are for waiting.
        let fresh = tokio::task::spawn_blocking(move || {
            to_read.into_iter().map(|path| read_one(&options, path)).collect::<Vec<_>>()
        });
        let mut fresh = fresh.await.map_err(|e| self.io(std::io::Error::other(e)))?;
        let present: BTreeSet<&String> = paths.iter().collect();
        self.seen.retain(|path, _| present.contains(path));
        self.refuse_doubles(store, &mut fresh).await?;
        let report = self.apply(store, fresh, now).await?;
        Ok(report)
    }

    fn paths(&self) -> Result<Vec<String>, FolderError> {
        let paths = dag_file_paths(&self.options.folder).map_err(|e| self.io(e))?;
        Ok(paths.into_iter().map(|path| path.to_string_lossy().into_owned()).collect())
    }

    fn io(&self, source: std::io::Error) -> FolderError {
        FolderError::Io { path: self.options.folder.display().to_string(), source }
    }

    fn broken(&self) -> Vec<String> {
        self.seen.iter().filter(|(_, seen)| !seen.errors.is_empty()).map(|(path, _)| path.clone()).collect()
    }

    fn has_changed(&self, path: &str) -> bool {
        let Some(seen) = self.seen.get(path) else { return true };
        let folder = &self.options.folder;
        seen.stamp.is_none()
            || seen.stamp != stamp(&folder.join(path))
            || seen.siblings.iter().any(|(name, before)| *before != stamp(&folder.join(name)))
    }

    /// One DAG can't come from two files. The file that serves it stays; every other one is an error that names it.
    async fn refuse_doubles(&self, store: &Store, fresh: &mut [Fresh]) -> Result<(), FolderError> {
        let mut owners: HashMap<DagId, String> = HashMap::new();
        let fresh_paths: BTreeSet<String> = fresh.iter().map(|file| file.path.clone()).collect();
        for (path, seen) in self.seen.iter().filter(|(path, _)| !fresh_paths.contains(*path)) {
            if let Some(dag_id) = &seen.dag_id {
                owners.insert(dag_id.clone(), path.clone());
            }
        }
        let mut counts: HashMap<DagId, usize> = HashMap::new();
        for dag in fresh.iter().filter_map(|file| file.dag.as_ref()) {
            *counts.entry(dag.dag_id.clone()).or_default() += 1;
        }
        for (dag_id, count) in counts {
            if count > 1
                && !owners.contains_key(&dag_id)
                && let Some(row) = store.dag(dag_id.as_str(), 0).await?
                && fresh.iter().any(|file| file.path == row.file_path && file.seen.dag_id.as_ref() == Some(&dag_id))
            {
                owners.insert(dag_id, row.file_path);
            }
        }
        for file in fresh.iter_mut() {
            let Some(dag_id) = file.dag.as_ref().map(|dag| dag.dag_id.clone()) else { continue };
            let owner = owners.entry(dag_id.clone()).or_insert_with(|| file.path.clone());
            if *owner != file.path {
                let message = format!("the DAG '{dag_id}' is defined in {owner} already");
                file.seen.errors.push(problem("duplicate-dag", message, "give one of the two another dag_id"));
                file.seen.dag_id = None;
                // Read again next time: the other file may be gone by then.
                file.seen.stamp = None;
                file.dag = None;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, store: &Store, fresh: Vec<Fresh>, now: DateTime<Utc>) -> Result<SyncReport, FolderError> {
        let mut report = SyncReport { files_read: fresh.len(), ..SyncReport::default() };
        let good: Vec<SyncDag<'_>> = fresh
            .iter()
            .filter_map(|file| {
                Some(SyncDag {
                    dag: file.dag.as_ref()?,
                    file_path: &file.path,
                    source: &file.source,
                    paused_at_creation: self.options.paused_at_creation,
                })
            })
            .collect();
        if !good.is_empty() {
            for (file, outcome) in good.iter().zip(store.sync_dags(&good, now).await?) {
                if outcome.what != SyncWhat::Unchanged {
                    report.changed.push(file.dag.dag_id.clone());
                }
            }
        }
        let known_errors: BTreeSet<String> = store.import_errors().await?.into_iter().map(|row| row.file_path).collect();
        for file in &fresh {
            if !file.seen.errors.is_empty() {
                store.set_import_error(&file.path, &file.seen.errors, now).await?;
            } else if known_errors.contains(&file.path) {
                store.clear_import_error(&file.path, now).await?;
            }
        }
        self.seen.extend(fresh.into_iter().map(|file| (file.path, file.seen)));
        report.broken = self.broken();
        report.stale = store.mark_stale(&self.present(store).await?, &self.seen.keys().cloned().collect::<Vec<_>>(), now).await?;
        Ok(report)
    }

    /// The DAGs that have a file: those that were read, and those whose file is broken at the moment.
    async fn present(&self, store: &Store) -> Result<Vec<DagId>, FolderError> {
        let mut present: BTreeSet<DagId> = self.seen.values().filter_map(|seen| seen.dag_id.clone()).collect();
        let broken: BTreeSet<String> = self.broken().into_iter().collect();
        if !broken.is_empty() {
            let rows = store.dags(&DagFilter::default()).await?.rows;
            present.extend(rows.into_iter().filter(|row| broken.contains(&row.file_path)).map(|row| row.dag_id));
        }
        Ok(present.into_iter().collect())
    }
}

fn read_one(options: &FolderOptions, path: String) -> Fresh {
    let full = options.folder.join(&path);
    // Taken before the reading: a change in between is seen at the next look.
    let before = stamp(&full);
    let bytes = match read_bounded(&full) {
        Ok(bytes) => bytes,
        Err(error) => {
            let errors = vec![problem("unreadable", format!("the file can't be read: {error}"), "check its permissions")];
            let seen = Seen { stamp: None, siblings: Vec::new(), dag_id: None, errors };
            return Fresh { path, seen, dag: None, source: String::new() };
        }
    };
    let files = |relative: &str| read_sibling(&options.folder, relative);
    let read_options =
        ReadOptions { defaults: options.defaults.clone(), files: &files, ..ReadOptions::new(&path, options.catalogue) };
    let result = read_dag_bytes(&bytes, &read_options);
    let errors = result
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .filter_map(|diagnostic| serde_json::to_value(diagnostic).ok())
        .collect();
    let siblings = result.files.iter().map(|name| (name.clone(), stamp(&options.folder.join(name)))).collect();
    let seen = Seen { stamp: before, siblings, dag_id: result.dag.as_ref().map(|dag| dag.dag_id.clone()), errors };
    Fresh { path, seen, dag: result.dag, source: String::from_utf8_lossy(&bytes).into_owned() }
}

/// A problem of a file as a whole.
fn problem(code: &'static str, message: String, hint: &str) -> Value {
    let diagnostic = Diagnostic {
        severity: Severity::Error,
        code: code.into(),
        message,
        line: 1,
        column: 1,
        length: 1,
        text: String::new(),
        hint: Some(hint.to_owned()),
    };
    serde_json::to_value(diagnostic).unwrap_or(Value::Null)
}
