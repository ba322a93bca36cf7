//! Connections, with their secrets sealed by whoever writes them.

use chrono::{DateTime, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{EntityTrait, QueryOrder, Set};
use serde_json::json;

use crate::configuration::entity::connection::{ActiveModel, Column, Entity, Model};
use crate::sql::{self, micros};
use crate::{AuditRow, Result, Store, StoreError, Told};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionRow {
    pub conn_id: String,
    pub conn_type: String,
    pub description: Option<String>,
    pub host: Option<String>,
    pub login: Option<String>,
    pub schema: Option<String>,
    pub port: Option<u16>,
    /// Ciphertext, stored as given.
    pub sealed_password: Option<String>,
    /// Ciphertext of the JSON object of extras, stored as given.
    pub sealed_extra: Option<String>,
}

fn from_model(model: Model) -> ConnectionRow {
    ConnectionRow {
        conn_id: model.conn_id,
        conn_type: model.conn_type,
        description: model.description,
        host: model.host,
        login: model.login,
        schema: model.schema,
        port: model.port.and_then(|port| u16::try_from(port).ok()),
        sealed_password: model.sealed_password,
        sealed_extra: model.sealed_extra,
    }
}

/// How many sealed things there are, when one was written last, and when they were all: as long as it is the same, so
/// are they. The last one alone does not tell, for the clocks of those that write differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedStamp {
    count: i64,
    changed_at: i64,
    all_changed_at: i64,
}

impl Store {
    /// Of connections and variables.
    pub async fn sealed_stamp(&self) -> Result<SealedStamp> {
        // Of the sum the lower digits: it stays a number, however many there are.
        let text = "SELECT COUNT(*) AS n, COALESCE(MAX(changed_at), 0) AS changed_at, \
                    COALESCE(CAST(SUM(changed_at % 1000000000000) AS BIGINT), 0) AS all_changed_at FROM \
                    (SELECT changed_at FROM connection UNION ALL SELECT changed_at FROM variable) AS sealed";
        let row = sql::one(self.reader(), "look whether secrets have changed", text, vec![]).await?;
        let Some(row) = row else { return Ok(SealedStamp { count: 0, changed_at: 0, all_changed_at: 0 }) };
        let all_changed_at = row.int("all_changed_at")?;
        Ok(SealedStamp { count: row.int("n")?, changed_at: row.int("changed_at")?, all_changed_at })
    }

    /// By id.
    pub async fn connections(&self) -> Result<Vec<ConnectionRow>> {
        let models = Entity::find().order_by_asc(Column::ConnId).all(self.reader()).await;
        Ok(models.map_err(StoreError::during("list connections"))?.into_iter().map(from_model).collect())
    }

    pub async fn connection(&self, conn_id: &str) -> Result<Option<ConnectionRow>> {
        let model = Entity::find_by_id(conn_id).one(self.reader()).await;
        Ok(model.map_err(StoreError::during("read a connection"))?.map(from_model))
    }

    /// Adds or replaces. Returns whether it is new.
    pub async fn put_connection(
        &self,
        row: &ConnectionRow,
        told: Told,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let tx = self.begin("write a connection").await?;
        let failed = StoreError::during("write a connection");
        let is_new = Entity::find_by_id(row.conn_id.as_str()).one(&tx.inner).await.map_err(failed)?.is_none();
        let model = ActiveModel {
            conn_id: Set(row.conn_id.clone()),
            conn_type: Set(row.conn_type.clone()),
            description: Set(row.description.clone()),
            host: Set(row.host.clone()),
            login: Set(row.login.clone()),
            schema: Set(row.schema.clone()),
            port: Set(row.port.map(i64::from)),
            sealed_password: Set(row.sealed_password.clone()),
            sealed_extra: Set(row.sealed_extra.clone()),
            created_at: Set(micros(now)),
            changed_at: Set(micros(now)),
        };
        let replace = OnConflict::column(Column::ConnId)
            .update_columns([
                Column::ConnType,
                Column::Description,
                Column::Host,
                Column::Login,
                Column::Schema,
                Column::Port,
                Column::SealedPassword,
                Column::SealedExtra,
                Column::ChangedAt,
            ])
            .to_owned();
        Entity::insert(model).on_conflict(replace).exec_without_returning(&tx.inner).await.map_err(failed)?;
        let action = if is_new { "connection_added" } else { "connection_changed" };
        let audit = AuditRow::new(actor, action, json!({ "conn_id": row.conn_id }), now);
        tx.audit(&audit.with_change(told.before, told.after)).await?;
        tx.commit().await?;
        Ok(is_new)
    }

    /// Returns whether there was one.
    pub async fn delete_connection(&self, conn_id: &str, told: Told, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("delete a connection").await?;
        let done =
            Entity::delete_by_id(conn_id).exec(&tx.inner).await.map_err(StoreError::during("delete a connection"))?;
        if done.rows_affected > 0 {
            let audit = AuditRow::new(actor, "connection_deleted", json!({ "conn_id": conn_id }), now);
            tx.audit(&audit.with_change(told.before, None)).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }
}
