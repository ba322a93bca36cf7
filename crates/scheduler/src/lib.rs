//! The loop around the planner: takes everything that has happened, plans once, commits once, starts what was claimed.
//!
//! Invariants:
//! - The database is the truth: a try starts only after its claim is committed, and a result is kept until its commit
//!   succeeded.
//! - One scheduler leads; every commit carries its epoch.
//! - Nothing waits for a poll: a finished try, a signal, a due time and a changed file each wake the loop. The slow tick
//!   is only the safety net.
//! - It decides nothing: the planner does. It reads a run again when the store reports an item as stale or a signal
//!   names the run.
//!
//! Must not import: the worker (tries run behind [`Executor`](millrace_model::change::Executor)), any face.

pub mod dags_folder;
mod engine;
mod options;
mod scheduler;

pub use dags_folder::{
    DagsFolder, Doubles, FolderError, FolderOptions, FoundFiles, SyncReport, calendar_names, dag_file_paths, double,
    doubles, read_bounded, read_sibling, sync_folder,
};
pub use engine::{Engine, EngineOptions};
pub use options::{EndLeftovers, SchedulerOptions, Tuning};
pub use scheduler::{Scheduler, SchedulerError};
