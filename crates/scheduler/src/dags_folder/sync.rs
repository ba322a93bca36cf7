//! From files to stored DAGs and import errors.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use millrace_dagfile::{Diagnostic, ReadOptions, Severity, read_dag_bytes};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_store::{DagFilter, Store, SyncDag, SyncWhat};
use serde_json::Value;

use super::{
    DagsFolder, FolderError, FolderOptions, SyncReport, calendar_names, dag_file_paths, read_bounded, read_sibling,
};

/// What a file was like: when it was written and how long it was. None: it was not there.
type Stamp = Option<(SystemTime, u64)>;

/// A file as it was last read.
#[derive(Debug)]
pub(super) struct Known {
    stamp: Stamp,
    /// The files that became part of its DAG, and those it looked for in vain.
    siblings: Vec<(String, Stamp)>,
    outcome: Outcome,
    /// What the store was told of it; None: nothing yet.
    told: Option<Told>,
}

#[derive(Debug)]
enum Outcome {
    Read { dag: Box<Dag>, source: String },
    Broken(Vec<Diagnostic>),
}

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Stored,
    Error(Vec<Diagnostic>),
}

impl Known {
    pub(super) fn forget_stamps(&mut self) {
        self.stamp = None;
    }

    fn dag_id(&self) -> Option<&DagId> {
        match &self.outcome {
            Outcome::Read { dag, .. } => Some(&dag.dag_id),
            Outcome::Broken(_) => None,
        }
    }

