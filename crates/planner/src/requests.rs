//! Runs that people ask for: one by hand, or a range of past dates.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use millrace_model::calendar::Fate;
use millrace_model::change::NewRun;
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, IdError, RunId, TaskId};
use millrace_model::instant::{format_run_id_instant, format_utc_micros};
use millrace_model::param::{self, ParamFault};
use millrace_model::schedule::{DataInterval, DateError, PlannedRun, Schedule};
use millrace_model::state::{RunState, RunType};
use serde_json::{Map, Value};

use crate::version::DagVersion;

/// Dates that one backfill may name.
pub const MOST_DATES: usize = 20_000;

/// The id of the run that the schedule makes for a logical date.
pub fn scheduled_run_id(logical_date: DateTime<Utc>) -> String {
    format!("scheduled__{}", format_run_id_instant(logical_date))
}

/// Why a request is refused before anything is written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    #[error(transparent)]
    RunId(#[from] IdError),
    #[error(
        "DAG {dag_id} has the schedule {schedule}, which names no past dates; only cron schedules, lists of times and 'every' can be backfilled"
    )]
    NotPeriodic { dag_id: DagId, schedule: String },
    #[error("the backfill's range is empty: it begins at {from} and ends before {to}")]
    EmptyRange { from: String, to: String },
    #[error("nothing to backfill: no interval of DAG {dag_id} in [{from}, {to}) had ended by {now}")]
    NothingEnded { dag_id: DagId, from: String, to: String, now: String },
    #[error("nothing to backfill: the schedule of DAG {dag_id} names no date in [{from}, {to})")]
    NoDates { dag_id: DagId, from: String, to: String },
    #[error(
        "nothing to backfill: the calendar of DAG {dag_id} leaves out every date in [{from}, {to}); ignore the bounds (--ignore-bounds) to take them all the same"
    )]
    LeftOut { dag_id: DagId, from: String, to: String },
    #[error(
        "the logical date {logical_date} is outside of DAG {dag_id}'s {bound}; a backfill can be told to ignore the bounds"
    )]
    DateOutOfBounds { dag_id: DagId, logical_date: String, bound: String },
    #[error(
        "the interval of DAG {dag_id} that begins at {logical_date} ends at {end} only: its run comes by the schedule then; leave the date out to run the last complete interval now"
    )]
    NotEnded { dag_id: DagId, logical_date: String, end: String },
    #[error(
        "the schedule of DAG {dag_id} names more than {MOST_DATES} dates in [{from}, {to}); a backfill takes no more: make several of shorter ranges"
    )]
    TooManyDates { dag_id: DagId, from: String, to: String },
    #[error(
        "the date {logical_date} is outside of DAG {dag_id}'s {bound}; shorten the range, or ignore the bounds (--ignore-bounds)"
    )]
    OutOfBounds { dag_id: DagId, logical_date: String, bound: String },
    #[error(
        "task {task_id} of DAG {dag_id} depends on the run before, so its dates cannot be run newest first; leave the order as it is, or the task out"
    )]
    ReversedPast { dag_id: DagId, task_id: TaskId },
    #[error(
        "task {task_id} of DAG {dag_id} depends on the run before: say what becomes of dates that have a run, with reprocess failed or completed"
    )]
    PastWithoutReprocess { dag_id: DagId, task_id: TaskId },
    #[error("no task of DAG {dag_id} is selected; nothing would be run")]
    NoTasks { dag_id: DagId },
    #[error("DAG {dag_id} cannot run with this: {}", listed(faults))]
    Params { dag_id: DagId, faults: Vec<ParamFault> },
}

