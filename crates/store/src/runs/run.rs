//! Runs, as everybody reads them.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::asset::AssetEvent;
use millrace_model::change::{RunFacts, RunKey};
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType, TaskState};
use sea_orm::ConnectionTrait;
use serde_json::{Map, Value};

use crate::conditions::{Conditions, DateSpan, count_to};
use crate::sql::{Kind, Row, micros, values};
use crate::{Result, Store, StoreError, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub key: RunKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub run_type: RunType,
    pub state: RunState,
    pub state_reason: Option<String>,
    /// Why it winds down, or did before it ended: only teardowns are still run, and then it fails for this reason.
    pub ending: Option<String>,
    pub logical_date: DateTime<Utc>,
    pub data_interval: DataInterval,
    pub run_after: DateTime<Utc>,
    pub queued_at: Option<DateTime<Utc>>,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
    pub conf: Map<String, Value>,
    pub version_key: i64,
    pub backfill_key: Option<i64>,
    /// Its place in the order of its backfill. None: it never was one's, or was run again after that had ended, and
    /// counts as any other run since.
    pub backfill_ordinal: Option<i64>,
    pub triggered_by: String,
    /// How often a clear has started it again.
    pub clear_number: u32,
    pub note: Option<String>,
    /// What triggered it, oldest first.
    pub asset_events: Vec<AssetEvent>,
    pub created_at: DateTime<Utc>,
}

impl RunRow {
    /// The backfill whose limit and pause it keeps to, if not its DAG's.
    pub fn runs_for_backfill(&self) -> Option<i64> {
        self.backfill_key.filter(|_| self.backfill_ordinal.is_some())
    }

    /// What the run gives to its tasks.
    pub fn facts(&self) -> RunFacts {
        RunFacts {
            run_key: self.key,
            run_id: self.run_id.clone(),
            run_type: self.run_type,
            logical_date: self.logical_date,
            data_interval: self.data_interval,
            run_after: self.run_after,
            created_at: self.created_at,
            start_date: self.start_date,
            conf: self.conf.clone(),
            asset_events: self.asset_events.clone(),
        }
    }
}

/// A run in a strip of dots.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    pub key: RunKey,
    pub run_id: RunId,
    pub state: RunState,
    pub logical_date: DateTime<Utc>,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
}

impl RunSummary {
    /// Of a DAG's runs, newest first: the newest that has begun. One that waits for its date says nothing of how the DAG
    /// fares; it stands for the others only while none has begun.
    pub fn latest(runs: &[Self]) -> Option<&Self> {
        runs.iter().find(|run| run.start_date.is_some()).or_else(|| runs.first())
    }
}

/// A part of a list, and how many there are in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub total: u64,
}

/// What a list of runs is ordered by; `id` is the order in which they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RunOrder {
    #[default]
    RunAfter,
    LogicalDate,
    StartDate,
    EndDate,
    Duration,
    State,
    DagId,
    RunId,
    Id,
}

impl RunOrder {
    /// The names that [`parse`](Self::parse) knows.
    pub const NAMES: &[&str] =
        &["run_after", "logical_date", "start_date", "end_date", "duration", "state", "dag_id", "dag_run_id", "id"];

    /// By the name of the field.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "run_after" => Some(Self::RunAfter),
            "logical_date" => Some(Self::LogicalDate),
            "start_date" => Some(Self::StartDate),
            "end_date" => Some(Self::EndDate),
            "duration" => Some(Self::Duration),
            "state" => Some(Self::State),
            "dag_id" => Some(Self::DagId),
            "dag_run_id" => Some(Self::RunId),
            "id" => Some(Self::Id),
            _ => None,
        }
    }

    /// The two databases sort what is not there to different ends: it counts as the least.
    const fn sql(self) -> &'static str {
        match self {
            Self::RunAfter => "r.run_after",
            Self::LogicalDate => "r.logical_date",
            Self::StartDate => "COALESCE(r.start_date, 0)",
            Self::EndDate => "COALESCE(r.end_date, 0)",
            Self::Duration => "COALESCE(r.end_date - r.start_date, -1)",
            Self::State => "r.state",
            Self::DagId => "r.dag_id",
            Self::RunId => "r.run_id",
            Self::Id => "r.id",
        }
    }

    const fn is_text(self) -> bool {
        matches!(self, Self::State | Self::DagId | Self::RunId)
    }
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub dag_ids: Vec<DagId>,
    /// A part of the run's id, in any case.
    pub id_part: Option<String>,
    pub states: Vec<RunState>,
    pub run_type: Option<RunType>,
    pub logical_date: DateSpan,
    pub run_after: DateSpan,
    pub start_date: DateSpan,
    pub end_date: DateSpan,
    /// From the start to the end, at least.
    pub duration_from: Option<TimeDelta>,
    /// At most.
    pub duration_to: Option<TimeDelta>,
    pub backfill_key: Option<i64>,
    pub order: RunOrder,
    /// Oldest first; the default is newest first.
    pub ascending: bool,
    /// 0 gives none, and still the total.
    pub limit: u64,
    pub offset: u64,
    /// The total is no larger than this, however many there are; None: all are counted.
    pub count_to: Option<u64>,
}

