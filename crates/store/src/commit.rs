//! The hot path: what one turn of the scheduler decided, made true in one transaction of a few multi-row statements.

mod assets;
mod claims;
mod expansions;
mod finishes;
pub(crate) mod lengths;
pub(crate) mod moves;
pub(crate) mod new_runs;
mod renewals;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use millrace_model::alert::AlertKind;
use millrace_model::change::{Batch, Finish, InstanceKey, RunKey, SchedulePointer, TryOutcome};
use millrace_model::ids::DagId;
use millrace_model::notice::{Notice, NoticeEvent};
use millrace_model::span::SPANS;
use millrace_model::state::RunState;
use serde_json::json;

use self::lengths::RunTimes;
use crate::alerts::{alert, notification};
use crate::processes::changes;
use crate::runs::active::LATEST_ENDS;
use crate::runs::passed_date;
use crate::sql::{Kind, micros};
use crate::{AuditRow, Change, Counted, Result, SignalKind, Store, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedRun {
    pub run: RunKey,
    /// In the order of `NewRun::tasks`.
    pub instances: Vec<InstanceKey>,
}

/// What became of a batch. Indexes are into the batch's own lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Parallel to `new_runs`; `None`: the run or its logical date was there before.
    pub created: Vec<Option<CreatedRun>>,
    /// Of `new_runs`: created, and they cover more than was planned.
    pub widened: Vec<usize>,
    /// The token is no longer the instance's: nothing of the completion was written.
    pub stale_finishes: Vec<usize>,
    /// Cleared while it ran: the try was closed as it ended, but the instance is `none` now, whatever `to` said.
    pub cleared_finishes: Vec<usize>,
    /// Parallel to `expansions`: the keys of the instances by map index, when all of them are new. `None`: some were there
    /// before, or the run was not running; what is known of it must be read again.
    pub expanded: Vec<Option<Vec<InstanceKey>>>,
    /// Of `endings`: the run had ended, or was winding down already.
    pub stale_endings: Vec<usize>,
    pub stale_runs: Vec<usize>,
    /// Of `run_moves`: the run ended, and as somebody had said, not as it was planned.
    pub marked_runs: Vec<(usize, RunState)>,
    pub stale_moves: Vec<usize>,
    pub stale_claims: Vec<usize>,
    /// Of `pauses`: the DAG goes on, for not so many of its runs have failed, or it was paused before.
    pub stale_pauses: Vec<usize>,
    /// A run did not end as it was planned. Nothing was started in its place: those of `run_moves` are stale, and those
    /// of `new_runs` are queued.
    pub has_less_room: bool,
    /// Backfills that have no unfinished run any more.
    pub finished_backfills: Vec<i64>,
    /// DAGs for which asset events were queued.
    pub waiting_for_assets: BTreeSet<DagId>,
}

impl CommitReport {
    /// How many items had to be left out.
    pub fn stale_count(&self) -> usize {
        self.created.iter().filter(|run| run.is_none()).count()
            + self.stale_finishes.len()
            + self.stale_endings.len()
            + self.stale_runs.len()
            + self.stale_moves.len()
            + self.stale_claims.len()
    }
}

impl Store {
    /// Applies a leader's batch. `StaleEpoch`: another scheduler leads, and nothing was written.
    ///
    /// What somebody has cleared, marked or given another version meanwhile was planned from a run that is no more: of such a
    /// run nothing is moved or claimed, all of it is stale. Otherwise a run could end while one of its tasks waits again.
    pub async fn commit(&self, batch: &Batch, epoch: i64, now: DateTime<Utc>) -> Result<CommitReport> {
        let began = Instant::now();
        let tx = self.begin_as_leader("commit a batch", epoch).await?;
        let (report, times) = apply(&tx, batch, true, now).await?;
        tx.commit().await?;
        self.note_commit(batch, &report, now, began.elapsed());
        self.note_times(batch, &report, &times, now);
        self.note_waits(batch, &report, now);
        Ok(report)
    }

    /// As [`Store::commit`], for a process that runs one task by itself and leads nothing.
    pub async fn commit_unled(&self, batch: &Batch, now: DateTime<Utc>) -> Result<CommitReport> {
        let tx = self.begin_in_turn("commit a batch").await?;
        let report = apply_unled(&tx, batch, now).await?;
        tx.commit().await?;
        Ok(report)
    }
}

