//! Runs that tasks ask for, who asked for them, and what becomes of them when the task is stopped.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::{DagId, RunId, TaskId};

use crate::requests::trigger::create_in;
use crate::runs::run::{RUN_SELECT, read_run, run_in};
use crate::sql::{Kind, values};
use crate::{Result, RunRequest, RunRow, Store, StoreError, Tx, sql};

/// A try that asks for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskingTry {
    pub instance: InstanceKey,
    /// The instance asks for one run until it is cleared.
    pub generation: u32,
    /// Of its lease: one that lost it asks for nothing any more.
    pub token: String,
}

/// The task that asked for a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskingTask {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub task_id: TaskId,
    pub map_index: i32,
}

impl Store {
    /// The run that the instance asked for in this generation.
    pub async fn triggered_run(&self, instance: InstanceKey, generation: u32) -> Result<Option<RunRow>> {
        let sql = format!(
            "{RUN_SELECT} JOIN triggered_run t ON t.run_id = r.id WHERE t.instance_id = $1 AND t.generation = $2"
        );
        let row =
            sql::one(self.reader(), "read a triggered run", sql, values![instance, i64::from(generation)]).await?;
        row.as_ref().map(read_run).transpose()
    }

    /// As [`Store::create_run`], in one transaction with the note of who asked. Errors besides: `Refused` when the try
    /// has lost its lease, or when the instance has asked for a run already.
    pub async fn trigger_run(&self, asking: &AskingTry, request: &RunRequest, now: DateTime<Utc>) -> Result<RunRow> {
        let attempted = "trigger a run";
        let tx = self.begin_in_turn(attempted).await?;
        let sql = "SELECT id FROM task_instance WHERE id = $1 AND generation = $2 AND lease_token = $3 \
                   AND state IN ('running', 'deferred')";
        let values = values![asking.instance, i64::from(asking.generation), asking.token.as_str()];
        if sql::one(&tx.inner, attempted, sql, values).await?.is_none() {
            let reason = "the task was cleared, marked or given to another worker meanwhile".to_owned();
            return Err(StoreError::Refused { attempted, reason });
        }
        let created = create_in(&tx, request, now).await?;
        let sql =
            "INSERT INTO triggered_run (instance_id, generation, run_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let values = values![asking.instance, i64::from(asking.generation), created.run];
        if sql::run(&tx.inner, attempted, sql, values).await? == 0 {
            let reason = "the task has triggered a run already".to_owned();
            return Err(StoreError::Refused { attempted, reason });
        }
        let row = run_in(&tx.inner, created.run).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// The runs that instances of a run asked for, those of the latest generation, by instance.
    pub async fn triggered_by(&self, run: RunKey) -> Result<HashMap<InstanceKey, RunRow>> {
        let sql = "SELECT r.*, t.instance_id FROM triggered_run t JOIN task_instance i ON i.id = t.instance_id \
                   JOIN dag_run r ON r.id = t.run_id WHERE i.run_id = $1 ORDER BY t.generation";
        let rows = sql::all(self.reader(), "read triggered runs", sql, values![run]).await?;
        // The latest is read last.
        rows.iter().map(|row| Ok((row.int("instance_id")?, read_run(row)?))).collect()
    }

    /// The task that asked for a run, if one did.
    pub async fn asking_task(&self, run: RunKey) -> Result<Option<AskingTask>> {
        let sql = "SELECT p.dag_id, p.run_id, i.task_id, i.map_index FROM triggered_run t \
                   JOIN task_instance i ON i.id = t.instance_id JOIN dag_run p ON p.id = i.run_id \
                   WHERE t.run_id = $1 ORDER BY t.generation DESC LIMIT 1";
        let row = sql::one(self.reader(), "read who triggered a run", sql, values![run]).await?;
        row.map(|row| {
            Ok(AskingTask {
                dag_id: DagId::new_unchecked(row.text("dag_id")?),
                run_id: RunId::new_unchecked(row.text("run_id")?),
                task_id: TaskId::new_unchecked(row.text("task_id")?),
                map_index: row.small("map_index")?,
            })
        })
        .transpose()
    }
}

/// The runs that instances have asked for and that have not ended, each with the id of the task that asked.
pub(crate) async fn unfinished_runs_of(
    tx: &Tx,
    instances: impl IntoIterator<Item = InstanceKey>,
) -> Result<Vec<(RunKey, TaskId)>> {
    let instances: Vec<InstanceKey> = instances.into_iter().collect();
    if instances.is_empty() {
        return Ok(Vec::new());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!(
        "SELECT r.id, i.task_id FROM {source} CROSS JOIN triggered_run t JOIN task_instance i ON i.id = t.instance_id \
         JOIN dag_run r ON r.id = t.run_id WHERE t.instance_id = x_id AND r.state IN ('queued', 'running') ORDER BY r.id"
    );
    let rows = sql::all(&tx.inner, "read triggered runs", sql, vec![sql::column(instances)]).await?;
    rows.iter().map(|row| Ok((row.int("id")?, TaskId::new_unchecked(row.text("task_id")?)))).collect()
}
