//! Data files. One object is one or more of them; parts become parts of an object without being copied.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// One immutable data file, shared by the records that name it and by readers.
///
/// The file is removed when the last record has let go of it *and* the last reader is done.
#[derive(Debug)]
pub(super) struct Blob {
    path: PathBuf,
    name: String,
    size: u64,
    /// Records on disk that name this file. Readers do not count here: they hold the `Arc`.
    links: AtomicUsize,
}

impl Blob {
    pub(super) fn new(folder: &Path, name: String, size: u64) -> Self {
        Self { path: folder.join(&name), name, size, links: AtomicUsize::new(0) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn link(&self) {
        self.links.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn unlink(&self) {
        self.links.fetch_sub(1, Ordering::AcqRel);
    }

    /// The process ends or the store is closed: the file stays although nobody holds it any more.
    fn is_wanted(&self) -> bool {
        self.links.load(Ordering::Acquire) > 0
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        if !self.is_wanted()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            // It is swept at the next start.
            tracing::debug!(path = %self.path.display(), %error, "a data file could not be removed");
        }
    }
}