    fn is_current(&self, folder: &Path, path: &str) -> bool {
        self.stamp.is_some()
            && self.stamp == stamp(&folder.join(path))
            && self.siblings.iter().all(|(sibling, known)| *known == stamp(&folder.join(sibling)))
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

pub(super) async fn sync(
    folder: &mut DagsFolder,
    store: &Store,
    now: DateTime<Utc>,
) -> Result<SyncReport, FolderError> {
    let options = folder.options.clone();
    let mut known = std::mem::take(&mut folder.known);
    // Reading and parsing thousands of files is work for a thread of its own.
    let (known_now, files_read) = tokio::task::spawn_blocking(move || {
        let read = read_changed(&options, &mut known);
        (known, read)
    })
    .await
    .map_err(|_| FolderError::Interrupted)?;
    folder.known = known_now;
    let read = files_read.map_err(|source| FolderError::Read { path: folder.options.folder.clone(), source })?;

    let mut report = SyncReport { files: folder.known.len(), read, ..SyncReport::default() };
    let doubles = doubles(&folder.known);
    report.stored = store_read(folder, store, &doubles, now).await?;
    report.broken = report_broken(folder, store, &doubles, now).await?;
    report.stale = mark_stale(folder, store, &doubles, now).await?;
    Ok(report)
}

/// Reads what is new or changed, forgets what is gone. Returns how many files were read.
fn read_changed(options: &FolderOptions, known: &mut BTreeMap<String, Known>) -> std::io::Result<usize> {
    let paths: Vec<String> = dag_file_paths(&options.folder)?
        .into_iter()
        .filter_map(|path| path.into_os_string().into_string().ok())
        .collect();
    let present: BTreeSet<&str> = paths.iter().map(String::as_str).collect();
    known.retain(|path, _| present.contains(path.as_str()));
    let mut count = 0;
    for path in &paths {
        if known.get(path).is_some_and(|file| file.is_current(&options.folder, path)) {
            continue;
        }
        count += 1;
        let mut file = read_file(options, path);
        if let Some(before) = known.remove(path) {
            file.told = before.told.filter(|told| is_same(told, &before.outcome, &file.outcome));
        }
        known.insert(path.clone(), file);
    }
    Ok(count)
}

/// Whether what the store was told is still all there is to tell.
fn is_same(told: &Told, before: &Outcome, after: &Outcome) -> bool {
    match (told, before, after) {
        (Told::Stored, Outcome::Read { dag: old, .. }, Outcome::Read { dag: new, .. }) => old == new,
        (Told::Error(old), _, Outcome::Broken(new)) => old == new,
        _ => false,
    }
}

fn read_file(options: &FolderOptions, path: &str) -> Known {
    let full = options.folder.join(path);
    // Taken before the reading: what is written meanwhile is read once more.
    let stamp_before = stamp(&full);
    let bytes = match read_bounded(&full) {
        Ok(bytes) => bytes,
        Err(error) => {
            let diagnostic = whole_file("unreadable-file", format!("the file cannot be read: {error}"), None);
            return Known { stamp: None, siblings: Vec::new(), outcome: Outcome::Broken(vec![diagnostic]), told: None };
        }
    };
    let files = |relative: &str| read_sibling(&options.folder, relative);
    let calendars = || calendar_names(&options.folder);
    let read_options = ReadOptions {
        defaults: options.defaults.clone(),
        files: &files,
        calendars: &calendars,
        ..ReadOptions::new(path, options.catalogue)
    };
    let result = read_dag_bytes(&bytes, &read_options);
    let siblings = result.files.iter().map(|sibling| (sibling.clone(), stamp(&options.folder.join(sibling)))).collect();
    let outcome = match result.dag {
        Some(dag) => Outcome::Read { dag: Box::new(dag), source: String::from_utf8_lossy(&bytes).into_owned() },
        None => Outcome::Broken(result.diagnostics),
    };
    Known { stamp: stamp_before, siblings, outcome, told: None }
}

fn whole_file(code: &'static str, message: String, hint: Option<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: code.into(),
        message,
        line: 1,
        column: 1,
        length: 1,
        text: String::new(),
        hint,
    }
}

/// The DAG ids that several files claim, with those files: none of them is taken.
fn doubles(known: &BTreeMap<String, Known>) -> BTreeMap<DagId, Vec<String>> {
    let mut files: BTreeMap<&DagId, Vec<String>> = BTreeMap::new();
    for (path, file) in known {
        if let Some(dag_id) = file.dag_id() {
            files.entry(dag_id).or_default().push(path.clone());
        }
    }
    files.into_iter().filter(|(_, paths)| paths.len() > 1).map(|(id, paths)| (id.clone(), paths)).collect()
}

type Doubles = BTreeMap<DagId, Vec<String>>;

async fn store_read(
    folder: &mut DagsFolder,
    store: &Store,
    doubles: &Doubles,
    now: DateTime<Utc>,
) -> Result<usize, FolderError> {
    let (paths, files): (Vec<&String>, Vec<SyncDag<'_>>) = folder
        .known
        .iter()
        .filter(|(_, file)| file.told != Some(Told::Stored))
        .filter_map(|(path, file)| match &file.outcome {
            Outcome::Read { dag, source } if !doubles.contains_key(&dag.dag_id) => Some((
                path,
                SyncDag { dag, file_path: path, source, paused_at_creation: folder.options.paused_at_creation },
            )),
            _ => None,
        })
        .unzip();
    if files.is_empty() {
        return Ok(0);
    }
    let outcomes = store.sync_dags(&files, now).await?;
    let told: Vec<String> = paths.into_iter().cloned().collect();
    for path in told {
        if let Some(file) = folder.known.get_mut(&path) {
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
            Outcome::Read { dag, .. } => match doubles.get(&dag.dag_id) {
                Some(paths) => vec![double(&dag.dag_id, paths)],
                None => continue,
            },
        };
        if file.told.as_ref() == Some(&Told::Error(diagnostics.clone())) {
            continue;
        }
        let values: Vec<Value> =
            diagnostics.iter().map(|diagnostic| serde_json::to_value(diagnostic).unwrap_or_default()).collect();
        store.set_import_error(path, &values, now).await?;
        broken.push(path.clone());
        file.told = Some(Told::Error(diagnostics));
    }
    Ok(broken)
}

fn double(dag_id: &DagId, paths: &[String]) -> Diagnostic {
    let message = format!("DAG '{dag_id}' is defined by several files: {}", paths.join(", "));
    whole_file("duplicate-dag", message, Some("give each of them a dag_id of its own".to_owned()))
}

/// A DAG is stale when no file gives it any more; one whose file is broken stays in service.
async fn mark_stale(
    folder: &mut DagsFolder,
    store: &Store,
    doubles: &Doubles,
    now: DateTime<Utc>,
) -> Result<Vec<DagId>, FolderError> {
    let mut present: BTreeSet<DagId> = folder.known.values().filter_map(Known::dag_id).cloned().collect();
    present.extend(doubles.keys().cloned());
    let broken: BTreeSet<&str> = folder
        .known
        .iter()
        .filter(|(_, file)| matches!(file.outcome, Outcome::Broken(_)))
        .map(|(path, _)| path.as_str())
        .collect();
    if !broken.is_empty() {
        let rows = store.dags(&DagFilter::default()).await?.rows;
        present.extend(rows.into_iter().filter(|row| broken.contains(row.file_path.as_str())).map(|row| row.dag_id));
    }
    let telling = (present.into_iter().collect::<Vec<_>>(), folder.known.keys().cloned().collect::<Vec<_>>());
    if folder.told.as_ref() == Some(&telling) {
        return Ok(Vec::new());
    }
    let stale = store.mark_stale(&telling.0, &telling.1, now).await?;
    folder.told = Some(telling);
    Ok(stale)
}
