//! Backfills.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::ids::DagId;
use millrace_store::{BackfillProgress, BackfillReport, BackfillRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Given, Instant, body, instant, listed, optional, paged};
use crate::access::person::Person;
use crate::deeds::backfills::{BackfillBody, outcome};
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Backfills>> {
    let dag_id = parameters.text("dag_id").map(DagId::new_unchecked);
    let active = parameters.flag("active")?;
    let mut rows = server.store().backfills(dag_id.as_ref()).await?;
    rows.retain(|row| active.is_none_or(|active| active == row.completed_at.is_none()));
    let progress = server.store().backfill_progress(&rows.iter().map(|row| row.key).collect::<Vec<_>>()).await?;
    let of = |row: &BackfillRow| progress.get(&row.key).copied().unwrap_or_default();
    let backfills = rows.iter().map(|row| backfill(&server, row, of(row))).collect();
    let (backfills, total_entries) = paged(backfills, &parameters, ORDERS)?;
    Ok(Json(Backfills { backfills, total_entries }))
}

pub(super) const ORDERS: &[&str] = &["id", "dag_id", "from_date", "to_date", "state", "created_at", "completed_at"];

pub(crate) async fn get(State(server): State<Shared>, Path(key): Path<i64>) -> Answer<Json<Backfill>> {
    answer(&server, &server.backfill_row(key).await?).await
}

pub(crate) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Given<BackfillBody>,
) -> Answer<Json<Backfill>> {
    let (key, prepared, report) = server.create_backfill(&person, body(given)?).await?;
    let Json(mut made) = answer(&server, &server.backfill_row(key).await?).await?;
    made.dates = Some(dates(&report));
    made.warnings = Some(prepared.warnings);
    Ok(Json(made))
}

/// The dates of a backfill, and what would become of each.
pub(crate) async fn dry_run(
    State(server): State<Shared>,
    person: Person,
    given: Given<BackfillBody>,
) -> Answer<Json<BackfillDates>> {
    let (prepared, report) = server.look_at_backfill(&person, body(given)?).await?;
    let backfills = dates(&report);
    Ok(Json(BackfillDates {
        total_entries: backfills.len() as u64,
        backfills,
        runs: report.run_count() as u64,
        task_ids: prepared.task_ids(),
        warnings: prepared.warnings,
    }))
}

pub(crate) async fn pause(
    State(server): State<Shared>,
    Path(key): Path<i64>,
    person: Person,
) -> Answer<Json<Backfill>> {
    answer(&server, &server.pause_backfill(&person, key, true).await?).await
}

pub(crate) async fn unpause(
    State(server): State<Shared>,
    Path(key): Path<i64>,
    person: Person,
) -> Answer<Json<Backfill>> {
    answer(&server, &server.pause_backfill(&person, key, false).await?).await
}

pub(crate) async fn cancel(
    State(server): State<Shared>,
    Path(key): Path<i64>,
    person: Person,
) -> Answer<Json<Backfill>> {
    answer(&server, &server.cancel_backfill(&person, key).await?).await
}

async fn answer(server: &Server, row: &BackfillRow) -> Answer<Json<Backfill>> {
    let progress = server.store().backfill_progress(&[row.key]).await?;
    Ok(Json(backfill(server, row, progress.get(&row.key).copied().unwrap_or_default())))
}

listed!(Backfills { backfills: Backfill });

/// The dates of a backfill.
#[derive(Serialize, JsonSchema)]
pub(crate) struct BackfillDates {
    backfills: Vec<BackfillDate>,
    total_entries: u64,
    /// How many of the dates would run.
    runs: u64,
    /// The only tasks that would run; null: all.
    task_ids: Option<Vec<String>>,
    /// What speaks against it, or may surprise.
    warnings: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct BackfillDate {
    logical_date: Instant,
    dag_run_id: String,
    /// `new run`, `run again` or `left alone`.
    outcome: &'static str,
    reason: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct BackfillRuns {
    total: u64,
    ended: u64,
    queued: u64,
    running: u64,
    success: u64,
    failed: u64,
    /// Dates whose runs a later backfill has taken over, or that were deleted; they count in `total`.
    gone: u64,
    /// Those of them that a later backfill has.
    taken_over: u64,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Backfill {
    id: i64,
    dag_id: String,
    dag_display_name: String,
    from_date: Instant,
    to_date: Instant,
    dag_run_conf: Value,
    is_paused: bool,
    reprocess_behavior: &'static str,
    max_active_runs: u32,
    run_backwards: bool,
    tasks: Option<String>,
    state: &'static str,
    runs: BackfillRuns,
    triggered_by: String,
    created_at: Instant,
    completed_at: Option<Instant>,
    page: String,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    dates: Option<Vec<BackfillDate>>,
    /// What speaks against it, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<String>>,
}

fn dates(report: &BackfillReport) -> Vec<BackfillDate> {
    let date = |date: &millrace_store::BackfillDate| {
        let (outcome, reason) = outcome(date);
        BackfillDate {
            logical_date: instant(date.logical_date),
            dag_run_id: date.run_id.to_string(),
            outcome,
            reason: reason.map(str::to_owned),
        }
    };
    report.dates.iter().map(date).collect()
}

fn backfill(server: &Server, row: &BackfillRow, progress: BackfillProgress) -> Backfill {
    Backfill {
        id: row.key,
        dag_id: row.dag_id.to_string(),
        dag_display_name: row.dag_id.to_string(),
        from_date: instant(row.from),
        to_date: instant(row.to),
        dag_run_conf: server.masked_conf(&row.conf, &row.created_by),
        is_paused: row.is_paused,
        reprocess_behavior: row.reprocess.as_str(),
        max_active_runs: row.max_active_runs,
        run_backwards: row.is_reversed,
        tasks: row.selection.clone(),
        state: row.state.as_str(),
        runs: BackfillRuns {
            total: progress.total(),
            ended: progress.ended(),
            queued: progress.queued,
            running: progress.running,
            success: progress.success,
            failed: progress.failed,
            gone: progress.gone,
            taken_over: progress.taken_over,
        },
        triggered_by: row.created_by.clone(),
        created_at: instant(row.created_at),
        completed_at: optional(row.completed_at),
        page: links::backfills(row.dag_id.as_str()),
        dates: None,
        warnings: None,
    }
}
