//! The run before a run, for tasks that depend on how it went there.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::state::TaskState;

use crate::sql::{Kind, micros, values};
use crate::{Result, Store, sql};

/// A run that lies before another one, with how its tasks stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EarlierRun {
    pub run: RunKey,
    pub logical_date: DateTime<Utc>,
    /// Of the instances that are there: what was removed says nothing of the work.
    pub states: BTreeMap<TaskId, Vec<TaskState>>,
    /// Tasks with an instance that is skipped because the run was given up.
    pub given_up: BTreeSet<TaskId>,
}

impl Store {
    /// The newest run of a DAG with a logical date before this one; those that a person started left out if asked so. What a
    /// task asked for is of type manual too, and nobody started it by hand.
    pub async fn run_before(
        &self,
        dag_id: &DagId,
        date: DateTime<Utc>,
        without_manual: bool,
    ) -> Result<Option<EarlierRun>> {
        let snapshot = self.snapshot("read the run before").await?;
        let which = if without_manual {
            "AND (run_type <> 'manual' OR EXISTS (SELECT 1 FROM triggered_run t WHERE t.run_id = dag_run.id)) "
        } else {
            ""
        };
        let sql = format!(
            "SELECT id, logical_date FROM dag_run WHERE dag_id = $1 AND logical_date < $2 {which}\
             ORDER BY logical_date DESC LIMIT 1"
        );
        let values = values![dag_id.as_str(), micros(date)];
        let Some(row) = sql::one(&snapshot, "find the run before", sql, values).await? else { return Ok(None) };
        let (run, logical_date) = (row.int("id")?, row.instant("logical_date")?);
        let sql = "SELECT task_id, state, given_up FROM task_instance WHERE run_id = $1 AND state <> 'removed'";
        let mut states: BTreeMap<TaskId, Vec<TaskState>> = BTreeMap::new();
        let mut given_up = BTreeSet::new();
        for row in sql::all(&snapshot, "read the tasks of the run before", sql, values![run]).await? {
            let task_id = TaskId::new_unchecked(row.text("task_id")?);
            let state = row.word("state", TaskState::parse)?;
            if state == TaskState::Skipped && row.flag("given_up")? {
                given_up.insert(task_id.clone());
            }
            states.entry(task_id).or_default().push(state);
        }
        Ok(Some(EarlierRun { run, logical_date, states, given_up }))
    }

    /// Those of these tasks that have an instance in any run of the DAG before this date, and not only removed ones.
    pub async fn tasks_before(
        &self,
        dag_id: &DagId,
        date: DateTime<Utc>,
        tasks: &[TaskId],
    ) -> Result<BTreeSet<TaskId>> {
        let source = sql::source(self.dialect(), 3, &[("x_task", Kind::Text)]);
        let sql = format!(
            "SELECT x_task FROM {source} WHERE EXISTS (SELECT 1 FROM dag_run r \
             JOIN task_instance i ON i.run_id = r.id AND i.task_id = x_task AND i.state <> 'removed' \
             WHERE r.dag_id = $1 AND r.logical_date < $2)"
        );
        let names = sql::column(tasks.iter().map(TaskId::as_str));
        let values = vec![dag_id.as_str().into(), micros(date).into(), names];
        let rows = sql::all(self.reader(), "find tasks in earlier runs", sql, values).await?;
        rows.iter().map(|row| Ok(TaskId::new_unchecked(row.text("x_task")?))).collect()
    }
}
