//! Backfills.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use millrace_store::{BackfillProgress, BackfillReport, BackfillRow};
use serde_json::{Value, json};

use super::{body, instant, optional};
use crate::backfills::{BackfillBody, outcome};
use crate::links;
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(crate) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let dag_id = match parameters.text("dag_id") {
        Some(dag_id) => Some(server.dag_row(dag_id, 0).await?.dag_id),
        None => None,
    };
    let active = parameters.flag("active")?;
    let mut rows = server.store().backfills(dag_id.as_ref()).await?;
    rows.retain(|row| active.is_none_or(|active| active == row.completed_at.is_none()));
    let total = rows.len();
    let rows: Vec<BackfillRow> = rows.into_iter().skip(offset as usize).take(limit as usize).collect();
    let progress = server.store().backfill_progress(&rows.iter().map(|row| row.key).collect::<Vec<_>>()).await?;
    let values: Vec<Value> =
        rows.iter().map(|row| value(row, progress.get(&row.key).copied().unwrap_or_default())).collect();
    Ok(Json(json!({ "backfills": values, "total_entries": total })))
}

pub(crate) async fn get(State(server): State<Shared>, Path(key): Path<i64>) -> Answer<Json<Value>> {
    answer(&server, &server.backfill_row(key).await?).await
}

pub(crate) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Result<Json<BackfillBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    let (key, report) = server.create_backfill(&person, body(given)?).await?;
    let Json(mut made) = answer(&server, &server.backfill_row(key).await?).await?;
    if let (Value::Object(made), Value::Object(dates)) = (&mut made, dates(&report)) {
        made.insert("dates".to_owned(), dates.get("backfills").cloned().unwrap_or_default());
    }
    Ok(Json(made))
}

/// The dates of a backfill, and what would become of each.
pub(crate) async fn dry_run(
    State(server): State<Shared>,
    person: Person,
    given: Result<Json<BackfillBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    Ok(Json(dates(&server.look_at_backfill(&person, body(given)?).await?)))
}

pub(crate) async fn pause(State(server): State<Shared>, Path(key): Path<i64>, person: Person) -> Answer<Json<Value>> {
    answer(&server, &server.pause_backfill(&person, key, true).await?).await
}

pub(crate) async fn unpause(State(server): State<Shared>, Path(key): Path<i64>, person: Person) -> Answer<Json<Value>> {
    answer(&server, &server.pause_backfill(&person, key, false).await?).await
}

pub(crate) async fn cancel(State(server): State<Shared>, Path(key): Path<i64>, person: Person) -> Answer<Json<Value>> {
    answer(&server, &server.cancel_backfill(&person, key).await?).await
}

async fn answer(server: &Server, row: &BackfillRow) -> Answer<Json<Value>> {
    let progress = server.store().backfill_progress(&[row.key]).await?;
    Ok(Json(value(row, progress.get(&row.key).copied().unwrap_or_default())))
}

fn dates(report: &BackfillReport) -> Value {
    let date = |date: &millrace_store::BackfillDate| {
        let (outcome, reason) = outcome(date);
        json!({
            "logical_date": instant(date.logical_date),
            "dag_run_id": date.run_id,
            "outcome": outcome,
            "reason": reason,
        })
    };
    let dates: Vec<Value> = report.dates.iter().map(date).collect();
    json!({ "backfills": dates, "total_entries": dates.len(), "runs": report.run_count() })
}

fn value(row: &BackfillRow, progress: BackfillProgress) -> Value {
    json!({
        "id": row.key,
        "dag_id": row.dag_id,
        "dag_display_name": row.dag_id,
        "from_date": instant(row.from),
        "to_date": instant(row.to),
        "dag_run_conf": row.conf,
        "is_paused": row.is_paused,
        "reprocess_behavior": row.reprocess.as_str(),
        "max_active_runs": row.max_active_runs,
        "run_backwards": row.is_reversed,
        "tasks": row.selection,
        "state": row.state.as_str(),
        "runs": {
            "total": progress.total(),
            "ended": progress.ended(),
            "queued": progress.queued,
            "running": progress.running,
            "success": progress.success,
            "failed": progress.failed,
        },
        "triggered_by": row.created_by,
        "created_at": instant(row.created_at),
        "completed_at": optional(row.completed_at),
        "page": links::backfills(row.dag_id.as_str()),
    })
}
