//! REST under `/api/v1`: Airflow's names and envelopes, times in RFC 3339 UTC with microseconds.

mod alerts;
mod assets;
mod audit;
mod backfills;
mod calendars;
mod connections;
mod dags;
mod explain;
mod grants;
mod health;
mod import_errors;
pub(crate) mod instances;
mod jobs;
pub(crate) mod ledger;
mod logs;
mod people;
mod plan;
mod pools;
mod runs;
mod tokens;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use chrono::{DateTime, Utc};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_model::instant::format_utc_micros;
use millrace_model::ledger::LedgerEntry;
use millrace_store::LedgerRow;
use serde_json::{Value, json};

use crate::doors::Doors;
use crate::permission::{Access, Act};
use crate::problem::{Answer, Problem};
use crate::sign_in;

pub(crate) fn doors() -> Doors {
    use Act::{
        Backfill, ChangeRuns, ManagePeople, OwnAccount, PauseDags, ReadAudit, ReadConnections, ReadDags, ReadLogs,
        ReadSystem, RecordAssets, SeeAlerts, TestConnections, TriggerRuns, WriteConnections, WritePools,
    };
    Doors::under("/api/v1")
        .get("/health", Access::Open, health::health)
        .get("/version", ReadSystem, async || Json(json!({"version": env!("CARGO_PKG_VERSION"), "git_version": null})))
        .post("/auth/token", Access::Open, sign_in::token)
        .get("/account", OwnAccount, people::account)
        .post("/account/password", OwnAccount, people::change_own_password)
        .get("/users", ManagePeople, people::list)
        .post("/users", ManagePeople, people::create)
        .get("/users/{username}", ManagePeople, people::get)
        .patch("/users/{username}", ManagePeople, people::patch)
        .delete("/users/{username}", ManagePeople, people::delete)
        .get("/grants", ManagePeople, grants::list)
        .post("/grants", ManagePeople, grants::create)
        .delete("/grants/{id}", ManagePeople, grants::delete)
        .get("/tokens", OwnAccount, tokens::list)
        .post("/tokens", OwnAccount, tokens::create)
        .delete("/tokens/{id}", OwnAccount, tokens::revoke)
        .get("/eventLogs", ReadAudit, audit::list)
        .get("/importErrors", ReadDags, import_errors::list)
        .get("/dagWarnings", ReadDags, import_errors::warnings)
        .get("/dags", ReadDags, dags::list)
        .get("/dags/{dag_id}", ReadDags, dags::get)
        .patch("/dags/{dag_id}", PauseDags, dags::patch)
        .get("/dags/{dag_id}/explain", ReadDags, explain::dag)
        .get("/plan", ReadDags, plan::all)
        .get("/dags/{dag_id}/plan", ReadDags, plan::dag)
        .get("/dags/{dag_id}/slots", ReadDags, plan::slots)
        .get("/dags/{dag_id}/dagRuns", ReadDags, runs::list)
        .post("/dags/{dag_id}/dagRuns", TriggerRuns, runs::trigger)
        .get("/backfills", ReadDags, backfills::list)
        .post("/backfills", Access::OfSomeDag(Backfill), backfills::create)
        .post("/backfills/dry_run", Access::OfSomeDag(Backfill), backfills::dry_run)
        .get("/backfills/{key}", ReadDags, backfills::get)
        .put("/backfills/{key}/pause", Access::OfSomeDag(Backfill), backfills::pause)
        .put("/backfills/{key}/unpause", Access::OfSomeDag(Backfill), backfills::unpause)
        .put("/backfills/{key}/cancel", Access::OfSomeDag(Backfill), backfills::cancel)
        .post("/dags/{dag_id}/clearTaskInstances", ChangeRuns, instances::clear)
        .get("/dags/{dag_id}/dagRuns/{run_id}", ReadDags, runs::get)
        .patch("/dags/{dag_id}/dagRuns/{run_id}", ChangeRuns, runs::patch)
        .post("/dags/{dag_id}/dagRuns/{run_id}/clear", ChangeRuns, runs::clear)
        .get("/dags/{dag_id}/dagRuns/{run_id}/explain", ReadDags, explain::run)
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances", ReadDags, instances::list)
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", ReadDags, instances::get)
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", ChangeRuns, instances::patch)
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dry_run", ChangeRuns, instances::patch_dry_run)
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/explain", ReadDags, explain::task)
        // Airflow's name.
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dependencies", ReadDags, explain::task)
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}", ReadLogs, logs::get)
        // Of a mapped task: as the addresses without the index take `?map_index=`.
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/listMapped", ReadDags, instances::list_mapped)
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}", ReadDags, instances::get_mapped)
        .patch(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}",
            ChangeRuns,
            instances::patch_mapped,
        )
        .patch(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dry_run",
            ChangeRuns,
            instances::patch_mapped_dry_run,
        )
        .get(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dependencies",
            ReadDags,
            explain::mapped,
        )
        .get("/calendars", ReadSystem, calendars::list)
        .get("/calendars/{name}", ReadSystem, calendars::get)
        .get("/pools", ReadSystem, pools::list)
        .post("/pools", WritePools, pools::create)
        .get("/pools/{name}", ReadSystem, pools::get)
        .patch("/pools/{name}", WritePools, pools::patch)
        .delete("/pools/{name}", WritePools, pools::delete)
        .get("/jobs", ReadSystem, jobs::list)
        .get("/ledger", ReadDags, ledger::list)
        .get("/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents", ReadDags, assets::of_run)
        .get("/dags/{dag_id}/assets/queuedEvents", ReadDags, assets::queued)
        .get("/assets", ReadSystem, assets::list)
        .get("/assets/events", ReadSystem, assets::events)
        .post("/assets/events", RecordAssets, assets::record)
        .get("/alerts", ReadSystem, alerts::list)
        .post("/alerts/seen", SeeAlerts, alerts::see)
        .get("/connections", ReadConnections, connections::list)
        .post("/connections", WriteConnections, connections::create)
        .post("/connections/test", TestConnections, connections::test)
        .get("/connections/{conn_id}", ReadConnections, connections::get)
        .patch("/connections/{conn_id}", WriteConnections, connections::patch)
        .delete("/connections/{conn_id}", WriteConnections, connections::delete)
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
