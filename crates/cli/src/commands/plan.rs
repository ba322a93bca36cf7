//! `millrace dags plan`, `dags slots`, `dags next-execution`: what will run, and what did not.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::ids::DagId;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::schedule::DataInterval;
use millrace_planner::next_runs;
use millrace_situation::{Ahead, PassedSlot, PlanEntry};
use millrace_store::{DagRow, Store};
use serde::Serialize;

use crate::app::App;
use crate::dag_files;
use crate::lookup;
use crate::output::{counted, notice, print_list};

/// The columns of a plan.
pub const COLUMNS: &[&str] = &["dag_id", "logical_date", "starts_at", "outcome", "reason"];

pub async fn plan(app: &App, store: &Store, dag_id: Option<&str>, hours: u32, limit: usize) -> anyhow::Result<()> {
    let asked: Option<DagId> = match dag_id {
        Some(dag_id) => Some(lookup::dag(app, store, dag_id).await?.dag_id),
        None => {
            dag_files::sync(app, store).await?;
            None
        }
    };
    let now = app.now();
    let until = now.checked_add_signed(TimeDelta::hours(hours.into())).context("--hours is too large")?;
    let (entries, has_more) = ahead(app, store, asked.as_ref(), until, limit).await?;
    if has_more {
        notice(format!("showing the first {limit}; --limit shows more"));
    }
    if entries.is_empty() {
        notice(match hours {
            1 => "nothing is planned in the next hour".to_owned(),
            hours => format!("nothing is planned in the next {hours} hours"),
        });
    }
    print_list(app.format, COLUMNS, &entries)
}

/// The plan until then, and whether there is more of it.
pub async fn ahead(
    app: &App,
    store: &Store,
    dag_id: Option<&DagId>,
    until: DateTime<Utc>,
    limit: usize,
) -> anyhow::Result<(Vec<PlanEntry>, bool)> {
    let ahead = Ahead::read(store, &app.surroundings_in_force(store).await?, dag_id, (app.now(), until)).await?;
    Ok(ahead.plan(limit))
}

pub async fn slots(app: &App, store: &Store, dag_id: &str, limit: u32) -> anyhow::Result<()> {
    let row = lookup::dag(app, store, dag_id).await?;
    let page = store.passed_slots(row.dag_id.as_str(), limit.into(), 0).await?;
    let views: Vec<PassedSlot> = page.rows.iter().map(PassedSlot::from).collect();
    if views.is_empty() {
        notice(format!("every due date of {dag_id} became a run"));
    } else if page.total > views.len() as u64 {
        notice(format!("showing {} of {}; --limit shows more", views.len(), counted(page.total, "record")));
    }
    print_list(app.format, &["logical_date", "last_logical_date", "slots", "outcome", "reason"], &views)
}

#[derive(Serialize)]
struct ExecutionView {
    logical_date: String,
    data_interval_start: String,
    data_interval_end: String,
    run_after: String,
}

pub async fn next_execution(
    app: &App,
    store: &Store,
    row: &DagRow,
    count: usize,
    from: Option<&str>,
) -> anyhow::Result<()> {
    let dag = &row.dag;
    // With --from the question is what the schedule would do on its own; without, what comes after the last run.
    let (now, previous): (DateTime<Utc>, Option<DataInterval>) = match from {
        Some(text) => (parse_instant(text, dag.timetable.timezone)?, None),
        None => {
            if row.is_paused {
                notice(format!(
                    "{} is paused: it runs when it is unpaused (`millrace dags unpause {}`)",
                    dag.dag_id, dag.dag_id
                ));
            }
            (app.now(), store.last_automated_interval(&row.dag_id).await?)
        }
    };
    let views: Vec<ExecutionView> = next_runs(dag, previous.as_ref(), now)
        .take(count)
        .map(|run| ExecutionView {
            logical_date: format_utc_micros(run.logical_date),
            data_interval_start: format_utc_micros(run.data_interval.start),
            data_interval_end: format_utc_micros(run.data_interval.end),
            run_after: format_utc_micros(run.run_after),
        })
        .collect();
    if views.is_empty() {
        notice(format!("the schedule of {} ({}) names no further run", dag.dag_id, dag.schedule_text()));
    }
    print_list(app.format, &["logical_date", "data_interval_start", "data_interval_end", "run_after"], &views)
}
