//! Folders of runs that are no more: whoever deleted the run was stopped before its logs were gone too.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::folder::{LogFolder, segment};

impl LogFolder {
    /// The folders of DAGs, by their names.
    pub fn dag_folders(&self) -> io::Result<Vec<OsString>> {
        folders(self.root(), "dag_id=")
    }

    /// The folders of runs in the folder of a DAG, by their names.
    pub fn run_folders(&self, dag_folder: &OsStr) -> io::Result<Vec<OsString>> {
        folders(&self.root().join(dag_folder), "run_id=")
    }

    /// What the folder of a DAG is called.
    pub fn dag_folder_name(dag_id: &str) -> OsString {
        segment("dag_id", dag_id).into()
    }

    /// Removes a folder that [`dag_folders`](Self::dag_folders) named, unless something was added to it since `before`.
    /// Returns whether it did.
    pub fn remove_dag_folder(&self, dag_folder: &OsStr, before: SystemTime) -> io::Result<bool> {
        remove_old(&self.root().join(dag_folder), before)
    }

    /// Removes those of these folders of runs that none of the runs has, unless something was added to them since `before`.
    /// Returns how many.
    pub fn remove_run_folders<'r>(
        &self,
        dag_folder: &OsStr,
        listed: &[OsString],
        run_ids: impl IntoIterator<Item = &'r str>,
        before: SystemTime,
    ) -> io::Result<usize> {
        let known: HashSet<OsString> = run_ids.into_iter().map(|run_id| segment("run_id", run_id).into()).collect();
        let mut removed = 0;
        for name in listed.iter().filter(|name| !known.contains(*name)) {
            removed += usize::from(remove_old(&self.root().join(dag_folder).join(name), before)?);
        }
        Ok(removed)
    }
}

fn folders(of: &Path, prefix: &str) -> io::Result<Vec<OsString>> {
    let entries = match std::fs::read_dir(of) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What a link leads to is not ours.
        if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) && entry.file_type()?.is_dir() {
            found.push(entry.file_name());
        }
    }
    Ok(found)
}

fn remove_old(folder: &Path, before: SystemTime) -> io::Result<bool> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let changed = match std::fs::symlink_metadata(folder) {
        Err(error) if is_gone(&error) => return Ok(false),
        other => other?.modified()?,
    };
    if changed >= before {
        return Ok(false);
    }
    match std::fs::remove_dir_all(folder) {
        Err(error) if is_gone(&error) => Ok(false),
        other => other.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_nobody_has_goes() {
        let root = tempfile::tempdir().unwrap();
        let logs = LogFolder::new(root.path());
        for run in ["here", "a/b", "gone"] {
            std::fs::create_dir_all(root.path().join(segment("dag_id", "d")).join(segment("run_id", run))).unwrap();
        }
        std::fs::create_dir(root.path().join("lost+found")).unwrap();
        std::os::unix::fs::symlink("/", root.path().join("dag_id=linked")).unwrap();
        assert_eq!(logs.dag_folders().unwrap(), ["dag_id=d"]);
        let dag = LogFolder::dag_folder_name("d");
        let listed = logs.run_folders(&dag).unwrap();
        assert_eq!(listed.len(), 3);
        let (old, soon) = (SystemTime::UNIX_EPOCH, SystemTime::now() + Duration::from_mins(1));
        assert_eq!(logs.remove_run_folders(&dag, &listed, ["here", "a/b"], old).unwrap(), 0, "too young");
        assert_eq!(logs.remove_run_folders(&dag, &listed, ["here", "a/b"], soon).unwrap(), 1);
        assert_eq!(logs.run_folders(&dag).unwrap().len(), 2);
        assert!(!logs.remove_dag_folder(&dag, old).unwrap());
        assert!(logs.remove_dag_folder(&dag, soon).unwrap());
        assert!(!logs.remove_dag_folder(&dag, soon).unwrap());
        assert!(LogFolder::new(root.path().join("none")).dag_folders().unwrap().is_empty());
    }
}
