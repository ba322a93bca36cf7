//! `millrace alerts …`

use chrono::{DateTime, Utc};
use millrace_store::AlertRow;
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
            let rows: Vec<Row> = store.alerts(!all, limit).await?.into_iter().map(row).collect();
            print_list(app.format, &["id", "at", "kind", "dag_id", "run_id", "message"], &rows)
        }
        AlertsCommand::Seen { ids } => {
            let only = (!ids.is_empty()).then_some(ids.as_slice());
            let seen = store.see_alerts(only, "cli", app.now()).await?;
            notice(format!("{seen} alerts were new"));
            Ok(())
        }
    }
}
