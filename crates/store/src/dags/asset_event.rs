//! What happened to assets, who has yet to use it, and which runs came of it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::asset::{AssetEvent, AssetName};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunState;
use serde_json::{Map, Value as Json, json};

use crate::conditions::{Conditions, DateSpan, count_to};
use crate::requests::trigger::take_key;
use crate::sql::{Kind, Row, micros, values};
use crate::{AuditRow, Counted, Keyed, Page, RequestKey, Result, SignalKind, Store, StoreError, Tx, sql};

/// Events that a run names; those before them it covers and does not name.
const MOST_OF_A_RUN: usize = 1_000;

/// What somebody says of an asset that is up to date.
#[derive(Debug, Clone)]
pub struct NewAssetEvent<'a> {
    pub asset: &'a str,
    /// Shown to whoever may see assets, and handed on to the runs that come of it.
    pub extra: Map<String, Json>,
}

impl<'a> NewAssetEvent<'a> {
    pub fn of(asset: &'a str) -> Self {
        Self { asset, extra: Map::new() }
    }
}

/// `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct AssetEventFilter {
    pub id: Option<i64>,
    pub asset: Option<String>,
    pub asset_id: Option<i64>,
    /// A part of the asset's name, in any case.
    pub part: Option<String>,
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub map_index: Option<i32>,
    pub at: DateSpan,
    pub ascending: bool,
    pub limit: u64,
    pub offset: u64,
}

impl AssetEventFilter {
    /// A list must not read all that ever happened.
    pub const MOST_COUNTED: u64 = 10_000;

    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        if let Some(id) = self.id {
            conditions.compare("e.id", "=", id);
        }
        conditions.among("e.asset", self.asset.as_slice());
        if let Some(id) = self.asset_id {
            conditions.add(format!("e.asset = (SELECT a.name FROM asset a WHERE a.id = {id})"));
        }
        if let Some(part) = &self.part {
            conditions.contains("e.asset", part);
        }
        conditions.among("e.dag_id", self.dag_id.as_slice());
        conditions.among("e.run_id", self.run_id.as_slice());
        conditions.among("e.task_id", self.task_id.as_slice());
        if let Some(index) = self.map_index {
            conditions.compare("e.map_index", "=", index);
        }
        conditions.within("e.at", self.at);
        conditions
    }
}

/// A run that an event called for, alone or with others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalledRun {
    pub event_id: i64,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub state: RunState,
    pub logical_date: DateTime<Utc>,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
    pub data_interval: DataInterval,
    /// The newest of the run's events, for which it was made in the end.
    pub is_last: bool,
}

impl CalledRun {
    fn read(row: &Row) -> Result<Self> {
        let event_id = row.int("event_id")?;
        Ok(Self {
            event_id,
            dag_id: DagId::new_unchecked(row.text("dag_id")?),
            run_id: RunId::new_unchecked(row.text("run_id")?),
            state: row.word("state", RunState::parse)?,
            logical_date: row.instant("logical_date")?,
            start_date: row.opt_instant("start_date")?,
            end_date: row.opt_instant("end_date")?,
            data_interval: DataInterval {
                start: row.instant("data_interval_start")?,
                end: row.instant("data_interval_end")?,
            },
            is_last: row.int("last")? == event_id,
        })
    }
}

pub(crate) fn read_event(row: &Row) -> Result<AssetEvent> {
    Ok(AssetEvent {
        id: row.int("id")?,
        asset: AssetName::new_unchecked(row.text("asset")?),
        dag_id: row.opt_text("dag_id")?.map(DagId::new_unchecked),
        run_id: row.opt_text("run_id")?.map(RunId::new_unchecked),
        task_id: row.opt_text("task_id")?.map(TaskId::new_unchecked),
        data_interval: DataInterval { start: row.instant("interval_start")?, end: row.instant("interval_end")? },
        map_index: row.small("map_index")?,
        at: row.instant("at")?,
        extra: row.json("extra")?,
    })
}

