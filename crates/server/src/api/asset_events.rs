//! What happened to assets, and who has yet to use it.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use http::{HeaderMap, StatusCode};
use millrace_model::asset::AssetEvent;
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::DagId;
use millrace_settings::mask::check_open;
use millrace_store::{AssetEventFilter, CalledRun, Keyed, NewAssetEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Given, Instant, body, instant, listed, optional};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::api::asked::in_all;
use crate::deeds::actions::{IDEMPOTENCY_KEY, key_of};
use crate::doors::Doors;
use crate::intake;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{KEYS_KEPT, Server, Shared};

/// Airflow's name of the group of assets that were put into none.
pub(super) const GROUP: &str = "asset";

pub(super) fn doors() -> Doors {
    use Act::{ChangeRuns, ReadDags, ReadSystem, RecordAssets};
    super::under()
        .get("/assets/events", ReadSystem, list)
        .does(
            op("List what happened to assets, newest first")
                .page()
                .query("asset", Kind::Text, "To the one of this name")
                .query("asset_id", Kind::Number, "To the one of this number")
                .query("name_pattern", Kind::Text, "To those with this part in their name")
                .query("source_dag_id", Kind::Text, "By a task of this DAG")
                .query("source_run_id", Kind::Text, "By a task of this run")
                .query("source_task_id", Kind::Text, "By this task")
                .query("source_map_index", Kind::Number, "By the instance of this index")
                .query("timestamp_gte", Kind::Instant, "From then on")
                .query("timestamp_gt", Kind::Instant, "After then")
                .query("timestamp_lte", Kind::Instant, "Up to then")
                .query("timestamp_lt", Kind::Instant, "Before then")
                .ordered(ORDERS)
                .gives::<AssetEvents>(),
        )
        .post("/assets/events", RecordAssets, record)
        .does(
            op("Say that an asset is up to date")
                .header("Idempotency-Key", "The same key and body within a day: the same event")
                .takes::<EventBody>()
                .creates::<Event>(),
        )
        .get("/assets/{asset_id}/queuedEvents", ReadSystem, queued_of_asset)
        .does(op("List the events of an asset that DAGs have waiting").gives::<QueuedEvents>())
        .delete("/assets/{asset_id}/queuedEvents", RecordAssets, forget_of_asset)
        .does(op("Forget the events of an asset that DAGs have waiting").gives_nothing())
        .get("/dags/{dag_id}/assets/queuedEvents", ReadDags, queued_of_dag)
        .does(op("List the asset events that a DAG has waiting").gives::<QueuedEvents>())
        .delete("/dags/{dag_id}/assets/queuedEvents", ChangeRuns, forget_of_dag)
        .does(op("Forget the asset events that a DAG has waiting").gives_nothing())
        .get("/dags/{dag_id}/assets/{asset_id}/queuedEvents", ReadDags, queued_of_both)
        .does(op("List the events of one asset that a DAG has waiting").gives::<QueuedEvents>())
        .delete("/dags/{dag_id}/assets/{asset_id}/queuedEvents", ChangeRuns, forget_of_both)
        .does(op("Forget the events of one asset that a DAG has waiting").gives_nothing())
}

/// As they happened, either way.
const ORDERS: &[&str] = &["timestamp", "id"];

listed!(AssetEvents { asset_events: Event });
listed!(QueuedEvents { queued_events: QueuedEvent });

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AssetEvent")]
pub(crate) struct Event {
    id: i64,
    pub asset_id: i64,
    asset: String,
    /// As `asset`; so is `uri`.
    name: String,
    uri: String,
    /// Always `asset`.
    group: &'static str,
    /// What whoever said so said of it.
    extra: Map<String, Value>,
    source_dag_id: Option<String>,
    source_run_id: Option<String>,
    source_task_id: Option<String>,
    /// -1: the task is not mapped, or a person said so.
    source_map_index: i32,
    data_interval_start: Instant,
    data_interval_end: Instant,
    timestamp: Instant,
    /// The runs that it called for and that have begun.
    created_dagruns: Vec<CreatedRun>,
}

#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "AssetEventRun")]
struct CreatedRun {
    dag_id: String,
    run_id: String,
    state: &'static str,
    logical_date: Instant,
    start_date: Instant,
    end_date: Option<Instant>,
    data_interval_start: Instant,
    data_interval_end: Instant,
    /// It is the newest of those that called for the run.
    triggering: bool,
}

fn created_run(run: CalledRun) -> Option<CreatedRun> {
    Some(CreatedRun {
        dag_id: run.dag_id.to_string(),
        run_id: run.run_id.to_string(),
        state: run.state.as_str(),
        logical_date: instant(run.logical_date),
        start_date: instant(run.start_date?),
        end_date: optional(run.end_date),
        data_interval_start: instant(run.data_interval.start),
        data_interval_end: instant(run.data_interval.end),
        triggering: run.is_last,
    })
}

impl Server {
    pub(super) async fn event_values(&self, events: &[AssetEvent]) -> Answer<Vec<Event>> {
        let names: Vec<&str> = events.iter().map(|event| event.asset.as_str()).collect();
        let numbers = self.store().asset_numbers(&names).await?;
        let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
        let mut runs: HashMap<i64, Vec<CreatedRun>> = HashMap::new();
        for run in self.store().runs_called(&ids).await? {
            runs.entry(run.event_id).or_default().extend(created_run(run));
        }
        let value = |event: &AssetEvent| Event {
            id: event.id,
            asset_id: numbers.get(event.asset.as_str()).copied().unwrap_or_default(),
            asset: event.asset.to_string(),
            name: event.asset.to_string(),
            uri: event.asset.to_string(),
            group: GROUP,
            extra: event.extra.clone(),
            source_dag_id: event.dag_id.as_ref().map(ToString::to_string),
            source_run_id: event.run_id.as_ref().map(ToString::to_string),
            source_task_id: event.task_id.as_ref().map(ToString::to_string),
            source_map_index: event.map_index,
            data_interval_start: instant(event.data_interval.start),
            data_interval_end: instant(event.data_interval.end),
            timestamp: instant(event.at),
            // An event may have been waiting before several DAGs, and be listed once for each.
            created_dagruns: runs.get(&event.id).cloned().unwrap_or_default(),
        };
        Ok(events.iter().map(value).collect())
    }
}

