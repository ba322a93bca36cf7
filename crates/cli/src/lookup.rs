//! From what a person types to the DAG, version and run that are meant.

use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use millrace_model::dag::Dag;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::schedule::{DataInterval, DateError, PlannedRun};
use millrace_planner::DagVersion;
use millrace_store::{DagRow, DateSpan, RunFilter, RunRow, Store};

use crate::app::App;
use crate::dag_files;
use crate::failure::usage;
use crate::output::{counted, notice};

/// Runs of a day that an answer lists.
const LISTED: u64 = 5;

/// The DAG, after changed files were read. Says so if its own cannot be read as it is now.
pub async fn dag(app: &App, store: &Store, dag_id: &str) -> anyhow::Result<DagRow> {
    let row = stored_dag(app, store, dag_id).await?;
    if row.has_import_error {
        notice(format!(
            "{} cannot be read as it is now, so its last good version ({}) is taken; `millrace dags list-import-errors` says why",
            row.file_path, row.version_number
        ));
    }
    Ok(row)
}

/// As [`dag`], for callers who say themselves what is wrong with its file.
pub async fn stored_dag(app: &App, store: &Store, dag_id: &str) -> anyhow::Result<DagRow> {
    dag_files::sync(app, store).await?;
    match store.dag(dag_id, 0).await? {
        Some(row) => Ok(row),
        None => bail!(no_dag(store, dag_id).await?),
    }
}

/// As [`dag`], for new runs: not when its file is gone.
pub async fn runnable(app: &App, store: &Store, dag_id: &str) -> anyhow::Result<DagRow> {
    let row = dag(app, store, dag_id).await?;
    if row.is_stale {
        bail!(
            "the file of DAG {dag_id} ({}) is gone; its past runs are kept, but nothing new is started",
            row.file_path
        );
    }
    Ok(row)
}

async fn no_dag(store: &Store, dag_id: &str) -> anyhow::Result<String> {
    if let Some(reason) = store.left_out_because(dag_id).await? {
        return Ok(format!(
            "what is stored of DAG {dag_id} can't be used: {reason}; `millrace doctor` says how to mend it"
        ));
    }
    let broken = store.import_errors().await?.len();
    let hint = if broken > 0 {
        format!("; {} could not be read: `millrace dags list-import-errors`", counted(broken, "DAG file"))
    } else {
        "; `millrace dags list` shows those that exist".to_owned()
    };
    Ok(format!("there is no DAG '{dag_id}'{hint}"))
}

pub fn version(row: &DagRow) -> anyhow::Result<DagVersion> {
    DagVersion::new(row.version_key, row.dag.clone()).context("the stored DAG can't be used")
}

/// An existing run, by its id, its logical date, or the day of its logical date. Of several runs on a day the one of the
/// schedule's date is meant.
pub async fn run(store: &Store, dag: &Dag, text: &str) -> anyhow::Result<RunRow> {
    match find_run(store, dag, text).await? {
        Some(run) => Ok(run),
        None => bail!(
            "DAG {} has no run '{text}'; `millrace dags list-runs {}` shows those that exist",
            dag.dag_id,
            dag.dag_id
        ),
    }
}

pub async fn find_run(store: &Store, dag: &Dag, text: &str) -> anyhow::Result<Option<RunRow>> {
    if let Some(run) = store.run(dag.dag_id.as_str(), text).await? {
        return Ok(Some(run));
    }
    let Ok(at) = parse_instant(text, dag.timetable.timezone) else { return Ok(None) };
    let Some((from, to)) = dag.timetable.day(text) else {
        return Ok(store.run_at(dag.dag_id.as_str(), at).await?);
    };
    let last = store.last_automated_interval(&dag.dag_id).await?;
    let anchor = dag.timetable.anchor(dag.start_date, last.as_ref());
    let filter = RunFilter {
        dag_ids: vec![dag.dag_id.clone()],
        logical_date: DateSpan { from: Some(from), before: Some(to) },
        limit: LISTED,
        ..RunFilter::default()
    };
    let page = store.runs(&filter).await?;
    let mut runs = page.rows;
    if runs.len() < 2 {
        return Ok(runs.pop());
    }
    let others = runs.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>().join(", ");
    let more = if page.total > LISTED { ", …" } else { "" };
    let meant = match dag.timetable.read_date(text, anchor) {
        Ok(date) => store.run_at(dag.dag_id.as_str(), date).await?,
        Err(_) => None,
    };
    let Some(meant) = meant else {
        let dag_id = &dag.dag_id;
        return Err(usage(format!(
            "DAG {dag_id} has {} runs on {text}: {others}{more}; give one's run id or its logical date with the time",
            page.total
        )));
    };
    notice(format!(
        "of the {} runs on {text} this is {}; the run id names another: {others}{more}",
        page.total, meant.run_id
    ));
    Ok(Some(meant))
}

/// What a run of this date would be: see [`Timetable::read_date`](millrace_model::schedule::Timetable::read_date).
/// `last`: the interval of the last date that the schedule dealt with, where that is known.
pub fn planned_run(dag: &Dag, last: Option<&DataInterval>, text: &str) -> anyhow::Result<PlannedRun> {
    let anchor = dag.timetable.anchor(dag.start_date, last);
    let at = dag.timetable.read_date(text, anchor)?;
    Ok(dag.timetable.named_run(at, at, anchor))
}

/// What a run of this date would be, for trying it out: of several dates on a day the first, and it is said.
pub fn tried_run(dag: &Dag, text: &str) -> anyhow::Result<PlannedRun> {
    let anchor = dag.timetable.anchor(dag.start_date, None);
    let at = match dag.timetable.read_date(text, anchor) {
        Err(DateError::Several { day, first, dates }) => {
            notice(format!(
                "of the schedule's dates on {day} the first is tried; another is named with its time: {dates}"
            ));
            first
        }
        read => read?,
    };
    Ok(dag.timetable.named_run(at, at, anchor))
}

/// The version that a run is pinned to.
pub async fn pinned(store: &Store, run: &RunRow) -> anyhow::Result<Arc<Dag>> {
    Ok(store.dag_version(run.version_key).await?)
}

pub fn task_index(dag: &Dag, task_id: &str) -> anyhow::Result<usize> {
    dag.task_index(task_id).with_context(|| {
        let known: Vec<&str> = dag.tasks.iter().map(|task| task.task_id.as_str()).collect();
        format!("DAG {} has no task '{task_id}'; it has {}", dag.dag_id, known.join(", "))
    })
}

pub fn optional_time(at: Option<DateTime<Utc>>) -> Option<String> {
    at.map(format_utc_micros)
}
