//! One task that a process takes for itself, in one transaction: nobody sees it free in between, and a run that is made
//! for it gives the scheduler nothing else to start.

use chrono::{DateTime, Utc};
use millrace_model::change::{Batch, Claim, Finish, NewRun, RunKey, RunMove};
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};
use serde_json::json;

use crate::commit::{apply_unled, new_runs};
use crate::processes::changes;
use crate::requests::backfill::part;
use crate::requests::clear::{apply_clear, plan_clear, queue_again};
use crate::requests::mark::stop_triggered;
use crate::requests::scope::instances_of;
use crate::runs::run::{RUN_SELECT, read_run};
use crate::sql::values;
use crate::{AuditRow, InstanceRow, Result, RunRow, Store, StoreError, Tx, sql};

/// Of a task whose run was made for another one.
const ANOTHER_ASKED_FOR: &str = "the run was made for another task";

/// Where the task is.
#[derive(Debug, Clone)]
pub enum TakenFrom {
    /// In a run that is made for it; the other tasks are left out.
    New(Box<NewRun>),
    Run(RunKey),
}

#[derive(Debug, Clone)]
pub struct TakeRequest {
    pub from: TakenFrom,
    pub task_id: TaskId,
    pub map_index: i32,
    /// The job that will run it.
    pub owner: String,
    pub lease_expires_at: DateTime<Utc>,
    pub actor: String,
}

/// A try that has begun. The instance has the lease, and the number of the try.
#[derive(Debug, Clone)]
pub struct Taken {
    pub run: RunRow,
    pub instance: InstanceRow,
}

impl InstanceRow {
    /// Its run was made for another task: it never waited for anything.
    pub fn was_left_out(&self) -> bool {
        self.state == TaskState::Skipped && self.state_reason.as_deref() == Some(ANOTHER_ASKED_FOR)
    }
}

impl Store {
    /// Begins a try; of one that has ended, as though it had been cleared. None, and nothing is changed: another process
    /// made the run or took the task first.
    pub async fn take(&self, request: &TakeRequest, now: DateTime<Utc>) -> Result<Option<Taken>> {
        let tx = self.begin_in_turn("take a task").await?;
        let run = match &request.from {
            TakenFrom::Run(run) => Some(*run),
            TakenFrom::New(new) => make_for_one(&tx, new, request, now).await?,
        };
        let Some(run) = run else { return Ok(None) };
        if !begin(&tx, run, request, now).await? {
            return Ok(None);
        }
        let run = read(&tx, run).await?;
        let instance = find(&tx, run.key, request).await?;
        tx.commit().await?;
        Ok(Some(Taken { run, instance }))
    }

    /// The end of a try that was taken. `end` is asked about the run when nothing in it is left to wait for; none leaves
    /// the run to the scheduler. False, and nothing is changed: the try is no longer the instance's.
    pub async fn finish_taken(
        &self,
        finish: Finish,
        run: RunKey,
        end: impl FnOnce(&[InstanceRow]) -> Option<RunState> + Send,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let tx = self.begin_in_turn("finish a task that was taken").await?;
        let batch = Batch { finishes: vec![finish], ..Batch::default() };
        if !apply_unled(&tx, &batch, now).await?.stale_finishes.is_empty() {
            return Ok(false);
        }
        let row = read(&tx, run).await?;
        let instances = instances_of(&tx, &[run]).await?.remove(&run).unwrap_or_default();
        let is_over = row.ending.is_none() && instances.iter().all(|it| it.state.is_finished());
        if is_over
            && row.state == RunState::Running
            && let Some(to) = end(&instances)
        {
            let reason = Some("ended by `tasks run`".to_owned());
            let run_moves = vec![RunMove { run, from: RunState::Running, to, reason }];
            apply_unled(&tx, &Batch { run_moves, ..Batch::default() }, now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

async fn make_for_one(tx: &Tx, new: &NewRun, request: &TakeRequest, now: DateTime<Utc>) -> Result<Option<RunKey>> {
    let (asked, others): (Vec<_>, Vec<_>) = (new.tasks.iter().cloned())
        .partition(|task| task.task_id == request.task_id && task.map_index == request.map_index);
    let alone = NewRun { tasks: asked, ..new.clone() };
    let created = new_runs::insert(tx, std::slice::from_ref(&alone), false, now).await?;
    let Some(created) = created.into_iter().flatten().next() else { return Ok(None) };
    part::leave_out(tx, &[created.run], &others, ANOTHER_ASKED_FOR, now).await?;
    changes::collect(tx, &[created.run], &[]).await?;
    Ok(Some(created.run))
}

/// False: it can't be taken any more.
async fn begin(tx: &Tx, run: RunKey, request: &TakeRequest, now: DateTime<Utc>) -> Result<bool> {
    let instance = find(tx, run, request).await?;
    if instance.state.is_finished() {
        clear(tx, run, &instance, request, now).await?;
    }
    let instance = find(tx, run, request).await?;
    let row = read(tx, run).await?;
    if row.state.is_finished() {
        queue_again(tx, &[run], now).await?;
    }
    // One that was put off goes on where it was.
    let try_number = instance.try_number + u32::from(instance.put_offs.is_none());
    let starts = RunMove { run, from: RunState::Queued, to: RunState::Running, reason: None };
    let claim = Claim {
        instance: instance.key,
        from: instance.state,
        try_number,
        owner: request.owner.clone(),
        token: format!("{}/{}/{try_number}", request.owner, instance.key),
        lease_expires_at: request.lease_expires_at,
        queued_at: now,
        item: None,
    };
    let run_moves = if row.state == RunState::Running { Vec::new() } else { vec![starts] };
    let batch = Batch { run_moves, claims: vec![claim], ..Batch::default() };
    let report = apply_unled(tx, &batch, now).await?;
    Ok(report.stale_claims.is_empty() && report.stale_runs.is_empty())
}

async fn clear(tx: &Tx, run: RunKey, instance: &InstanceRow, request: &TakeRequest, now: DateTime<Utc>) -> Result<()> {
    let row = read(tx, run).await?;
    let dag = tx.store.dag_version_in(&tx.inner, row.version_key).await?;
    let cleared = apply_clear(tx, plan_clear([instance], &dag), now).await?;
    stop_triggered(tx, &cleared, &request.actor, now).await?;
    let details = json!({ "tasks": [request.task_id.as_str()], "instances": cleared.len() });
    let audit = AuditRow::new(&request.actor, "clear", details, now);
    let audit = audit.on_run(row.dag_id.as_str(), row.run_id.as_str()).on_task(request.task_id.as_str());
    tx.audit(&audit).await
}

async fn read(tx: &Tx, run: RunKey) -> Result<RunRow> {
    let row = sql::one(&tx.inner, "read a run", format!("{RUN_SELECT} WHERE r.id = $1"), values![run]).await?;
    match row {
        Some(row) => read_run(&row),
        None => Err(StoreError::NotFound { kind: "run", name: run.to_string() }),
    }
}

async fn find(tx: &Tx, run: RunKey, request: &TakeRequest) -> Result<InstanceRow> {
    let all = instances_of(tx, &[run]).await?.remove(&run).unwrap_or_default();
    let is_it = |it: &InstanceRow| it.task_id == request.task_id && it.map_index == request.map_index;
    all.into_iter()
        .find(is_it)
        .ok_or_else(|| StoreError::NotFound { kind: "task of the run", name: request.task_id.to_string() })
}