impl Store {
    /// The newest first, unless they ascend; counted to [`AssetEventFilter::MOST_COUNTED`].
    pub async fn asset_events(&self, filter: &AssetEventFilter) -> Result<Page<AssetEvent>> {
        let conditions = filter.conditions();
        let of = format!("asset_event e{}", conditions.clause());
        let count = count_to(AssetEventFilter::MOST_COUNTED + filter.offset, &of);
        let direction = if filter.ascending { "ASC" } else { "DESC" };
        let list = format!("SELECT e.* FROM {of} ORDER BY e.id {direction}");
        let part = (filter.limit, filter.offset);
        self.page("list asset events", (count, list), conditions.values, part, read_event).await
    }

    /// The runs that these events called for.
    pub async fn runs_called(&self, events: &[i64]) -> Result<Vec<CalledRun>> {
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql = format!(
            "SELECT c.event_id, r.dag_id, r.run_id, r.state, r.logical_date, r.start_date, r.end_date, \
             r.data_interval_start, r.data_interval_end, \
             (SELECT MAX(l.event_id) FROM asset_event_run l WHERE l.run_id = c.run_id) AS last \
             FROM {source} CROSS JOIN asset_event_run c CROSS JOIN dag_run r \
             WHERE c.event_id = x_id AND r.id = c.run_id ORDER BY r.id"
        );
        let ids = sql::column(events.iter().copied());
        let rows = sql::all(self.reader(), "read the runs of asset events", sql, vec![ids]).await?;
        rows.iter().map(CalledRun::read).collect()
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
    pub async fn record_asset_event(
        &self,
        new: NewAssetEvent<'_>,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<AssetEvent> {
        let tx = self.begin_in_turn("record an asset event").await?;
        let event = record_event(&tx, new, actor, now).await?;
        tx.commit().await?;
        self.count(Counted::AssetEvents, &["person"], 1);
        Ok(event)
    }

    /// As [`Store::record_asset_event`], once for a key that was used `since` then: else the number of the event of then.
    pub async fn record_asset_event_once(
        &self,
        new: NewAssetEvent<'_>,
        actor: &str,
        key: &RequestKey,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Keyed<AssetEvent, i64>> {
        let tx = self.begin_in_turn("record an asset event").await?;
        // Taken back with the transaction where the key was used already.
        let event = record_event(&tx, new, actor, now).await?;
        if let Some(seen) = take_key(&tx, key, ("", &event.id.to_string()), since, now).await? {
            return Ok(seen.map_or(Keyed::Another, |id| Keyed::Known(id.parse().unwrap_or_default())));
        }
        tx.commit().await?;
        self.count(Counted::AssetEvents, &["person"], 1);
        Ok(Keyed::Created(event))
    }
}

async fn record_event(tx: &Tx, new: NewAssetEvent<'_>, actor: &str, now: DateTime<Utc>) -> Result<AssetEvent> {
    let NewAssetEvent { asset, extra } = new;
    let known = "SELECT 1 AS n FROM asset_user WHERE asset = $1 LIMIT 1";
    if sql::one(&tx.inner, "look for an asset", known, values![asset]).await?.is_none() {
        return Err(StoreError::NotFound { kind: "asset", name: asset.to_owned() });
    }
    let sql = "INSERT INTO asset_event (asset, interval_start, interval_end, actor, at, extra) \
               VALUES ($1, $2, $2, $3, $2, $4) RETURNING *";
    let values = values![asset, micros(now), actor, Json::from(extra.clone()).to_string()];
    let row = sql::one(&tx.inner, "record an asset event", sql, values).await?;
    let event = read_event(&row.ok_or_else(|| StoreError::Refused {
        attempted: "record an asset event",
        reason: "the database gave no row back".to_owned(),
    })?)?;
    for dag_id in queue(tx, &[event.id]).await? {
        tx.signal(SignalKind::DagChanged, Some(&dag_id), None, now).await?;
    }
    let audit = AuditRow::new(actor, "asset_event", json!({ "asset": asset }), now);
    let mut said = json!({ "event": event.id, "asset": asset });
    if !extra.is_empty() {
        said["extra"] = extra.into();
    }
    tx.audit(&audit.with_change(None, Some(said))).await?;
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
