//! From files to stored DAGs and import errors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use chrono::{DateTime, Utc};
use millrace_dagfile::Diagnostic;
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_model::pool::PoolSizes;
use millrace_store::{Counted, DagFilter, DagRow, StampedFile, Store, SyncDag, SyncWhat};
use serde_json::Value;

use super::stamps::{Stamps, reader_mark};
use super::{DagsFolder, Doubles, FolderError, FolderOptions, SyncReport, dag_file_paths, double, doubles};

/// A file as it was last read.
#[derive(Debug)]
pub(super) struct Known {
    /// Of the file, of those that became part of its DAG, and of those it looked for in vain. None: read it again.
    stamps: Option<Stamps>,
    outcome: Outcome,
    /// What the store was told of it; None: nothing yet.
    told: Option<Told>,
}

#[derive(Debug)]
enum Outcome {
    /// One DAG, or as many as the file's `for_each` makes.
    Read {
        dags: Vec<Dag>,
        source: String,
    },
    /// They were read and stored; the DAGs themselves need not be kept here, but their hashes are.
    Stored {
        dags: Vec<(DagId, String)>,
    },
    Broken(Vec<Diagnostic>),
}

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Stored,
    Error(Vec<Diagnostic>),
}

impl Known {
    pub(super) fn forget_stamps(&mut self) {
        self.stamps = None;
    }

    /// As an earlier process read and stored it.
    fn stored(file: StampedFile) -> Option<Self> {
        Some(Self {
            stamps: Some(Stamps::of_json(&file.stamps)?),
            outcome: Outcome::Stored { dags: file.dags },
            told: Some(Told::Stored),
        })
    }

    fn unreadable(error: &std::io::Error) -> Self {
        let diagnostic = Diagnostic::of_file("unreadable-file", format!("it cannot be read: {error}"), None);
        Self { stamps: None, outcome: Outcome::Broken(vec![diagnostic]), told: None }
    }

    fn dag_ids(&self) -> Vec<&DagId> {
        match &self.outcome {
            Outcome::Read { dags, .. } => dags.iter().map(|dag| &dag.dag_id).collect(),
            Outcome::Stored { dags } => dags.iter().map(|(dag_id, _)| dag_id).collect(),
            Outcome::Broken(_) => Vec::new(),
        }
    }

    fn is_current(&self, options: &FolderOptions) -> bool {
        // Something was in its way since it was stored; should that be gone, it must be stored again.
        let is_in_service = !matches!(self.outcome, Outcome::Stored { .. }) || self.told == Some(Told::Stored);
        is_in_service && self.stamps.as_ref().is_some_and(|stamps| stamps.still_hold(&options.folder))
    }
}

