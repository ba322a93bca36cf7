//! Assets: who makes them, who waits for them, what happened to them.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::asset::{AssetEvent, AssetName};
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::schedule::DataInterval;
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::conditions::Conditions;
use crate::requests::trigger::take_key;
use crate::sql::{Kind, Row, micros, values};
use crate::{AuditRow, Counted, Keyed, Page, RequestKey, Result, SignalKind, Store, StoreError, Tx, sql};

/// Events of one asset that are counted: a list must not read all that ever happened.
const MOST_COUNTED: i64 = 1_000;

/// Events that a run names; those before them it covers and does not name.
const MOST_OF_A_RUN: usize = 1_000;

/// An asset and those who have to do with it, by the newest versions of their DAGs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetRow {
    pub asset: AssetName,
    pub producers: Vec<(DagId, TaskId)>,
    pub consumers: Vec<DagId>,
    pub last_event: Option<AssetEvent>,
    /// At most [`MOST_COUNTED`].
    pub event_count: u64,
}

/// The task id that stands for "this DAG waits for it" in `asset_user`.
const CONSUMER: &str = "";

pub(crate) fn read_event(row: &Row) -> Result<AssetEvent> {
    Ok(AssetEvent {
        id: row.int("id")?,
        asset: AssetName::new_unchecked(row.text("asset")?),
        dag_id: row.opt_text("dag_id")?.map(DagId::new_unchecked),
        run_id: row.opt_text("run_id")?.map(RunId::new_unchecked),
        task_id: row.opt_text("task_id")?.map(TaskId::new_unchecked),
        data_interval: DataInterval { start: row.instant("interval_start")?, end: row.instant("interval_end")? },
        at: row.instant("at")?,
    })
}

impl Store {
    /// By name.
    pub async fn assets(&self) -> Result<Vec<AssetRow>> {
        let sql = "SELECT u.asset, u.dag_id, u.task_id FROM asset_user u JOIN dag d ON d.dag_id = u.dag_id \
                   WHERE NOT d.is_stale ORDER BY u.asset, u.dag_id, u.task_id";
        let mut assets: BTreeMap<String, AssetRow> = BTreeMap::new();
        let blank = |name: &str| AssetRow {
            asset: AssetName::new_unchecked(name),
            producers: Vec::new(),
            consumers: Vec::new(),
            last_event: None,
            event_count: 0,
        };
        for row in sql::all(self.reader(), "list assets", sql, vec![]).await? {
            let (name, dag_id, task_id) = (row.text("asset")?, row.text("dag_id")?, row.text("task_id")?);
            let asset = assets.entry(name).or_insert_with_key(|name| blank(name));
            if task_id == CONSUMER {
                asset.consumers.push(DagId::new_unchecked(dag_id));
            } else {
                asset.producers.push((DagId::new_unchecked(dag_id), TaskId::new_unchecked(task_id)));
            }
        }
        let sql = "SELECT e.*, (SELECT COUNT(*) FROM (SELECT 1 FROM asset_event c WHERE c.asset = u.asset LIMIT $1) AS few) \
                   AS event_count FROM (SELECT DISTINCT asset FROM asset_user) AS u JOIN asset_event e \
                   ON e.id = (SELECT MAX(l.id) FROM asset_event l WHERE l.asset = u.asset)";
        for row in sql::all(self.reader(), "read the newest events of assets", sql, values![MOST_COUNTED]).await? {
            let event = read_event(&row)?;
            let asset = assets.entry(event.asset.to_string()).or_insert_with_key(|name| blank(name));
            asset.event_count = row.int("event_count")?.unsigned_abs();
            asset.last_event = Some(event);
        }
        Ok(assets.into_values().collect())
    }

