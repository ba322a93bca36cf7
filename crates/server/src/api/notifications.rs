//! What callbacks were told, and what they could not be told.

use axum::Json;
use axum::extract::State;
use millrace_store::{NotificationFilter, NotificationRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, instant, listed, optional};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::doors::Doors;
use crate::openapi::{Kind, op};
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) fn doors() -> Doors {
    use Act::{ReadSystem, SeeAlerts};
    super::under()
        .get("/notifications", ReadSystem, list)
        .does(
            op("List what callbacks were told, newest first")
                .page()
                .query("dag_id", Kind::Text, "About this DAG")
                .query("unsent", Kind::Flag, "Only what was not sent yet, or has been given up")
                .gives::<Notifications>(),
        )
        .post("/notifications/retry", SeeAlerts, retry)
        .does(op("Tell callbacks again what was given up").takes::<RetryBody>().gives::<Retried>())
}

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Notifications>> {
    let (limit, offset) = parameters.page()?;
    let filter = NotificationFilter {
        only_unsent: parameters.flag("unsent")?.unwrap_or(false),
        dag_id: parameters.owned("dag_id"),
        limit,
        offset,
        ..NotificationFilter::default()
    };
    let page = server.store().notifications(&filter).await?;
    let notifications = page.rows.iter().map(|row| notification(&server, row)).collect();
    Ok(Json(Notifications { notifications, total_entries: page.total }))
}

listed!(Notifications { notifications: Notification });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Notification {
    id: i64,
    timestamp: Instant,
    /// `failure`, `success`, `retry`, `execute`, `skipped`, or the kind of an alert.
    event: String,
    dag_id: String,
    /// Null: it is about the DAG's file.
    dag_run_id: Option<String>,
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
        dag_run_id: row.run_id.as_ref().map(ToString::to_string),
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
