//! What whoever clears task instances should know before.

use std::collections::HashSet;

use millrace_dagfile::rerun_problems;
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::state::TaskState;
use millrace_store::ClearedInstance;

/// Of tasks that were successful, and would not only do the same work again: a sentence each.
pub fn clear_warnings(dag: &Dag, cleared: &[ClearedInstance]) -> Vec<String> {
    let done: HashSet<&TaskId> =
        cleared.iter().filter(|it| it.from == TaskState::Success).map(|it| &it.task_id).collect();
    rerun_problems(dag.tasks.iter().filter(|task| done.contains(&task.task_id)))
}
