//! Assets: who makes them and who waits for them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::asset::{AssetEvent, AssetName};
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, TaskId};
use sea_orm::ConnectionTrait;
use serde_json::json;

use crate::dags::asset_event::read_event;
use crate::sql::{Kind, Row, micros, values};
use crate::{Result, Store, Tx, sql};

/// Events of one asset that are counted: a list must not read all that ever happened.
const MOST_COUNTED: i64 = 1_000;

/// An asset and those who have to do with it, by the newest versions of their DAGs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetRow {
    /// Row id: the asset's for as long as the database lives, whoever has to do with it.
    pub id: i64,
    pub asset: AssetName,
    pub created_at: DateTime<Utc>,
    pub producers: Vec<AssetProducer>,
    pub consumers: Vec<AssetConsumer>,
    pub last_event: Option<AssetEvent>,
    /// At most [`MOST_COUNTED`].
    pub event_count: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetProducer {
    pub dag_id: DagId,
    pub task_id: TaskId,
    pub since: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetConsumer {
    pub dag_id: DagId,
    pub since: DateTime<Utc>,
}

impl AssetRow {
    /// The DAGs that make it and those that await it.
    pub fn users(&self) -> impl Iterator<Item = &DagId> {
        let makers = self.producers.iter().map(|it| &it.dag_id);
        makers.chain(self.consumers.iter().map(|it| &it.dag_id))
    }

    fn read(row: &Row) -> Result<Self> {
        Ok(Self {
            id: row.int("asset_id")?,
            asset: AssetName::new_unchecked(row.text("name")?),
            created_at: row.instant("created_at")?,
            producers: Vec::new(),
            consumers: Vec::new(),
            last_event: None,
            event_count: 0,
        })
    }
}

/// The task id that stands for "this DAG waits for it" in `asset_user`.
const CONSUMER: &str = "";

impl Store {
    /// By name.
    pub async fn assets(&self) -> Result<Vec<AssetRow>> {
        let sql = "SELECT a.id AS asset_id, a.name, a.created_at, u.dag_id, u.task_id, u.since FROM asset_user u JOIN dag d ON d.dag_id = u.dag_id \
                   JOIN asset a ON a.name = u.asset WHERE NOT d.is_stale ORDER BY u.asset, u.dag_id, u.task_id";
        let mut assets: BTreeMap<String, AssetRow> = BTreeMap::new();
        for row in sql::all(self.reader(), "list assets", sql, vec![]).await? {
            let asset = match assets.entry(row.text("name")?) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(AssetRow::read(&row)?),
            };
            let (dag_id, task_id) = (DagId::new_unchecked(row.text("dag_id")?), row.text("task_id")?);
            let since = row.instant("since")?;
            if task_id == CONSUMER {
                asset.consumers.push(AssetConsumer { dag_id, since });
            } else {
                asset.producers.push(AssetProducer { dag_id, task_id: TaskId::new_unchecked(task_id), since });
            }
        }
        let sql = "SELECT e.*, a.id AS asset_id, a.name, a.created_at, (SELECT COUNT(*) FROM (SELECT 1 FROM asset_event c WHERE c.asset = u.asset LIMIT $1) AS few) \
                   AS event_count FROM (SELECT DISTINCT asset FROM asset_user) AS u JOIN asset_event e \
                   ON e.id = (SELECT MAX(l.id) FROM asset_event l WHERE l.asset = u.asset) JOIN asset a ON a.name = u.asset";
        for row in sql::all(self.reader(), "read the newest events of assets", sql, values![MOST_COUNTED]).await? {
            let event = read_event(&row)?;
            let asset = match assets.entry(event.asset.to_string()) {
                Entry::Occupied(known) => known.into_mut(),
                // Those who had to do with it have no file any more.
                Entry::Vacant(new) => new.insert(AssetRow::read(&row)?),
            };
            asset.event_count = row.int("event_count")?.unsigned_abs();
            asset.last_event = Some(event);
        }
        Ok(assets.into_values().collect())
    }

    /// The numbers of assets, by name: also of those that no DAG names any more.
    pub async fn asset_numbers(&self, names: &[&str]) -> Result<BTreeMap<String, i64>> {
        let source = sql::source(self.dialect(), 1, &[("x_name", Kind::Text)]);
        let sql = format!("SELECT a.id, a.name FROM {source} CROSS JOIN asset a WHERE a.name = x_name");
        let names = sql::column(names.iter().copied());
        let rows = sql::all(self.reader(), "read the numbers of assets", sql, vec![names]).await?;
        rows.iter().map(|row| Ok((row.text("name")?, row.int("id")?))).collect()
    }
}

/// Gives numbers to assets that have none.
pub(crate) async fn number(tx: &Tx, names: &BTreeSet<&str>, now: DateTime<Utc>) -> Result<()> {
    let source = sql::source(tx.dialect(), 1, &[("x_name", Kind::Text)]);
    // One that is known must not use a number up.
    let sql = format!(
        "INSERT INTO asset (name, created_at) SELECT x_name, $2 FROM {source} \
         WHERE NOT EXISTS (SELECT 1 FROM asset a WHERE a.name = x_name) ON CONFLICT DO NOTHING"
    );
    let values = vec![sql::column(names.iter().copied()), micros(now).into()];
    sql::run(&tx.inner, "number assets", sql, values).await.map(|_| ())
}

/// Notes which assets the new versions of these DAGs make and await. A DAG with catchup that begins to wait for an asset
/// is given all that has happened to it so far.
pub(crate) async fn put_users(tx: &Tx, dags: &[&Dag], now: DateTime<Utc>) -> Result<()> {
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
    number(tx, &added().into_iter().map(|(asset, ..)| asset.as_str()).collect(), now).await?;
    let sql = format!("INSERT INTO asset_user (asset, dag_id, task_id, since) SELECT x.*, $2 FROM {source}");
    let values = parameter(added()).into_iter().chain([micros(now).into()]).collect();
    sql::run(&tx.inner, "note users of assets", sql, values).await?;
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
