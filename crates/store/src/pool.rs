//! Pools.

use chrono::{DateTime, Utc};
use millrace_model::dag::DEFAULT_POOL;
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, QueryOrder, Set};
use serde_json::json;

use crate::entity::pool::{ActiveModel, Column, Entity, Model};
use crate::{AuditRow, Result, SignalKind, Store, StoreError};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRow {
    pub name: String,
    /// -1: without limit.
    pub slots: i64,
    pub description: Option<String>,
    pub include_deferred: bool,
}

fn failed(attempted: &'static str) -> impl Fn(sea_orm::DbErr) -> StoreError {
    move |source| StoreError::Database { attempted, source }
}

fn from_model(model: Model) -> PoolRow {
    PoolRow {
        name: model.name,
        slots: model.slots,
        description: model.description,
        include_deferred: model.include_deferred,
    }
}

impl Store {
    /// By name.
    pub async fn pools(&self) -> Result<Vec<PoolRow>> {
        let models = Entity::find().order_by_asc(Column::Name).all(self.reader()).await;
        Ok(models.map_err(failed("list pools"))?.into_iter().map(from_model).collect())
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_pool(&self, row: &PoolRow, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        if row.slots < -1 {
            let reason = format!("{} slots are less than none; -1 means without limit", row.slots);
            return Err(StoreError::Refused { attempted: "write a pool", reason });
        }
        let tx = self.begin("write a pool").await?;
        let failed = failed("write a pool");
        let is_new = Entity::find_by_id(row.name.as_str()).one(&tx.inner).await.map_err(&failed)?.is_none();
        let model = ActiveModel {
            name: Set(row.name.clone()),
            slots: Set(row.slots),
            description: Set(row.description.clone()),
            include_deferred: Set(row.include_deferred),
        };
        let replace = OnConflict::column(Column::Name)
            .update_columns([Column::Slots, Column::Description, Column::IncludeDeferred])
            .to_owned();
        Entity::insert(model).on_conflict(replace).exec_without_returning(&tx.inner).await.map_err(&failed)?;
        let action = if is_new { "pool_added" } else { "pool_changed" };
        let details = json!({ "name": row.name, "slots": row.slots, "include_deferred": row.include_deferred });
        tx.audit(&AuditRow::new(actor, action, details, now)).await?;
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
        let done = Entity::delete_by_id(name).exec(&tx.inner).await.map_err(failed("delete a pool"))?;
        if done.rows_affected > 0 {
            tx.audit(&AuditRow::new(actor, "pool_deleted", json!({ "name": name }), now)).await?;
            tx.signal(SignalKind::PoolChanged, None, None, now).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }
}