/// As [`Store::commit_unled`], within a transaction.
pub(crate) async fn apply_unled(tx: &Tx, batch: &Batch, now: DateTime<Utc>) -> Result<CommitReport> {
    let (report, _) = apply(tx, batch, false, now).await?;
    if batch.is_empty() {
        return Ok(report);
    }
    // A scheduler, should there be one, reads the runs again.
    for dag_id in &report.waiting_for_assets {
        tx.signal(SignalKind::DagChanged, Some(dag_id), None, now).await?;
    }
    for run in touched_runs(tx, batch, &report).await? {
        tx.signal(SignalKind::RunChanged, None, Some(run), now).await?;
    }
    Ok(report)
}

impl Store {
    /// For those who watch.
    fn note_commit(&self, batch: &Batch, report: &CommitReport, now: DateTime<Utc>, took: Duration) {
        let is_lost = |finish: &&Finish| finish.completion.outcome == TryOutcome::LostWorker;
        self.count(Counted::Lost, &[], batch.finishes.iter().filter(is_lost).count() as u64);
        for (index, step) in batch.run_moves.iter().enumerate() {
            if step.to.is_finished() && !report.stale_runs.contains(&index) {
                let marked = report.marked_runs.iter().find(|(marked, _)| *marked == index);
                let to = marked.map_or(step.to, |(_, to)| *to);
                self.count(Counted::Runs, &[to.as_str()], 1);
            }
        }
        for (new, created) in batch.new_runs.iter().zip(&report.created) {
            self.count(Counted::RunsMade, &[new.run_type.as_str()], u64::from(created.is_some()));
        }
        let done = batch.finishes.iter().enumerate().filter(|(index, _)| !report.stale_finishes.contains(index));
        let events = done.map(|(_, finish)| finish.asset_events.len() as u64).sum();
        self.count(Counted::AssetEvents, &["task"], events);
        self.count(Counted::Commits, &[], 1);
        self.count(Counted::CommitTime, &[], u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let begin = micros(now);
        tracing::trace!(
            target: SPANS,
            begin,
            end = begin + i64::try_from(took.as_micros()).unwrap_or(0),
            finishes = batch.finishes.len(),
            new_runs = batch.new_runs.len(),
            moves = batch.run_moves.len() + batch.task_moves.len(),
            claims = batch.claims.len(),
            stale = report.stale_count(),
            "commit"
        );
    }
}

async fn apply(tx: &Tx, batch: &Batch, is_led: bool, now: DateTime<Utc>) -> Result<(CommitReport, RunTimes)> {
    let mut report = CommitReport::default();
    let mut touched = Touched { is_led, ..Touched::default() };
    // First, so that a signal that is left is one that the plan has not seen.
    if !batch.signals_handled.is_empty() {
        let source = sql::source(tx.dialect(), 1, &[("signal_id", Kind::Int)]);
        let sql = format!("DELETE FROM signal WHERE id IN (SELECT signal_id FROM {source})");
        let ids = sql::column(batch.signals_handled.iter().copied());
        sql::run(&tx.inner, "delete handled signals", sql, vec![ids]).await?;
    }
    finishes::apply(tx, &batch.finishes, now, &mut report, &mut touched).await?;
    finishes::release(tx, &batch.releases).await?;
    // What starts has the room of what ends: ends come first, and when one of them does not come about nothing starts.
    moves::wind_down(tx, &batch.endings, &mut report, &mut touched).await?;
    let mut named = HashSet::new();
    let (ends, others): (Vec<usize>, Vec<usize>) = (0..batch.run_moves.len()).partition(|index| {
        let step = &batch.run_moves[*index];
        named.insert(step.run) && step.from == RunState::Running
    });
    moves::apply_to_runs(tx, (&batch.run_moves, &ends), now, &mut report, &mut touched).await?;
    report.has_less_room = !report.stale_runs.is_empty();
    report.created = new_runs::insert(tx, &batch.new_runs, report.has_less_room, now).await?;
    let created = std::mem::take(&mut report.created);
    assets::use_up(tx, &batch.new_runs, &created, &mut report).await?;
    report.created = created;
    touched.runs.extend(report.created.iter().flatten().map(|run| run.run));
    expansions::apply(tx, &batch.expansions, now, &mut report, &mut touched).await?;
    renewals::apply(tx, &batch.renewals, now, &mut touched).await?;
    if report.has_less_room {
        report.stale_runs.extend(others);
    } else {
        moves::apply_to_runs(tx, (&batch.run_moves, &others), now, &mut report, &mut touched).await?;
    }
    moves::apply_to_tasks(tx, &batch.task_moves, now, &mut report, &mut touched).await?;
    if report.stale_moves.iter().any(|index| batch.task_moves[*index].from.occupies_slot()) {
        report.stale_claims.extend(0..batch.claims.len());
    } else {
        claims::apply(tx, &batch.claims, now, &mut report, &mut touched).await?;
    }
    set_pointers(tx, &batch.pointers).await?;
    passed_date::insert(tx, &batch.passed_slots, now).await?;
    passed_date::insert_taken(tx, &batch.new_runs, &report.created, now).await?;
    let paused = pause_dags(tx, batch, &mut report, now).await?;
    let raised = alert::raise(tx, &batch.alerts, &paused).await?;
    notification::insert(tx, due_notices(batch, &report, &raised)).await?;
    changes::collect(tx, &touched.runs, &touched.instances).await?;
    Ok((report, touched.times))
}

/// Without those of tries and runs that did not begin or end as it was planned, and of alerts that were raised before.
fn due_notices<'b>(
    batch: &'b Batch,
    report: &CommitReport,
    raised: &'b HashSet<(RunKey, AlertKind)>,
) -> impl Iterator<Item = &'b Notice> + use<'b> {
    let finishes = report.stale_finishes.iter().chain(&report.cleared_finishes);
    let mut tries: HashSet<InstanceKey> = finishes.map(|index| batch.finishes[*index].completion.instance).collect();
    tries.extend(report.stale_moves.iter().map(|index| batch.task_moves[*index].instance));
    let unbegun: HashSet<InstanceKey> = report.stale_claims.iter().map(|index| batch.claims[*index].instance).collect();
    let runs = stale_runs(batch, report);
    let is_new = |notice: &Notice| match notice.event {
        NoticeEvent::Alert(kind) => raised.contains(&(notice.run, kind)),
        _ => true,
    };
    batch.notices.iter().filter(move |notice| is_new(notice)).filter(move |notice| match &notice.of_try {
        Some(of_try) if notice.event == NoticeEvent::Execute => !unbegun.contains(&of_try.instance),
        Some(of_try) => !tries.contains(&of_try.instance),
        // It was raised, and is raised once: what became of the run meanwhile takes nothing from it.
        None if matches!(notice.event, NoticeEvent::Alert(_)) => true,
        None => !runs.contains(&notice.run),
    })
}

