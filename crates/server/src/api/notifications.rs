//! What callbacks were told, and what they could not be told.

use axum::Json;
use axum::extract::{Query, State};
use millrace_store::NotificationRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, instant, optional};
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Notifications>> {
    let parameters = Parameters(parameters);
    let (limit, _) = parameters.page()?;
    let rows = server.store().notifications(parameters.flag("unsent")?.unwrap_or(false), limit).await?;
    Ok(Json(Notifications { notifications: rows.iter().map(|row| notification(&server, row)).collect() }))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Notifications {
    notifications: Vec<Notification>,
}

#[derive(Serialize, JsonSchema)]
struct Notification {
    id: i64,
    timestamp: Instant,
    /// `failure`, `success`, `retry`, `execute`, `skipped`, or the kind of an alert.
    event: String,
    dag_id: String,
    dag_run_id: String,
    logical_date: Instant,
    /// Null: it is about the run.
    task_id: Option<String>,
    map_index: Option<i64>,
    try_number: Option<i64>,
    reason: Option<String>,
    /// Who is told: `webhook CONNECTION`, or `command`.
    callback: String,
    /// `sent`, `waits`, or `given up`.
    state: &'static str,
    attempts: u32,
    /// When it is attempted next.
    next_at: Option<Instant>,
    sent_at: Option<Instant>,
    /// Why the last attempt has failed.
    error: Option<String>,
}

fn notification(server: &Server, row: &NotificationRow) -> Notification {
    let is_of_task = row.task_id.is_some();
    Notification {
        id: row.id,
        timestamp: instant(row.at),
        event: row.event.clone(),
        dag_id: row.dag_id.to_string(),
        dag_run_id: row.run_id.to_string(),
        logical_date: instant(row.logical_date),
        task_id: row.task_id.as_ref().map(ToString::to_string),
        map_index: is_of_task.then_some(row.map_index),
        try_number: is_of_task.then_some(row.try_number),
        reason: row.reason.as_deref().map(|text| server.masked_text(text)),
        callback: row.callee(),
        state: row.state(),
        attempts: row.attempts,
        next_at: optional(row.next_at),
        sent_at: optional(row.sent_at),
        error: row.error.as_deref().map(|text| server.masked_text(text)),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryBody {
    /// Without it, all that were given up.
    #[serde(default)]
    ids: Option<Vec<i64>>,
}

/// How many had been given up.
#[derive(Serialize, JsonSchema)]
pub(super) struct Retried {
    retried: u64,
}

pub(super) async fn retry(
    State(server): State<Shared>,
    person: Person,
    given: Given<RetryBody>,
) -> Answer<Json<Retried>> {
    let given = body(given)?;
    let retried = server.store().retry_notifications(given.ids.as_deref(), &person.actor(), server.now()).await?;
    Ok(Json(Retried { retried }))
}