pub(crate) const RUN_SELECT: &str = "SELECT r.* FROM dag_run r";

pub(crate) fn read_run(row: &Row) -> Result<RunRow> {
    Ok(RunRow {
        key: row.int("id")?,
        dag_id: DagId::new_unchecked(row.text("dag_id")?),
        run_id: RunId::new_unchecked(row.text("run_id")?),
        run_type: row.word("run_type", RunType::parse)?,
        state: row.word("state", RunState::parse)?,
        state_reason: row.opt_text("state_reason")?,
        ending: row.opt_text("ending")?,
        logical_date: row.instant("logical_date")?,
        data_interval: DataInterval {
            start: row.instant("data_interval_start")?,
            end: row.instant("data_interval_end")?,
        },
        run_after: row.instant("run_after")?,
        queued_at: row.opt_instant("queued_at")?,
        start_date: row.opt_instant("start_date")?,
        end_date: row.opt_instant("end_date")?,
        conf: row.json("conf")?,
        version_key: row.int("version_id")?,
        backfill_key: row.opt_int("backfill_id")?,
        backfill_ordinal: row.opt_int("backfill_ordinal")?,
        triggered_by: row.text("triggered_by")?,
        clear_number: row.count("clear_number")?,
        note: row.opt_text("note")?,
        asset_events: row.opt_json("asset_events")?.unwrap_or_default(),
        created_at: row.instant("created_at")?,
    })
}

pub(crate) async fn run_in(connection: &impl ConnectionTrait, run: RunKey) -> Result<RunRow> {
    let sql = format!("{RUN_SELECT} WHERE r.id = $1");
    match sql::one(connection, "read a run", sql, values![run]).await? {
        Some(row) => read_run(&row),
        None => Err(StoreError::NotFound { kind: "run with the key", name: run.to_string() }),
    }
}

/// What has not ended.
#[derive(Debug, Clone, Default)]
pub struct ActiveCounts {
    pub runs: HashMap<RunState, u64>,
    /// Of those runs.
    pub instances: HashMap<TaskState, u64>,
}

/// In the words of the partial indexes `dag_run_failed` and `dag_run_unfinished`.
fn state_condition(states: &[RunState]) -> String {
    // The words are our own.
    let words: Vec<String> = states.iter().map(|state| format!("'{state}'")).collect();
    let condition = match words.as_slice() {
        [word] => format!("r.state = {word}"),
        _ => format!("r.state IN ({})", words.join(", ")),
    };
    if states.iter().any(|state| state.is_finished()) {
        return condition;
    }
    format!("r.state IN ('queued', 'running') AND {condition}")
}

impl Store {
    pub async fn active_counts(&self) -> Result<ActiveCounts> {
        let mut counts = ActiveCounts::default();
        let sql = "SELECT state, COUNT(*) AS n FROM dag_run WHERE state IN ('queued', 'running') GROUP BY state";
        for row in sql::all(self.reader(), "count active runs", sql, vec![]).await? {
            counts.runs.insert(row.word("state", RunState::parse)?, row.int("n")?.unsigned_abs());
        }
        let sql = "SELECT i.state, COUNT(*) AS n FROM dag_run r JOIN task_instance i ON i.run_id = r.id \
                   WHERE r.state IN ('queued', 'running') GROUP BY i.state";
        for row in sql::all(self.reader(), "count the tasks of active runs", sql, vec![]).await? {
            counts.instances.insert(row.word("state", TaskState::parse)?, row.int("n")?.unsigned_abs());
        }
        Ok(counts)
    }

    /// Runs of each of these DAGs by state.
    pub async fn run_counts(&self, dag_ids: &[&str]) -> Result<HashMap<(String, RunState), u64>> {
        let source = sql::source(self.dialect(), 1, &[("x_dag", Kind::Text)]);
        let sql = format!(
            "SELECT r.dag_id, r.state, COUNT(*) AS n FROM {source} CROSS JOIN dag_run r WHERE r.dag_id = x_dag \
             GROUP BY r.dag_id, r.state"
        );
        let rows = sql::all(self.reader(), "count runs", sql, vec![sql::column(dag_ids.iter().copied())]).await?;
        let count = |row: &Row| {
            let place = (row.text("dag_id")?, row.word("state", RunState::parse)?);
            Ok((place, row.int("n")?.unsigned_abs()))
        };
        rows.iter().map(count).collect()
    }