/// Rows that were changed, for those who watch.
#[derive(Default)]
struct Touched {
    runs: Vec<RunKey>,
    instances: Vec<InstanceKey>,
    /// The batch is a leader's, planned from what it had read.
    is_led: bool,
    times: RunTimes,
}

impl Touched {
    /// The guard of what was planned from the state of a whole run: nobody has changed it by hand since. Whoever does
    /// leaves a signal in the same transaction, and the plan names those that it has seen.
    fn unless_changed(&self, run: &str) -> String {
        if !self.is_led {
            return String::new();
        }
        format!(" AND NOT EXISTS (SELECT 1 FROM signal s WHERE s.run_id = {run} AND s.kind = 'run_changed')")
    }
}

async fn set_pointers(tx: &Tx, pointers: &[SchedulePointer]) -> Result<()> {
    if pointers.is_empty() {
        return Ok(());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_dag", Kind::Text),
            ("x_logical", Kind::Int),
            ("x_start", Kind::Int),
            ("x_end", Kind::Int),
            ("x_after", Kind::Int),
            ("x_passed_start", Kind::Int),
            ("x_passed_end", Kind::Int),
        ],
    );
    let sql = format!(
        "UPDATE dag SET next_logical_date = x_logical, next_interval_start = x_start, next_interval_end = x_end, \
         next_run_after = x_after, passed_start = COALESCE(x_passed_start, passed_start), \
         passed_end = COALESCE(x_passed_end, passed_end) FROM {source} WHERE dag.dag_id = x_dag"
    );
    let rows = sql::rows(pointers.iter().map(|pointer| {
        let next = pointer.next;
        vec![
            json!(pointer.dag_id.as_str()),
            json!(next.map(|next| micros(next.logical_date))),
            json!(next.map(|next| micros(next.data_interval.start))),
            json!(next.map(|next| micros(next.data_interval.end))),
            json!(next.map(|next| micros(next.run_after))),
            json!(pointer.passed.map(|passed| micros(passed.start))),
            json!(pointer.passed.map(|passed| micros(passed.end))),
        ]
    }));
    sql::run(&tx.inner, "set when DAGs are due", sql, vec![rows]).await.map(|_| ())
}

