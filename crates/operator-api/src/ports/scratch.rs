//! Files that tasks of one run hand to each other (`extract` to `upload`).

use std::path::{Path, PathBuf};

use futures::future::BoxFuture;

use super::ByteStream;
use crate::context::WorkId;
use crate::error::{PortError, PortErrorKind};

/// A scratch file: belongs to a run, removed with it. Its name is all that a later task needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScratchFile {
    /// Relative to the run's scratch folder.
    pub name: String,
    pub path: PathBuf,
    pub size: u64,
}

pub trait Scratch: Send + Sync {
    /// Writes to a temporary name and renames at the end: a file is there whole or not at all.
    fn write<'a>(
        &'a self,
        work: &'a WorkId,
        name: &'a str,
        body: ByteStream,
    ) -> BoxFuture<'a, Result<ScratchFile, PortError>>;
    /// Opens a file that a task of the same run wrote. Names can't leave the run's folder.
    fn read<'a>(
        &'a self,
        work: &'a WorkId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(ScratchFile, ByteStream), PortError>>;
    /// Opens a file that no task wrote, by its absolute path, for reading. Implementations without files leave this out.
    fn read_outside<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<(ScratchFile, ByteStream), PortError>> {
        Box::pin(async move {
            let message =
                format!("{} can't be read: this worker opens no files outside its scratch folder", path.display());
            Err(PortError::new(PortErrorKind::Invalid, message))
        })
    }
    fn remove<'a>(&'a self, work: &'a WorkId, name: &'a str) -> BoxFuture<'a, Result<(), PortError>>;
}