    pub async fn runs(&self, filter: &RunFilter) -> Result<Page<RunRow>> {
        let mut conditions = Conditions::default();
        conditions.among("r.dag_id", &filter.dag_ids);
        if let Some(part) = &filter.id_part {
            conditions.contains("r.run_id", part);
        }
        let micros = |length: TimeDelta| length.num_microseconds().unwrap_or(i64::MAX);
        if let Some(from) = filter.duration_from {
            conditions.compare("r.end_date - r.start_date", ">=", micros(from));
        }
        if let Some(to) = filter.duration_to {
            conditions.compare("r.end_date - r.start_date", "<=", micros(to));
        }
        if let Some(run_type) = filter.run_type {
            conditions.compare("r.run_type", "=", run_type.as_str());
        }
        conditions.within("r.logical_date", filter.logical_date);
        conditions.within("r.run_after", filter.run_after);
        conditions.within("r.start_date", filter.start_date);
        conditions.within("r.end_date", filter.end_date);
        if let Some(backfill) = filter.backfill_key {
            conditions.compare("r.backfill_id", "=", backfill);
        }
        if !filter.states.is_empty() {
            conditions.add(state_condition(&filter.states));
        }
        let (clause, values) = (conditions.clause(), conditions.values);
        let count = match filter.count_to {
            None => format!("SELECT COUNT(*) AS n FROM dag_run r{clause}"),
            Some(most) => count_to(most, &format!("dag_run r{clause}")),
        };
        let (column, order) = (filter.order.sql(), if filter.ascending { "ASC" } else { "DESC" });
        // Few are active: they are sorted, rather than looked for among all runs in the order of the list.
        let is_active = |state: &RunState| !state.is_finished();
        let asks_active = !filter.states.is_empty() && filter.states.iter().all(is_active);
        let sign = if asks_active && !filter.order.is_text() { "+" } else { "" };
        let list = format!("{RUN_SELECT}{clause} ORDER BY {sign}{column} {order}, r.id {order}");
        self.page("list runs", (count, list), values, (filter.limit, filter.offset), read_run).await
    }

    /// Runs that go on though a task of theirs has failed for good, each with the end of the last that did.
    pub async fn failing_runs(&self) -> Result<Vec<(RunRow, Option<DateTime<Utc>>)>> {
        let running = state_condition(&[RunState::Running]);
        // Neither join nor group: for these SQLite would read every run there is.
        let failed = "FROM task_instance i WHERE i.run_id = r.id AND i.state = 'failed'";
        let sql = format!(
            "SELECT r.*, (SELECT MAX(i.end_date) {failed}) AS failed_at FROM dag_run r WHERE {running} \
             AND EXISTS (SELECT 1 {failed})"
        );
        let rows = sql::all(self.reader(), "read failing runs", sql, vec![]).await?;
        rows.iter().map(|row| Ok((read_run(row)?, row.opt_instant("failed_at")?))).collect()
    }

    pub async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>> {
        let sql = format!("{RUN_SELECT} WHERE r.dag_id = $1 AND r.run_id = $2");
        let row = sql::one(self.reader(), "read a run", sql, values![dag_id, run_id]).await?;
        row.as_ref().map(read_run).transpose()
    }

    pub async fn run_by_key(&self, run: RunKey) -> Result<Option<RunRow>> {
        match run_in(self.reader(), run).await {
            Ok(row) => Ok(Some(row)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The newest successful run before a logical date.
    pub async fn previous_success(&self, dag_id: &DagId, before: DateTime<Utc>) -> Result<Option<RunRow>> {
        let sql = format!(
            "{RUN_SELECT} WHERE r.dag_id = $1 AND r.logical_date < $2 AND r.state = 'success' \
             ORDER BY r.logical_date DESC LIMIT 1"
        );
        let values = values![dag_id.as_str(), micros(before)];
        let row = sql::one(self.reader(), "read the last successful run", sql, values).await?;
        row.as_ref().map(read_run).transpose()
    }

    pub async fn run_at(&self, dag_id: &str, logical_date: DateTime<Utc>) -> Result<Option<RunRow>> {
        let sql = format!("{RUN_SELECT} WHERE r.dag_id = $1 AND r.logical_date = $2");
        let row = sql::one(self.reader(), "read a run", sql, values![dag_id, micros(logical_date)]).await?;
        row.as_ref().map(read_run).transpose()
    }
}
