//! `millrace assets …`

use chrono::{DateTime, Utc};
use millrace_settings::mask::check_open;
use millrace_store::{AssetEventFilter, AssetRow, NewAssetEvent};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::args::AssetsCommand;
use crate::commands::runs::conf_argument;
use crate::failure::usage;
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
    extra: Map<String, Value>,
}

pub async fn run(app: &App, command: AssetsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        AssetsCommand::List => {
            let row = |row: AssetRow| Row {
                asset: row.asset.to_string(),
                made_by: row.producers.iter().map(|it| format!("{}.{}", it.dag_id, it.task_id)).collect(),
                awaited_by: row.consumers.iter().map(|it| it.dag_id.to_string()).collect(),
                events: row.event_count,
                last_event: row.last_event.map(|event| event.at),
            };
            let rows: Vec<Row> = store.assets().await?.into_iter().map(row).collect();
            print_list(app.format, &["asset", "made_by", "awaited_by", "events", "last_event"], &rows)
        }
        AssetsCommand::Events { asset, limit } => {
            let filter = AssetEventFilter { asset, limit, ..AssetEventFilter::default() };
            let events = store.asset_events(&filter).await?;
            let rows: Vec<EventRow> = events
                .rows
                .into_iter()
                .map(|event| EventRow {
                    id: event.id,
                    asset: event.asset.to_string(),
                    at: event.at,
                    dag_id: event.dag_id.map(|id| id.to_string()),
                    run_id: event.run_id.map(|id| id.to_string()),
                    task_id: event.task_id.map(|id| id.to_string()),
                    extra: event.extra,
                })
                .collect();
            print_list(app.format, &["id", "asset", "at", "dag_id", "run_id", "task_id", "extra"], &rows)
        }
        AssetsCommand::Touch { asset, extra } => {
            let extra = conf_argument(extra.as_deref(), "--extra")?;
            check_open(&extra).map_err(|error| usage(format!("--extra: {error}")))?;
            let new = NewAssetEvent { asset: &asset, extra };
            let event = store.record_asset_event(new, ACTOR, app.now()).await?;
            notice(format!("recorded event {} of {asset}", event.id));
            Ok(())
        }
    }
}
