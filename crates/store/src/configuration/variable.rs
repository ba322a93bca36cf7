//! Variables, sealed by whoever writes them.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, QueryOrder, Set};
use serde_json::json;

use crate::configuration::entity::variable::{ActiveModel, Column, Entity, Model};
use crate::sql::micros;
use crate::{AuditRow, Result, Store, StoreError, Told};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableRow {
    pub key: String,
    /// Ciphertext, stored as given.
    pub sealed_value: String,
    pub description: Option<String>,
}

fn from_model(model: Model) -> VariableRow {
    VariableRow { key: model.key, sealed_value: model.sealed_value, description: model.description }
}

impl Store {
    /// By key.
    pub async fn variables(&self) -> Result<Vec<VariableRow>> {
        let models = Entity::find().order_by_asc(Column::Key).all(self.reader()).await;
        Ok(models.map_err(StoreError::during("list variables"))?.into_iter().map(from_model).collect())
    }

    pub async fn variable(&self, key: &str) -> Result<Option<VariableRow>> {
        let model = Entity::find_by_id(key).one(self.reader()).await;
        Ok(model.map_err(StoreError::during("read a variable"))?.map(from_model))
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_variable(&self, row: &VariableRow, told: Told, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("write a variable").await?;
        let failed = StoreError::during("write a variable");
        let is_new = Entity::find_by_id(row.key.as_str()).one(&tx.inner).await.map_err(failed)?.is_none();
        let model = ActiveModel {
            key: Set(row.key.clone()),
            sealed_value: Set(row.sealed_value.clone()),
            description: Set(row.description.clone()),
            created_at: Set(micros(now)),
            changed_at: Set(micros(now)),
        };
        let replace = OnConflict::column(Column::Key)
            .update_columns([Column::SealedValue, Column::Description, Column::ChangedAt])
            .to_owned();
        Entity::insert(model).on_conflict(replace).exec_without_returning(&tx.inner).await.map_err(failed)?;
        let action = if is_new { "variable_added" } else { "variable_changed" };
        let audit = AuditRow::new(actor, action, json!({ "key": row.key }), now);
        tx.audit(&audit.with_change(told.before, told.after)).await?;
        tx.commit().await?;
        Ok(is_new)
    }

    /// Returns whether there was one.
    pub async fn delete_variable(&self, key: &str, told: Told, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("delete a variable").await?;
        let done = Entity::delete_by_id(key).exec(&tx.inner).await.map_err(StoreError::during("delete a variable"))?;
        if done.rows_affected > 0 {
            let audit = AuditRow::new(actor, "variable_deleted", json!({ "key": key }), now);
            tx.audit(&audit.with_change(told.before, None)).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }
}
