//! The folder of DAG files: read, compared with what is stored, and watched.
//!
//! Files are data. Reading them executes nothing, and what is wrong with one never hurts another: a file that cannot be
//! read becomes an import error, and the last version of its DAG that could stays in service.

mod paths;
mod reading;
mod stamps;
mod sync;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use millrace_dagfile::Defaults;
use millrace_model::ids::DagId;
use millrace_operator_api::entry::Catalogue;
use millrace_store::{Store, StoreError};

pub use paths::{FoundFiles, calendar_names, dag_file_paths, read_bounded, read_sibling};
pub use reading::{Doubles, double, doubles};
pub use watch::FolderChanges;

use self::sync::Known;

#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot read the DAGs folder {}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot store what was read from the DAGs folder")]
    Store(#[from] StoreError),
    #[error("reading the DAGs folder was interrupted")]
    Interrupted,
}

/// Where DAG files are and how to read them.
#[derive(Debug, Clone)]
pub struct FolderOptions {
    pub folder: PathBuf,
    pub catalogue: Catalogue,
    pub defaults: Defaults,
    /// Whether a DAG that was never seen begins paused.
    pub paused_at_creation: bool,
}

/// What a reading of the folder found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// DAG files that are there.
    pub files: usize,
    /// Files that were read, because they are new or were changed since the last reading.
    pub read: usize,
    /// DAGs that are new or have a new version.
    pub stored: usize,
    /// Files that could not be read, relative to the folder, among those read.
    pub broken: Vec<String>,
    /// DAGs whose file is gone.
    pub stale: Vec<DagId>,
}

/// The folder, with the memory of what its files were like when they were last read.
#[derive(Debug)]
pub struct DagsFolder {
    options: FolderOptions,
    /// By path relative to the folder.
    known: BTreeMap<String, Known>,
    /// Of whoever read them last.
    reader: Option<String>,
    /// What [`Store::mark_stale`] was last told.
    told: Option<(Vec<DagId>, Vec<String>)>,
}

impl DagsFolder {
    pub fn new(options: FolderOptions) -> Self {
        Self { options, known: BTreeMap::new(), reader: None, told: None }
    }

    /// Reads what was changed, and stores it.
    pub async fn sync(&mut self, store: &Store, now: DateTime<Utc>) -> Result<SyncReport, FolderError> {
        sync::sync(self, store, now).await
    }

    /// Begins to watch the folder for changes.
    pub fn watch(&self) -> FolderChanges {
        watch::watch(&self.options.folder)
    }

    /// With the next [`DagsFolder::sync`] every file is read, whatever its time and size say.
    pub fn forget_stamps(&mut self) {
        self.known.values_mut().for_each(Known::forget_stamps);
        self.told = None;
    }
}

/// Reads the whole folder once and stores what differs from what is stored.
pub async fn sync_folder(
    store: &Store,
    options: &FolderOptions,
    now: DateTime<Utc>,
) -> Result<SyncReport, FolderError> {
    DagsFolder::new(options.clone()).sync(store, now).await
}
