//! Assets, what happened to them, and who waits for them.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use millrace_model::asset::AssetEvent;
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::DagId;
use millrace_store::AssetRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, instant};
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let (limit, offset) = Parameters(parameters).page()?;
    let rows = server.store().assets().await?;
    let total = rows.len();
    let assets: Vec<Value> = rows.iter().skip(offset as usize).take(limit as usize).map(asset).collect();
    Ok(Json(json!({"assets": assets, "total_entries": total})))
}

fn asset(row: &AssetRow) -> Value {
    json!({
        "name": row.asset,
        "producing_tasks": row.producers.iter().map(|(dag, task)| json!({"dag_id": dag, "task_id": task})).collect::<Vec<_>>(),
        "scheduled_dags": row.consumers.iter().map(|dag| json!({"dag_id": dag})).collect::<Vec<_>>(),
        "last_asset_event": row.last_event.as_ref().map(event),
        "asset_event_count": row.event_count,
    })
}

pub(super) fn event(event: &AssetEvent) -> Value {
    json!({
        "id": event.id,
        "asset": event.asset,
        "source_dag_id": event.dag_id,
        "source_run_id": event.run_id,
        "source_task_id": event.task_id,
        "data_interval_start": instant(event.data_interval.start),
        "data_interval_end": instant(event.data_interval.end),
        "timestamp": instant(event.at),
    })
}

pub(super) async fn events(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let rows = server.store().asset_events(parameters.text("asset"), limit, offset).await?;
    Ok(Json(json!({"asset_events": rows.iter().map(event).collect::<Vec<_>>()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventBody {
    asset: String,
}

/// Somebody outside has brought the asset up to date.
pub(super) async fn record(
    State(server): State<Shared>,
    person: Person,
    given: Result<Json<EventBody>, JsonRejection>,
) -> Answer<(StatusCode, Json<Value>)> {
    let given = body(given)?;
    let recorded = server.store().record_asset_event(&given.asset, &person.actor(), server.now()).await?;
    server.store().wake().await;
    Ok((StatusCode::CREATED, Json(event(&recorded))))
}

pub(super) async fn queued(State(server): State<Shared>, Path(dag_id): Path<String>) -> Answer<Json<Value>> {
    if server.store().dag(&dag_id, 0).await?.is_none() {
        return Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no DAG {dag_id}")));
    }
    let rows = server.store().queued_asset_events(&DagId::new_unchecked(dag_id)).await?;
    Ok(Json(json!({"queued_events": rows.iter().map(event).collect::<Vec<_>>(), "total_entries": rows.len()})))
}

pub(super) async fn of_run(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let Some(run) = server.store().run(&dag_id, &run_id).await? else {
        return Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no run {run_id} of DAG {dag_id}")));
    };
    let events: Vec<Value> = run.asset_events.iter().map(event).collect();
    Ok(Json(json!({"total_entries": events.len(), "asset_events": events})))
}
