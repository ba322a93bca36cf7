//! Assets: who makes them, who waits for them, and what brings them up to date.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::asset::AssetEvent;
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::DagId;
use millrace_store::{AssetConsumer, AssetProducer, AssetRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asset_events::{Event, GROUP};
use super::runs::{DagRun, run_value};
use super::{Given, Instant, body, instant, listed, paged};
use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::deeds::actions::{IDEMPOTENCY_KEY, TriggerBody};
use crate::doors::Doors;
use crate::intake;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::query::{Parameters, shortened};
use crate::server::{Server, Shared};

pub(super) fn doors() -> Doors {
    use Act::{ReadSystem, TriggerRuns};
    super::under()
        .get("/assets", ReadSystem, list)
        .does(
            op("List assets")
                .page()
                .query("name_pattern", Kind::Text, "A part of the name")
                .query("uri_pattern", Kind::Text, "A part of the name, which is the URI too")
                .many("dag_ids", Kind::Text, "That one of these DAGs makes or awaits")
                .ordered(ORDERS)
                .gives::<Assets>(),
        )
        .post("/assets/materialize", Access::OfSomeDag(TriggerRuns), materialize)
        .does(
            op("Start the DAG that brings an asset up to date")
                .header("Idempotency-Key", "The same key and body within a day: the same run")
                .takes::<AssetBody>()
                .gives::<DagRun>(),
        )
        // Where an asset is named so, it is shown; it is started by the address above.
        .get("/assets/materialize", ReadSystem, async |server: State<Shared>| {
            get(server, Path("materialize".to_owned())).await
        })
        .does(op("Show the asset named materialize").gives::<Asset>())
        .get("/assets/{asset_id}", ReadSystem, get)
        .does(op("Show an asset, by its number or its name").gives::<Asset>())
        .post("/assets/{asset_id}/materialize", Access::OfSomeDag(TriggerRuns), materialize_named)
        .does(
            op("Start the DAG that brings this asset up to date")
                .header("Idempotency-Key", "The same key and body within a day: the same run")
                .takes::<TriggerBody>()
                .gives::<DagRun>(),
        )
}

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Assets>> {
    // Airflow's pattern is SQL's; here any part of the name does.
    let parts: Vec<String> =
        ["name_pattern", "uri_pattern"].iter().filter_map(|name| Some(parameters.part(name)?.to_lowercase())).collect();
    let dag_ids = parameters.all("dag_ids");
    let mut rows = server.store().assets().await?;
    rows.retain(|row| {
        let name = row.asset.as_str().to_lowercase();
        let is_of = |id: &&str| row.users().any(|dag_id| dag_id.as_str() == *id);
        parts.iter().all(|part| name.contains(part)) && (dag_ids.is_empty() || dag_ids.iter().any(is_of))
    });
    let (assets, total_entries) = paged(server.asset_values(&rows).await?, &parameters, ORDERS)?;
    Ok(Json(Assets { assets, total_entries }))
}

const ORDERS: &[&str] = &["id", "name", "created_at", "asset_event_count"];

async fn get(State(server): State<Shared>, Path(named): Path<String>) -> Answer<Json<Asset>> {
    let row = server.asset_row(&named).await?;
    let mut values = server.asset_values(std::slice::from_ref(&row)).await?;
    values.pop().map(Json).ok_or_else(|| no_asset(&named))
}

fn no_asset(named: &str) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no asset '{}'", shortened(named)))
}

impl Server {
    /// The asset that a body names, by one of the two.
    pub(super) async fn asset_of_body(&self, id: Option<i64>, name: Option<String>) -> Answer<AssetRow> {
        if id.is_some() == name.is_some() {
            return Err(Problem::invalid("send 'asset_id' or 'asset', one of them"));
        }
        let is_meant = |row: &AssetRow| id == Some(row.id) || name.as_deref() == Some(row.asset.as_str());
        let found = self.store().assets().await?.into_iter().find(is_meant);
        found.ok_or_else(|| no_asset(&id.map_or_else(|| name.unwrap_or_default(), |id| id.to_string())))
    }

    /// The asset of this number; what is no number is a name.
    pub(super) async fn asset_row(&self, named: &str) -> Answer<AssetRow> {
        let is_number = named.bytes().all(|letter| letter.is_ascii_digit());
        let is_meant = |row: &AssetRow| {
            if is_number { named.parse() == Ok(row.id) } else { row.asset.as_str() == named }
        };
        self.store().assets().await?.into_iter().find(is_meant).ok_or_else(|| no_asset(named))
    }