    /// Newest first; of one asset, or of all.
    pub async fn asset_events(&self, asset: Option<&str>, limit: u64, offset: u64) -> Result<Vec<AssetEvent>> {
        let sql = "SELECT * FROM asset_event WHERE ($1 IS NULL OR asset = $1) ORDER BY id DESC LIMIT $2 OFFSET $3";
        let values = values![
            asset.map(str::to_owned),
            i64::try_from(limit).unwrap_or(i64::MAX),
            i64::try_from(offset).unwrap_or(i64::MAX)
        ];
        let rows = sql::all(self.reader(), "list asset events", sql, values).await?;
        rows.iter().map(read_event).collect()
    }

    /// What has happened since the DAG's last asset-triggered run, oldest first: at most [`MOST_OF_A_RUN`], of each asset the
    /// newest. An asset may change all day while its consumer waits for another one, and is looked at with each change.
    pub async fn queued_asset_events(&self, dag_id: &DagId) -> Result<Vec<AssetEvent>> {
        let attempted = "read the queued asset events";
        let awaited = "SELECT asset FROM asset_user WHERE dag_id = $1 AND task_id = '' ORDER BY asset";
        let assets = sql::all(self.reader(), attempted, awaited, values![dag_id.as_str()]).await?;
        let most = (MOST_OF_A_RUN / assets.len().max(1)).max(1);
        let sql = "SELECT e.* FROM asset_event e WHERE e.asset = $2 \
                   AND e.id >= (SELECT MIN(f.event_id) FROM asset_queue f WHERE f.dag_id = $1) \
                   AND EXISTS (SELECT 1 FROM asset_queue q WHERE q.dag_id = $1 AND q.event_id = e.id) \
                   ORDER BY e.id DESC LIMIT $3";
        let mut events = Vec::new();
        for row in &assets {
            let values = values![dag_id.as_str(), row.text("asset")?, i64::try_from(most).unwrap_or(i64::MAX)];
            for event in &sql::all(self.reader(), attempted, sql, values).await? {
                events.push(read_event(event)?);
            }
        }
        events.sort_unstable_by_key(|event: &AssetEvent| event.id);
        Ok(events)
    }

    /// The events that DAGs have waiting, each with the DAG, oldest first: those of one DAG, of one asset, or of both. Up to
    /// `limit` of them, and how many there are.
    pub async fn waiting_asset_events(
        &self,
        dag_id: Option<&str>,
        asset: Option<&str>,
        limit: u32,
    ) -> Result<Page<(DagId, AssetEvent)>> {
        let mut conditions = Conditions::default();
        conditions.among("q.dag_id", dag_id.as_slice());
        conditions.among("e.asset", asset.as_slice());
        let clause = conditions.clause();
        let of = format!("FROM asset_queue q JOIN asset_event e ON e.id = q.event_id{clause}");
        let count = format!("SELECT COUNT(*) AS n {of}");
        let list = format!("SELECT e.*, q.dag_id AS waiting {of} ORDER BY e.id, q.dag_id");
        let one = |row: &Row| Ok((DagId::new_unchecked(row.text("waiting")?), read_event(row)?));
        self.page("read the queued asset events", (count, list), conditions.values, (limit.into(), 0), one).await
    }

