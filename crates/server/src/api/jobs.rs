//! Schedulers and other long-lived processes.

use axum::Json;
use axum::extract::{Query, State};
use millrace_store::JobRow;
use serde_json::{Value, json};

use super::health::SILENT_AFTER;
use super::{instant, optional};
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

/// Newer ones than that are looked through.
const LOOKED_AT: u64 = 1000;

pub(crate) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let (wanted, alive) = (parameters.text("job_type"), parameters.flag("is_alive")?);
    let (now, timeout) = (server.now(), SILENT_AFTER);
    let rows = server.store().jobs(LOOKED_AT).await?;
    let is_asked = |row: &&JobRow| {
        wanted.is_none_or(|kind| row.kind == kind)
            && alive.is_none_or(|alive| alive == (row.state(now, timeout) == "running"))
    };
    let rows: Vec<&JobRow> = rows.iter().filter(is_asked).collect();
    let value = |row: &&JobRow| {
        json!({
            "id": row.id,
            "job_type": row.kind,
            "state": row.state(now, timeout),
            "hostname": row.hostname,
            "pid": row.pid,
            "start_date": instant(row.started_at),
            "end_date": optional(row.ended_at),
            "latest_heartbeat": instant(row.heartbeat_at),
        })
    };
    let shown: Vec<Value> = rows.iter().skip(offset as usize).take(limit as usize).map(value).collect();
    Ok(Json(json!({"jobs": shown, "total_entries": rows.len()})))
}
