//! The audit log, under Airflow's name and with its fields.

use axum::Json;
use axum::extract::{Path, Query, State};
use millrace_model::error_code::ErrorCode;
use millrace_store::{AuditFilter, AuditRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Instant, instant, listed};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<EventLogs>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let text = |name: &str| parameters.text(name).map(str::to_owned);
    let filter = AuditFilter {
        dag_id: text("dag_id"),
        run_id: text("run_id"),
        actor: text("owner"),
        action: text("event"),
        limit,
        offset,
    };
    let page = server.store().audit_log(&filter).await?;
    let event_logs = page.rows.iter().map(|row| event_log(&server, row)).collect();
    Ok(Json(EventLogs { event_logs, total_entries: page.total }))
}

pub(super) async fn get(State(server): State<Shared>, Path(id): Path<i64>) -> Answer<Json<EventLog>> {
    let row = server.store().audit_row(id).await?;
    let row = row.ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("there is no event {id}")))?;
    Ok(Json(event_log(&server, &row)))
}

listed!(EventLogs { event_logs: EventLog });

#[derive(Serialize, JsonSchema)]
pub(crate) struct EventLog {
    event_log_id: i64,
    when: Instant,
    owner: String,
    event: String,
    dag_id: Option<String>,
    run_id: Option<String>,
    task_id: Option<String>,
    extra: Value,
    /// What was changed, as it was and as it is.
    before: Option<Value>,
    after: Option<Value>,
}

fn event_log(server: &Server, row: &AuditRow) -> EventLog {
    let masked = |value: &Value| server.masked_value(value);
    EventLog {
        event_log_id: row.id,
        when: instant(row.at),
        owner: row.actor.clone(),
        event: row.action.clone(),
        dag_id: row.dag_id.clone(),
        run_id: row.run_id.clone(),
        task_id: row.task_id.clone(),
        extra: masked(&row.details),
        before: row.before.as_ref().map(masked),
        after: row.after.as_ref().map(masked),
    }
}
