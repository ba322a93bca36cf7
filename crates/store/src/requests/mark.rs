//! Marking by hand: a state is set without running anything.

use std::collections::HashSet;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use serde_json::json;

use crate::commit::moves::close_open_tries;
use crate::requests::clear::{TouchedRun, apply_clear, audit_change, plan_clear, queue_again, tell};
use crate::requests::scope::{Purpose, ScopedRun, Selection};
use crate::requests::triggered;
use crate::runs::xcom;
use crate::sql::{Kind, micros, values};
use crate::{ClearedInstance, InstanceRow, Result, Store, StoreError, Tx, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct MarkRequest {
    pub selection: Selection,
    /// `Success`, `Failed` or `Skipped`.
    pub to: TaskState,
    /// Becomes the note of the runs.
    pub note: Option<String>,
    /// Changes nothing, and reports what it would change.
    pub dry_run: bool,
    pub actor: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct MarkRunRequest {
    pub run: RunKey,
    /// `Success` or `Failed`.
    pub to: RunState,
    /// Becomes the note of the run.
    pub note: Option<String>,
    /// Changes nothing, and reports what it would change.
    pub dry_run: bool,
    pub actor: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarkReport {
    pub marked: Vec<ClearedInstance>,
    /// Downstream ones that had failed, or never got their chance, and now run again.
    pub cleared: Vec<ClearedInstance>,
    /// By logical date.
    pub runs: Vec<TouchedRun>,
}

impl Store {
    /// Sets the state of the selected tasks where it differs; everything downstream of them that is `failed` or
    /// `upstream_failed`, or was given up with its run, is cleared. A run that had finished is queued, so that its state is decided anew.
    pub async fn mark_instances(&self, request: &MarkRequest, now: DateTime<Utc>) -> Result<MarkReport> {
        if !matches!(request.to, TaskState::Success | TaskState::Failed | TaskState::Skipped) {
            let reason = format!("a task is marked success, failed or skipped, not {}", request.to);
            return Err(StoreError::Refused { attempted: "mark task instances", reason });
        }
        let tx = self.begin_in_turn("mark task instances").await?;
        let runs = self.scope(&tx, &request.selection, Purpose::Mark).await?;
        let report = mark_in(&tx, &runs, request, now).await?;
        // A dry run does the same, and takes it back.
        if request.dry_run || report.marked.is_empty() {
            return Ok(report);
        }
        let note = request.note.as_deref();
        record(&tx, (&runs, &report), (&request.actor, request.to.as_str(), note), now).await?;
        tx.commit().await?;
        Ok(report)
    }

    /// Success or failed: what runs takes that state, what waits is skipped, what has finished stays. Teardowns of a run
    /// that has begun are left to run; the run takes its state when they have ended.
    pub async fn mark_run(&self, request: &MarkRunRequest, now: DateTime<Utc>) -> Result<MarkReport> {
        if !request.to.is_finished() {
            let reason = format!("a run is marked success or failed, not {}", request.to);
            return Err(StoreError::Refused { attempted: "mark a run", reason });
        }
        let tx = self.begin_in_turn("mark a run").await?;
        let selection = Selection::of_run(request.run, TaskChoice::All);
        let runs = self.scope(&tx, &selection, Purpose::Mark).await?;
        let Some(run) = runs.first().filter(|run| run.row.state != request.to) else {
            return Ok(MarkReport::default());
        };
        let reason = format!("marked by {}", request.actor);
        let marked = end_by_hand(&tx, run, (request.to, &reason), &request.actor, now).await?;
        let report = MarkReport { marked, cleared: Vec::new(), runs: vec![TouchedRun::of(&run.row, false)] };
        if request.dry_run {
            return Ok(report);
        }
        let note = request.note.as_deref();
        record(&tx, (&runs, &report), (&request.actor, request.to.as_str(), note), now).await?;
        tx.commit().await?;
        Ok(report)
    }
}

/// What runs of it takes the state, what waits is skipped; so does the run, at once or when its teardowns have ended.
async fn end_by_hand(
    tx: &Tx,
    run: &ScopedRun,
    (to, reason): (RunState, &str),
    actor: &str,
    now: DateTime<Utc>,
) -> Result<Vec<ClearedInstance>> {
    let task_state = if to == RunState::Failed { TaskState::Failed } else { TaskState::Success };
    let (teardowns, unfinished): (Vec<&InstanceRow>, Vec<&InstanceRow>) =
        run.instances.iter().filter(|it| !it.state.is_finished()).partition(|it| {
            let task = run.dag.task(it.task_id.as_str());
            run.row.state == RunState::Running && task.is_some_and(|task| task.is_teardown)
        });
    let steps = unfinished
        .into_iter()
        .map(|it| match it.state {
            TaskState::Running | TaskState::Restarting | TaskState::Deferred => marked(it, task_state),
            _ => marked(it, TaskState::Skipped),
        })
        .collect();
    // What waits in a run that is called a success is not wanted any more.
    let skipped = if to == RunState::Failed { Skipped::GivenUp } else { Skipped::Wanted };
    let marked = set_states(tx, steps, (reason, skipped), now).await?;
    if teardowns.is_empty() {
        let sql = "UPDATE dag_run SET state = $2, state_reason = $3, marked_state = NULL, \
                   end_date = CASE WHEN state IN ('success', 'failed') THEN COALESCE(end_date, $4) ELSE $4 END WHERE id = $1";
        let values = values![run.row.key, to.as_str(), reason, micros(now)];
        sql::run(&tx.inner, "mark a run", sql, values).await?;
        crate::requests::backfill::finish_completed(tx, now).await?;
    } else {
        let sql = "UPDATE dag_run SET marked_state = $2 WHERE id = $1";
        sql::run(&tx.inner, "mark a run", sql, values![run.row.key, to.as_str()]).await?;
    }
    stop_triggered(tx, &marked, actor, now).await?;
    Ok(marked)
}

/// The runs that these instances waited for are stopped with them, and what those waited for: whether or not somebody
/// is there who would stop the tries.
pub(crate) fn stop_triggered<'a>(
    tx: &'a Tx,
    taken: &'a [ClearedInstance],
    actor: &'a str,
    now: DateTime<Utc>,
) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
    Box::pin(async move {
        let waited = taken.iter().filter(|it| !it.from.is_finished()).map(|it| it.instance);
        for (key, task) in triggered::unfinished_runs_of(tx, waited).await? {
            let selection = Selection::of_run(key, TaskChoice::All);
            let runs = tx.store.scope(tx, &selection, Purpose::Mark).await?;
            let Some(run) = runs.first() else { continue };
            let reason = format!("{task}, which waits for it, was stopped by {actor}");
            let marked = end_by_hand(tx, run, (RunState::Failed, &reason), actor, now).await?;
            let report = MarkReport { marked, cleared: Vec::new(), runs: vec![TouchedRun::of(&run.row, false)] };
            record(tx, (&runs, &report), (actor, RunState::Failed.as_str(), None), now).await?;
        }
        Ok(())
    })
}

async fn mark_in(tx: &Tx, runs: &[ScopedRun], request: &MarkRequest, now: DateTime<Utc>) -> Result<MarkReport> {
    let (selection, to) = (&request.selection, request.to);
    let mut steps = Vec::new();
    for run in runs {
        let selected = run.instances.iter().filter(|it| run.is_selected(selection, it));
        // One that was given up is skipped already, but nobody had wanted it so.
        let differs = |it: &&InstanceRow| if it.state == to { it.given_up } else { it.state.may_become(to) };
        steps.extend(selected.filter(differs).map(|it| marked(it, to)));
    }
    let reason = format!("marked by {}", request.actor);
    let marked = set_states(tx, steps, (&reason, Skipped::Wanted), now).await?;
    stop_triggered(tx, &marked, &request.actor, now).await?;
    let touched: HashSet<RunKey> = marked.iter().map(|it| it.run).collect();
    let mut plan = Vec::new();
    for run in runs.iter().filter(|run| touched.contains(&run.row.key)) {
        let below = run.tasks.after(&run.dag);
        let stuck = run.instances.iter().filter(|it| it.has_failed() && below.contains(&it.task_id));
        plan.extend(plan_clear(stuck, &run.dag));
    }
    let cleared = apply_clear(tx, plan, now).await?;
    let keys: Vec<RunKey> = touched.iter().copied().collect();
    let queued = queue_again(tx, &keys, now).await?;
    let runs = runs.iter().map(|run| &run.row).filter(|run| touched.contains(&run.key));
    let runs = runs.map(|run| TouchedRun::of(run, queued.contains(&run.key))).collect();
    Ok(MarkReport { marked, cleared, runs })
}

fn marked(instance: &InstanceRow, to: TaskState) -> ClearedInstance {
    ClearedInstance {
        run: instance.run,
        instance: instance.key,
        task_id: instance.task_id.clone(),
        map_index: instance.map_index,
        from: instance.state,
        to,
    }
}

/// What it means for an instance to be skipped by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// Somebody wants it so.
    Wanted,
    /// Its run was given up: it never got its chance.
    GivenUp,
}

