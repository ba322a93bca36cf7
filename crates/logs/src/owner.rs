//! Whose logs a folder holds.
//!
//! Nobody may remove what looks like logs of runs that are gone only because his database does not know them: they may be
//! another installation's, or Airflow's, whose folders are named alike.

use std::fs::OpenOptions;
use std::io::{self, Write};

use crate::folder::LogFolder;

/// Beside the folders of DAGs.
const MARK: &str = "installation";

impl LogFolder {
    /// Writes down that what will be here is this installation's. A folder that another has marked, or in which logs are
    /// already, stays as it is.
    pub fn claim(&self, installation: &str) -> io::Result<()> {
        if self.root().join(MARK).exists() || !self.dag_folders()?.is_empty() {
            return Ok(());
        }
        std::fs::create_dir_all(self.root())?;
        match OpenOptions::new().write(true).create_new(true).open(self.root().join(MARK)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other?.write_all(installation.as_bytes()),
        }
    }

    /// This installation has [claimed](Self::claim) the folder.
    pub fn is_of(&self, installation: &str) -> bool {
        std::fs::read_to_string(self.root().join(MARK)).is_ok_and(|mark| mark == installation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_folder_is_claimed() {
        let root = tempfile::tempdir().unwrap();
        let fresh = LogFolder::new(root.path().join("fresh"));
        assert!(!fresh.is_of("a"));
        fresh.claim("a").unwrap();
        fresh.claim("b").unwrap();
        assert!(fresh.is_of("a") && !fresh.is_of("b"));
        let airflows = LogFolder::new(root.path().join("airflows"));
        std::fs::create_dir_all(airflows.root().join("dag_id=etl/run_id=r")).unwrap();
        airflows.claim("a").unwrap();
        assert!(!airflows.is_of("a"));
        assert_eq!(airflows.dag_folders().unwrap(), ["dag_id=etl"]);
    }
}