    /// Takes the events of one DAG, of one asset, or of both from before the DAGs that wait for them: no run comes of them.
    /// Returns how many places before a DAG there were.
    pub async fn forget_asset_events(
        &self,
        dag_id: Option<&str>,
        asset: Option<&str>,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<usize> {
        let attempted = "forget queued asset events";
        let tx = self.begin_in_turn(attempted).await?;
        let mut conditions = Conditions::default();
        conditions.among("dag_id", dag_id.as_slice());
        conditions.among("(SELECT e.asset FROM asset_event e WHERE e.id = asset_queue.event_id)", asset.as_slice());
        let sql = format!("DELETE FROM asset_queue{} RETURNING dag_id", conditions.clause());
        let rows = sql::all(&tx.inner, attempted, sql, conditions.values).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let mut dags: BTreeMap<String, u64> = BTreeMap::new();
        for row in &rows {
            *dags.entry(row.text("dag_id")?).or_default() += 1;
        }
        for (dag_id, events) in &dags {
            let id = DagId::new_unchecked(dag_id.as_str());
            tx.signal(SignalKind::DagChanged, Some(&id), None, now).await?;
            let waiting = |events: u64| Some(json!({ "waiting_events": events }));
            let audit = AuditRow::new(actor, "asset_events_forgotten", json!({ "asset": asset }), now)
                .with_change(waiting(*events), waiting(0));
            tx.audit(&audit.on_dag(dag_id)).await?;
        }
        tx.commit().await?;
        Ok(rows.len())
    }

    /// A person says that an asset is up to date. Who waits for it is told. Errors: `NotFound` for an asset that no DAG
    /// names.
    pub async fn record_asset_event(&self, asset: &str, actor: &str, now: DateTime<Utc>) -> Result<AssetEvent> {
        let tx = self.begin_in_turn("record an asset event").await?;
        let event = record_event(&tx, asset, actor, now).await?;
        tx.commit().await?;
        self.count(Counted::AssetEvents, &["person"], 1);
        Ok(event)
    }

    /// As [`Store::record_asset_event`], once for a key that was used `since` then.
    pub async fn record_asset_event_once(
        &self,
        asset: &str,
        actor: &str,
        key: &RequestKey,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Keyed<AssetEvent, ()>> {
        let tx = self.begin_in_turn("record an asset event").await?;
        if let Some(seen) = take_key(&tx, key, ("", ""), since, now).await? {
            return Ok(seen.map_or(Keyed::Another, |_| Keyed::Known(())));
        }
        let event = record_event(&tx, asset, actor, now).await?;
        tx.commit().await?;
        self.count(Counted::AssetEvents, &["person"], 1);
        Ok(Keyed::Created(event))
    }
}

async fn record_event(tx: &Tx, asset: &str, actor: &str, now: DateTime<Utc>) -> Result<AssetEvent> {
    let known = "SELECT 1 AS n FROM asset_user WHERE asset = $1 LIMIT 1";
    if sql::one(&tx.inner, "look for an asset", known, values![asset]).await?.is_none() {
        return Err(StoreError::NotFound { kind: "asset", name: asset.to_owned() });
    }
    let sql = "INSERT INTO asset_event (asset, interval_start, interval_end, actor, at) \
                   VALUES ($1, $2, $2, $3, $2) RETURNING *";
    let row = sql::one(&tx.inner, "record an asset event", sql, values![asset, micros(now), actor]).await?;
    let event = read_event(&row.ok_or_else(|| StoreError::Refused {
        attempted: "record an asset event",
        reason: "the database gave no row back".to_owned(),
    })?)?;
    for dag_id in queue(tx, &[event.id]).await? {
        tx.signal(SignalKind::DagChanged, Some(&dag_id), None, now).await?;
    }
    let audit = AuditRow::new(actor, "asset_event", json!({ "asset": asset }), now);
    tx.audit(&audit.with_change(None, Some(json!({ "event": event.id, "asset": asset })))).await?;
    Ok(event)
}

/// Puts events before the DAGs that wait for them: paused ones and ones without a file miss them. Returns the DAGs.
pub(crate) async fn queue(tx: &Tx, events: &[i64]) -> Result<BTreeSet<DagId>> {
    if events.is_empty() {
        return Ok(BTreeSet::new());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!(
        "INSERT INTO asset_queue (dag_id, event_id) SELECT u.dag_id, e.id FROM {source} CROSS JOIN asset_event e \
         JOIN asset_user u ON u.asset = e.asset AND u.task_id = '' JOIN dag d ON d.dag_id = u.dag_id \
         WHERE e.id = x_id AND NOT d.is_paused AND NOT d.is_stale ON CONFLICT DO NOTHING RETURNING dag_id"
    );
    let ids = sql::column(events.iter().copied());
    let rows = sql::all(&tx.inner, "queue asset events", sql, vec![ids]).await?;
    rows.iter().map(|row| Ok(DagId::new_unchecked(row.text("dag_id")?))).collect()
}

/// Notes which assets the new versions of these DAGs make and await. A DAG with catchup that begins to wait for an asset
/// is given all that has happened to it so far.
pub(crate) async fn put_users(tx: &Tx, dags: &[&Dag]) -> Result<()> {
    let known = users(&tx.inner, dags).await?;
    let wanted: BTreeSet<(String, String, String)> = dags.iter().flat_map(|dag| users_of(dag)).collect();
    if known == wanted {
        return Ok(());
    }
    let columns = [("x_asset", Kind::Text), ("x_dag", Kind::Text), ("x_task", Kind::Text)];
    let source = sql::source(tx.dialect(), 1, &columns);
    let parameter = |rows: Vec<&(String, String, String)>| {
        vec![sql::rows(rows.into_iter().map(|(asset, dag, task)| vec![json!(asset), json!(dag), json!(task)]))]
    };
    let gone = || known.difference(&wanted).collect::<Vec<_>>();
    let sql = format!(
        "DELETE FROM asset_user WHERE EXISTS (SELECT 1 FROM {source} \
         WHERE asset = x_asset AND dag_id = x_dag AND task_id = x_task)"
    );
    sql::run(&tx.inner, "forget users of assets", sql, parameter(gone())).await?;
    let sql = format!(
        "DELETE FROM asset_queue WHERE EXISTS (SELECT 1 FROM {source} CROSS JOIN asset_event e \
         WHERE x_task = '' AND asset_queue.dag_id = x_dag AND e.id = asset_queue.event_id AND e.asset = x_asset)"
    );
    sql::run(&tx.inner, "forget asset events", sql, parameter(gone())).await?;
    let added = || wanted.difference(&known).collect::<Vec<_>>();
    let sql = format!("INSERT INTO asset_user (asset, dag_id, task_id) SELECT x.* FROM {source}");
    sql::run(&tx.inner, "note users of assets", sql, parameter(added())).await?;
    let catching_up: BTreeSet<&str> = dags.iter().filter(|dag| dag.catchup).map(|dag| dag.dag_id.as_str()).collect();
    let begins = added().into_iter().filter(|(_, dag, task)| task == CONSUMER && catching_up.contains(dag.as_str()));
    let sql = format!(
        "INSERT INTO asset_queue (dag_id, event_id) SELECT x_dag, e.id FROM {source} CROSS JOIN asset_event e \
         WHERE e.asset = x_asset ON CONFLICT DO NOTHING"
    );
    sql::run(&tx.inner, "queue earlier asset events", sql, parameter(begins.collect())).await.map(|_| ())
}

async fn users(connection: &impl ConnectionTrait, dags: &[&Dag]) -> Result<BTreeSet<(String, String, String)>> {
    let source = sql::source(connection.get_database_backend(), 1, &[("x_dag", Kind::Text)]);
    let sql =
        format!("SELECT u.asset, u.dag_id, u.task_id FROM {source} CROSS JOIN asset_user u WHERE u.dag_id = x_dag");
    let names = sql::column(dags.iter().map(|dag| dag.dag_id.as_str()));
    let rows = sql::all(connection, "read users of assets", sql, vec![names]).await?;
    rows.iter().map(|row| Ok((row.text("asset")?, row.text("dag_id")?, row.text("task_id")?))).collect()
}

fn users_of(dag: &Dag) -> impl Iterator<Item = (String, String, String)> {
    let awaited = dag.assets.iter().flat_map(|condition| condition.names()).map(|name| (name, CONSUMER));
    let made = dag.tasks.iter().flat_map(|task| task.outlets.iter().map(|name| (name, task.task_id.as_str())));
    awaited.chain(made).map(|(name, task)| (name.to_string(), dag.dag_id.to_string(), task.to_owned()))
}
