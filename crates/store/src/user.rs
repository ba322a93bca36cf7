//! People and their tokens.

use chrono::{DateTime, TimeDelta, Utc};
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, Set};
use serde_json::json;

use crate::entity::{api_token, user};
use crate::sql::{instant, micros, opt_micros, values};
use crate::{AuditRow, Result, Store, StoreError, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub name: String,
    /// As the hasher wrote it, with its parameters.
    pub password_hash: String,
    /// `admin`, `user`, `viewer`.
    pub role: String,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenRow {
    pub id: i64,
    pub user_name: String,
    /// What a person calls it.
    pub label: String,
    /// A digest; the token itself is nowhere.
    pub token_hash: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

/// How exactly a token's last use is known; finer would be a write for each request.
const LAST_USED_EVERY: TimeDelta = TimeDelta::minutes(1);

fn failed(attempted: &'static str) -> impl Fn(sea_orm::DbErr) -> StoreError {
    move |source| StoreError::Database { attempted, source }
}

fn user_row(model: user::Model) -> UserRow {
    UserRow {
        name: model.name,
        password_hash: model.password_hash,
        role: model.role,
        created_at: instant(model.created_at).unwrap_or_default(),
    }
}

fn token_row(model: api_token::Model) -> ApiTokenRow {
    ApiTokenRow {
        id: model.id,
        user_name: model.user_name,
        label: model.label,
        token_hash: model.token_hash,
        created_at: instant(model.created_at).unwrap_or_default(),
        expires_at: model.expires_at.and_then(instant),
        last_used_at: model.last_used_at.and_then(instant),
    }
}

impl Store {
    /// By name.
    pub async fn users(&self) -> Result<Vec<UserRow>> {
        let models = user::Entity::find().order_by_asc(user::Column::Name).all(self.reader()).await;
        Ok(models.map_err(failed("list users"))?.into_iter().map(user_row).collect())
    }

    pub async fn user(&self, name: &str) -> Result<Option<UserRow>> {
        let model = user::Entity::find_by_id(name).one(self.reader()).await;
        Ok(model.map_err(failed("read a user"))?.map(user_row))
    }

    /// Adds, or replaces hash and role. Returns whether it is new.
    pub async fn put_user(
        &self,
        name: &str,
        password_hash: &str,
        role: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let tx = self.begin("write a user").await?;
        let failed = failed("write a user");
        let is_new = user::Entity::find_by_id(name).one(&tx.inner).await.map_err(&failed)?.is_none();
        let model = user::ActiveModel {
            name: Set(name.to_owned()),
            password_hash: Set(password_hash.to_owned()),
            role: Set(role.to_owned()),
            created_at: Set(micros(now)),
            changed_at: Set(micros(now)),
        };
        let replace = OnConflict::column(user::Column::Name)
            .update_columns([user::Column::PasswordHash, user::Column::Role, user::Column::ChangedAt])
            .to_owned();
        user::Entity::insert(model).on_conflict(replace).exec_without_returning(&tx.inner).await.map_err(&failed)?;
        let action = if is_new { "user_added" } else { "user_changed" };
        tx.audit(&AuditRow::new(actor, action, json!({ "name": name, "role": role }), now)).await?;
        tx.commit().await?;
        Ok(is_new)
    }

    /// Returns whether there was one. Its tokens go too.
    pub async fn delete_user(&self, name: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("delete a user").await?;
        let failed = failed("delete a user");
        let tokens = api_token::Entity::delete_many().filter(api_token::Column::UserName.eq(name));
        tokens.exec(&tx.inner).await.map_err(&failed)?;
        let done = user::Entity::delete_by_id(name).exec(&tx.inner).await.map_err(&failed)?;
        if done.rows_affected > 0 {
            tx.audit(&AuditRow::new(actor, "user_deleted", json!({ "name": name }), now)).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }

    /// Returns the token's id.
    pub async fn add_api_token(
        &self,
        user_name: &str,
        label: &str,
        token_hash: &str,
        expires_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Result<i64> {
        let tx = self.begin("add an API token").await?;
        let sql = "INSERT INTO api_token (user_name, label, token_hash, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5) RETURNING id";
        let values = values![user_name, label, token_hash, micros(now), opt_micros(expires_at)];
        let row = sql::one(&tx.inner, "add an API token", sql, values).await?;
        let id = row.map(|row| row.int("id")).transpose()?.unwrap_or_default();
        let details = json!({ "user": user_name, "label": label, "id": id });
        tx.audit(&AuditRow::new(user_name, "token_added", details, now)).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Found by its digest, not expired; says when it was last used (to the minute).
    pub async fn use_api_token(&self, token_hash: &str, now: DateTime<Utc>) -> Result<Option<ApiTokenRow>> {
        let found = api_token::Entity::find().filter(api_token::Column::TokenHash.eq(token_hash));
        let Some(model) = found.one(self.reader()).await.map_err(failed("read an API token"))? else {
            return Ok(None);
        };
        let row = token_row(model);
        if row.expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        if row.last_used_at.is_none_or(|used| now - used >= LAST_USED_EVERY) {
            let tx = self.begin("note the use of an API token").await?;
            let sql = "UPDATE api_token SET last_used_at = $2 WHERE id = $1";
            sql::run(&tx.inner, "note the use of an API token", sql, values![row.id, micros(now)]).await?;
            tx.commit().await?;
        }
        Ok(Some(row))
    }

    /// Oldest first.
    pub async fn api_tokens(&self, user_name: &str) -> Result<Vec<ApiTokenRow>> {
        let found = api_token::Entity::find()
            .filter(api_token::Column::UserName.eq(user_name))
            .order_by_asc(api_token::Column::Id);
        let models = found.all(self.reader()).await.map_err(failed("list API tokens"))?;
        Ok(models.into_iter().map(token_row).collect())
    }

    /// Returns whether there was one.
    pub async fn delete_api_token(&self, id: i64, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("delete an API token").await?;
        let done = api_token::Entity::delete_by_id(id).exec(&tx.inner).await;
        let done = done.map_err(failed("delete an API token"))?;
        if done.rows_affected > 0 {
            tx.audit(&AuditRow::new(actor, "token_deleted", json!({ "id": id }), now)).await?;
        }
        tx.commit().await?;
        Ok(done.rows_affected > 0)
    }
}
