//! `millrace alerts …`

use anyhow::bail;
use chrono::{DateTime, Utc};
use millrace_store::{AlertFilter, AlertRow, NotificationFilter, NotificationRow};
use serde::Serialize;

use crate::app::App;
use crate::args::AlertsCommand;
use crate::output::{notice, print_list};

#[derive(Serialize)]
struct Row {
    id: i64,
    at: DateTime<Utc>,
    kind: &'static str,
    dag_id: String,
    run_id: Option<String>,
    message: String,
    seen_by: Option<String>,
}

#[derive(Serialize)]
struct Notification {
    id: i64,
    at: DateTime<Utc>,
    event: String,
    dag_id: String,
    run_id: Option<String>,
    task_id: Option<String>,
    map_index: i64,
    try_number: i64,
    reason: Option<String>,
    callback: String,
    state: &'static str,
    attempts: u32,
    next_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

impl Notification {
    fn of(row: NotificationRow) -> Self {
        Self {
            callback: row.callee(),
            state: row.state(),
            id: row.id,
            at: row.at,
            event: row.event,
            dag_id: row.dag_id.to_string(),
            run_id: row.run_id.map(|id| id.to_string()),
            task_id: row.task_id.map(|id| id.to_string()),
            map_index: row.map_index,
            try_number: row.try_number,
            reason: row.reason,
            attempts: row.attempts,
            next_at: row.next_at,
            sent_at: row.sent_at,
            error: row.error,
        }
    }
}

pub async fn run(app: &App, command: AlertsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        AlertsCommand::List { all, limit } => {
            let row = |row: AlertRow| Row {
                id: row.id,
                at: row.at,
                kind: row.kind.as_str(),
                dag_id: row.dag_id.to_string(),
                run_id: row.run_id.map(|id| id.to_string()),
                message: row.message,
                seen_by: row.seen_by,
            };
            let filter = AlertFilter { only_unseen: !all, limit, ..AlertFilter::default() };
            let rows: Vec<Row> = store.alerts(&filter).await?.rows.into_iter().map(row).collect();
            print_list(app.format, &["id", "at", "kind", "dag_id", "run_id", "message"], &rows)
        }
        AlertsCommand::Notifications { unsent, limit } => {
            let filter = NotificationFilter { only_unsent: unsent, limit, ..NotificationFilter::default() };
            let rows: Vec<Notification> =
                store.notifications(&filter).await?.rows.into_iter().map(Notification::of).collect();
            let columns =
                ["id", "at", "event", "dag_id", "run_id", "task_id", "callback", "state", "attempts", "error"];
            print_list(app.format, &columns, &rows)
        }
        AlertsCommand::Retry { ids } => {
            let only = (!ids.is_empty()).then_some(ids.as_slice());
            let retried = store.retry_notifications(only, "cli", app.now()).await?;
            if retried == 0 && !ids.is_empty() {
                bail!("none of these was given up; `millrace alerts notifications --unsent` shows what was");
            }
            notice(format!("{retried} notifications are sent again by the scheduler's process"));
            Ok(())
        }
        AlertsCommand::Seen { ids } => {
            let only = (!ids.is_empty()).then_some(ids.as_slice());
            let seen = store.see_alerts(only, "cli", app.now()).await?;
            notice(format!("{seen} alerts were new"));
            Ok(())
        }
    }
}
