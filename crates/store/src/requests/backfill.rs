//! Backfills: many past dates of one DAG.

pub(crate) mod part;
mod progress;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, NewInstance, NewRun, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::{RunState, RunType, TaskState};
use serde_json::{Map, Value, json};

pub use progress::BackfillProgress;

use crate::commit::new_runs;
use crate::processes::changes;
use crate::requests::clear::{apply_clear, plan_clear, queue_again};
use crate::requests::mark::{Skipped, set_states};
use crate::requests::repin::{Gone, NewestVersion, pin_all};
use crate::requests::scope::instances_of;
use crate::runs::run::read_run;
use crate::sql::{Kind, Row, micros, values};
use crate::{AuditRow, ClearedInstance, InstanceRow, Result, RunRow, SignalKind, Store, StoreError, Tx, sql};

/// Why a date was left out: its run had finished, and finished runs were not to be run again.
const ALREADY_EXISTS: &str = "already exists";
/// Why a date was left out: its run is queued or running.
const IN_FLIGHT: &str = "in flight";

/// Finished runs that are taken over by one statement, all of whose instances are in memory meanwhile.
const TAKEN_AT_ONCE: usize = 1_000;

/// What to do with a date that has a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reprocess {
    None,
    /// Run it again if it failed.
    Failed,
    /// Run it again.
    Completed,
}

