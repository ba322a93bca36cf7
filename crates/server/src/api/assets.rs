//! Assets, what happened to them, and who waits for them.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_model::asset::AssetEvent;
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::DagId;
use millrace_store::AssetRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::runs::{DagRun, run_value};
use super::{Given, Instant, body, instant, listed, paged};
use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::deeds::actions::TriggerBody;
use crate::doors::Doors;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) fn doors() -> Doors {
    use Act::{ChangeRuns, ReadDags, ReadSystem, RecordAssets, TriggerRuns};
    super::under()
        .get("/dags/{dag_id}/assets/queuedEvents", ReadDags, queued_of_dag)
        .does(op("List the asset events that a DAG has waiting").gives::<QueuedEvents>())
        .delete("/dags/{dag_id}/assets/queuedEvents", ChangeRuns, forget_of_dag)
        .does(op("Forget the asset events that a DAG has waiting").gives_nothing())
        .get("/dags/{dag_id}/assets/{asset_id}/queuedEvents", ReadDags, queued_of_both)
        .does(op("List the events of one asset that a DAG has waiting").gives::<QueuedEvents>())
        .delete("/dags/{dag_id}/assets/{asset_id}/queuedEvents", ChangeRuns, forget_of_both)
        .does(op("Forget the events of one asset that a DAG has waiting").gives_nothing())
        .get("/assets", ReadSystem, list)
        .does(
            op("List assets")
                .page()
                .query("name_pattern", Kind::Text, "A part of the name")
                .ordered(ORDERS)
                .gives::<Assets>(),
        )
        .get("/assets/events", ReadSystem, events)
        .does(op("List what happened to assets").page().query("asset", Kind::Text, "To this one").gives::<Events>())
        .post("/assets/events", RecordAssets, record)
        .does(op("Say that an asset is up to date").takes::<EventBody>().creates::<Event>())
        .post("/assets/materialize", Access::OfSomeDag(TriggerRuns), materialize)
        .does(op("Start the DAG that brings an asset up to date").takes::<EventBody>().gives::<DagRun>())
        // Where an asset is named so, it is shown; it is started by the address above.
        .get("/assets/materialize", ReadSystem, async |server: State<Shared>| {
            get(server, Path("materialize".to_owned())).await
        })
        .does(op("Show the asset named materialize").gives::<Asset>())
        .get("/assets/{asset_id}", ReadSystem, get)
        .does(op("Show an asset, by its name").gives::<Asset>())
        .post("/assets/{asset_id}/materialize", Access::OfSomeDag(TriggerRuns), materialize_named)
        .does(op("Start the DAG that brings this asset up to date").takes::<TriggerBody>().gives::<DagRun>())
        .get("/assets/{asset_id}/queuedEvents", ReadSystem, queued_of_asset)
        .does(op("List the events of an asset that DAGs have waiting").gives::<QueuedEvents>())
        .delete("/assets/{asset_id}/queuedEvents", RecordAssets, forget_of_asset)
        .does(op("Forget the events of an asset that DAGs have waiting").gives_nothing())
}

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Assets>> {
    // Airflow's pattern is SQL's; here any part of the name does.
    let part = parameters.text("name_pattern").map(|text| text.trim_matches('%'));
    let mut rows = server.store().assets().await?;
    rows.retain(|row| part.is_none_or(|part| row.asset.as_str().contains(part)));
    let (assets, total_entries) = paged(rows.iter().map(asset).collect(), &parameters, ORDERS)?;
    Ok(Json(Assets { assets, total_entries }))
}

const ORDERS: &[&str] = &["name", "asset_event_count"];

async fn get(State(server): State<Shared>, Path(name): Path<String>) -> Answer<Json<Asset>> {
    Ok(Json(asset(&server.asset_row(&name).await?)))
}

impl Server {
    async fn asset_row(&self, name: &str) -> Answer<AssetRow> {
        let missing = || Problem::new(ErrorCode::NOT_FOUND, format!("there is no asset '{name}'"));
        self.store().assets().await?.into_iter().find(|row| row.asset.as_str() == name).ok_or_else(missing)
    }
}

listed!(Assets { assets: Asset });
listed!(AssetEvents { asset_events: Event });
listed!(QueuedEvents { queued_events: QueuedEvent });

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

