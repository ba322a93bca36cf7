//! The audit log, under Airflow's name and with its fields.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::error_code::ErrorCode;
use millrace_store::{AuditFilter, AuditRow, DateSpan};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{Instant, instant, listed};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<EventLogs>> {
    let (limit, offset) = parameters.page()?;
    let texts = |name: &str| parameters.all(name).into_iter().map(str::to_owned).collect();
    let filter = AuditFilter {
        dag_id: parameters.owned("dag_id"),
        run_id: parameters.owned("run_id"),
        actor: parameters.owned("owner"),
        action: parameters.owned("event"),
        task_id: parameters.owned("task_id"),
        included: texts("included_events"),
        excluded: texts("excluded_events"),
        at: DateSpan { from: parameters.instant("after")?, before: parameters.instant("before")? },
        order: parameters.order(ORDERS)?,
        limit,
        offset,
    };
    let mut page = server.store().audit_log(&filter).await?;
    server.masked_audit(&mut page.rows).await?;
    let event_logs = page.rows.into_iter().map(event_log).collect();
    Ok(Json(EventLogs { event_logs, total_entries: page.total }))
}

pub(super) async fn get(State(server): State<Shared>, Path(id): Path<i64>) -> Answer<Json<EventLog>> {
    let row = server.store().audit_row(id).await?;
    let mut row = row.ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("there is no event {id}")))?;
    server.masked_audit(std::slice::from_mut(&mut row)).await?;
    Ok(Json(event_log(row)))
}

/// What events can be ordered by.
pub(super) const ORDERS: &[&str] = AuditFilter::ORDERS;

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

/// Of a row that is masked.
fn event_log(row: AuditRow) -> EventLog {
    EventLog {
        event_log_id: row.id,
        when: instant(row.at),
        owner: row.actor,
        event: row.action,
        dag_id: row.dag_id,
        run_id: row.run_id,
        task_id: row.task_id,
        extra: row.details,
        before: row.before,
        after: row.after,
    }
}