    async fn asset_values(&self, rows: &[AssetRow]) -> Answer<Vec<Asset>> {
        let last: Vec<AssetEvent> = rows.iter().filter_map(|row| row.last_event.clone()).collect();
        let mut last: HashMap<i64, Event> =
            self.event_values(&last).await?.into_iter().map(|event| (event.asset_id, event)).collect();
        Ok(rows.iter().map(|row| asset(row, last.remove(&row.id))).collect())
    }
}

listed!(Assets { assets: Asset });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Asset {
    id: i64,
    name: String,
    /// The name.
    uri: String,
    /// Always `asset`.
    group: &'static str,
    /// Always empty: what is known of an asset is said of its events.
    extra: Map<String, Value>,
    created_at: Instant,
    updated_at: Instant,
    producing_tasks: Vec<Producer>,
    scheduled_dags: Vec<Consumer>,
    /// Always empty, as tasks name what they make and not what they read; so are aliases and watchers.
    consuming_tasks: Vec<Value>,
    aliases: Vec<Value>,
    watchers: Vec<Value>,
    last_asset_event: Option<Event>,
    asset_event_count: u64,
}

#[derive(Serialize, JsonSchema)]
struct Producer {
    dag_id: String,
    task_id: String,
    created_at: Instant,
    updated_at: Instant,
}

#[derive(Serialize, JsonSchema)]
struct Consumer {
    dag_id: String,
    created_at: Instant,
    updated_at: Instant,
}

fn asset(row: &AssetRow, last_asset_event: Option<Event>) -> Asset {
    let producer = |it: &AssetProducer| {
        let at = instant(it.since);
        Producer {
            dag_id: it.dag_id.to_string(),
            task_id: it.task_id.to_string(),
            created_at: at.clone(),
            updated_at: at,
        }
    };
    let consumer = |it: &AssetConsumer| {
        let at = instant(it.since);
        Consumer { dag_id: it.dag_id.to_string(), created_at: at.clone(), updated_at: at }
    };
    Asset {
        id: row.id,
        name: row.asset.to_string(),
        uri: row.asset.to_string(),
        group: GROUP,
        extra: Map::new(),
        created_at: instant(row.created_at),
        updated_at: instant(row.created_at),
        producing_tasks: row.producers.iter().map(producer).collect(),
        scheduled_dags: row.consumers.iter().map(consumer).collect(),
        consuming_tasks: Vec::new(),
        aliases: Vec::new(),
        watchers: Vec::new(),
        last_asset_event,
        asset_event_count: row.event_count,
    }
}

/// One, by its number or by its name.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AssetBody {
    #[serde(default)]
    asset_id: Option<i64>,
    #[serde(default)]
    asset: Option<String>,
}

async fn materialize(
    server: State<Shared>,
    person: Person,
    headers: HeaderMap,
    given: Given<AssetBody>,
) -> Answer<Json<DagRun>> {
    let AssetBody { asset_id, asset } = body(given)?;
    let row = server.asset_of_body(asset_id, asset).await?;
    start_maker(&server, &person, (&row, TriggerBody::default()), &headers).await
}

async fn materialize_named(
    server: State<Shared>,
    Path(named): Path<String>,
    person: Person,
    headers: HeaderMap,
    given: Given<TriggerBody>,
) -> Answer<Json<DagRun>> {
    let given = body(given)?;
    let row = server.asset_row(&named).await?;
    start_maker(&server, &person, (&row, given), &headers).await
}

/// Starts the one DAG whose tasks bring the asset up to date.
async fn start_maker(
    server: &Server,
    person: &Person,
    (row, body): (&AssetRow, TriggerBody),
    headers: &HeaderMap,
) -> Answer<Json<DagRun>> {
    let name = &row.asset;
    let mut dags: Vec<&DagId> = row.producers.iter().map(|it| &it.dag_id).collect();
    dags.dedup();
    let dag_id = match dags.as_slice() {
        [] => return Err(Problem::new(ErrorCode::NOT_FOUND, format!("no task brings the asset '{name}' up to date"))),
        [dag_id] => dag_id,
        several => {
            let names: Vec<&str> = several.iter().map(|id| id.as_str()).collect();
            let text =
                format!("several DAGs bring '{name}' up to date; trigger the one you mean: {}", names.join(", "));
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        }
    };
    let key = intake::text(headers, &IDEMPOTENCY_KEY)?;
    let (run, ..) = server.trigger(person, dag_id.as_str(), body, key).await?;
    Ok(Json(run_value(server, &run)))
}
