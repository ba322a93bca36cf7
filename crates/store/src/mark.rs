//! Marking by hand: a state is set without running anything.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};
use serde_json::json;

use crate::clear::{apply_clear, instances_in, plan_clear, queue_again};
use crate::commit::moves::close_open_tries;
use crate::run::run_in;
use crate::sql::{Kind, micros, values};
use crate::{AuditRow, ClearedInstance, InstanceRow, Result, RunRow, SignalKind, Store, StoreError, Tx, changes, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct MarkRequest {
    pub run: RunKey,
    pub task_ids: Vec<TaskId>,
    /// `Success`, `Failed` or `Skipped`.
    pub to: TaskState,
    pub actor: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarkReport {
    pub marked: Vec<ClearedInstance>,
    /// Downstream ones that had failed, or never got their chance, and now run again.
    pub cleared: Vec<ClearedInstance>,
}

impl Store {
    /// Sets the state of the named tasks where it differs; everything downstream of them that is `failed` or
    /// `upstream_failed` is cleared. A run that had finished is queued, so that its state is decided anew.
    pub async fn mark_instances(&self, request: &MarkRequest, now: DateTime<Utc>) -> Result<MarkReport> {
        if !matches!(request.to, TaskState::Success | TaskState::Failed | TaskState::Skipped) {
            let reason = format!("a task is marked success, failed or skipped, not {}", request.to);
            return Err(StoreError::Refused { attempted: "mark task instances", reason });
        }
        let tx = self.begin_in_turn("mark task instances").await?;
        let run = run_in(&tx.inner, request.run).await?;
        let dag = self.dag_version_in(&tx.inner, run.version_key).await?;
        let instances = instances_in(&tx, run.key).await?;
        let steps = instances
            .iter()
            .filter(|it| request.task_ids.contains(&it.task_id))
            .filter(|it| it.state != request.to && it.state.may_become(request.to))
            .map(|it| marked(it, request.to))
            .collect();
        let marked = set_states(&tx, steps, &format!("marked by {}", request.actor), now).await?;
        if marked.is_empty() {
            return Ok(MarkReport::default());
        }
        let below = downstream(&dag, &request.task_ids);
        let plan = plan_clear(instances, &dag, |it| {
            it.state.is_failure() && below.contains(it.task_id.as_str()) && !request.task_ids.contains(&it.task_id)
        });
        let cleared = apply_clear(&tx, &run, plan, now).await?.cleared;
        if cleared.is_empty() {
            queue_again(&tx, run.key, now).await?;
        }
        let report = MarkReport { marked, cleared };
        finish(&tx, &run, &report, &request.actor, request.to.as_str(), now).await?;
        tx.commit().await?;
        Ok(report)
    }

    /// Success or failed: what runs takes that state, what waits is skipped, what has finished stays.
    pub async fn mark_run(&self, run: RunKey, to: RunState, actor: &str, now: DateTime<Utc>) -> Result<MarkReport> {
        let task_state = match to {
            RunState::Success => TaskState::Success,
            RunState::Failed => TaskState::Failed,
            RunState::Queued | RunState::Running => {
                let reason = format!("a run is marked success or failed, not {to}");
                return Err(StoreError::Refused { attempted: "mark a run", reason });
            }
        };
        let tx = self.begin_in_turn("mark a run").await?;
        let run = run_in(&tx.inner, run).await?;
        if run.state == to {
            return Ok(MarkReport::default());
        }
        let steps = instances_in(&tx, run.key)
            .await?
            .iter()
            .filter(|it| !it.state.is_finished())
            .map(|it| match it.state {
                TaskState::Running | TaskState::Restarting | TaskState::Deferred => marked(it, task_state),
                _ => marked(it, TaskState::Skipped),
            })
            .collect();
        let reason = format!("marked by {actor}");
        let marked = set_states(&tx, steps, &reason, now).await?;
        let sql = "UPDATE dag_run SET state = $2, state_reason = $3, end_date = $4 WHERE id = $1";
        let values = values![run.key, to.as_str(), reason, micros(now)];
        sql::run(&tx.inner, "mark a run", sql, values).await?;
        crate::backfill::finish_completed(&tx, now).await?;
        let report = MarkReport { marked, cleared: Vec::new() };
        finish(&tx, &run, &report, actor, to.as_str(), now).await?;
        tx.commit().await?;
        Ok(report)
    }
}

fn marked(instance: &InstanceRow, to: TaskState) -> ClearedInstance {
    ClearedInstance {
        instance: instance.key,
        task_id: instance.task_id.clone(),
        map_index: instance.map_index,
        from: instance.state,
        to,
    }
}

/// Every task that is reached from these, themselves left out unless reached.
fn downstream<'a>(dag: &'a Dag, from: &[TaskId]) -> HashSet<&'a str> {
    let mut children: HashMap<&str, Vec<&str>> = HashMap::new();
    for task in &dag.tasks {
        for parent in &task.depends_on {
            children.entry(parent.as_str()).or_default().push(task.task_id.as_str());
        }
    }
    let mut reached = HashSet::new();
    let mut waiting: Vec<&str> = from.iter().map(TaskId::as_str).collect();
    while let Some(task) = waiting.pop() {
        for child in children.get(task).into_iter().flatten().copied() {
            if reached.insert(child) {
                waiting.push(child);
            }
        }
    }
    reached
}

/// Takes instances from whoever has them; the guard is the state that was seen. Returns those that were changed.
pub(crate) async fn set_states(
    tx: &Tx,
    steps: Vec<ClearedInstance>,
    reason: &str,
    now: DateTime<Utc>,
) -> Result<Vec<ClearedInstance>> {
    if steps.is_empty() {
        return Ok(steps);
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_from", Kind::Text), ("x_to", Kind::Text)]);
    let sql = format!(
        "UPDATE task_instance SET state = x_to, state_reason = $3, start_date = COALESCE(start_date, $2), \
         end_date = $2, next_try_at = NULL, lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL \
         FROM {source} WHERE task_instance.id = x_id AND state = x_from RETURNING id"
    );
    let rows =
        sql::rows(steps.iter().map(|it| vec![json!(it.instance), json!(it.from.as_str()), json!(it.to.as_str())]));
    let values = vec![rows, micros(now).into(), reason.into()];
    let done: HashSet<i64> = sql::ids(&tx.inner, "set states", sql, values).await?.into_iter().collect();
    let done: Vec<ClearedInstance> = steps.into_iter().filter(|it| done.contains(&it.instance)).collect();
    let taken: Vec<(InstanceKey, TaskState)> = done
        .iter()
        .filter(|it| matches!(it.from, TaskState::Running | TaskState::Restarting))
        .map(|it| (it.instance, it.to))
        .collect();
    close_open_tries(tx, &taken, now).await?;
    Ok(done)
}

async fn finish(tx: &Tx, run: &RunRow, report: &MarkReport, actor: &str, to: &str, now: DateTime<Utc>) -> Result<()> {
    let names = |list: &[ClearedInstance]| list.iter().map(|it| it.task_id.to_string()).collect::<Vec<_>>();
    let details = json!({ "to": to, "tasks": names(&report.marked), "cleared": names(&report.cleared) });
    let row = AuditRow::new(actor, "mark", details, now);
    tx.audit(&row.on_run(run.dag_id.as_str(), run.run_id.as_str())).await?;
    tx.signal(SignalKind::RunChanged, Some(&run.dag_id), Some(run.key), now).await?;
    let instances: Vec<InstanceKey> = report.marked.iter().chain(&report.cleared).map(|it| it.instance).collect();
    changes::collect(tx, &[run.key], &instances).await
}