fn listed(faults: &[ParamFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A run's conf must suit the DAG's params.
fn check_conf(version: &DagVersion, conf: &Map<String, Value>) -> Result<(), RequestError> {
    let faults = param::faults(&version.dag.params, conf);
    if faults.is_empty() { Ok(()) } else { Err(RequestError::Params { dag_id: version.dag.dag_id.clone(), faults }) }
}

/// A logical date that somebody names, in place of the moment of asking.
#[derive(Debug, Clone, Copy)]
pub struct NamedDate {
    pub at: DateTime<Utc>,
    /// Of the last date that the schedule dealt with: a stride such as `every: 6h` goes on from it.
    pub last_interval: Option<DataInterval>,
}

impl NamedDate {
    /// See [`Timetable::read_date`](millrace_model::schedule::Timetable::read_date).
    pub fn read(dag: &Dag, last_interval: Option<DataInterval>, text: &str) -> Result<Self, DateError> {
        let anchor = dag.timetable.anchor(dag.start_date, last_interval.as_ref());
        Ok(Self { at: dag.timetable.read_date(text, anchor)?, last_interval })
    }
}

/// A run that a person wants now.
#[derive(Debug, Clone)]
pub struct ManualRun<'a> {
    pub version: &'a DagVersion,
    /// Default: `manual__` and the logical date.
    pub run_id: Option<&'a str>,
    /// Default: `now`. Within the DAG's `start_date` and `end_date`; the run of one to come waits for it.
    pub logical_date: Option<NamedDate>,
    pub conf: Map<String, Value>,
    /// `cli`, `rest:<user>`.
    pub triggered_by: String,
}

/// The run, queued. For the moment it covers the last complete interval; for a named date of the schedule that date's
/// own, which must have ended: a run of it takes the date from the schedule, and would move only a part of its data.
pub fn manual_run(request: ManualRun<'_>, now: DateTime<Utc>) -> Result<NewRun, RequestError> {
    let ManualRun { version, run_id, logical_date, conf, triggered_by } = request;
    check_conf(version, &conf)?;
    let now = now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(now);
    let planned = match logical_date {
        None => version.dag.timetable.manual_run(now),
        Some(named) => named_run(version, named, now)?,
    };
    let run_id = match run_id {
        Some(given) => RunId::parse_given(given)?,
        None => RunId::new_unchecked(format!("manual__{}", format_run_id_instant(planned.logical_date))),
    };
    Ok(NewRun { conf, triggered_by, ..queued_run(version, RunType::Manual, run_id, planned) })
}

fn named_run(version: &DagVersion, named: NamedDate, now: DateTime<Utc>) -> Result<PlannedRun, RequestError> {
    let dag = &version.dag;
    let refused = || (dag.dag_id.clone(), format_utc_micros(named.at));
    if let Some(bound) = bound_broken(version, named.at) {
        let (dag_id, logical_date) = refused();
        return Err(RequestError::DateOutOfBounds { dag_id, logical_date, bound });
    }
    let anchor = dag.timetable.anchor(dag.start_date, named.last_interval.as_ref());
    let planned = dag.timetable.named_run(now, named.at, anchor);
    // Of a date that is none of the schedule's, the interval has ended by then.
    let is_own = planned.data_interval.end > planned.logical_date;
    if is_own && planned.data_interval.end > now {
        let (dag_id, logical_date) = refused();
        return Err(RequestError::NotEnded { dag_id, logical_date, end: format_utc_micros(planned.data_interval.end) });
    }
    Ok(planned)
}

/// A range of logical dates to run again or for the first time.
#[derive(Debug, Clone)]
pub struct BackfillRange<'a> {
    pub version: &'a DagVersion,
    /// The first logical date.
    pub from: DateTime<Utc>,
    /// The end, not in the range unless `includes_end`.
    pub to: DateTime<Utc>,
    pub includes_end: bool,
    /// Also dates before the DAG's `start_date` or after its `end_date`.
    pub ignores_bounds: bool,
    /// Of the last date that the schedule dealt with: a stride such as `every: 6h` goes on from it.
    pub last_interval: Option<DataInterval>,
    pub conf: Map<String, Value>,
}

