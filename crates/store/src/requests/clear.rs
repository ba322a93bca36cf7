//! Clearing: task instances run again, with their history kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::{RunId, TaskId};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use serde_json::json;

use crate::commit::moves::close_open_tries;
use crate::processes::changes;
use crate::requests::mark::stop_triggered;
use crate::requests::repin::{Gone, NewestVersion, by_version, is_partial, pin_all};
use crate::requests::scope::{Purpose, ScopedRun, Selection, runs_of};
use crate::sql::{Kind, micros, values};
use crate::{AuditRow, InstanceRow, Result, RunRow, SignalKind, Store, StoreError, Tx, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct ClearRequest {
    pub selection: Selection,
    /// Finished runs are not queued again: what is cleared waits until somebody does that.
    pub keeps_run_state: bool,
    /// Refuse, and change nothing, when one of the instances is running.
    pub refuses_running: bool,
    /// Give the runs to this version first.
    pub newest: Option<NewestVersion>,
    /// Becomes the note of the runs.
    pub note: Option<String>,
    /// Changes nothing, and reports what it would change.
    pub dry_run: bool,
    pub actor: String,
}

impl ClearRequest {
    pub fn new(selection: Selection, actor: impl Into<String>) -> Self {
        Self {
            selection,
            keeps_run_state: false,
            refuses_running: false,
            newest: None,
            note: None,
            dry_run: false,
            actor: actor.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedInstance {
    pub run: RunKey,
    pub instance: InstanceKey,
    pub task_id: TaskId,
    pub map_index: i32,
    pub from: TaskState,
    /// `none`; `restarting` while a try of it runs; `removed` if its task is gone from the DAG.
    pub to: TaskState,
}

/// A run in which something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedRun {
    pub run: RunKey,
    pub run_id: RunId,
    pub logical_date: DateTime<Utc>,
    pub run_after: DateTime<Utc>,
    /// Its state before.
    pub from: RunState,
    /// The version of the DAG that it goes by.
    pub version_key: i64,
    /// The backfill whose limit and pause it keeps to while that goes on.
    pub backfill_key: Option<i64>,
    /// It had finished and was queued again.
    pub queued: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClearReport {
    /// Without those that had nothing to clear (`none`, or being cleared already).
    pub cleared: Vec<ClearedInstance>,
    /// By logical date.
    pub runs: Vec<TouchedRun>,
    /// Runs of which nothing was cleared, as what was selected waits to run already.
    pub waiting: Vec<RunId>,
}

impl ClearReport {
    pub fn run(&self, key: RunKey) -> Option<&TouchedRun> {
        self.runs.iter().find(|run| run.run == key)
    }

    pub fn queued(&self) -> usize {
        self.runs.iter().filter(|run| run.queued).count()
    }
}

impl Store {
    /// Errors: `NotFound` for a named task that no selected run has; `Refused` when one runs and must not.
    pub async fn clear_instances(&self, request: &ClearRequest, now: DateTime<Utc>) -> Result<ClearReport> {
        let tx = self.begin_in_turn("clear task instances").await?;
        if let Some(newest) = &request.newest {
            let wanted @ Selection { runs, past, future, .. } = &request.selection;
            let runs = runs_of(&tx, runs, (*past, *future), wanted.which()).await?;
            for (before, runs) in by_version(&runs) {
                // A run of some tasks only has them by its version.
                if before != newest.version_key && !is_partial(&tx, before).await? {
                    pin_all(&tx, before, &runs, newest, Gone::Removed, now).await?;
                }
            }
        }
        let runs = self.scope(&tx, &request.selection, Purpose::Clear).await?;
        let report = clear_in(&tx, &runs, request, now).await?;
        // A dry run does the same, and takes it back.
        if request.dry_run || report.runs.is_empty() {
            return Ok(report);
        }
        record(&tx, &runs, &report, request, now).await?;
        tx.commit().await?;
        Ok(report)
    }
}

async fn clear_in(tx: &Tx, runs: &[ScopedRun], request: &ClearRequest, now: DateTime<Utc>) -> Result<ClearReport> {
    let selection = &request.selection;
    let mut plan = Vec::new();
    let mut wanted: Vec<RunKey> = Vec::new();
    for run in runs {
        let selected: Vec<&InstanceRow> = run.instances.iter().filter(|it| run.is_selected(selection, it)).collect();
        if let Some(running) = selected.iter().find(|it| it.state == TaskState::Running && request.refuses_running) {
            let reason = format!("{} is running in the run {}", running.task_id, run.row.run_id);
            return Err(StoreError::Refused { attempted: "clear task instances", reason });
        }
        // One that waits in a finished run needs its run again and nothing else; so does a run without instances.
        let waits = selected.iter().any(|it| it.state == TaskState::None) || selection.is_whole();
        if waits && run.row.state.is_finished() {
            wanted.push(run.row.key);
        }
        plan.extend(plan_clear(selected, &run.dag));
    }
    let cleared = apply_clear(tx, plan, now).await?;
    // What was cleared asks for a new run when it runs again.
    stop_triggered(tx, &cleared, &request.actor, now).await?;
    wanted.extend(cleared.iter().map(|it| it.run));
    let queued: HashSet<RunKey> = if request.keeps_run_state {
        HashSet::new()
    } else {
        queue_again(tx, &wanted, now).await?.into_iter().collect()
    };
    let touched: HashSet<RunKey> = cleared.iter().map(|it| it.run).chain(queued.iter().copied()).collect();
    let (touched, others): (Vec<_>, Vec<_>) = runs.iter().partition(|run| touched.contains(&run.row.key));
    let runs = touched.iter().map(|run| TouchedRun::of(&run.row, queued.contains(&run.row.key))).collect();
    let waits = |it: &InstanceRow| matches!(it.state, TaskState::None | TaskState::Restarting);
    let waiting = others.into_iter().filter(|run| !run.row.state.is_finished());
    let waiting = waiting.filter(|run| run.instances.iter().any(|it| waits(it) && run.is_selected(selection, it)));
    Ok(ClearReport { cleared, runs, waiting: waiting.map(|run| run.row.run_id.clone()).collect() })
}

impl TouchedRun {
    pub(crate) fn of(run: &RunRow, queued: bool) -> Self {
        Self {
            run: run.key,
            run_id: run.run_id.clone(),
            logical_date: run.logical_date,
            run_after: run.run_after,
            from: run.state,
            version_key: run.version_key,
            backfill_key: run.runs_for_backfill(),
            queued,
        }
    }
}

async fn record(
    tx: &Tx,
    runs: &[ScopedRun],
    report: &ClearReport,
    request: &ClearRequest,
    now: DateTime<Utc>,
) -> Result<()> {
    let keys: Vec<RunKey> = report.runs.iter().map(|run| run.run).collect();
    if let Some(note) = &request.note {
        crate::requests::note::write(tx, &keys, Some(note)).await?;
    }
    let details = json!({
        "only_failed": request.selection.only_failed,
        "runs_queued": report.queued(),
        "newest_version": request.newest.is_some(),
    });
    audit_change(tx, &request.actor, "clear", details, (runs, &keys, &report.cleared), now).await?;
    tell(tx, runs, &keys, report.cleared.iter(), now).await
}

/// How many names a row of the audit log spells out.
const NAMES_IN_AUDIT: usize = 50;

/// One row, with the runs and tasks that were touched and how many they are.
pub(crate) async fn audit_change(
    tx: &Tx,
    actor: &str,
    action: &str,
    mut details: serde_json::Value,
    (runs, keys, changed): (&[ScopedRun], &[RunKey], &[ClearedInstance]),
    now: DateTime<Utc>,
) -> Result<()> {
    let keys: HashSet<&RunKey> = keys.iter().collect();
    let touched: Vec<&RunRow> = runs.iter().map(|run| &run.row).filter(|run| keys.contains(&run.key)).collect();
    let Some(first) = touched.first() else { return Ok(()) };
    let mut tasks: Vec<&str> = Vec::new();
    for it in changed {
        if !tasks.contains(&it.task_id.as_str()) && tasks.len() < NAMES_IN_AUDIT {
            tasks.push(it.task_id.as_str());
        }
    }
    let names: Vec<&str> = touched.iter().take(NAMES_IN_AUDIT).map(|run| run.run_id.as_str()).collect();
    if let Some(fields) = details.as_object_mut() {
        fields.insert("tasks".to_owned(), json!(tasks));
        fields.insert("instances".to_owned(), json!(changed.len()));
        if touched.len() > 1 {
            fields.insert("runs".to_owned(), json!(names));
            fields.insert("run_count".to_owned(), json!(touched.len()));
        }
    }
    // By run and task: what each was before and is now. Of very many the first.
    let tasks_of = |run: &RunRow, state: fn(&ClearedInstance) -> TaskState| -> BTreeMap<String, &str> {
        let of_run = changed.iter().take(NAMES_IN_AUDIT).filter(|it| it.run == run.key);
        let index = |it: &ClearedInstance| if it.map_index < 0 { String::new() } else { format!("[{}]", it.map_index) };
        of_run.map(|it| (format!("{}{}", it.task_id, index(it)), state(it).as_str())).collect()
    };
    let shown = || touched.iter().take(NAMES_IN_AUDIT);
    let before: BTreeMap<&str, _> = shown()
        .map(|run| (run.run_id.as_str(), json!({ "state": run.state.as_str(), "tasks": tasks_of(run, |it| it.from) })))
        .collect();
    let after: BTreeMap<&str, _> =
        shown().map(|run| (run.run_id.as_str(), json!({ "tasks": tasks_of(run, |it| it.to) }))).collect();
    let row = AuditRow::new(actor, action, details, now).with_change(Some(json!(before)), Some(json!(after)));
    let row = match touched.len() {
        1 => row.on_run(first.dag_id.as_str(), first.run_id.as_str()),
        _ => row.on_dag(first.dag_id.as_str()),
    };
    let row = match tasks.as_slice() {
        [only] => row.on_task(only),
        _ => row,
    };
    tx.audit(&row).await
}

/// Tells the scheduler and whoever watches.
pub(crate) async fn tell(
    tx: &Tx,
    runs: &[ScopedRun],
    keys: &[RunKey],
    changed: impl Iterator<Item = &ClearedInstance>,
    now: DateTime<Utc>,
) -> Result<()> {
    let touched: HashSet<&RunKey> = keys.iter().collect();
    let touched = runs.iter().map(|run| &run.row).filter(|run| touched.contains(&run.key));
    tx.signal_runs(SignalKind::RunChanged, touched.map(|run| (&run.dag_id, run.key)), now).await?;
    let instances: Vec<InstanceKey> = changed.map(|it| it.instance).collect();
    changes::collect(tx, keys, &instances).await
}

/// One instance to clear, and the budget of tries that it gets.
pub(crate) struct ClearStep {
    pub(crate) cleared: ClearedInstance,
    max_tries: u32,
}

/// What is `none` has nothing to clear, and what is `restarting` is being cleared.
pub(crate) fn plan_clear<'a>(instances: impl IntoIterator<Item = &'a InstanceRow>, dag: &Dag) -> Vec<ClearStep> {
    let step = |instance: &InstanceRow| {
        let task = dag.task(instance.task_id.as_str());
        ClearStep {
            max_tries: match task {
                Some(task) => instance.try_number + task.retries,
                // Nobody knows its retries any more.
                None => instance.max_tries.max(instance.try_number),
            },
            cleared: ClearedInstance {
                run: instance.run,
                instance: instance.key,
                task_id: instance.task_id.clone(),
                map_index: instance.map_index,
                from: instance.state,
                to: match instance.state {
                    // Also one that was marked, and whose try has not stopped yet.
                    _ if instance.lease.is_some() => TaskState::Restarting,
                    TaskState::Running | TaskState::Deferred => TaskState::Restarting,
                    // Nothing would ever run it: it must not wait.
                    _ if task.is_none() => TaskState::Removed,
                    _ => TaskState::None,
                },
            },
        }
    };
    let has_something = |it: &&InstanceRow| !matches!(it.state, TaskState::None | TaskState::Restarting);
    // Its task is gone, and its try is being stopped: it would not run again, and holds what it holds until then.
    let is_leaving = |it: &&InstanceRow| it.lease.is_some() && dag.task(it.task_id.as_str()).is_none();
    instances.into_iter().filter(has_something).filter(|it| !is_leaving(it)).map(step).collect()
}

/// Sets `generation` when the work begins anew, in second `$n` since 1970. A count alone would come again after an older
/// state of this database was brought back, and what the new work does would be taken for done.
pub(crate) fn next_generation(n: usize) -> String {
    let before = "task_instance.generation";
    format!("generation = CASE WHEN {before} < ${n} THEN ${n} ELSE {before} + 1 END")
}

/// Of two that clear the same instance at once, one does it; the other's guard misses.
pub(crate) async fn apply_clear(tx: &Tx, plan: Vec<ClearStep>, now: DateTime<Utc>) -> Result<Vec<ClearedInstance>> {
    if plan.is_empty() {
        return Ok(Vec::new());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[("x_id", Kind::Int), ("x_from", Kind::Text), ("x_to", Kind::Text), ("x_max", Kind::Int)],
    );
    let unless_running = |column: &str| format!("{column} = CASE WHEN x_to = 'restarting' THEN {column} ELSE NULL END");
    let sql = format!(
        "UPDATE task_instance SET state = x_to, \
         state_reason = CASE WHEN x_to = 'removed' THEN 'gone from the DAG' ELSE NULL END, \
         max_tries = x_max, {}, \
         lost_workers = 0, next_try_at = NULL, first_start = NULL, put_offs = 0, choice = NULL, given_up = FALSE, {}, {}, {}, {}, {}, {} FROM {source} \
         WHERE task_instance.id = x_id AND state = x_from RETURNING id",
        next_generation(2),
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
    let values = vec![rows, now.timestamp().into()];
    let done: HashSet<i64> = sql::ids(&tx.inner, "clear task instances", sql, values).await?.into_iter().collect();
    let cleared: Vec<ClearedInstance> =
        plan.into_iter().map(|step| step.cleared).filter(|it| done.contains(&it.instance)).collect();
    // A try that waits outside of any worker has nobody who would end it.
    let waited = |it: &&ClearedInstance| !it.from.is_finished() && it.to != TaskState::Restarting;
    let waited: Vec<(InstanceKey, TaskState)> =
        cleared.iter().filter(waited).map(|it| (it.instance, TaskState::Failed)).collect();
    close_open_tries(tx, &waited, now).await?;
    let runs: BTreeSet<RunKey> = cleared.iter().map(|it| it.run).collect();
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!(
        "UPDATE dag_run SET ending = NULL, marked_state = NULL WHERE id IN (SELECT x_id FROM {source}) \
         AND (ending IS NOT NULL OR marked_state IS NOT NULL)"
    );
    sql::run(&tx.inner, "let runs go on", sql, vec![sql::column(runs)]).await?;
    Ok(cleared)
}

/// Those of these runs that had finished go back to the queue; others stay as they are. Returns which did. A run of a
/// backfill that is over keeps to the rules of all other runs from then on.
pub(crate) async fn queue_again(tx: &Tx, runs: &[RunKey], now: DateTime<Utc>) -> Result<Vec<RunKey>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!(
        "UPDATE dag_run SET state = 'queued', state_reason = NULL, ending = NULL, marked_state = NULL, \
         queued_at = $2, start_date = NULL, end_date = NULL, clear_number = clear_number + 1, \
         backfill_ordinal = CASE WHEN EXISTS (SELECT 1 FROM backfill b WHERE b.id = dag_run.backfill_id \
         AND b.completed_at IS NULL) THEN backfill_ordinal ELSE NULL END \
         WHERE id IN (SELECT x_id FROM {source}) AND state IN ('success', 'failed') RETURNING id"
    );
    let mut keys = runs.to_vec();
    keys.sort_unstable();
    keys.dedup();
    let mut values = vec![sql::column(keys)];
    values.extend(values![micros(now)]);
    sql::ids(&tx.inner, "queue runs again", sql, values).await
}

impl ClearRequest {
    /// These tasks of one run, without relatives; none: the whole run.
    pub fn of_run(run: RunKey, tasks: &[TaskId], actor: impl Into<String>) -> Self {
        let choice = if tasks.is_empty() { TaskChoice::All } else { TaskChoice::tasks(tasks.iter().cloned()) };
        Self::new(Selection::of_run(run, choice), actor)
    }
}
