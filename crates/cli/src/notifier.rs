//! Tells callbacks what they are to be told: takes what is due from the metadata database, sends it, and notes how that
//! went. Several daemons may do it beside each other; each notification is sent at least once.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use millrace_connectors::{post_signed, run_command};
use millrace_model::ids::RunId;
use millrace_model::notice::Callback;
use millrace_store::{NotificationRow, Store};
use millrace_vault::{Vault, to_port_connection};
use serde_json::json;

use crate::app::App;

/// Between two looks when nothing happens: what failed is attempted again.
const LOOK: Duration = Duration::from_secs(2);
/// After something has happened, so that a burst is one look.
const SOON: Duration = Duration::from_millis(100);
/// Taken at a time, and sent at a time.
const MOST: u32 = 50;
const AT_ONCE: usize = 8;
/// What was taken is due again after this, if whoever took it never says how it went.
const LEASE: TimeDelta = TimeDelta::minutes(10);
/// After this many attempts, the waits between them growing from two seconds to an hour, it is given up: after about ten
/// hours.
const MOST_ATTEMPTS: u32 = 20;
const LONGEST_WAIT: i64 = 3_600;

/// Never ends.
pub async fn run(app: &App, store: &Store, vault: &Vault) {
    let mut changes = store.run_changes();
    loop {
        let now = app.now();
        match store.take_notifications(MOST, now + LEASE, now).await {
            Ok(due) if due.is_empty() => {}
            Ok(due) => {
                futures::stream::iter(&due).for_each_concurrent(AT_ONCE, |row| attempt(app, store, vault, row)).await;
                continue;
            }
            Err(error) => tracing::warn!(%error, "what callbacks are to be told could not be read"),
        }
        tokio::select! {
            _ = changes.recv() => {
                tokio::time::sleep(SOON).await;
                changes = store.run_changes();
            }
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// When it is attempted again, after so many attempts.
fn next_attempt(attempts: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let wait = 2_i64.checked_pow(attempts.max(1)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    (attempts < MOST_ATTEMPTS).then(|| now + TimeDelta::seconds(wait))
}

async fn attempt(app: &App, store: &Store, vault: &Vault, row: &NotificationRow) {
    let sent = send(vault, row).await.map_err(|error| app.masker.mask(&error));
    let now = app.now();
    let failed = sent.as_ref().err().map(|error| (error.as_str(), next_attempt(row.attempts, now)));
    if let Err(error) = &sent {
        let run = row.run_id.as_ref().map(RunId::as_str);
        let (dag, event) = (row.dag_id.as_str(), row.event.as_str());
        tracing::warn!(dag, run, event, error, "a callback could not be told");
    }
    if let Err(error) = store.settle_notification(row.id, failed, now).await {
        tracing::warn!(%error, "how a callback took it could not be noted; it is told again");
    }
}

async fn send(vault: &Vault, row: &NotificationRow) -> Result<(), String> {
    match &row.callback {
        Callback::Webhook(conn_id) => {
            let found = vault.connection(conn_id).await.map_err(|error| error.to_string())?;
            let named = found.ok_or_else(|| {
                format!("there is no connection '{conn_id}'; add it with `millrace connections add {conn_id}`")
            })?;
            let connection = to_port_connection(named);
            let sent = post_signed(&connection, row.id, &row.event, body(row).to_string()).await;
            sent.map_err(|error| error.to_string())
        }
        Callback::Command(command) => run_command(command, &variables(row)).await.map_err(|error| error.to_string()),
    }
}

fn body(row: &NotificationRow) -> serde_json::Value {
    let of_task = row.task_id.is_some();
    json!({
        "text": sentence(row),
        "id": row.id,
        "event": row.event,
        "dag_id": row.dag_id,
        "dag_run_id": row.run_id,
        "logical_date": row.logical_date,
        "task_id": row.task_id,
        "map_index": of_task.then_some(row.map_index),
        "try_number": of_task.then_some(row.try_number),
        "reason": row.reason,
        "timestamp": row.at,
    })
}

/// What happened in one line for people: chat programs show the field `text` of what is posted to them.
fn sentence(row: &NotificationRow) -> String {
    let of_task = row.task_id.as_ref().map(|task| format!(", task {task}, try {}", row.try_number)).unwrap_or_default();
    let reason = row.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
    let of_run = row.run_id.as_ref().map(|run_id| format!(" {run_id}")).unwrap_or_default();
    format!("{}: {}{of_run}{of_task}{reason}", row.event, row.dag_id)
}

fn variables(row: &NotificationRow) -> Vec<(&'static str, String)> {
    let mut variables = vec![
        ("EVENT", row.event.clone()),
        ("DAG_ID", row.dag_id.to_string()),
        ("RUN_ID", row.run_id.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("LOGICAL_DATE", row.logical_date.to_rfc3339()),
        ("REASON", row.reason.clone().unwrap_or_default()),
        ("NOTIFICATION", body(row).to_string()),
    ];
    if let Some(task_id) = &row.task_id {
        variables.push(("TASK_ID", task_id.to_string()));
        variables.push(("MAP_INDEX", row.map_index.to_string()));
        variables.push(("TRY_NUMBER", row.try_number.to_string()));
    }
    variables
}
