//! The loop around the planner: load, plan, apply, recover; and the folder of DAG files.

mod dags_folder;

pub use dags_folder::{DagFolder, FolderError, FolderOptions, FolderWatch, SyncReport, dag_file_paths, read_sibling, sync_folder};
