//! From what a person types to the DAG, version and run that are meant.

use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, Days, NaiveDate, Utc};
use millrace_model::dag::Dag;
use millrace_model::instant::{format_utc_micros, parse_instant, resolve_local};
use millrace_model::schedule::{DataInterval, PlannedRun};
use millrace_planner::DagVersion;
use millrace_store::{DagRow, DateSpan, RunFilter, RunRow, Store};

use crate::app::App;
use crate::dag_files;
use crate::output::{counted, notice};

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

/// An existing run, by its id, its logical date, or the day of its logical date when that leaves no doubt.
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
    if let Some(run) = store.run_at(dag.dag_id.as_str(), at).await? {
        return Ok(Some(run));
    }
    let Some((from, to)) = day(dag, text) else { return Ok(None) };
    let filter = RunFilter {
        dag_ids: vec![dag.dag_id.clone()],
        logical_date: DateSpan { from: Some(from), before: Some(to) },
        limit: 2,
        ..RunFilter::default()
    };
    let mut runs = store.runs(&filter).await?.rows;
    if runs.len() > 1 {
        bail!("DAG {} has several runs on {text}; give a run id or the instant of the logical date", dag.dag_id);
    }
    Ok(runs.pop())
}

/// A bare date as a day in the DAG's zone.
fn day(dag: &Dag, text: &str) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let date = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok()?;
    let zone = dag.timetable.timezone;
    let next = date.checked_add_days(Days::new(1))?;
    Some((resolve_local(zone, date.and_hms_opt(0, 0, 0)?), resolve_local(zone, next.and_hms_opt(0, 0, 0)?)))
}

/// The dates that a task is run for when there is no run yet: the schedule's own run at that instant, or its first on
/// that day, or else the last complete interval before it. `last`: of the last date that the schedule dealt with, where
/// that is known.
pub fn planned_run(dag: &Dag, last: Option<&DataInterval>, text: &str) -> anyhow::Result<PlannedRun> {
    let at = parse_instant(text, dag.timetable.timezone)?;
    let anchor = dag.timetable.anchor(dag.start_date, last);
    if let Some(run) = dag.timetable.run_at(at, anchor) {
        return Ok(run);
    }
    if let Some((from, to)) = day(dag, text)
        && let Some(run) = dag.timetable.runs_between(from, to, anchor).next()
    {
        return Ok(run);
    }
    Ok(dag.timetable.manual_run(at, Some(at)))
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