/// Those that did not end or begin as it was planned.
fn stale_runs(batch: &Batch, report: &CommitReport) -> HashSet<RunKey> {
    let marked = report.marked_runs.iter().map(|(index, _)| index);
    report.stale_runs.iter().chain(marked).map(|index| batch.run_moves[*index].run).collect()
}

/// Returns those that were not paused before. The failures are counted among the runs as they are now: what the plan has
/// counted may have ended otherwise in this very commit, or have been cleared by somebody of whom the plan had not heard.
async fn pause_dags<'b>(
    tx: &Tx,
    batch: &'b Batch,
    report: &mut CommitReport,
    now: DateTime<Utc>,
) -> Result<HashSet<&'b DagId>> {
    let mut paused = HashSet::new();
    let stale = stale_runs(batch, report);
    let sql = format!(
        "UPDATE dag SET is_paused = TRUE, last_changed_at = $2 WHERE dag_id = $1 AND NOT is_paused AND \
         (SELECT COUNT(*) FROM (SELECT state {LATEST_ENDS} LIMIT $3) AS latest WHERE state = 'failed') >= $3"
    );
    for (index, pause) in batch.pauses.iter().enumerate() {
        let values = sql::values![pause.dag_id.as_str(), micros(now), i64::from(pause.failures)];
        if stale.contains(&pause.run) || sql::run(&tx.inner, "pause a DAG", sql.as_str(), values).await? == 0 {
            report.stale_pauses.push(index);
            continue;
        }
        let told = |is_paused| Some(json!({ "is_paused": is_paused }));
        let audit = AuditRow::new("scheduler", "auto_pause", json!({ "reason": pause.reason }), now);
        tx.audit(&audit.with_change(told(false), told(true)).on_dag(pause.dag_id.as_str())).await?;
        tx.tell(Change::of_dag(&pause.dag_id, "paused"));
        paused.insert(&pause.dag_id);
    }
    Ok(paused)
}

async fn touched_runs(tx: &Tx, batch: &Batch, report: &CommitReport) -> Result<Vec<RunKey>> {
    let instances = (batch.finishes.iter().map(|finish| finish.completion.instance))
        .chain(batch.releases.iter().map(|release| release.instance))
        .chain(batch.task_moves.iter().map(|step| step.instance))
        .chain(batch.claims.iter().map(|claim| claim.instance));
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!("SELECT DISTINCT i.run_id AS id FROM {source} CROSS JOIN task_instance i WHERE i.id = x.x_id");
    let mut runs = sql::ids(&tx.inner, "find the runs of a batch", sql, vec![sql::column(instances)]).await?;
    runs.extend(report.created.iter().flatten().map(|run| run.run));
    runs.extend(batch.endings.iter().map(|ending| ending.run));
    runs.extend(batch.run_moves.iter().map(|step| step.run));
    runs.extend(batch.expansions.iter().map(|expansion| expansion.run));
    runs.sort_unstable();
    runs.dedup();
    Ok(runs)
}

/// One statement changes a row once. Items for a row that is named several times go into later waves, in their order.
fn waves<T>(items: &[T], key: impl Fn(&T) -> i64) -> Vec<Vec<usize>> {
    let mut seen: HashMap<i64, usize> = HashMap::with_capacity(items.len());
    let mut waves: Vec<Vec<usize>> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let wave = seen.entry(key(item)).and_modify(|wave| *wave += 1).or_insert(0);
        if waves.len() <= *wave {
            waves.push(Vec::new());
        }
        waves[*wave].push(index);
    }
    waves
}
