//! Where the log of each try is.

use std::io;
use std::path::{Path, PathBuf};

/// Names one try.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TryId {
    pub dag_id: String,
    pub run_id: String,
    pub task_id: String,
    /// -1 for a task that is not mapped.
    pub map_index: i32,
    /// 1 for the first.
    pub try_number: u32,
}

/// The folder that holds all logs: `dag_id=…/run_id=…/task_id=…/[map_index=…/]attempt=N.log` (Airflow's layout).
#[derive(Debug, Clone)]
pub struct LogFolder {
    root: PathBuf,
}

impl LogFolder {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes the logs of all tries of a run. That there are none is fine.
    pub fn remove_run(&self, dag_id: &str, run_id: &str) -> io::Result<()> {
        remove_whole(&self.run_folder(dag_id, run_id))
    }

    /// Removes all logs of a DAG that has no runs any more. That there are none is fine.
    pub fn remove_dag(&self, dag_id: &str) -> io::Result<()> {
        remove_whole(&self.root.join(segment("dag_id", dag_id)))
    }

    fn run_folder(&self, dag_id: &str, run_id: &str) -> PathBuf {
        self.root.join(segment("dag_id", dag_id)).join(segment("run_id", run_id))
    }

    pub fn path(&self, id: &TryId) -> PathBuf {
        let mut path = self.run_folder(&id.dag_id, &id.run_id);
        path.push(segment("task_id", &id.task_id));
        if id.map_index >= 0 {
            path.push(format!("map_index={}", id.map_index));
        }
        path.push(format!("attempt={}.log", id.try_number));
        path
    }
}

fn remove_whole(folder: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One folder name. Ids are checked where they enter, but a log path must be safe by itself: separators and control
/// characters are written as `%XX`, and the prefix keeps `..` from standing alone. Long names are cut and told apart by a hash.
pub(crate) fn segment(kind: &str, name: &str) -> String {
    let mut text = String::with_capacity(kind.len() + name.len() + 1);
    for c in name.chars() {
        if matches!(c, '/' | '\\' | '%') || c.is_control() {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                text.push_str(&format!("%{byte:02X}"));
            }
        } else {
            text.push(c);
        }
    }
    // A file name has at most 255 bytes; the id's prefix takes some of them.
    const LIMIT: usize = 200;
    if text.len() > LIMIT {
        let hash =
            text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
        let mut cut = LIMIT;
        while !text.is_char_boundary(cut) {
            cut -= 1;
        }
        text.truncate(cut);
        text.push_str(&format!("~{hash:016x}"));
    }
    format!("{kind}={text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(dag: &str, run: &str) -> TryId {
        TryId { dag_id: dag.into(), run_id: run.into(), task_id: "t".into(), map_index: -1, try_number: 2 }
    }

    #[test]
    fn paths_are_airflows_and_never_leave_the_folder() {
        let folder = LogFolder::new("/logs");
        assert_eq!(
            folder.path(&id("d", "scheduled__2024-01-01T00:00:00+00:00")),
            Path::new("/logs/dag_id=d/run_id=scheduled__2024-01-01T00:00:00+00:00/task_id=t/attempt=2.log")
        );
        let evil = folder.path(&id("../../etc", "a/../../../b\n"));
        assert_eq!(evil.components().count(), 6);
        assert!(!evil.components().any(|c| c == std::path::Component::ParentDir));
        let long = folder.path(&id("d", &"ä".repeat(250)));
        assert!(long.components().all(|c| c.as_os_str().len() <= 255));
        assert_ne!(long, folder.path(&id("d", &format!("{}b", "ä".repeat(249)))));
    }
}
