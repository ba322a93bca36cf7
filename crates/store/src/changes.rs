//! What was committed, told to whoever shows it. In this process only; faces in another process poll.

use millrace_model::ids::{DagId, RunId, TaskId};

/// A state that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub dag_id: DagId,
    /// None: the DAG itself changed (paused, a new version).
    pub run_id: Option<RunId>,
    /// None: the run's own state.
    pub task_id: Option<TaskId>,
    pub map_index: i32,
    /// The new state's text; `paused`, `unpaused`, `version` for a DAG.
    pub state: String,
}