impl Reprocess {
    pub const ALL: &[Self] = &[Self::None, Self::Failed, Self::Completed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillState {
    Running,
    Finished,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewBackfill {
    pub dag_id: DagId,
    /// The first logical date asked for.
    pub from: DateTime<Utc>,
    /// The end asked for, as printed; the dates themselves are those of `runs`.
    pub to: DateTime<Utc>,
    pub reprocess: Reprocess,
    pub max_active_runs: u32,
    pub conf: Map<String, Value>,
    /// One for each date, in the order in which they are to run. `backfill_key` is filled in here.
    pub runs: Vec<NewRun>,
    /// The newest date runs first, as the order of `runs` says.
    pub is_reversed: bool,
    /// The runs are of some tasks only.
    pub part: Option<NewPart>,
    /// Reports what would be done, and does nothing.
    pub dry_run: bool,
    pub actor: String,
}

/// Some tasks of a DAG, as a version of their own.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPart {
    pub dag: Dag,
    /// The other tasks: new runs get them skipped, so that they neither run nor are waited for.
    pub left_out: Vec<NewInstance>,
    /// As it was asked for, for people.
    pub selection: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DateOutcome {
    Created,
    /// An existing run was cleared and belongs to the backfill now.
    Cleared,
    /// `already exists` or `in flight`.
    Skipped {
        reason: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillDate {
    pub logical_date: DateTime<Utc>,
    /// The run at that date, new or old. None in a dry run that would create it.
    pub run: Option<RunKey>,
    pub run_id: RunId,
    pub outcome: DateOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillReport {
    /// None in a dry run, and when every date was skipped: then no backfill is made.
    pub backfill_key: Option<i64>,
    pub dates: Vec<BackfillDate>,
}

impl BackfillReport {
    /// How many runs are created or run again.
    pub fn run_count(&self) -> usize {
        self.dates.iter().filter(|date| !matches!(date.outcome, DateOutcome::Skipped { .. })).count()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct BackfillRow {
    pub key: i64,
    pub dag_id: DagId,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub reprocess: Reprocess,
    pub max_active_runs: u32,
    pub conf: Map<String, Value>,
    /// Nothing queued starts; what runs goes on.
    pub is_paused: bool,
    pub is_reversed: bool,
    /// None: every task.
    pub selection: Option<String>,
    pub state: BackfillState,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

impl BackfillState {
    pub const ALL: &[Self] = &[Self::Running, Self::Finished, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|state| state.as_str() == text)
    }
}

fn read_backfill(row: &Row) -> Result<BackfillRow> {
    Ok(BackfillRow {
        key: row.int("id")?,
        dag_id: DagId::new_unchecked(row.text("dag_id")?),
        from: row.instant("from_date")?,
        to: row.instant("to_date")?,
        reprocess: row.word("reprocess", Reprocess::parse)?,
        max_active_runs: row.count("max_active_runs")?,
        conf: row.json("conf")?,
        is_paused: row.flag("is_paused")?,
        is_reversed: row.flag("is_reversed")?,
        selection: row.opt_text("task_selection")?,
        state: row.word("state", BackfillState::parse)?,
        created_by: row.text("created_by")?,
        created_at: row.instant("created_at")?,
        completed_at: row.opt_instant("completed_at")?,
    })
}

impl Store {
    /// Runs that are cleared take over the version and the tasks of their `NewRun`, become runs of type backfill, and take
    /// its conf. Errors: `BackfillActive`.
    pub async fn create_backfill(&self, new: &NewBackfill, now: DateTime<Utc>) -> Result<BackfillReport> {
        let tx = self.begin_in_turn("create a backfill").await?;
        let sql = "SELECT id FROM backfill WHERE dag_id = $1 AND completed_at IS NULL";
        let active = sql::one(&tx.inner, "look for an active backfill", sql, values![new.dag_id.as_str()]).await?;
        if let Some(row) = active {
            return Err(StoreError::BackfillActive { dag_id: new.dag_id.clone(), backfill_key: row.int("id")? });
        }
        let existing = existing_runs(&tx, new).await?;
        let mut dates: Vec<BackfillDate> = new.runs.iter().map(|run| decide(run, &existing, new.reprocess)).collect();
        let report = |backfill_key, dates| Ok(BackfillReport { backfill_key, dates });
        let is_idle = dates.iter().all(|date| matches!(date.outcome, DateOutcome::Skipped { .. }));
        if new.dry_run || is_idle {
            return report(None, dates);
        }
        let key = insert_backfill(&tx, new, now).await?;
        let part;
        let new = match &new.part {
            None => new,
            Some(wanted) => {
                part = NewBackfill { runs: runs_of_part(&tx, new, wanted, now).await?, ..new.clone() };
                &part
            }
        };
        let ordinals = ordinals(&dates);
        create_runs(&tx, new, key, &mut dates, now).await?;
        let again =
            dates.iter().zip(&new.runs).zip(&ordinals).filter(|((date, _), _)| date.outcome == DateOutcome::Cleared);
        let again: Vec<TakenOver<'_>> = again
            .filter_map(|((date, new), ordinal)| {
                Some(TakenOver { old: existing.get(&micros(date.logical_date))?, new, ordinal: *ordinal })
            })
            .collect();
        let mut touched = Vec::new();
        for some in again.chunks(TAKEN_AT_ONCE) {
            touched.extend(take_over(&tx, some, key, new.part.is_some(), now).await?);
        }
        let runs = dates.iter().filter(|date| !matches!(date.outcome, DateOutcome::Skipped { .. })).count();
        let sql = "UPDATE backfill SET runs = $2 WHERE id = $1";
        let kept = values![key, i64::try_from(runs).unwrap_or(i64::MAX)];
        sql::run(&tx.inner, "note how many runs a backfill has", sql, kept).await?;
        let details = json!({
            "backfill": key, "from": new.from, "to": new.to, "reprocess": new.reprocess.as_str(),
            "max_active_runs": new.max_active_runs,
            "tasks": new.part.as_ref().map(|part| part.selection.as_str()),
            "reversed": new.is_reversed,
            "runs": runs,
        });
        let after = json!({ "backfill": key, "state": BackfillState::Running.as_str() });
        let audit = AuditRow::new(&new.actor, "backfill", details, now).with_change(None, Some(after));
        tx.audit(&audit.on_dag(new.dag_id.as_str())).await?;
        tx.signal(SignalKind::BackfillChanged, Some(&new.dag_id), None, now).await?;
        let runs: Vec<RunKey> = dates.iter().filter_map(|date| date.run).collect();
        changes::collect(&tx, &runs, &touched).await?;
        tx.commit().await?;
        report(Some(key), dates)
    }

    /// Queued runs fail (reason `backfill cancelled`), running ones go on. Returns the failed runs.
    pub async fn cancel_backfill(&self, backfill_key: i64, actor: &str, now: DateTime<Utc>) -> Result<Vec<RunKey>> {
        const REASON: &str = "backfill cancelled";
        let tx = self.begin_in_turn("cancel a backfill").await?;
        let sql = "UPDATE backfill SET state = 'cancelled', completed_at = $2 \
                   WHERE id = $1 AND completed_at IS NULL RETURNING dag_id";
        let row = sql::one(&tx.inner, "cancel a backfill", sql, values![backfill_key, micros(now)]).await?;
        let row =
            row.ok_or_else(|| StoreError::NotFound { kind: "active backfill", name: backfill_key.to_string() })?;
        let dag_id = DagId::new_unchecked(row.text("dag_id")?);
        let sql = "UPDATE dag_run SET state = 'failed', state_reason = $2, end_date = $3 \
                   WHERE backfill_id = $1 AND state = 'queued' RETURNING id";
        let mut runs = sql::ids(&tx.inner, "fail queued runs", sql, values![backfill_key, REASON, micros(now)]).await?;
        runs.sort_unstable();
        let instances = instances_of(&tx, &runs).await?.into_values().flatten();
        let waiting = instances.filter(|it| !it.state.is_finished());
        let steps = waiting
            .map(|it| ClearedInstance {
                run: it.run,
                instance: it.key,
                task_id: it.task_id,
                map_index: it.map_index,
                from: it.state,
                to: TaskState::Skipped,
            })
            .collect();
        let skipped = set_states(&tx, steps, (REASON, Skipped::GivenUp), now).await?;
        let touched: Vec<InstanceKey> = skipped.into_iter().map(|it| it.instance).collect();
        let details = json!({ "backfill": backfill_key, "failed_runs": runs.len() });
        let told = |state: BackfillState| Some(json!({ "state": state.as_str() }));
        let audit = AuditRow::new(actor, "backfill_cancelled", details, now)
            .with_change(told(BackfillState::Running), told(BackfillState::Cancelled));
        tx.audit(&audit.on_dag(dag_id.as_str())).await?;
        tx.signal(SignalKind::BackfillChanged, Some(&dag_id), None, now).await?;
        changes::collect(&tx, &runs, &touched).await?;
        tx.commit().await?;
        Ok(runs)
    }

    /// Those not finished: what the scheduler needs for their `max_active_runs`.
    pub async fn active_backfills(&self) -> Result<Vec<BackfillRow>> {
        let sql = "SELECT * FROM backfill WHERE completed_at IS NULL ORDER BY id";
        let rows = sql::all(self.reader(), "list active backfills", sql, vec![]).await?;
        rows.iter().map(read_backfill).collect()
    }
}

/// The runs of the backfill, pinned to the part.
async fn runs_of_part(tx: &Tx, new: &NewBackfill, part: &NewPart, now: DateTime<Utc>) -> Result<Vec<NewRun>> {
    let Some(whole) = new.runs.first().map(|run| run.version_key) else { return Ok(Vec::new()) };
    let version_key = part::version_of(tx, whole, &part.dag, now).await?;
    Ok(new.runs.iter().map(|run| NewRun { version_key, ..run.clone() }).collect())
}

async fn existing_runs(tx: &Tx, new: &NewBackfill) -> Result<HashMap<i64, RunRow>> {
    let source = sql::source(tx.dialect(), 1, &[("x_date", Kind::Int)]);
    let sql = format!("SELECT r.* FROM {source} CROSS JOIN dag_run r WHERE r.dag_id = $2 AND r.logical_date = x_date");
    let dates = sql::column(new.runs.iter().map(|run| micros(run.logical_date)));
    let rows = sql::all(&tx.inner, "read the runs of a backfill's dates", sql, vec![dates, new.dag_id.as_str().into()])
        .await?;
    rows.iter().map(|row| Ok((row.int("logical_date")?, read_run(row)?))).collect()
}

fn decide(run: &NewRun, existing: &HashMap<i64, RunRow>, reprocess: Reprocess) -> BackfillDate {
    let logical_date = run.logical_date;
    let Some(old) = existing.get(&micros(logical_date)) else {
        return BackfillDate { logical_date, run: None, run_id: run.run_id.clone(), outcome: DateOutcome::Created };
    };
    let again = match reprocess {
        Reprocess::None => false,
        Reprocess::Failed => old.state == RunState::Failed,
        Reprocess::Completed => true,
    };
    let outcome = if !old.state.is_finished() {
        DateOutcome::Skipped { reason: IN_FLIGHT.to_owned() }
    } else if again {
        DateOutcome::Cleared
    } else {
        DateOutcome::Skipped { reason: ALREADY_EXISTS.to_owned() }
    };
    BackfillDate { logical_date, run: Some(old.key), run_id: old.run_id.clone(), outcome }
}

async fn insert_backfill(tx: &Tx, new: &NewBackfill, now: DateTime<Utc>) -> Result<i64> {
    let sql = "INSERT INTO backfill (dag_id, from_date, to_date, reprocess, max_active_runs, conf, state, created_by, \
               created_at, is_reversed, task_selection) VALUES ($1, $2, $3, $4, $5, $6, 'running', $7, $8, $9, $10) \
               ON CONFLICT DO NOTHING RETURNING id";
    let values = values![
        new.dag_id.as_str(),
        micros(new.from),
        micros(new.to),
        new.reprocess.as_str(),
        i64::from(new.max_active_runs),
        Value::Object(new.conf.clone()).to_string(),
        new.actor.as_str(),
        micros(now),
        new.is_reversed,
        new.part.as_ref().map(|part| part.selection.clone()),
    ];
    match sql::one(&tx.inner, "create a backfill", sql, values).await? {
        Some(row) => row.int("id"),
        None => Err(StoreError::Refused {
            attempted: "create a backfill",
            reason: "another one was created at the same moment".to_owned(),
        }),
    }
}

/// The place of each date among those that get a run of the backfill: the first of them has 0, and no other ever has.
fn ordinals(dates: &[BackfillDate]) -> Vec<usize> {
    let mut next = 0;
    let mut place = |date: &BackfillDate| {
        let own = next;
        next += usize::from(!matches!(date.outcome, DateOutcome::Skipped { .. }));
        own
    };
    dates.iter().map(&mut place).collect()
}

async fn create_runs(
    tx: &Tx,
    new: &NewBackfill,
    key: i64,
    dates: &mut [BackfillDate],
    now: DateTime<Utc>,
) -> Result<()> {
    let places: Vec<usize> = (0..dates.len()).filter(|index| dates[*index].outcome == DateOutcome::Created).collect();
    let runs: Vec<NewRun> = places
        .iter()
        .map(|index| NewRun { backfill_key: Some(key), run_type: RunType::Backfill, ..new.runs[*index].clone() })
        .collect();
    let ordinals = ordinals(dates);
    let ordinals: Vec<usize> = places.iter().map(|index| ordinals[*index]).collect();
    let created = new_runs::insert_ordered(tx, &runs, &ordinals, now).await?;
    if let Some(part) = &new.part {
        let keys: Vec<RunKey> = created.iter().flatten().map(|created| created.run).collect();
        part::leave_out(tx, &keys, &part.left_out, part::NOT_SELECTED, now).await?;
    }
    for (index, created) in places.into_iter().zip(created) {
        match created {
            Some(created) => dates[index].run = Some(created.run),
            // Another process made a run of this id or date since we looked (PostgreSQL only). Its place stays empty.
            None => dates[index].outcome = DateOutcome::Skipped { reason: IN_FLIGHT.to_owned() },
        }
    }
    Ok(())
}

/// An old run that becomes one of the backfill's.
struct TakenOver<'a> {
    old: &'a RunRow,
    new: &'a NewRun,
    ordinal: usize,
}

/// All of each of these runs runs again. Years of dates are one transaction, for which others wait: it is a few statements
/// for many runs. Returns the instances that were cleared.
async fn take_over(
    tx: &Tx,
    runs: &[TakenOver<'_>],
    key: i64,
    is_part: bool,
    now: DateTime<Utc>,
) -> Result<Vec<InstanceKey>> {
    let Some(first) = runs.first() else { return Ok(Vec::new()) };
    // The dates of a backfill share their version.
    let newest = NewestVersion { version_key: first.new.version_key, tasks: first.new.tasks.clone() };
    // A part says nothing of the other tasks: they stay what they are.
    let gone = if is_part { Gone::Left } else { Gone::Removed };
    let mut of_others: BTreeMap<i64, Vec<&RunRow>> = BTreeMap::new();
    for run in runs.iter().map(|run| run.old).filter(|run| run.version_key != newest.version_key) {
        of_others.entry(run.version_key).or_default().push(run);
    }
    for (version, runs) in &of_others {
        pin_all(tx, *version, runs, &newest, gone, now).await?;
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_ordinal", Kind::Int), ("x_conf", Kind::Text)]);
    let sql = format!(
        "UPDATE dag_run SET run_type = 'backfill', backfill_id = $2, backfill_ordinal = x_ordinal, conf = x_conf \
         FROM {source} WHERE dag_run.id = x_id"
    );
    let rows = sql::rows(runs.iter().map(|run| {
        let conf = Value::Object(run.new.conf.clone()).to_string();
        vec![json!(run.old.key), json!(run.ordinal), json!(conf)]
    }));
    sql::run(&tx.inner, "give runs to a backfill", sql, vec![rows, key.into()]).await?;
    let dag = tx.store.dag_version_in(&tx.inner, newest.version_key).await?;
    let keys: Vec<RunKey> = runs.iter().map(|run| run.old.key).collect();
    let instances: Vec<InstanceRow> = instances_of(tx, &keys).await?.into_values().flatten().collect();
    let plan = plan_clear(instances.iter().filter(|it| dag.task(it.task_id.as_str()).is_some()), &dag);
    let cleared = apply_clear(tx, plan, now).await?;
    queue_again(tx, &keys, now).await?;
    Ok(cleared.into_iter().map(|it| it.instance).collect())
}

/// Those whose runs have all finished. Returns their keys.
pub(crate) async fn finish_completed(tx: &Tx, now: DateTime<Utc>) -> Result<Vec<i64>> {
    let sql = "UPDATE backfill SET state = 'finished', completed_at = $1 WHERE completed_at IS NULL AND NOT EXISTS \
               (SELECT 1 FROM dag_run r WHERE r.backfill_id = backfill.id AND r.state IN ('queued', 'running')) \
               RETURNING id";
    sql::ids(&tx.inner, "finish backfills", sql, values![micros(now)]).await
}
