//! Tokens that programs send instead of a password. The token is nowhere; a digest of it is.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::people::session::LAST_USED_EVERY;
use crate::people::user::COLUMNS;
use crate::sql::{Row, micros, opt_micros, values};
use crate::{AuditRow, Result, Store, UserRow, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenRow {
    pub id: i64,
    pub user_name: String,
    /// What a person calls it.
    pub label: String,
    /// What it may, at the most: words with spaces between them; none: all that its person may.
    pub scope: Option<String>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
pub struct NewToken {
    pub user_name: String,
    pub label: String,
    /// A digest of the token.
    pub token_hash: String,
    pub scope: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub actor: String,
}

const SELECT: &str = "SELECT t.id, t.user_name, t.label, t.scope, t.created_at, t.expires_at, t.last_used_at \
                      FROM api_token t";

fn read(row: &Row) -> Result<ApiTokenRow> {
    Ok(ApiTokenRow {
        id: row.int("id")?,
        user_name: row.text("user_name")?,
        label: row.text("label")?,
        scope: row.opt_text("scope")?,
        created_at: row.instant("created_at")?,
        expires_at: row.opt_instant("expires_at")?,
        last_used_at: row.opt_instant("last_used_at")?,
    })
}

fn told(row: &ApiTokenRow) -> Value {
    json!({
        "id": row.id,
        "user": row.user_name,
        "label": row.label,
        "scope": row.scope,
        "expires_at": row.expires_at,
    })
}

impl Store {
    pub async fn add_api_token(&self, new: &NewToken, now: DateTime<Utc>) -> Result<ApiTokenRow> {
        let attempted = "add an API token";
        let tx = self.begin(attempted).await?;
        let sql = "INSERT INTO api_token (user_name, label, token_hash, scope, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6) RETURNING id";
        let values = values![
            new.user_name.as_str(),
            new.label.as_str(),
            new.token_hash.as_str(),
            new.scope.clone(),
            micros(now),
            opt_micros(new.expires_at),
        ];
        let row = sql::one(&tx.inner, attempted, sql, values).await?;
        let row = ApiTokenRow {
            id: row.map(|row| row.int("id")).transpose()?.unwrap_or_default(),
            user_name: new.user_name.clone(),
            label: new.label.clone(),
            scope: new.scope.clone(),
            created_at: now,
            expires_at: new.expires_at,
            last_used_at: None,
        };
        let audit = AuditRow::new(&new.actor, "token_added", json!({ "user": new.user_name }), now);
        tx.audit(&audit.with_change(None, Some(told(&row)))).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Found by its digest, not ended, its person not shut out; says when it was last used (to the minute).
    pub async fn use_api_token(&self, token_hash: &str, now: DateTime<Utc>) -> Result<Option<(ApiTokenRow, UserRow)>> {
        let attempted = "read an API token";
        let found =
            sql::one(self.reader(), attempted, format!("{SELECT} WHERE t.token_hash = $1"), values![token_hash]);
        let Some(row) = found.await?.as_ref().map(read).transpose()? else { return Ok(None) };
        if row.expires_at.is_some_and(|end| end <= now) {
            return Ok(None);
        }
        let text = format!("SELECT {COLUMNS} FROM \"user\" u WHERE u.name = $1 AND u.disabled_at IS NULL");
        let user = sql::one(self.reader(), attempted, text, values![row.user_name.as_str()]).await?;
        let Some(user) = user.as_ref().map(crate::people::user::read).transpose()? else { return Ok(None) };
        if row.last_used_at.is_none_or(|used| now - used >= LAST_USED_EVERY) {
            let tx = self.begin("note the use of an API token").await?;
            let sql = "UPDATE api_token SET last_used_at = $2 WHERE id = $1";
            sql::run(&tx.inner, "note the use of an API token", sql, values![row.id, micros(now)]).await?;
            tx.commit().await?;
        }
        Ok(Some((row, user)))
    }

    /// Of one person or of all, oldest first.
    pub async fn api_tokens(&self, user_name: Option<&str>) -> Result<Vec<ApiTokenRow>> {
        let text = format!("{SELECT} WHERE $1 IS NULL OR t.user_name = $1 ORDER BY t.id");
        let found = sql::all(self.reader(), "list API tokens", text, values![user_name.map(str::to_owned)]).await?;
        found.iter().map(read).collect()
    }

    pub async fn api_token(&self, id: i64) -> Result<Option<ApiTokenRow>> {
        let found = sql::one(self.reader(), "read an API token", format!("{SELECT} WHERE t.id = $1"), values![id]);
        found.await?.as_ref().map(read).transpose()
    }

    /// Returns whether there was one.
    pub async fn delete_api_token(&self, id: i64, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let attempted = "revoke an API token";
        let tx = self.begin(attempted).await?;
        let before = sql::one(&tx.inner, attempted, format!("{SELECT} WHERE t.id = $1"), values![id]).await?;
        let Some(before) = before.as_ref().map(read).transpose()? else { return Ok(false) };
        sql::run(&tx.inner, attempted, "DELETE FROM api_token WHERE id = $1", values![id]).await?;
        let row = AuditRow::new(actor, "token_revoked", json!({ "user": before.user_name, "id": id }), now);
        tx.audit(&row.with_change(Some(told(&before)), None)).await?;
        tx.commit().await?;
        Ok(true)
    }
}
