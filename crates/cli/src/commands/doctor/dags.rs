//! DAGs: their files, and what is stored of them.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use millrace_dagfile::LintOptions;
use millrace_model::pool::{PoolFault, PoolSizes};
use millrace_model::schedule::Schedule;
use millrace_store::{DagFilter, DagRow, Store};

use super::Report;
use crate::app::App;
use crate::dag_files;
use crate::output::{counted, listed};

/// Rows that a table loaded whole with each run should not have.
const MOST_ROWS: i64 = 10_000_000;

/// One task that takes longer is expensive to repeat.
const LONG: TimeDelta = TimeDelta::hours(1);

pub(super) async fn look_at_files(app: &App, report: &mut Report) {
    let folder = app.dags_folder();
    if !folder.is_dir() {
        let what = format!("there is no folder {}", folder.display());
        report.warn("dags folder", what, "make it and put DAG files there, or set core.dags_folder");
        return;
    }
    let pools = dag_files::pools(app).await;
    let mut checked = match dag_files::check(app, &[], pools.as_ref()) {
        Ok(checked) => checked,
        Err(error) => {
            report.fail("dags folder", crate::chain(&error), "give the daemon's user the right to read it");
            return;
        }
    };
    let name =
        |file: &dag_files::Checked| file.path().strip_prefix(&folder).unwrap_or(file.path()).display().to_string();
    let broken: Vec<String> = checked.iter().filter(|file| file.has_errors()).map(name).collect();
    // Pools that are too small are told of the DAGs that are stored.
    let connections = dag_files::connections(app).await;
    let options = LintOptions { connections, ..LintOptions::new(app.now()) };
    for file in &mut checked {
        file.lint(&options);
    }
    if broken.is_empty() {
        report.ok("dags folder", format!("{} can be read", counted(checked.len(), "file")));
    } else {
        let what = format!("{} of {} can't be used: {}", broken.len(), counted(checked.len(), "file"), listed(&broken));
        report.fail("dags folder", what, "millrace validate");
    }
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    let warnings = checked.iter().filter(|file| !file.has_errors()).flat_map(dag_files::Checked::diagnostics);
    for diagnostic in warnings {
        *codes.entry(diagnostic.code.to_string()).or_default() += 1;
    }
    if !codes.is_empty() {
        let counts: Vec<String> = codes.iter().map(|(code, count)| format!("{code} {count}")).collect();
        report.warn("dags folder", format!("warnings: {}", listed(&counts)), "millrace validate says where");
    }
}

pub(super) async fn look_at_stored(app: &App, store: &Store, report: &mut Report) {
    if let Err(error) = stored(app, store, report).await {
        report.fail("dags", crate::chain(&error), "see that the database can be read");
    }
}

async fn stored(app: &App, store: &Store, report: &mut Report) -> anyhow::Result<()> {
    let rows = store.dags(&DagFilter { include_stale: true, ..DagFilter::default() }).await?.rows;
    let left_out = store.left_out_dags().await?;
    if left_out.is_empty() {
        report.ok("dags", format!("{} are stored", rows.len()));
    }
    for (dag_id, reason) in left_out {
        let what = format!("what is stored of {dag_id} can't be used, so it is left out: {reason}");
        let mend =
            "change its file, so that it is stored anew; what its runs did comes back with a backup of the database";
        report.fail("dags", what, mend);
    }
    let active: Vec<&DagRow> = rows.iter().filter(|row| !row.is_paused && !row.is_stale).collect();
    stalled(store, &rows, report).await?;
    set_aside(store, report).await?;
    to_come(app, store, report).await?;
    slots(app, &active, report);
    pools(&active, &store.pool_sizes().await?, report);
    let large = store.full_refreshes(MOST_ROWS).await?;
    let large: Vec<String> =
        large.into_iter().map(|(dag, task, rows)| format!("{dag}.{task} ({})", counted(rows, "row"))).collect();
    if !large.is_empty() {
        let mend = "read the rows of the data interval only, and upsert them";
        report.warn("dags", format!("large tables are loaded whole: {}", listed(&large)), mend);
    }
    let long = store.long_single_tasks(LONG.num_microseconds().unwrap_or(i64::MAX)).await?;
    let long: Vec<String> = long.into_iter().map(|(dag, seconds)| format!("{dag} ({} min)", seconds / 60)).collect();
    if !long.is_empty() {
        let mend = "cut it into steps, so that a failure repeats only the step";
        report.warn("dags", format!("one task takes the whole run: {}", listed(&long)), mend);
    }
    Ok(())
}