pub(super) async fn events(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Events>> {
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

async fn materialize(server: State<Shared>, person: Person, given: Given<EventBody>) -> Answer<Json<DagRun>> {
    let name = body(given)?.asset;
    start_maker(&server, &person, &name, TriggerBody::default()).await
}

async fn materialize_named(
    server: State<Shared>,
    Path(name): Path<String>,
    person: Person,
    given: Given<TriggerBody>,
) -> Answer<Json<DagRun>> {
    start_maker(&server, &person, &name, body(given)?).await
}

/// Starts the one DAG whose tasks bring the asset up to date.
async fn start_maker(server: &Server, person: &Person, name: &str, body: TriggerBody) -> Answer<Json<DagRun>> {
    let row = server.store().assets().await?.into_iter().find(|row| row.asset.as_str() == name);
    let mut dags: Vec<DagId> = row.into_iter().flat_map(|row| row.producers).map(|(dag_id, _)| dag_id).collect();
    dags.dedup();
    let dag_id = match dags.as_slice() {
        [] => return Err(Problem::new(ErrorCode::NOT_FOUND, format!("no task brings the asset '{name}' up to date"))),
        [dag_id] => dag_id,
        several => {
            let names: Vec<&str> = several.iter().map(DagId::as_str).collect();
            let text =
                format!("several DAGs bring '{name}' up to date; trigger the one you mean: {}", names.join(", "));
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        }
    };
    let (run, ..) = server.trigger(person, dag_id.as_str(), body, None).await?;
    Ok(Json(run_value(server, &run)))
}

/// The oldest that are listed; `total_entries` counts all.
const MOST_QUEUED: u32 = 1_000;

/// An event, and the DAG that has it waiting.
#[derive(Serialize, JsonSchema)]
pub(crate) struct QueuedEvent {
    dag_id: String,
    #[serde(flatten)]
    event: Event,
}

async fn queued(server: &Server, dag_id: Option<&str>, asset: Option<&str>) -> Answer<Json<QueuedEvents>> {
    server.check_named(dag_id, asset).await?;
    let page = server.store().waiting_asset_events(dag_id, asset, MOST_QUEUED).await?;
    let one = |(dag_id, row): &(DagId, AssetEvent)| QueuedEvent { dag_id: text(dag_id), event: event(row) };
    let queued_events: Vec<QueuedEvent> = page.rows.iter().map(one).collect();
    Ok(Json(QueuedEvents { total_entries: page.total, queued_events }))
}

async fn forget(server: &Server, person: &Person, dag_id: Option<&str>, asset: Option<&str>) -> Answer<StatusCode> {
    server.check_named(dag_id, asset).await?;
    server.store().forget_asset_events(dag_id, asset, &person.actor(), server.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Server {
    async fn check_named(&self, dag_id: Option<&str>, asset: Option<&str>) -> Answer<()> {
        if let Some(dag_id) = dag_id {
            self.dag_row(dag_id, 0).await?;
        }
        if let Some(asset) = asset {
            self.asset_row(asset).await?;
        }
        Ok(())
    }
}

async fn queued_of_dag(server: State<Shared>, Path(dag_id): Path<String>) -> Answer<Json<QueuedEvents>> {
    queued(&server, Some(&dag_id), None).await
}

async fn queued_of_asset(server: State<Shared>, Path(asset): Path<String>) -> Answer<Json<QueuedEvents>> {
    queued(&server, None, Some(&asset)).await
}

async fn queued_of_both(
    server: State<Shared>,
    Path((dag_id, asset)): Path<(String, String)>,
) -> Answer<Json<QueuedEvents>> {
    queued(&server, Some(&dag_id), Some(&asset)).await
}

async fn forget_of_dag(server: State<Shared>, Path(dag_id): Path<String>, person: Person) -> Answer<StatusCode> {
    forget(&server, &person, Some(&dag_id), None).await
}

async fn forget_of_asset(server: State<Shared>, Path(asset): Path<String>, person: Person) -> Answer<StatusCode> {
    forget(&server, &person, None, Some(&asset)).await
}

async fn forget_of_both(
    server: State<Shared>,
    Path((dag_id, asset)): Path<(String, String)>,
    person: Person,
) -> Answer<StatusCode> {
    forget(&server, &person, Some(&dag_id), Some(&asset)).await
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