/// One queued run for each date of the range whose interval has ended by `now`, oldest first.
pub fn backfill_runs(range: &BackfillRange<'_>, now: DateTime<Utc>) -> Result<Vec<NewRun>, RequestError> {
    let dag = &range.version.dag;
    let dag_id = || dag.dag_id.clone();
    if matches!(dag.timetable.schedule, Schedule::None | Schedule::Once | Schedule::Continuous) {
        return Err(RequestError::NotPeriodic { dag_id: dag_id(), schedule: dag.timetable.schedule.display_text() });
    }
    check_conf(range.version, &range.conf)?;
    let (from, to) = (format_utc_micros(range.from), format_utc_micros(range.to));
    let end = if range.includes_end { range.to + TimeDelta::microseconds(1) } else { range.to };
    if range.from >= end {
        return Err(RequestError::EmptyRange { from, to });
    }
    let anchor = dag.timetable.anchor(dag.start_date, range.last_interval.as_ref());
    let mut dates = dag.timetable.runs_between(range.from, end, anchor).peekable();
    if dates.peek().is_none() {
        return Err(RequestError::NoDates { dag_id: dag_id(), from, to });
    }
    // Bounded while it is reckoned: a schedule by the minute names a thousand million dates in two thousand years.
    let ended = dates.take_while(|planned| planned.run_after <= now);
    let mut ended: Vec<PlannedRun> = ended.take(MOST_DATES + 1).collect();
    if ended.len() > MOST_DATES {
        return Err(RequestError::TooManyDates { dag_id: dag_id(), from, to });
    }
    if ended.is_empty() {
        return Err(RequestError::NothingEnded { dag_id: dag_id(), from, to, now: format_utc_micros(now) });
    }
    // Who wants even what lies out of bounds gets what the calendar leaves out, too.
    ended.retain(|planned| range.ignores_bounds || !matches!(dag.fate(planned), Fate::Skip(_)));
    if ended.is_empty() {
        return Err(RequestError::LeftOut { dag_id: dag_id(), from, to });
    }
    if !range.ignores_bounds {
        check_bounds(range.version, &ended)?;
    }
    let run = |planned: PlannedRun| {
        let run_id = RunId::new_unchecked(format!("backfill__{}", format_run_id_instant(planned.logical_date)));
        NewRun {
            conf: range.conf.clone(),
            triggered_by: "backfill".to_owned(),
            ..queued_run(range.version, RunType::Backfill, run_id, planned)
        }
    };
    Ok(ended.into_iter().map(run).collect())
}

fn check_bounds(version: &DagVersion, dates: &[PlannedRun]) -> Result<(), RequestError> {
    for PlannedRun { logical_date, .. } in dates {
        if let Some(bound) = bound_broken(version, *logical_date) {
            let (dag_id, logical_date) = (version.dag.dag_id.clone(), format_utc_micros(*logical_date));
            return Err(RequestError::OutOfBounds { dag_id, logical_date, bound });
        }
    }
    Ok(())
}

/// Which of the DAG's bounds a date lies outside of.
fn bound_broken(version: &DagVersion, date: DateTime<Utc>) -> Option<String> {
    let dag = &version.dag;
    let start = dag.start_date.filter(|start| date < *start).map(|start| ("start_date", start));
    let end = dag.end_date.filter(|end| date > *end).map(|end| ("end_date", end));
    start.or(end).map(|(name, bound)| format!("{name} {}", format_utc_micros(bound)))
}

fn queued_run(version: &DagVersion, run_type: RunType, run_id: RunId, planned: PlannedRun) -> NewRun {
    NewRun {
        dag_id: version.dag.dag_id.clone(),
        run_id,
        run_type,
        state: RunState::Queued,
        logical_date: planned.logical_date,
        data_interval: planned.data_interval,
        run_after: planned.run_after,
        conf: Map::new(),
        version_key: version.key,
        backfill_key: None,
        triggered_by: String::new(),
        tasks: version.new_instances(),
        asset_events: Vec::new(),
    }
}
