//! A backfill as somebody asks for it: planned, and with what speaks against it. The same for every face.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_dagfile::backfill_problems;
use millrace_model::graph::CycleError;
use millrace_model::instant::format_utc_micros;
use millrace_model::selection::TaskSelection;
use millrace_planner::{BackfillPlan, BackfillRange, BackfillWish, DagVersion, RequestError, plan_backfill};
use millrace_store::{DagRow, NewBackfill, NewPart, Reprocess, Store, StoreError};
use serde_json::{Map, Value};

/// What is asked for.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub struct BackfillRequest {
    /// The first logical date.
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// `to` is run too.
    pub includes_end: bool,
    /// The newest date first.
    pub is_reversed: bool,
    /// Also dates outside of the DAG's start and end.
    pub ignores_bounds: bool,
    pub reprocess: Reprocess,
    /// None: as many at a time as the DAG's runs by schedule.
    pub max_active_runs: Option<u32>,
    pub conf: Map<String, Value>,
    /// None: every task.
    pub tasks: Option<TaskSelection>,
    pub actor: String,
    /// Nothing is changed.
    pub dry_run: bool,
}

/// What [`Store::create_backfill`] is to make of it.
#[derive(Debug, Clone)]
pub struct PreparedBackfill {
    pub new: NewBackfill,
    /// What speaks against it, or may surprise whoever asks: a sentence each, with how to mend it.
    pub warnings: Vec<String>,
}

impl PreparedBackfill {
    /// The only tasks that its runs run; none: they run all.
    pub fn task_ids(&self) -> Option<Vec<String>> {
        let part = self.new.part.as_ref()?;
        Some(part.dag.tasks.iter().map(|task| task.task_id.to_string()).collect())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BackfillError {
    #[error("the file of DAG {dag_id} ({file_path}) is gone; its past runs are kept, but nothing new is started")]
    FileGone { dag_id: String, file_path: String },
    #[error(transparent)]
    Refused(#[from] RequestError),
    #[error("the stored DAG can't be used")]
    Circle(#[from] CycleError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks and plans; writes nothing.
pub async fn prepare_backfill(
    store: &Store,
    dag: &DagRow,
    request: BackfillRequest,
    now: DateTime<Utc>,
) -> Result<PreparedBackfill, BackfillError> {
    if dag.is_stale {
        let (dag_id, file_path) = (dag.dag_id.to_string(), dag.file_path.clone());
        return Err(BackfillError::FileGone { dag_id, file_path });
    }
    let version = DagVersion::new(dag.version_key, dag.dag.clone())?;
    let wish = BackfillWish {
        range: BackfillRange {
            version: &version,
            from: request.from,
            to: request.to,
            includes_end: request.includes_end,
            ignores_bounds: request.ignores_bounds,
            last_interval: store.last_automated_interval(&dag.dag_id).await?,
            conf: request.conf.clone(),
        },
        is_reversed: request.is_reversed,
        reprocesses: request.reprocess != Reprocess::None,
        tasks: request.tasks,
    };
    let plan = plan_backfill(&wish, now)?;
    let mut warnings = warnings(dag, &wish, &plan, now);
    if !store.is_led().await? {
        warnings.push("no scheduler is running: start `millrace scheduler` or `millrace standalone`".to_owned());
    }
    let selection = wish.tasks.as_ref().map(TaskSelection::describe);
    let part = plan.part.zip(selection);
    let new = NewBackfill {
        dag_id: dag.dag_id.clone(),
        from: request.from,
        to: request.to,
        reprocess: request.reprocess,
        max_active_runs: request.max_active_runs.unwrap_or(dag.dag.max_active_runs),
        conf: request.conf,
        runs: plan.runs,
        is_reversed: request.is_reversed,
        part: part.map(|(part, selection)| NewPart { dag: part.dag, left_out: part.left_out, selection }),
        dry_run: request.dry_run,
        actor: request.actor,
    };
    Ok(PreparedBackfill { new, warnings })
}

fn warnings(row: &DagRow, wish: &BackfillWish<'_>, plan: &BackfillPlan, now: DateTime<Utc>) -> Vec<String> {
    // What is left out does not run, and so does no harm.
    let dag = plan.part.as_ref().map_or(&*row.dag, |part| &part.dag);
    let mut found = backfill_problems(dag, now);
    if row.has_import_error {
        found.push(format!(
            "{} cannot be read as it is now, so its last good version is run; `millrace dags list-import-errors` says why",
            row.file_path
        ));
    }
    if let Some(until) = dag.maintenance.iter().filter_map(|window| window.open_until(now)).max() {
        let until = format_utc_micros(until);
        found.push(format!("a maintenance window of the DAG is open: nothing starts before {until}"));
    }
    for (task, mapped) in plan.part.iter().flat_map(|part| &part.lists) {
        found.push(format!("{task} runs too: {mapped} is mapped over its result"));
    }
    if let Some(date) = first_not_ended(wish, plan, now) {
        let date = format_utc_micros(date);
        found.push(format!("{date} and later dates have not ended yet and are left out: ask again when they have"));
    }
    found
}

/// The first date of the range whose interval goes on.
fn first_not_ended(wish: &BackfillWish<'_>, plan: &BackfillPlan, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (range, dag) = (&wish.range, &wish.range.version.dag);
    let last = plan.runs.iter().map(|run| run.logical_date).max()?;
    let end = if range.includes_end { range.to + TimeDelta::microseconds(1) } else { range.to };
    let anchor = dag.timetable.anchor(dag.start_date, range.last_interval.as_ref());
    let mut later = dag.timetable.runs_between(last, end, anchor);
    let date = later.find(|date| date.run_after > now)?.logical_date;
    let is_within = range.ignores_bounds || dag.end_date.is_none_or(|end| date <= end);
    is_within.then_some(date)
}
