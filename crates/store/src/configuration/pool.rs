//! Pools.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_model::dag::DEFAULT_POOL;
use millrace_model::pool::PoolSizes;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, QueryOrder, Set};
use serde_json::{Value, json};

use crate::configuration::entity::pool::{ActiveModel, Column, Entity, Model};
use crate::runs::active::ACTIVE_RUNS;
use crate::{AuditRow, Result, SignalKind, Store, StoreError, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    pub name: String,
    /// -1: without limit.
    pub slots: i64,
    pub description: Option<String>,
    pub include_deferred: bool,
}

/// Slots of a pool by what they are held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolUse {
    pub running: i64,
    pub queued: i64,
    /// Ready, and without a slot.
    pub scheduled: i64,
    pub deferred: i64,
}

impl PoolUse {
    pub fn occupied(&self, pool: &PoolRow) -> i64 {
        self.running + self.queued + if pool.include_deferred { self.deferred } else { 0 }
    }

    /// `None`: without limit.
    pub fn open_slots(&self, pool: &PoolRow) -> Option<i64> {
        (pool.slots >= 0).then(|| pool.slots - self.occupied(pool))
    }

    /// What ready tasks ask for beyond what is open.
    pub fn starving(&self, pool: &PoolRow) -> i64 {
        self.open_slots(pool).map_or(0, |open| (self.scheduled - open.max(0)).max(0))
    }
}

fn from_model(model: Model) -> PoolRow {
    PoolRow {
        name: model.name,
        slots: model.slots,
        description: model.description,
        include_deferred: model.include_deferred,
    }
}

/// For the audit log.
fn told(row: &PoolRow) -> Value {
    json!({ "slots": row.slots, "description": row.description, "include_deferred": row.include_deferred })
}

impl Store {
    /// By name.
    pub async fn pools(&self) -> Result<Vec<PoolRow>> {
        let models = Entity::find().order_by_asc(Column::Name).all(self.reader()).await;
        Ok(models.map_err(StoreError::during("list pools"))?.into_iter().map(from_model).collect())
    }

    /// How many slots each pool has.
    pub async fn pool_sizes(&self) -> Result<PoolSizes> {
        Ok(self.pools().await?.into_iter().map(|row| (row.name, row.slots)).collect())
    }

    /// The slots that tries hold until they have stopped, whatever became of their instances and runs meanwhile, and those
    /// that ready tasks of active runs wait for, by the pool's name.
    pub async fn pool_use(&self) -> Result<BTreeMap<String, PoolUse>> {
        let mut pools: BTreeMap<String, PoolUse> = BTreeMap::new();
        let sql = format!(
            "SELECT pool, CAST(SUM(pool_slots) AS BIGINT) AS slots FROM task_instance WHERE state = 'scheduled' \
             AND run_id IN (SELECT id FROM dag_run WHERE {ACTIVE_RUNS}) GROUP BY pool"
        );
        for row in sql::all(self.reader(), "count the slots that are waited for", sql, vec![]).await? {
            pools.entry(row.text("pool")?).or_default().scheduled += row.int("slots")?;
        }
        // Those that began with another version than their runs have now stand apart, by their tasks.
        let sql = "SELECT pool, begun_with, task_id, is_outside, COUNT(*) AS tries, \
                   CAST(SUM(pool_slots) AS BIGINT) AS slots FROM (\
                   SELECT pool, pool_slots, is_outside, departed_from AS begun_with, \
                   CASE WHEN departed_from IS NULL THEN '' ELSE task_id END AS task_id \
                   FROM task_instance WHERE lease_owner IS NOT NULL) AS held \
                   GROUP BY pool, begun_with, task_id, is_outside";
        for row in sql::all(self.reader(), "count the slots in use", sql, vec![]).await? {
            let begun = match row.opt_int("begun_with")? {
                Some(version) => self.begun_with(version, row.text("task_id")?).await?,
                None => None,
            };
            let (pool, slots) = match begun {
                Some((pool, slots)) => (pool, slots * row.int("tries")?),
                None => (row.text("pool")?, row.int("slots")?),
            };
            let used = pools.entry(pool).or_default();
            if row.flag("is_outside")? { used.deferred += slots } else { used.running += slots }
        }
        Ok(pools)
    }

    /// The pool of a task, and how many of its slots the task takes, as a version has them; none when that can't be read.
    async fn begun_with(&self, version: i64, task_id: String) -> Result<Option<(String, i64)>> {
        match self.dag_version(version).await {
            Ok(dag) => Ok(dag.task(&task_id).map(|task| (task.pool.clone(), i64::from(task.pool_slots)))),
            Err(error) if error.is_transient() => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_pool(&self, row: &PoolRow, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        if row.slots < -1 {
            let reason = format!("{} slots are less than none; -1 means without limit", row.slots);
            return Err(StoreError::Refused { attempted: "write a pool", reason });
        }
        let tx = self.begin("write a pool").await?;
        let failed = StoreError::during("write a pool");
        let before = Entity::find_by_id(row.name.as_str()).one(&tx.inner).await.map_err(failed)?.map(from_model);
        let is_new = before.is_none();
        let model = ActiveModel {
            name: Set(row.name.clone()),
            slots: Set(row.slots),
            description: Set(row.description.clone()),
            include_deferred: Set(row.include_deferred),
        };
        let replace = OnConflict::column(Column::Name)
            .update_columns([Column::Slots, Column::Description, Column::IncludeDeferred])
            .to_owned();
        Entity::insert(model).on_conflict(replace).exec_without_returning(&tx.inner).await.map_err(failed)?;
        let action = if is_new { "pool_added" } else { "pool_changed" };
        let details = json!({ "name": row.name, "slots": row.slots, "include_deferred": row.include_deferred });
        let audit = AuditRow::new(actor, action, details, now);
        tx.audit(&audit.with_change(before.as_ref().map(told), Some(told(row)))).await?;
        tx.signal(SignalKind::PoolChanged, None, None, now).await?;
        tx.commit().await?;
        Ok(is_new)
    }

    /// Returns whether there was one. `default_pool` stays.
    pub async fn delete_pool(&self, name: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        if name == DEFAULT_POOL {
            let reason = format!("{DEFAULT_POOL} is where tasks run that name no pool");
            return Err(StoreError::Refused { attempted: "delete a pool", reason });
        }
        let tx = self.begin("delete a pool").await?;
        let failed = StoreError::during("delete a pool");
        let before = Entity::find_by_id(name).one(&tx.inner).await.map_err(failed)?.map(from_model);
        let done = Entity::delete_by_id(name).exec(&tx.inner).await.map_err(failed)?;
        if done.rows_affected > 0 {
            let audit = AuditRow::new(actor, "pool_deleted", json!({ "name": name }), now);
            tx.audit(&audit.with_change(before.as_ref().map(told), None)).await?;
            tx.signal(SignalKind::PoolChanged, None, None, now).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }
}
