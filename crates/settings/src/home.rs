//! The home folder: where each thing of one installation lives.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}{}", if .source.kind() == io::ErrorKind::PermissionDenied { "; run as the user who owns it" } else { "" })]
pub struct HomeError {
    action: &'static str,
    path: String,
    #[source]
    source: io::Error,
}

impl HomeError {
    fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.display().to_string(), source }
    }
}

impl Home {
    /// `root` is made absolute against the working directory; nothing is created.
    pub fn at(root: impl AsRef<Path>) -> Result<Self, HomeError> {
        let root = std::path::absolute(root.as_ref())
            .map_err(|e| HomeError::new("could not resolve the home folder", root.as_ref(), e))?;
        Ok(Self { root })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn config_file(&self) -> PathBuf {
        self.root.join("millrace.toml")
    }

    pub fn database_file(&self) -> PathBuf {
        self.root.join("millrace.db")
    }

    pub fn default_dags_folder(&self) -> PathBuf {
        self.root.join("dags")
    }

    pub fn default_logs_folder(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub fn scratch_folder(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// What `db clean` deleted.
    pub fn archive_folder(&self) -> PathBuf {
        self.root.join("archive")
    }

    pub fn key_file(&self) -> PathBuf {
        self.root.join("encryption_key")
    }

    pub fn admin_password_file(&self) -> PathBuf {
        self.root.join("admin_password")
    }

    /// What the S3 stand-in stores.
    pub fn s3_folder(&self) -> PathBuf {
        self.root.join("s3")
    }

    pub fn demo_folder(&self) -> PathBuf {
        self.root.join("demo")
    }

    /// Makes the home folder, readable for its owner only, if it is not there.
    pub fn create(&self) -> Result<(), HomeError> {
        create_private_folder(&self.root)
    }
}

/// Makes a folder and its parents; the new ones have mode 0700. Not an error when it is there.
pub fn create_private_folder(path: &Path) -> Result<(), HomeError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| HomeError::new("could not create the folder", path, e))
}

/// Writes a secret file with mode 0600: whole, under a temporary name first, so that a crash leaves the old or the new.
pub fn write_private_file(path: &Path, content: &[u8]) -> Result<(), HomeError> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&temporary);
        HomeError::new("could not write the file", path, e)
    })
}

/// Creates a secret file with mode 0600 unless there is one; says whether it did. Of two processes one wins.
pub fn create_private_file(path: &Path, content: &[u8]) -> Result<bool, HomeError> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    write_private_file(&temporary, content).map_err(|error| HomeError { path: path.display().to_string(), ..error })?;
    // A hard link fails when the name is taken, so that a file that appeared meanwhile is never replaced.
    let linked = fs::hard_link(&temporary, path);
    let _ = fs::remove_file(&temporary);
    match linked {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(HomeError::new("could not create the file", path, error)),
    }
}

/// Reads a file if there is one.
pub fn read_if_present(path: &Path) -> Result<Option<String>, HomeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(HomeError::new("could not read the file", path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_0600_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        assert!(create_private_file(&path, b"one").unwrap());
        assert!(!create_private_file(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write_private_file(&path, b"three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