/// Runs that nobody goes on with.
async fn stalled(store: &Store, rows: &[DagRow], report: &mut Report) -> anyhow::Result<()> {
    let active = store.active_run_counts().await?;
    let held = |row: &&DagRow| row.is_paused && active.contains_key(row.dag_id.as_str());
    let paused: Vec<String> = rows.iter().filter(held).map(|row| row.dag_id.to_string()).collect();
    if !paused.is_empty() {
        let what = format!("paused with unfinished runs, which wait: {}", listed(&paused));
        report.warn("dags", what, "`millrace dags unpause DAG` lets them go on");
    }
    let ends = |row: &&DagRow| row.is_stale && !row.is_paused && row.dag.timetable.schedule != Schedule::None;
    let gone: Vec<String> = rows.iter().filter(ends).map(|row| row.dag_id.to_string()).collect();
    if !gone.is_empty() {
        let what = format!("scheduled, but their files are gone: {}", listed(&gone));
        report.warn("dags", what, "put the files back, or pause them");
    }
    Ok(())
}

/// Schedules that stand still because a clock was ahead.
async fn to_come(app: &App, store: &Store, report: &mut Report) -> anyhow::Result<()> {
    let runs = store.runs_to_come(None, app.now()).await?;
    let names: Vec<String> = runs.iter().map(|(dag_id, run_id)| format!("{dag_id} {run_id}")).collect();
    if !names.is_empty() {
        let what = format!(
            "schedules stand still behind runs of dates to come, made while a clock was ahead: {}",
            listed(&names)
        );
        report.fail("dags", what, "set the clock right, and delete them: `millrace dags delete DAG --run-id RUN`");
    }
    Ok(())
}

/// What the scheduler leaves alone because the database refuses it, or gives back what cannot be read.
async fn set_aside(store: &Store, report: &mut Report) -> anyhow::Result<()> {
    for one in store.set_aside().await? {
        let what = match (&one.dag_id, one.run) {
            (Some(dag_id), _) => format!("DAG {dag_id}"),
            (None, Some(run)) => match store.run_by_key(run).await {
                Ok(Some(run)) => format!("{} {}", run.dag_id, run.run_id),
                _ => format!("run number {run}"),
            },
            (None, None) => "something".to_owned(),
        };
        let mend = "it is tried again every five minutes; clear or mark the run, or save the DAG's file, to have it tried at once";
        report.fail("set aside", format!("{what}: {}", one.reason), mend);
    }
    Ok(())
}

/// More tasks may want to run than there are slots.
fn slots(app: &App, active: &[&DagRow], report: &mut Report) {
    let slots = app.config.core.parallelism;
    let wants = |row: &DagRow| row.dag.most_tries_at_once();
    let wide: Vec<String> = active
        .iter()
        .filter(|row| wants(row) > slots && row.dag.timetable.schedule != Schedule::None)
        .map(|row| format!("{} ({})", row.dag_id, wants(row)))
        .collect();
    if wide.is_empty() {
        report.ok("slots", format!("{slots} worker slots; no scheduled DAG alone can want more"));
    } else {
        let what = format!("max_active_runs x tasks is more than the {slots} worker slots: {}", listed(&wide));
        report.warn(
            "slots",
            what,
            "lower max_active_runs, or raise core.parallelism; until then runs wait for each other",
        );
    }
}

fn pools(active: &[&DagRow], pools: &PoolSizes, report: &mut Report) {
    let (mut missing, mut narrow) = (Vec::new(), Vec::new());
    for row in active {
        for fault in PoolFault::all_of(&row.dag, pools) {
            let name = format!("{}.{}", row.dag_id, fault.task_id());
            match fault {
                PoolFault::Unknown { pool, .. } => missing.push(format!("{name} ({pool})")),
                PoolFault::TooSmall { pool, slots, needed, .. } => {
                    narrow.push(format!("{name} ({pool}) needs {needed} of {slots}"));
                }
            }
        }
    }
    if !missing.is_empty() {
        report.fail(
            "pools",
            format!("tasks name pools that do not exist: {}", listed(&missing)),
            "millrace pools set NAME SLOTS",
        );
    }
    if !narrow.is_empty() {
        let what = format!("tasks that can never run: {}", listed(&narrow));
        report.fail("pools", what, "give the pool more slots, or the task fewer");
    }
    if missing.is_empty() && narrow.is_empty() {
        report.ok("pools", format!("{}, large enough for every task", counted(pools.len(), "pool")));
    }
}
