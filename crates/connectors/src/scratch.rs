//! Files that tasks of one run hand to each other, in a folder per run.

use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use futures::future::BoxFuture;
use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{ByteStream, Scratch, ScratchFile};
use millrace_operator_api::{PortError, PortErrorKind};
use sha2::{Digest, Sha256};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use crate::parts::failure::invalid;

const READ_BUFFER: usize = 64 * 1024;

/// Scratch files under one root: `root/<run>/<name>`. A run's folder is removed as a whole with [`FolderScratch::remove_run`].
#[derive(Debug, Clone)]
pub struct FolderScratch {
    root: PathBuf,
}

impl FolderScratch {
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Where the files of a run are. The name is made of a digest, so that no run id can lead elsewhere.
    pub fn run_folder(&self, work: &WorkId) -> PathBuf {
        self.folder_of(work.dag_id.as_str(), &work.run_id)
    }

    /// Removes everything that tasks of a run left; not an error when they left nothing.
    pub async fn remove_run(&self, dag_id: &str, run_id: &str) -> std::io::Result<()> {
        match tokio::fs::remove_dir_all(self.folder_of(dag_id, run_id)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn folder_of(&self, dag_id: &str, run_id: &str) -> PathBuf {
        let digest = Sha256::digest(format!("{dag_id}\0{run_id}"));
        self.root.join(hex::encode(&digest[..16]))
    }

    fn path(&self, work: &WorkId, name: &str) -> Result<PathBuf, PortError> {
        Ok(self.run_folder(work).join(safe_name(name)?))
    }
}

/// A name is one path component of ordinary characters: neither a folder, nor hidden, nor a temporary name of ours.
fn safe_name(name: &str) -> Result<&str, PortError> {
    let is_fine = !name.is_empty()
        && name.len() <= 200
        && !name.starts_with('.')
        && !name.contains(['/', '\\', '\0'])
        && !name.chars().any(char::is_control);
    if is_fine {
        Ok(name)
    } else {
        Err(invalid(format!("{name:?} cannot be a scratch file's name: it must be one plain file name")))
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> PortError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => PortErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => PortErrorKind::Denied,
        std::io::ErrorKind::StorageFull => PortErrorKind::Unavailable,
        _ => PortErrorKind::Other,
    };
    PortError::new(kind, format!("cannot {what} {}: {error}", path.display()))
}

/// Removes the temporary file unless it was renamed, also when the writing future is dropped.
struct Temporary {
    path: PathBuf,
    is_done: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

async fn write(path: PathBuf, name: &str, mut body: ByteStream) -> Result<ScratchFile, PortError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    tokio::fs::create_dir_all(folder).await.map_err(|error| failed("make the folder", folder, &error))?;
    // One task writes a name at a time; a leftover of a killed try is overwritten.
    let mut temporary = Temporary { path: folder.join(format!(".{name}.part")), is_done: false };
    let in_temporary = |error: std::io::Error| failed("write", &path, &error);
    let mut file = File::create(&temporary.path).await.map_err(in_temporary)?;
    let mut size = 0;
    while let Some(chunk) = body.try_next().await? {
        file.write_all(&chunk).await.map_err(in_temporary)?;
        size += chunk.len() as u64;
    }
    file.flush().await.map_err(in_temporary)?;
    file.sync_all().await.map_err(in_temporary)?;
    tokio::fs::rename(&temporary.path, &path).await.map_err(in_temporary)?;
    temporary.is_done = true;
    Ok(ScratchFile { name: name.to_owned(), path, size })
}

async fn read(path: PathBuf, name: String) -> Result<(ScratchFile, ByteStream), PortError> {
    let file = File::open(&path).await.map_err(|error| failed("read", &path, &error))?;
    let about = file.metadata().await.map_err(|error| failed("read", &path, &error))?;
    if !about.is_file() {
        return Err(invalid(format!("{} is not a file", path.display())));
    }
    let shown = path.clone();
    let stream = ReaderStream::with_capacity(file, READ_BUFFER).map_err(move |error| failed("read", &shown, &error));
    Ok((ScratchFile { name, path, size: about.len() }, Box::pin(stream)))
}

impl Scratch for FolderScratch {
    fn write<'a>(
        &'a self,
        work: &'a WorkId,
        name: &'a str,
        body: ByteStream,
    ) -> BoxFuture<'a, Result<ScratchFile, PortError>> {
        Box::pin(async move { write(self.path(work, name)?, name, body).await })
    }

    fn read<'a>(
        &'a self,
        work: &'a WorkId,
        name: &'a str,
    ) -> BoxFuture<'a, Result<(ScratchFile, ByteStream), PortError>> {
        Box::pin(async move { read(self.path(work, name)?, name.to_owned()).await })
    }

    fn read_outside<'a>(&'a self, path: &'a Path) -> BoxFuture<'a, Result<(ScratchFile, ByteStream), PortError>> {
        Box::pin(async move {
            if !path.is_absolute() {
                return Err(invalid(format!("{} is not an absolute path", path.display())));
            }
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            read(path.to_owned(), name).await
        })
    }

    fn remove<'a>(&'a self, work: &'a WorkId, name: &'a str) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let path = self.path(work, name)?;
            match tokio::fs::remove_file(&path).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &path, &error)),
                _ => {
                    // The run's folder goes with its last file; while others are there this fails, and so it should.
                    let _ = tokio::fs::remove_dir(self.run_folder(work)).await;
                    Ok(())
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::safe_name;

    #[test]
    fn names_cannot_leave_the_folder() {
        for bad in ["", "..", ".hidden", "a/b", "../a", "/etc/passwd", "a\\b", "a\0b", "a\nb"] {
            assert!(safe_name(bad).is_err(), "{bad:?}");
        }
        assert!(safe_name("nps-2024-01-01.csv").is_ok());
        assert!(safe_name("주문.csv").is_ok());
    }
}
