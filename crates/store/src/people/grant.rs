//! Roles that a person has for some DAGs only: one by its id, or all with a tag.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::sql::{Row, micros, values};
use crate::{AuditRow, Result, Store, StoreError, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    Dag(String),
    Tag(String),
}

impl Granted {
    fn columns(&self) -> (Option<String>, Option<String>) {
        match self {
            Self::Dag(dag_id) => (Some(dag_id.clone()), None),
            Self::Tag(tag) => (None, Some(tag.clone())),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantRow {
    pub id: i64,
    pub user_name: String,
    pub of: Granted,
    pub role: String,
    pub created_at: DateTime<Utc>,
}

const SELECT: &str = "SELECT id, user_name, dag_id, tag, role, created_at FROM dag_grant";

fn read(row: &Row) -> Result<GrantRow> {
    let of = match (row.opt_text("dag_id")?, row.opt_text("tag")?) {
        (Some(dag_id), _) => Granted::Dag(dag_id),
        (None, Some(tag)) => Granted::Tag(tag),
        (None, None) => return Err(row.corrupt("dag_id", "neither a DAG nor a tag")),
    };
    Ok(GrantRow {
        id: row.int("id")?,
        user_name: row.text("user_name")?,
        of,
        role: row.text("role")?,
        created_at: row.instant("created_at")?,
    })
}

fn told(row: &GrantRow) -> Value {
    let (dag_id, tag) = row.of.columns();
    json!({ "user": row.user_name, "dag_id": dag_id, "tag": tag, "role": row.role })
}

impl Store {
    /// Of one person or of all, oldest first.
    pub async fn grants(&self, user_name: Option<&str>) -> Result<Vec<GrantRow>> {
        let text = format!("{SELECT} WHERE $1 IS NULL OR user_name = $1 ORDER BY id");
        let found = sql::all(self.reader(), "list grants", text, values![user_name.map(str::to_owned)]).await?;
        found.iter().map(read).collect()
    }

    pub async fn grant(&self, id: i64) -> Result<Option<GrantRow>> {
        let found = sql::one(self.reader(), "read a grant", format!("{SELECT} WHERE id = $1"), values![id]).await?;
        found.as_ref().map(read).transpose()
    }

    /// Adds one, or changes the role of the one there is for this DAG or tag.
    pub async fn put_grant(
        &self,
        user_name: &str,
        of: &Granted,
        role: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<GrantRow> {
        let attempted = "grant a role";
        let tx = self.begin(attempted).await?;
        let sql = "SELECT name FROM \"user\" WHERE name = $1";
        if sql::one(&tx.inner, attempted, sql, values![user_name]).await?.is_none() {
            return Err(StoreError::NotFound { kind: "user", name: user_name.to_owned() });
        }
        let (dag_id, tag) = of.columns();
        let text = format!("{SELECT} WHERE user_name = $1 AND (dag_id = $2 OR tag = $3)");
        let before = sql::one(&tx.inner, attempted, text, values![user_name, dag_id.clone(), tag.clone()]).await?;
        let before = before.as_ref().map(read).transpose()?;
        let id = match &before {
            Some(before) => {
                let sql = "UPDATE dag_grant SET role = $2 WHERE id = $1";
                sql::run(&tx.inner, attempted, sql, values![before.id, role]).await?;
                before.id
            }
            None => {
                let sql = "INSERT INTO dag_grant (user_name, dag_id, tag, role, created_at) VALUES ($1, $2, $3, $4, $5) \
                           RETURNING id";
                let values = values![user_name, dag_id, tag, role, micros(now)];
                let row = sql::one(&tx.inner, attempted, sql, values).await?;
                row.map(|row| row.int("id")).transpose()?.unwrap_or_default()
            }
        };
        let created_at = before.as_ref().map_or(now, |before| before.created_at);
        let (user_name, role) = (user_name.to_owned(), role.to_owned());
        let row = GrantRow { id, user_name, of: of.clone(), role, created_at };
        let audit = AuditRow::new(actor, "role_granted", json!({ "user": row.user_name }), now);
        tx.audit(&audit.with_change(before.as_ref().map(told), Some(told(&row)))).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Returns whether there was one.
    pub async fn delete_grant(&self, id: i64, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let attempted = "take back a grant";
        let tx = self.begin(attempted).await?;
        let before = sql::one(&tx.inner, attempted, format!("{SELECT} WHERE id = $1"), values![id]).await?;
        let Some(before) = before.as_ref().map(read).transpose()? else { return Ok(false) };
        sql::run(&tx.inner, attempted, "DELETE FROM dag_grant WHERE id = $1", values![id]).await?;
        let audit = AuditRow::new(actor, "grant_taken_back", json!({ "user": before.user_name }), now);
        tx.audit(&audit.with_change(Some(told(&before)), None)).await?;
        tx.commit().await?;
        Ok(true)
    }
}
