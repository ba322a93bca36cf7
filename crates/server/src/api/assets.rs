//! Assets, what happened to them, and who waits for them.

use axum::Json;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use millrace_model::asset::AssetEvent;
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::DagId;
use millrace_store::AssetRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::runs::{DagRun, run_value};
use super::{Given, Instant, body, cut, instant, listed};
use crate::actions::TriggerBody;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Assets>> {
    let page = Parameters(parameters).page()?;
    let (rows, total_entries) = cut(server.store().assets().await?, page);
    Ok(Json(Assets { assets: rows.iter().map(asset).collect(), total_entries }))
}

listed!(Assets { assets: Asset });
listed!(AssetEvents { asset_events: Event });
listed!(QueuedEvents { queued_events: Event });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Asset {
    name: String,
    producing_tasks: Vec<Producer>,
    scheduled_dags: Vec<Consumer>,
    last_asset_event: Option<Event>,
    asset_event_count: u64,
}

#[derive(Serialize, JsonSchema)]
struct Producer {
    dag_id: String,
    task_id: String,
}

#[derive(Serialize, JsonSchema)]
struct Consumer {
    dag_id: String,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AssetEvent")]
pub(crate) struct Event {
    id: i64,
    asset: String,
    source_dag_id: Option<String>,
    source_run_id: Option<String>,
    source_task_id: Option<String>,
    data_interval_start: Instant,
    data_interval_end: Instant,
    timestamp: Instant,
}

fn asset(row: &AssetRow) -> Asset {
    let producer = |(dag_id, task_id): &(_, _)| Producer { dag_id: text(dag_id), task_id: text(task_id) };
    Asset {
        name: text(&row.asset),
        producing_tasks: row.producers.iter().map(producer).collect(),
        scheduled_dags: row.consumers.iter().map(|dag| Consumer { dag_id: text(dag) }).collect(),
        last_asset_event: row.last_event.as_ref().map(event),
        asset_event_count: row.event_count,
    }
}

fn text(name: &impl ToString) -> String {
    name.to_string()
}

pub(super) fn event(event: &AssetEvent) -> Event {
    Event {
        id: event.id,
        asset: text(&event.asset),
        source_dag_id: event.dag_id.as_ref().map(text),
        source_run_id: event.run_id.as_ref().map(text),
        source_task_id: event.task_id.as_ref().map(text),
        data_interval_start: instant(event.data_interval.start),
        data_interval_end: instant(event.data_interval.end),
        timestamp: instant(event.at),
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Events {
    asset_events: Vec<Event>,
}

pub(super) async fn events(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Events>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let rows = server.store().asset_events(parameters.text("asset"), limit, offset).await?;
    Ok(Json(Events { asset_events: rows.iter().map(event).collect() }))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AssetEventBody")]
pub(super) struct EventBody {
    asset: String,
}

/// Somebody outside has brought the asset up to date.
pub(super) async fn record(
    State(server): State<Shared>,
    person: Person,
    given: Given<EventBody>,
) -> Answer<(StatusCode, Json<Event>)> {
    let given = body(given)?;
    let recorded = server.store().record_asset_event(&given.asset, &person.actor(), server.now()).await?;
    Ok((StatusCode::CREATED, Json(event(&recorded))))
}

/// Starts the one DAG whose tasks bring the asset up to date.
pub(super) async fn materialize(
    State(server): State<Shared>,
    person: Person,
    given: Given<EventBody>,
) -> Answer<Json<DagRun>> {
    let asset = body(given)?.asset;
    let row = server.store().assets().await?.into_iter().find(|row| row.asset.as_str() == asset);
    let mut dags: Vec<DagId> = row.into_iter().flat_map(|row| row.producers).map(|(dag_id, _)| dag_id).collect();
    dags.dedup();
    let dag_id = match dags.as_slice() {
        [] => return Err(Problem::new(ErrorCode::NOT_FOUND, format!("no task brings the asset '{asset}' up to date"))),
        [dag_id] => dag_id,
        several => {
            let names: Vec<&str> = several.iter().map(DagId::as_str).collect();
            let text =
                format!("several DAGs bring '{asset}' up to date; trigger the one you mean: {}", names.join(", "));
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        }
    };
    let (run, _) = server.trigger(&person, dag_id.as_str(), TriggerBody::default(), None).await?;
    Ok(Json(run_value(&server, &run)))
}

pub(super) async fn queued(State(server): State<Shared>, Path(dag_id): Path<String>) -> Answer<Json<QueuedEvents>> {
    if server.store().dag(&dag_id, 0).await?.is_none() {
        return Err(Problem::no_dag(&dag_id));
    }
    let rows = server.store().queued_asset_events(&DagId::new_unchecked(dag_id)).await?;
    let queued_events: Vec<Event> = rows.iter().map(event).collect();
    Ok(Json(QueuedEvents { total_entries: queued_events.len() as u64, queued_events }))
}

pub(super) async fn of_run(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Answer<Json<AssetEvents>> {
    let Some(run) = server.store().run(&dag_id, &run_id).await? else {
        return Err(Problem::no_run(&dag_id, &run_id));
    };
    let asset_events: Vec<Event> = run.asset_events.iter().map(event).collect();
    Ok(Json(AssetEvents { total_entries: asset_events.len() as u64, asset_events }))
}