pub(super) async fn sync(
    folder: &mut DagsFolder,
    store: &Store,
    now: DateTime<Utc>,
) -> Result<SyncReport, FolderError> {
    let options = folder.options.clone();
    let pools = store.pool_sizes().await?;
    let reader = reader_mark(&options, &pools);
    if folder.reader.replace(reader.clone()).is_some_and(|before| before != reader) {
        // A file that names a pool is an error without it, and none with it.
        folder.forget_stamps();
    }
    let mut known = std::mem::take(&mut folder.known);
    if known.is_empty() {
        let stamped = store.stamped_files(&reader).await?.into_iter();
        known = stamped.filter_map(|file| Some((file.file_path.clone(), Known::stored(file)?))).collect();
    }
    // Reading and parsing thousands of files is work for a thread of its own.
    let (known_now, files_read, took) = tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        let read = read_changed(&options, &pools, &mut known);
        (known, read, began.elapsed())
    })
    .await
    .map_err(|_| FolderError::Interrupted)?;
    folder.known = known_now;
    let read = files_read.map_err(|source| FolderError::Read { path: folder.options.folder.clone(), source })?;

    if read > 0 {
        store.count(Counted::FilesRead, &[], read as u64);
        store.count(Counted::ReadTime, &[], u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    store.mark(Counted::FolderSeen, &[], now);

    let mut report = SyncReport { files: folder.known.len(), read, ..SyncReport::default() };
    let doubles = doubles(folder.known.iter().map(|(path, file)| (path.clone(), file.dag_ids())));
    report.stored = store_read(folder, store, &doubles, &reader, now).await?;
    report.broken = report_broken(folder, store, &doubles, now).await?;
    report.stale = mark_stale(folder, store, &doubles, now).await?;
    Ok(report)
}

/// Reads what is new or changed, forgets what is gone, and keeps what is in a folder that cannot be read now. Returns how
/// many files were read.
fn read_changed(
    options: &FolderOptions,
    pools: &PoolSizes,
    known: &mut BTreeMap<String, Known>,
) -> std::io::Result<usize> {
    let found = dag_file_paths(&options.folder)?;
    let text = |path: PathBuf| path.into_os_string().into_string().ok();
    let paths: Vec<String> = found.paths.into_iter().filter_map(text).collect();
    let unreadable: Vec<(String, Known)> = found
        .unreadable
        .into_iter()
        .filter_map(|(path, error)| Some((text(path)?, Known::unreadable(&error))))
        .collect();
    let present: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    let is_there = |path: &str| present.contains(path) || unreadable.iter().any(|(folder, _)| is_under(path, folder));
    known.retain(|path, _| is_there(path));
    let mut count = 0;
    for path in &paths {
        if known.get(path).is_some_and(|file| file.is_current(options)) {
            continue;
        }
        count += 1;
        put(known, path.clone(), read_file(options, pools, path));
    }
    for (folder, error) in unreadable {
        put(known, folder, error);
    }
    Ok(count)
}

fn put(known: &mut BTreeMap<String, Known>, path: String, mut file: Known) {
    if let Some(before) = known.remove(&path) {
        file.told = before.told.filter(|told| is_same(told, &before.outcome, &file.outcome));
        if file.told == Some(Told::Stored) {
            file.outcome = before.outcome;
        }
    }
    known.insert(path, file);
}

/// Whether it is that file or folder, or lies in it.
fn is_under(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether what the store was told is still all there is to tell.
fn is_same(told: &Told, before: &Outcome, after: &Outcome) -> bool {
    match (told, before, after) {
        (Told::Stored, Outcome::Stored { dags: old }, Outcome::Read { dags: new, .. }) => *old == hashes(new),
        (Told::Error(old), _, Outcome::Broken(new)) => old == new,
        _ => false,
    }
}

fn read_file(options: &FolderOptions, pools: &PoolSizes, path: &str) -> Known {
    // Taken before the reading: what is written meanwhile is read once more.
    let mut stamps = Stamps::of(&options.folder, path);
    let (bytes, result) = match options.read_file(path, Some(pools)) {
        Ok(read) => read,
        Err(error) => return Known::unreadable(&error),
    };
    result.files.iter().for_each(|sibling| stamps.add(&options.folder, sibling));
    let outcome = if result.has_errors() {
        Outcome::Broken(result.diagnostics)
    } else {
        Outcome::Read { dags: result.dags, source: String::from_utf8_lossy(&bytes).into_owned() }
    };
    Known { stamps: Some(stamps), outcome, told: None }
}

fn hashes(dags: &[Dag]) -> Vec<(DagId, String)> {
    dags.iter().map(|dag| (dag.dag_id.clone(), dag.content_hash())).collect()
}

/// Files that are stored with one transaction: between two of them others can write, and what has been stored is let go.
const FILES_AT_ONCE: usize = 100;

async fn store_read(
    folder: &mut DagsFolder,
    store: &Store,
    doubles: &Doubles,
    reader: &str,
    now: DateTime<Utc>,
) -> Result<usize, FolderError> {
    let is_read = |file: &Known| matches!(file.outcome, Outcome::Read { .. });
    let is_double = |file: &Known| file.dag_ids().into_iter().any(|dag_id| doubles.contains_key(dag_id));
    let fit = folder.known.iter().filter(|(_, file)| is_read(file) && !is_double(file));
    let paths: Vec<String> = fit.map(|(path, _)| path.clone()).collect();
    let mut stored = 0;
    for some in paths.chunks(FILES_AT_ONCE) {
        stored += store_some(folder, store, some, reader, now).await?;
    }
    Ok(stored)
}

async fn store_some(
    folder: &mut DagsFolder,
    store: &Store,
    paths: &[String],
    reader: &str,
    now: DateTime<Utc>,
) -> Result<usize, FolderError> {
    let mut files: Vec<SyncDag<'_>> = Vec::new();
    let mut read: Vec<StampedFile> = Vec::new();
    let mut to_keep: Vec<StampedFile> = Vec::new();
    for path in paths {
        let Some(Known { outcome: Outcome::Read { dags, source }, stamps, .. }) = folder.known.get(path) else {
            continue;
        };
        let paused_at_creation = folder.options.paused_at_creation;
        files.extend(dags.iter().map(|dag| SyncDag { dag, file_path: path, source, paused_at_creation }));
        let stamps = stamps.as_ref().filter(|stamps| stamps.are_settled());
        let stamped = StampedFile {
            file_path: path.clone(),
            dags: hashes(dags),
            stamps: stamps.map(Stamps::to_json).unwrap_or_default(),
        };
        to_keep.extend(stamps.is_some().then(|| stamped.clone()));
        read.push(stamped);
    }
    let outcomes = store.sync_stamped(&files, reader, &to_keep, now).await?;
    for StampedFile { file_path, dags, .. } in read {
        if let Some(file) = folder.known.get_mut(&file_path) {
            file.outcome = Outcome::Stored { dags };
            file.told = Some(Told::Stored);
        }
    }
    Ok(outcomes.iter().filter(|outcome| outcome.what != SyncWhat::Unchanged).count())
}

async fn report_broken(
    folder: &mut DagsFolder,
    store: &Store,
    doubles: &Doubles,
    now: DateTime<Utc>,
) -> Result<Vec<String>, FolderError> {
    let mut broken = Vec::new();
    for (path, file) in &mut folder.known {
        let diagnostics = match &file.outcome {
            Outcome::Broken(diagnostics) => diagnostics.clone(),
            Outcome::Read { .. } | Outcome::Stored { .. } => {
                let twice = file.dag_ids().into_iter().filter_map(|dag_id| Some(double(dag_id, doubles.get(dag_id)?)));
                let twice: Vec<Diagnostic> = twice.collect();
                if twice.is_empty() {
                    continue;
                }
                twice
            }
        };
        if file.told.as_ref() == Some(&Told::Error(diagnostics.clone())) {
            continue;
        }
        let values: Vec<Value> =
            diagnostics.iter().map(|diagnostic| serde_json::to_value(diagnostic).unwrap_or_default()).collect();
        store.set_import_error(path, &values, now).await?;
        if let Some(first) = diagnostics.first() {
            tracing::warn!(problems = diagnostics.len(), first = %first.one_line(path), "a DAG file cannot be used");
        }
        broken.push(path.clone());
        file.told = Some(Told::Error(diagnostics));
    }
    Ok(broken)
}

/// A DAG is stale when no file gives it any more; one whose file is broken stays in service.
async fn mark_stale(
    folder: &mut DagsFolder,
    store: &Store,
    doubles: &Doubles,
    now: DateTime<Utc>,
) -> Result<Vec<DagId>, FolderError> {
    let mut present: BTreeSet<DagId> = folder.known.values().flat_map(Known::dag_ids).cloned().collect();
    present.extend(doubles.keys().cloned());
    let broken: BTreeSet<&str> = folder
        .known
        .iter()
        .filter(|(_, file)| matches!(file.outcome, Outcome::Broken(_)))
        .map(|(path, _)| path.as_str())
        .collect();
    if !broken.is_empty() {
        let rows = store.dags(&DagFilter::default()).await?.rows;
        let is_broken = |row: &DagRow| broken.iter().any(|broken| is_under(&row.file_path, broken));
        present.extend(rows.into_iter().filter(is_broken).map(|row| row.dag_id));
    }
    let telling = (present.into_iter().collect::<Vec<_>>(), folder.known.keys().cloned().collect::<Vec<_>>());
    if folder.told.as_ref() == Some(&telling) {
        return Ok(Vec::new());
    }
    let stale = store.mark_stale(&telling.0, &telling.1, now).await?;
    folder.told = Some(telling);
    Ok(stale)
}
