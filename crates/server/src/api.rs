//! REST under `/api/v1`: Airflow's names and envelopes, times in RFC 3339 UTC with microseconds.

mod alerts;
mod assets;
mod backfills;
mod calendars;
mod connections;
mod dags;
mod explain;
mod health;
mod import_errors;
pub(crate) mod instances;
mod jobs;
pub(crate) mod ledger;
mod logs;
mod plan;
mod pools;
mod runs;

use axum::Json;
use axum::Router;
use axum::extract::rejection::JsonRejection;
use axum::routing::{get, patch, post, put};
use chrono::{DateTime, Utc};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_model::instant::format_utc_micros;
use millrace_model::ledger::LedgerEntry;
use millrace_store::LedgerRow;
use serde_json::{Value, json};

use crate::problem::{Answer, Problem};
use crate::server::Shared;
use crate::sign_in;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/health", get(health::health))
        .route("/version", get(async || Json(json!({"version": env!("CARGO_PKG_VERSION"), "git_version": null}))))
        .route("/auth/token", post(sign_in::token))
        .route("/importErrors", get(import_errors::list))
        .route("/dagWarnings", get(import_errors::warnings))
        .route("/dags", get(dags::list))
        .route("/dags/{dag_id}", get(dags::get).patch(dags::patch))
        .route("/dags/{dag_id}/explain", get(explain::dag))
        .route("/plan", get(plan::all))
        .route("/dags/{dag_id}/plan", get(plan::dag))
        .route("/dags/{dag_id}/slots", get(plan::slots))
        .route("/dags/{dag_id}/dagRuns", get(runs::list).post(runs::trigger))
        .route("/backfills", get(backfills::list).post(backfills::create))
        .route("/backfills/dry_run", post(backfills::dry_run))
        .route("/backfills/{key}", get(backfills::get))
        .route("/backfills/{key}/pause", put(backfills::pause))
        .route("/backfills/{key}/unpause", put(backfills::unpause))
        .route("/backfills/{key}/cancel", put(backfills::cancel))
        .route("/dags/{dag_id}/clearTaskInstances", post(instances::clear))
        .route("/dags/{dag_id}/dagRuns/{run_id}", get(runs::get).patch(runs::patch))
        .route("/dags/{dag_id}/dagRuns/{run_id}/clear", post(runs::clear))
        .route("/dags/{dag_id}/dagRuns/{run_id}/explain", get(explain::run))
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances", get(instances::list))
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", get(instances::get).patch(instances::patch))
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dry_run", patch(instances::patch_dry_run))
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/explain", get(explain::task))
        // Airflow's name.
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dependencies", get(explain::task))
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}", get(logs::get))
        // Of a mapped task: as the addresses without the index take `?map_index=`.
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/listMapped", get(instances::list_mapped))
        .route(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}",
            get(instances::get_mapped).patch(instances::patch_mapped),
        )
        .route(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dry_run",
            patch(instances::patch_mapped_dry_run),
        )
        .route("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dependencies", get(explain::mapped))
        .route("/calendars", get(calendars::list))
        .route("/calendars/{name}", get(calendars::get))
        .route("/pools", get(pools::list).post(pools::create))
        .route("/pools/{name}", get(pools::get).patch(pools::patch).delete(pools::delete))
        .route("/jobs", get(jobs::list))
        .route("/ledger", get(ledger::list))
        .route("/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents", get(assets::of_run))
        .route("/dags/{dag_id}/assets/queuedEvents", get(assets::queued))
        .route("/assets", get(assets::list))
        .route("/assets/events", get(assets::events).post(assets::record))
        .route("/alerts", get(alerts::list))
        .route("/alerts/seen", post(alerts::see))
        .route("/connections", get(connections::list).post(connections::create))
        .route("/connections/test", post(connections::test))
        .route("/connections/{conn_id}", get(connections::get).patch(connections::patch).delete(connections::delete))
}

pub(crate) fn instant(at: DateTime<Utc>) -> Value {
    Value::String(format_utc_micros(at))
}

fn optional(at: Option<DateTime<Utc>>) -> Value {
    at.map_or(Value::Null, instant)
}

/// Seconds.
fn duration(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Value {
    match (start, end) {
        (Some(start), Some(end)) => json!((end - start).num_microseconds().unwrap_or(0) as f64 / 1e6),
        _ => Value::Null,
    }
}

/// The body, or 422 with what is wrong and where.
fn body<T>(given: Result<Json<T>, JsonRejection>) -> Answer<T> {
    match given {
        Ok(Json(body)) => Ok(body),
        Err(rejection) => Err(match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Problem::new(ErrorCode::BODY_TOO_LARGE, rejection.body_text()),
            StatusCode::UNPROCESSABLE_ENTITY => Problem::invalid(rejection.body_text()),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Problem::new(ErrorCode::BAD_REQUEST, "send the body as JSON, with Content-Type: application/json")
            }
            _ => Problem::new(ErrorCode::BAD_REQUEST, rejection.body_text()),
        }),
    }
}

pub(crate) use connections::form_of;
pub(crate) use health::SILENT_AFTER;
pub(crate) use import_errors::place as import_place;

/// The first line of an error that says something.
pub(crate) fn first_line(text: &str) -> String {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().chars().take(300).collect()
}

/// What a run or task moved: the rows that were loaded, or else those that were written or read.
pub(crate) fn rows_moved(ledger: &[LedgerRow]) -> Option<u64> {
    let sum = |stage: &str, rows: fn(&LedgerEntry) -> Option<u64>| {
        ledger.iter().filter(|row| row.entry.stage == stage).filter_map(|row| rows(&row.entry)).reduce(|a, b| a + b)
    };
    let written = |entry: &LedgerEntry| entry.rows_written.or(entry.rows_inserted).or(entry.rows_read);
    ["load", "upload", "extract"].into_iter().find_map(|stage| sum(stage, written))
}
