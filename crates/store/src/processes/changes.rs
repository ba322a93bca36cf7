//! What was committed, told to whoever shows it. In this process only; faces in another process poll.

use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::{DagId, RunId, TaskId};

use crate::sql::Kind;
use crate::{Result, Tx, sql};

/// A state that was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub dag_id: DagId,
    /// None: the DAG itself changed (paused, a new version).
    pub run_id: Option<RunId>,
    /// None: the run's own state.
    pub task_id: Option<TaskId>,
    pub map_index: i32,
    /// The new state's text; `paused`, `unpaused`, `version`, `stale` for a DAG.
    pub state: String,
}

impl Change {
    pub(crate) fn of_dag(dag_id: &DagId, state: &str) -> Self {
        Self { dag_id: dag_id.clone(), run_id: None, task_id: None, map_index: -1, state: state.to_owned() }
    }
}

/// Reads what these rows have become, for [`Tx::tell`]; nothing when nobody listens.
pub(crate) async fn collect(tx: &Tx, runs: &[RunKey], instances: &[InstanceKey]) -> Result<()> {
    let all_are_wanted = tx.store.inner.changes.receiver_count() > 0;
    let runs_are_wanted = all_are_wanted || tx.store.inner.run_changes.receiver_count() > 0;
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    if runs_are_wanted && !runs.is_empty() {
        let sql = format!("SELECT r.dag_id, r.run_id, r.state FROM {source} CROSS JOIN dag_run r WHERE r.id = x_id");
        let values = vec![sql::column(runs.iter().copied())];
        for row in sql::all(&tx.inner, "read changed runs", sql, values).await? {
            tx.tell(Change {
                dag_id: DagId::new_unchecked(row.text("dag_id")?),
                run_id: Some(RunId::new_unchecked(row.text("run_id")?)),
                task_id: None,
                map_index: -1,
                state: row.text("state")?,
            });
        }
    }
    if all_are_wanted && !instances.is_empty() {
        let sql = format!(
            "SELECT r.dag_id, r.run_id, i.task_id, i.map_index, i.state FROM {source} CROSS JOIN task_instance i \
             CROSS JOIN dag_run r WHERE i.id = x_id AND r.id = i.run_id"
        );
        let values = vec![sql::column(instances.iter().copied())];
        for row in sql::all(&tx.inner, "read changed task instances", sql, values).await? {
            tx.tell(Change {
                dag_id: DagId::new_unchecked(row.text("dag_id")?),
                run_id: Some(RunId::new_unchecked(row.text("run_id")?)),
                task_id: Some(TaskId::new_unchecked(row.text("task_id")?)),
                map_index: row.small("map_index")?,
                state: row.text("state")?,
            });
        }
    }
    Ok(())
}
