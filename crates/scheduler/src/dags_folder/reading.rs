//! How a DAG file is read: by the scheduler, by commands that check or try it, and by whoever looks at calendars.

use std::collections::BTreeMap;
use std::io;

use millrace_dagfile::{Diagnostic, ReadOptions, ReadResult, read_dag_bytes};
use millrace_model::ids::DagId;
use millrace_model::pool::PoolSizes;

use super::{FolderOptions, calendar_names, read_bounded, read_sibling};

/// The DAG ids that several files claim, with those files: none of them is taken.
pub type Doubles = BTreeMap<DagId, Vec<String>>;

impl FolderOptions {
    /// Hands on what the file at `path`, relative to the folder, is read with. Without `pools` it is not looked whether there
    /// are those that tasks name.
    pub fn reading<T>(&self, path: &str, pools: Option<&PoolSizes>, read: impl FnOnce(&ReadOptions<'_>) -> T) -> T {
        let files = |relative: &str| read_sibling(&self.folder, relative);
        let calendars = || calendar_names(&self.folder);
        read(&ReadOptions {
            defaults: self.defaults.clone(),
            files: &files,
            calendars: &calendars,
            pools,
            ..ReadOptions::new(path, self.catalogue)
        })
    }

    /// The file's bytes, and what became of them. Errors: it cannot be read.
    pub fn read_file(&self, path: &str, pools: Option<&PoolSizes>) -> io::Result<(Vec<u8>, ReadResult)> {
        let bytes = read_bounded(&self.folder.join(path))?;
        let result = self.reading(path, pools, |options| read_dag_bytes(&bytes, options));
        Ok((bytes, result))
    }
}

/// Of files, each with the DAGs that it gives.
pub fn doubles<'a>(files: impl IntoIterator<Item = (String, Vec<&'a DagId>)>) -> Doubles {
    let mut of_dag = Doubles::new();
    for (path, dag_ids) in files {
        for dag_id in dag_ids {
            of_dag.entry(dag_id.clone()).or_default().push(path.clone());
        }
    }
    of_dag.retain(|_, paths| paths.len() > 1);
    of_dag
}

/// What each file that gives such a DAG is told.
pub fn double(dag_id: &DagId, paths: &[String]) -> Diagnostic {
    let message = format!("DAG '{dag_id}' is defined by several files: {}", paths.join(", "));
    Diagnostic::of_file("duplicate-dag", message, Some("give each of them a dag_id of its own".to_owned()))
}