async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<AssetEvents>> {
    let (limit, offset) = parameters.page()?;
    let filter = AssetEventFilter {
        asset: parameters.owned("asset"),
        asset_id: parameters.number("asset_id")?,
        part: parameters.part("name_pattern"),
        dag_id: parameters.owned("source_dag_id"),
        run_id: parameters.owned("source_run_id"),
        task_id: parameters.owned("source_task_id"),
        map_index: parameters.number("source_map_index")?,
        at: parameters.span("timestamp")?,
        ascending: parameters.order(ORDERS)?.is_some_and(|(_, is_descending)| !is_descending),
        limit,
        offset,
        ..AssetEventFilter::default()
    };
    let page = server.store().asset_events(&filter).await?;
    let asset_events = server.event_values(&page.rows).await?;
    Ok(Json(AssetEvents { total_entries: in_all(page.total, offset, asset_events.len()), asset_events }))
}

/// Of one asset, by its number or by its name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AssetEventBody")]
struct EventBody {
    #[serde(default)]
    asset_id: Option<i64>,
    #[serde(default)]
    asset: Option<String>,
    /// For the runs that come of it, and shown to whoever may see assets: no secrets, 2,000 bytes at most.
    #[serde(default)]
    extra: Option<Map<String, Value>>,
}

/// Somebody outside has brought the asset up to date.
async fn record(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    given: Given<EventBody>,
) -> Answer<(StatusCode, Json<Event>)> {
    let EventBody { asset_id, asset, extra } = body(given)?;
    let extra = extra.unwrap_or_default();
    check_open(&extra).map_err(|error| Problem::invalid(format!("'extra': {error}")).with("path", "extra".into()))?;
    let row = server.asset_of_body(asset_id, asset).await?;
    let new = NewAssetEvent { asset: row.asset.as_str(), extra };
    let (store, actor, now) = (server.store(), person.actor(), server.now());
    let recorded = match intake::text(&headers, &IDEMPOTENCY_KEY)? {
        None => store.record_asset_event(new, &actor, now).await?,
        Some(key) => {
            let key = key_of(&person, key, &json!([new.asset, new.extra]))?;
            match store.record_asset_event_once(new, &actor, &key, now - KEYS_KEPT, now).await? {
                Keyed::Created(event) => event,
                Keyed::Known(id) => server.event_of_key(id).await?,
                Keyed::Another => return Err(Problem::invalid("this Idempotency-Key was used for another request")),
            }
        }
    };
    let mut values = server.event_values(&[recorded]).await?;
    Ok((StatusCode::CREATED, Json(values.remove(0))))
}

impl Server {
    async fn event_of_key(&self, id: i64) -> Answer<AssetEvent> {
        let filter = AssetEventFilter { id: Some(id), limit: 1, ..AssetEventFilter::default() };
        self.store().asset_events(&filter).await?.rows.pop().ok_or_else(|| {
            let text = "the event of this Idempotency-Key was deleted; send another key for a new one";
            Problem::new(ErrorCode::CONFLICT, text)
        })
    }
}

/// The oldest that are listed; `total_entries` counts all.
const MOST_QUEUED: u32 = 1_000;

/// An event, and the DAG that has it waiting.
#[derive(Serialize, JsonSchema)]
pub(crate) struct QueuedEvent {
    dag_id: String,
    dag_display_name: String,
    created_at: Instant,
    #[serde(flatten)]
    event: Event,
}

async fn queued(server: &Server, dag_id: Option<&str>, asset: Option<&str>) -> Answer<Json<QueuedEvents>> {
    let asset = server.named(dag_id, asset).await?;
    let asset = asset.as_deref();
    let page = server.store().waiting_asset_events(dag_id, asset, MOST_QUEUED).await?;
    let (dag_ids, events): (Vec<DagId>, Vec<AssetEvent>) = page.rows.into_iter().unzip();
    let one = |(dag_id, event): (DagId, Event)| QueuedEvent {
        dag_display_name: dag_id.to_string(),
        dag_id: dag_id.to_string(),
        created_at: event.timestamp.clone(),
        event,
    };
    let queued_events = dag_ids.into_iter().zip(server.event_values(&events).await?).map(one).collect();
    Ok(Json(QueuedEvents { total_entries: page.total, queued_events }))
}

async fn forget(server: &Server, person: &Person, dag_id: Option<&str>, asset: Option<&str>) -> Answer<StatusCode> {
    let asset = server.named(dag_id, asset).await?;
    let asset = asset.as_deref();
    server.store().forget_asset_events(dag_id, asset, &person.actor(), server.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Server {
    /// Looks for both, and says what the asset is called.
    async fn named(&self, dag_id: Option<&str>, asset: Option<&str>) -> Answer<Option<String>> {
        if let Some(dag_id) = dag_id {
            self.dag_row(dag_id, 0).await?;
        }
        Ok(match asset {
            Some(asset) => Some(self.asset_row(asset).await?.asset.to_string()),
            None => None,
        })
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
    let asset_events = server.event_values(&run.asset_events).await?;
    Ok(Json(AssetEvents { total_entries: asset_events.len() as u64, asset_events }))
}
