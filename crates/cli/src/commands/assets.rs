//! `millrace assets …`

use chrono::{DateTime, Utc};
use millrace_store::AssetRow;
use serde::Serialize;

use crate::app::App;
use crate::args::AssetsCommand;
use crate::output::{notice, print_list};

const ACTOR: &str = "cli";

#[derive(Serialize)]
struct Row {
    asset: String,
    made_by: Vec<String>,
    awaited_by: Vec<String>,
    events: u64,
    last_event: Option<DateTime<Utc>>,
}

#[derive(Serialize)]
struct EventRow {
    id: i64,
    asset: String,
    at: DateTime<Utc>,
    dag_id: Option<String>,
    run_id: Option<String>,
    task_id: Option<String>,
}

pub async fn run(app: &App, command: AssetsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        AssetsCommand::List => {
            let row = |row: AssetRow| Row {
                asset: row.asset.to_string(),
                made_by: row.producers.iter().map(|(dag, task)| format!("{dag}.{task}")).collect(),
                awaited_by: row.consumers.iter().map(ToString::to_string).collect(),
                events: row.event_count,
                last_event: row.last_event.map(|event| event.at),
            };
            let rows: Vec<Row> = store.assets().await?.into_iter().map(row).collect();
            print_list(app.format, &["asset", "made_by", "awaited_by", "events", "last_event"], &rows)
        }
        AssetsCommand::Events { asset, limit } => {
            let events = store.asset_events(asset.as_deref(), limit, 0).await?;
            let rows: Vec<EventRow> = events
                .into_iter()
                .map(|event| EventRow {
                    id: event.id,
                    asset: event.asset.to_string(),
                    at: event.at,
                    dag_id: event.dag_id.map(|id| id.to_string()),
                    run_id: event.run_id.map(|id| id.to_string()),
                    task_id: event.task_id.map(|id| id.to_string()),
                })
                .collect();
            print_list(app.format, &["id", "asset", "at", "dag_id", "run_id", "task_id"], &rows)
        }
        AssetsCommand::Touch { asset } => {
            let event = store.record_asset_event(&asset, ACTOR, app.now()).await?;
            notice(format!("recorded event {} of {asset}", event.id));
            Ok(())
        }
    }
}
