//! Clearing: task instances run again, with their history kept.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, NewRun, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::state::TaskState;
use serde_json::json;

use crate::commit::new_runs::INSTANCE_COLUMNS;
use crate::instance::{INSTANCE_SELECT, read_instance};
use crate::run::run_in;
use crate::sql::{Kind, micros, values};
use crate::{AuditRow, InstanceRow, Result, RunRow, SignalKind, Store, Tx, changes, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct ClearRequest {
    pub run: RunKey,
    /// The tasks to clear, in every map index; whoever asks has added downstream tasks. Empty: the whole run.
    pub task_ids: Vec<TaskId>,
    /// Only those in `failed` or `upstream_failed`.
    pub only_failed: bool,
    /// Changes nothing, and reports what it would change.
    pub dry_run: bool,
    pub actor: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedInstance {
    pub instance: InstanceKey,
    pub task_id: TaskId,
    pub map_index: i32,
    pub from: TaskState,
    /// `none`, or `restarting` if it ran.
    pub to: TaskState,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClearReport {
    /// Without those that had nothing to clear (`none`, or being cleared already).
    pub cleared: Vec<ClearedInstance>,
    /// The run had finished and was queued again.
    pub run_queued: bool,
}

impl Store {
    pub async fn clear_instances(&self, request: &ClearRequest, now: DateTime<Utc>) -> Result<ClearReport> {
        let tx = self.begin_in_turn("clear task instances").await?;
        let run = run_in(&tx.inner, request.run).await?;
        let dag = self.dag_version_in(&tx.inner, run.version_key).await?;
        let plan = plan_clear(instances_in(&tx, run.key).await?, &dag, |instance| {
            (request.task_ids.is_empty() || request.task_ids.contains(&instance.task_id))
                && (!request.only_failed || instance.state.is_failure())
        });
        if request.dry_run {
            let run_queued = !plan.is_empty() && run.state.is_finished();
            let cleared = plan.into_iter().map(|step| step.cleared).collect();
            return Ok(ClearReport { cleared, run_queued });
        }
        let report = apply_clear(&tx, &run, plan, now).await?;
        if report.cleared.is_empty() {
            return Ok(report);
        }
        let tasks: Vec<&str> = report.cleared.iter().map(|it| it.task_id.as_str()).collect();
        let details = json!({ "tasks": tasks, "only_failed": request.only_failed, "run_queued": report.run_queued });
        let row = AuditRow::new(&request.actor, "clear", details, now);
        tx.audit(&row.on_run(run.dag_id.as_str(), run.run_id.as_str())).await?;
        tx.signal(SignalKind::RunChanged, Some(&run.dag_id), Some(run.key), now).await?;
        let instances: Vec<InstanceKey> = report.cleared.iter().map(|it| it.instance).collect();
        changes::collect(&tx, &[run.key], &instances).await?;
        tx.commit().await?;
        Ok(report)
    }
}

/// One instance to clear, and the budget of tries that it gets.
pub(crate) struct ClearStep {
    pub(crate) cleared: ClearedInstance,
    max_tries: u32,
}

pub(crate) async fn instances_in(tx: &Tx, run: RunKey) -> Result<Vec<InstanceRow>> {
    let sql = format!("{INSTANCE_SELECT} WHERE i.run_id = $1 ORDER BY i.id");
    let rows = sql::all(&tx.inner, "read task instances", sql, values![run]).await?;
    rows.iter().map(read_instance).collect()
}

/// What is `none` has nothing to clear, and what is `restarting` is being cleared.
pub(crate) fn plan_clear(
    instances: Vec<InstanceRow>,
    dag: &Dag,
    wanted: impl Fn(&InstanceRow) -> bool,
) -> Vec<ClearStep> {
    instances
        .into_iter()
        .filter(|it| !matches!(it.state, TaskState::None | TaskState::Restarting) && wanted(it))
        .map(|instance| ClearStep {
            max_tries: match dag.task(instance.task_id.as_str()) {
                Some(task) => instance.try_number + task.retries,
                // Gone from the DAG: nobody knows its retries any more.
                None => instance.max_tries.max(instance.try_number),
            },
            cleared: ClearedInstance {
                instance: instance.key,
                task_id: instance.task_id,
                map_index: instance.map_index,
                from: instance.state,
                to: if instance.state == TaskState::Running { TaskState::Restarting } else { TaskState::None },
            },
        })
        .collect()
}

/// Of two that clear the same instance at once, one does it; the other's guard misses.
pub(crate) async fn apply_clear(
    tx: &Tx,
    run: &RunRow,
    plan: Vec<ClearStep>,
    now: DateTime<Utc>,
) -> Result<ClearReport> {
    if plan.is_empty() {
        return Ok(ClearReport::default());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[("x_id", Kind::Int), ("x_from", Kind::Text), ("x_to", Kind::Text), ("x_max", Kind::Int)],
    );
    let unless_running = |column: &str| format!("{column} = CASE WHEN x_to = 'restarting' THEN {column} ELSE NULL END");
    let sql = format!(
        "UPDATE task_instance SET state = x_to, state_reason = NULL, max_tries = x_max, generation = generation + 1, \
         lost_workers = 0, next_try_at = NULL, {}, {}, {}, {}, {}, {} FROM {source} \
         WHERE task_instance.id = x_id AND state = x_from RETURNING id",
        unless_running("queued_at"),
        unless_running("start_date"),
        unless_running("end_date"),
        unless_running("lease_owner"),
        unless_running("lease_token"),
        unless_running("lease_expires_at"),
    );
    let rows = sql::rows(plan.iter().map(|step| {
        let it = &step.cleared;
        vec![json!(it.instance), json!(it.from.as_str()), json!(it.to.as_str()), json!(step.max_tries)]
    }));
    let done: HashSet<i64> = sql::ids(&tx.inner, "clear task instances", sql, vec![rows]).await?.into_iter().collect();
    let cleared: Vec<ClearedInstance> =
        plan.into_iter().map(|step| step.cleared).filter(|it| done.contains(&it.instance)).collect();
    if !cleared.is_empty() && run.ending.is_some() {
        let sql = "UPDATE dag_run SET ending = NULL WHERE id = $1";
        sql::run(&tx.inner, "let a run go on", sql, values![run.key]).await?;
    }
    let run_queued = !cleared.is_empty() && queue_again(tx, run.key, now).await?;
    Ok(ClearReport { cleared, run_queued })
}

/// A finished run goes back to the queue; others stay as they are. Returns whether it did.
pub(crate) async fn queue_again(tx: &Tx, run: RunKey, now: DateTime<Utc>) -> Result<bool> {
    let sql = "UPDATE dag_run SET state = 'queued', state_reason = NULL, queued_at = $2, start_date = NULL, \
               end_date = NULL, clear_number = clear_number + 1 WHERE id = $1 AND state IN ('success', 'failed')";
    Ok(sql::run(&tx.inner, "queue a run again", sql, values![run, micros(now)]).await? > 0)
}

/// Gives a finished run to another version of its DAG: tasks that are new get an instance, those that are gone become
/// `removed`, the others take over what the new version says of them.
pub(crate) async fn pin_to_version(tx: &Tx, run: RunKey, new: &NewRun) -> Result<()> {
    let sql = "UPDATE dag_run SET version_id = $2 WHERE id = $1";
    sql::run(&tx.inner, "give a run another version", sql, values![run, new.version_key]).await?;
    let tasks: Vec<_> = new
        .tasks
        .iter()
        .map(|task| {
            vec![
                json!(run),
                json!(task.task_id.as_str()),
                json!(task.map_index),
                json!(task.operator),
                json!(task.max_tries),
                json!(task.pool),
                json!(task.pool_slots),
                json!(task.priority_weight),
            ]
        })
        .collect();
    let source = sql::source(tx.dialect(), 1, INSTANCE_COLUMNS);
    let sql = format!(
        "INSERT INTO task_instance (run_id, task_id, map_index, operator, max_tries, pool, pool_slots, \
         priority_weight, state) SELECT x.*, 'none' FROM {source} WHERE TRUE \
         ON CONFLICT (run_id, task_id, map_index) DO UPDATE SET operator = excluded.operator, pool = excluded.pool, \
         pool_slots = excluded.pool_slots, priority_weight = excluded.priority_weight"
    );
    sql::run(&tx.inner, "give a run the tasks of another version", sql, vec![sql::rows(tasks)]).await?;
    let source = sql::source(tx.dialect(), 1, &[("x_task", Kind::Text)]);
    let sql = format!(
        "UPDATE task_instance SET state = 'removed', state_reason = 'gone from the DAG', lease_owner = NULL, \
         lease_token = NULL, lease_expires_at = NULL WHERE run_id = $2 AND task_id NOT IN (SELECT x_task FROM {source})"
    );
    let names = sql::column(new.tasks.iter().map(|task| task.task_id.as_str()));
    sql::run(&tx.inner, "remove tasks that are gone", sql, vec![names, run.into()]).await.map(|_| ())
}