/// Takes instances from whoever has them; the guard is the state that was seen. Returns those that were changed. A try
/// that runs keeps its lease until it has stopped, and until then nobody starts another.
pub(crate) async fn set_states(
    tx: &Tx,
    steps: Vec<ClearedInstance>,
    (reason, skipped): (&str, Skipped),
    now: DateTime<Utc>,
) -> Result<Vec<ClearedInstance>> {
    if steps.is_empty() {
        return Ok(steps);
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_from", Kind::Text), ("x_to", Kind::Text)]);
    // What has ended took as long as it took, whatever it is called afterwards.
    let ended = "end_date IS NOT NULL AND x_from IN ('success', 'failed', 'upstream_failed', 'skipped')";
    let sql = format!(
        "UPDATE task_instance SET state = x_to, state_reason = $3, start_date = COALESCE(start_date, $2), \
         end_date = CASE WHEN {ended} THEN end_date WHEN start_date > $2 THEN start_date ELSE $2 END, next_try_at = NULL, choice = NULL, given_up = (x_to = 'skipped' AND $4) \
         FROM {source} WHERE task_instance.id = x_id AND state = x_from RETURNING id"
    );
    let rows =
        sql::rows(steps.iter().map(|it| vec![json!(it.instance), json!(it.from.as_str()), json!(it.to.as_str())]));
    let values = vec![rows, micros(now).into(), reason.into(), (skipped == Skipped::GivenUp).into()];
    let done: HashSet<i64> = sql::ids(&tx.inner, "set states", sql, values).await?.into_iter().collect();
    let done: Vec<ClearedInstance> = steps.into_iter().filter(|it| done.contains(&it.instance)).collect();
    // Also a try that waits outside of any worker.
    let taken: Vec<(InstanceKey, TaskState)> =
        done.iter().filter(|it| !it.from.is_finished()).map(|it| (it.instance, it.to)).collect();
    close_open_tries(tx, &taken, now).await?;
    // One that is skipped has no result, and what an earlier try left is not that of one that waited to start again.
    let without_result =
        |it: &&ClearedInstance| it.to == TaskState::Skipped || (!it.from.is_finished() && it.to != TaskState::Success);
    let keys: Vec<InstanceKey> = done.iter().filter(without_result).map(|it| it.instance).collect();
    xcom::forget(tx, &keys).await?;
    Ok(done)
}

async fn record(
    tx: &Tx,
    (runs, report): (&[ScopedRun], &MarkReport),
    (actor, to, note): (&str, &str, Option<&str>),
    now: DateTime<Utc>,
) -> Result<()> {
    let keys: Vec<RunKey> = report.runs.iter().map(|run| run.run).collect();
    if note.is_some() {
        crate::requests::note::write(tx, &keys, note).await?;
    }
    let details = json!({ "to": to, "cleared": report.cleared.len() });
    audit_change(tx, actor, "mark", details, (runs, &keys, &report.marked), now).await?;
    tell(tx, runs, &keys, report.marked.iter().chain(&report.cleared), now).await
}
