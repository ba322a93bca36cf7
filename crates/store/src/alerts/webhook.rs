//! Addresses at which other systems start runs and tell of assets, each with a secret of its own, sealed by whoever makes it.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::people::session::LAST_USED_EVERY;
use crate::sql::{Row, micros, opt_micros, values};
use crate::{AuditRow, Result, Store, StoreError, sql};

/// What a delivery does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookTarget {
    /// Starts a run of this DAG.
    Dag(String),
    /// Says that this asset is up to date.
    Asset(String),
}

impl WebhookTarget {
    pub fn dag_id(&self) -> Option<&str> {
        match self {
            Self::Dag(dag_id) => Some(dag_id),
            Self::Asset(_) => None,
        }
    }

    pub fn asset(&self) -> Option<&str> {
        match self {
            Self::Asset(asset) => Some(asset),
            Self::Dag(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRow {
    pub name: String,
    /// With whose rights; gone with them.
    pub user_name: String,
    pub target: WebhookTarget,
    /// Ciphertext, stored as given.
    pub sealed_secret: String,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub last_used_at: Option<DateTime<Utc>>,
}

const SELECT: &str =
    "SELECT name, user_name, dag_id, asset, sealed_secret, created_at, expires_at, last_used_at FROM webhook";

fn read(row: &Row) -> Result<WebhookRow> {
    let target = match (row.opt_text("dag_id")?, row.opt_text("asset")?) {
        (Some(dag_id), _) => WebhookTarget::Dag(dag_id),
        (None, Some(asset)) => WebhookTarget::Asset(asset),
        (None, None) => return Err(row.corrupt("dag_id", "neither a DAG nor an asset")),
    };
    Ok(WebhookRow {
        name: row.text("name")?,
        user_name: row.text("user_name")?,
        target,
        sealed_secret: row.text("sealed_secret")?,
        created_at: row.instant("created_at")?,
        expires_at: row.opt_instant("expires_at")?,
        last_used_at: row.opt_instant("last_used_at")?,
    })
}

fn told(row: &WebhookRow) -> Value {
    json!({
        "user": row.user_name,
        "dag_id": row.target.dag_id(),
        "asset": row.target.asset(),
        "expires_at": row.expires_at,
    })
}

impl Store {
    /// Errors: `Refused` when the name is taken, `NotFound` without its user.
    pub async fn add_webhook(&self, row: &WebhookRow, actor: &str, now: DateTime<Utc>) -> Result<()> {
        let attempted = "add a webhook";
        let tx = self.begin(attempted).await?;
        let sql = "SELECT name FROM \"user\" WHERE name = $1";
        if sql::one(&tx.inner, attempted, sql, values![row.user_name.as_str()]).await?.is_none() {
            return Err(StoreError::NotFound { kind: "user", name: row.user_name.clone() });
        }
        let sql = "INSERT INTO webhook (name, user_name, dag_id, asset, sealed_secret, created_at, expires_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING name";
        let values = values![
            row.name.as_str(),
            row.user_name.as_str(),
            row.target.dag_id().map(str::to_owned),
            row.target.asset().map(str::to_owned),
            row.sealed_secret.as_str(),
            micros(row.created_at),
            opt_micros(row.expires_at),
        ];
        if sql::one(&tx.inner, attempted, sql, values).await?.is_none() {
            let reason = format!("there is a webhook '{}' already; revoke it first", row.name);
            return Err(StoreError::Refused { attempted, reason });
        }
        let audit = AuditRow::new(actor, "webhook_added", json!({ "webhook": row.name }), now);
        tx.audit(&audit.with_change(None, Some(told(row)))).await?;
        tx.commit().await
    }

    /// Of one person or of all, by name.
    pub async fn webhooks(&self, user_name: Option<&str>) -> Result<Vec<WebhookRow>> {
        let text = format!("{SELECT} WHERE $1 IS NULL OR user_name = $1 ORDER BY name");
        let found = sql::all(self.reader(), "list webhooks", text, values![user_name.map(str::to_owned)]).await?;
        found.iter().map(read).collect()
    }

    pub async fn webhook(&self, name: &str) -> Result<Option<WebhookRow>> {
        let found = sql::one(self.reader(), "read a webhook", format!("{SELECT} WHERE name = $1"), values![name]);
        found.await?.as_ref().map(read).transpose()
    }

    /// Says when it was last used (to the minute).
    pub async fn note_webhook_use(&self, row: &WebhookRow, now: DateTime<Utc>) -> Result<()> {
        if row.last_used_at.is_some_and(|used| now - used < LAST_USED_EVERY) {
            return Ok(());
        }
        let attempted = "note the use of a webhook";
        let tx = self.begin(attempted).await?;
        let sql = "UPDATE webhook SET last_used_at = $2 WHERE name = $1";
        sql::run(&tx.inner, attempted, sql, values![row.name.as_str(), micros(now)]).await?;
        tx.commit().await
    }

    /// The same secret, sealed with another key.
    pub async fn reseal_webhook(&self, name: &str, sealed_secret: &str) -> Result<()> {
        let attempted = "seal the secret of a webhook again";
        let tx = self.begin(attempted).await?;
        let sql = "UPDATE webhook SET sealed_secret = $2 WHERE name = $1";
        sql::run(&tx.inner, attempted, sql, values![name, sealed_secret]).await?;
        tx.commit().await
    }

    /// Returns whether there was one.
    pub async fn delete_webhook(&self, name: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let attempted = "revoke a webhook";
        let tx = self.begin(attempted).await?;
        let before = sql::one(&tx.inner, attempted, format!("{SELECT} WHERE name = $1"), values![name]).await?;
        let Some(before) = before.as_ref().map(read).transpose()? else { return Ok(false) };
        sql::run(&tx.inner, attempted, "DELETE FROM webhook WHERE name = $1", values![name]).await?;
        let row = AuditRow::new(actor, "webhook_revoked", json!({ "webhook": name }), now);
        tx.audit(&row.with_change(Some(told(&before)), None)).await?;
        tx.commit().await?;
        Ok(true)
    }
}
