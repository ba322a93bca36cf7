//! People: who there is, and what each may.
//!
//! A new password, and shutting somebody out, end the person's sessions and tokens in the same transaction. One admin who
//! can sign in always stays.

use chrono::{DateTime, Utc};
use icu_normalizer::ComposingNormalizerBorrowed;
use serde_json::{Value, json};

use crate::sql::{Row, micros, values};
use crate::{AuditRow, Result, Store, StoreError, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRow {
    pub name: String,
    /// As the hasher wrote it, with its parameters; empty for a person who has none and signs in elsewhere.
    pub password_hash: String,
    /// `viewer`, `operator`, `editor`, `admin`.
    pub role: String,
    pub created_at: DateTime<Utc>,
    /// Since when the person is shut out.
    pub disabled_at: Option<DateTime<Utc>>,
    pub password_changed_at: Option<DateTime<Utc>>,
}

pub(crate) const ADMIN: &str = "admin";

impl UserRow {
    pub fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    /// What the audit log may show.
    fn told(&self) -> Value {
        json!({ "name": self.name, "role": self.role, "disabled": self.is_disabled() })
    }
}

pub(crate) const COLUMNS: &str = "u.name, u.password_hash, u.role, u.created_at, u.disabled_at, u.password_changed_at";

pub(crate) fn read(row: &Row) -> Result<UserRow> {
    Ok(UserRow {
        name: row.text("name")?,
        password_hash: row.text("password_hash")?,
        role: row.text("role")?,
        created_at: row.instant("created_at")?,
        disabled_at: row.opt_instant("disabled_at")?,
        password_changed_at: row.opt_instant("password_changed_at")?,
    })
}

/// As names are compared by people: without regard to capitals, widths, and how letters are put together.
fn folded(name: &str) -> String {
    ComposingNormalizerBorrowed::new_nfkc().normalize(name).to_lowercase()
}

fn no_user(name: &str) -> StoreError {
    StoreError::NotFound { kind: "user", name: name.to_owned() }
}

impl Store {
    /// By name.
    pub async fn users(&self) -> Result<Vec<UserRow>> {
        let text = format!("SELECT {COLUMNS} FROM \"user\" u ORDER BY u.name");
        sql::all(self.reader(), "list users", text, vec![]).await?.iter().map(read).collect()
    }

    pub async fn user(&self, name: &str) -> Result<Option<UserRow>> {
        // PostgreSQL's text holds no NUL, and so no name does.
        if name.contains('\0') {
            return Ok(None);
        }
        let text = format!("SELECT {COLUMNS} FROM \"user\" u WHERE u.name = $1");
        sql::one(self.reader(), "read a user", text, values![name]).await?.as_ref().map(read).transpose()
    }

    /// Refused when there is one of this name.
    pub async fn add_user(
        &self,
        name: &str,
        password_hash: &str,
        role: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<UserRow> {
        let tx = self.begin("add a user").await?;
        let row = tx.insert_user(name, password_hash, role, actor, now).await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Ends the person's sessions and tokens.
    pub async fn set_password(&self, name: &str, password_hash: &str, actor: &str, now: DateTime<Utc>) -> Result<()> {
        let tx = self.begin("change a password").await?;
        tx.user(name).await?.ok_or_else(|| no_user(name))?;
        tx.write_password(name, password_hash, actor, now).await?;
        tx.commit().await
    }

    /// Refused when nobody would be left who may do everything.
    pub async fn set_role(&self, name: &str, role: &str, actor: &str, now: DateTime<Utc>) -> Result<UserRow> {
        let tx = self.begin("give a user another role").await?;
        let before = tx.user(name).await?.ok_or_else(|| no_user(name))?;
        if role != ADMIN {
            tx.keep_an_admin(&before, "give a user another role").await?;
        }
        tx.write_role(&before, role, actor, now).await?;
        let after = tx.user(name).await?.ok_or_else(|| no_user(name))?;
        tx.commit().await?;
        Ok(after)
    }

    /// Shuts a person out, and ends their sessions and tokens; or lets them in again. Refused when nobody would be left who
    /// may do everything.
    pub async fn set_disabled(
        &self,
        name: &str,
        is_disabled: bool,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<UserRow> {
        let tx = self.begin("shut a user out or let one in").await?;
        let before = tx.user(name).await?.ok_or_else(|| no_user(name))?;
        if before.is_disabled() == is_disabled {
            return Ok(before);
        }
        if is_disabled {
            tx.keep_an_admin(&before, "shut a user out").await?;
            tx.end_access(name).await?;
        }
        let sql = "UPDATE \"user\" SET disabled_at = $2, changed_at = $3 WHERE name = $1";
        let since = is_disabled.then(|| micros(now));
        sql::run(&tx.inner, "shut a user out or let one in", sql, values![name, since, micros(now)]).await?;
        let after = tx.user(name).await?.ok_or_else(|| no_user(name))?;
        let action = if is_disabled { "user_disabled" } else { "user_enabled" };
        let row = AuditRow::new(actor, action, json!({ "name": name }), now);
        tx.audit(&row.with_change(Some(before.told()), Some(after.told()))).await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Returns whether there was one. Sessions, tokens and grants go too. Refused when nobody would be left who may do
    /// everything.
    pub async fn delete_user(&self, name: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("delete a user").await?;
        let Some(before) = tx.user(name).await? else { return Ok(false) };
        tx.keep_an_admin(&before, "delete a user").await?;
        tx.end_access(name).await?;
        sql::run(&tx.inner, "delete a user", "DELETE FROM dag_grant WHERE user_name = $1", values![name]).await?;
        sql::run(&tx.inner, "delete a user", "DELETE FROM user_identity WHERE user_name = $1", values![name]).await?;
        sql::run(&tx.inner, "delete a user", "DELETE FROM \"user\" WHERE name = $1", values![name]).await?;
        let row = AuditRow::new(actor, "user_deleted", json!({ "name": name }), now);
        tx.audit(&row.with_change(Some(before.told()), None)).await?;
        tx.commit().await?;
        Ok(true)
    }
}

impl Tx {
    pub(crate) async fn user(&self, name: &str) -> Result<Option<UserRow>> {
        let text = format!("SELECT {COLUMNS} FROM \"user\" u WHERE u.name = $1");
        sql::one(&self.inner, "read a user", text, values![name]).await?.as_ref().map(read).transpose()
    }

    pub(crate) async fn insert_user(
        &self,
        name: &str,
        password_hash: &str,
        role: &str,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<UserRow> {
        let others = sql::all(&self.inner, "add a user", "SELECT name FROM \"user\"", vec![]).await?;
        for other in others {
            let other = other.text("name")?;
            if other != name && folded(&other) == folded(name) {
                let reason = format!("there is a user '{other}' already, for whom '{name}' would be taken");
                return Err(StoreError::Refused { attempted: "add a user", reason });
            }
        }
        let sql = "INSERT INTO \"user\" (name, password_hash, role, created_at, changed_at, password_changed_at) \
                   VALUES ($1, $2, $3, $4, $4, $4) ON CONFLICT (name) DO NOTHING";
        // Another process may add it in this moment.
        if sql::run(&self.inner, "add a user", sql, values![name, password_hash, role, micros(now)]).await? == 0 {
            let reason = format!("there is a user '{name}' already");
            return Err(StoreError::Refused { attempted: "add a user", reason });
        }
        let row = self.user(name).await?.ok_or_else(|| no_user(name))?;
        let audit = AuditRow::new(actor, "user_added", json!({ "name": name }), now);
        self.audit(&audit.with_change(None, Some(row.told()))).await?;
        Ok(row)
    }

    async fn write_password(&self, name: &str, hash: &str, actor: &str, now: DateTime<Utc>) -> Result<()> {
        let before = self.user(name).await?.and_then(|user| user.password_changed_at);
        let sql = "UPDATE \"user\" SET password_hash = $2, password_changed_at = $3, changed_at = $3 WHERE name = $1";
        sql::run(&self.inner, "change a password", sql, values![name, hash, micros(now)]).await?;
        let (sessions, tokens) = self.end_access(name).await?;
        let details = json!({ "name": name, "sessions_ended": sessions, "tokens_ended": tokens });
        let told = |at: Option<DateTime<Utc>>| Some(json!({ "password_changed_at": at }));
        self.audit(&AuditRow::new(actor, "password_changed", details, now).with_change(told(before), told(Some(now))))
            .await
    }

    pub(crate) async fn write_role(&self, before: &UserRow, role: &str, actor: &str, now: DateTime<Utc>) -> Result<()> {
        if before.role == role {
            return Ok(());
        }
        let sql = "UPDATE \"user\" SET role = $2, changed_at = $3 WHERE name = $1";
        sql::run(&self.inner, "give a user another role", sql, values![before.name.as_str(), role, micros(now)])
            .await?;
        let after = UserRow { role: role.to_owned(), ..before.clone() };
        let row = AuditRow::new(actor, "user_changed", json!({ "name": before.name }), now);
        self.audit(&row.with_change(Some(before.told()), Some(after.told()))).await
    }

    /// How many sessions and tokens there were. Webhooks end too: a secret that somebody else knows may be theirs.
    async fn end_access(&self, name: &str) -> Result<(u64, u64)> {
        let attempted = "end sessions and tokens";
        sql::run(&self.inner, attempted, "DELETE FROM webhook WHERE user_name = $1", values![name]).await?;
        let sql = "DELETE FROM session WHERE user_name = $1";
        let sessions = sql::run(&self.inner, attempted, sql, values![name]).await?;
        let sql = "DELETE FROM api_token WHERE user_name = $1";
        Ok((sessions, sql::run(&self.inner, attempted, sql, values![name]).await?))
    }

    /// Two at once who would each take the other's place wait for each other: the rows are locked.
    pub(crate) async fn keep_an_admin(&self, leaving: &UserRow, attempted: &'static str) -> Result<()> {
        if leaving.role != ADMIN || leaving.is_disabled() {
            return Ok(());
        }
        let mut text = "SELECT name FROM \"user\" WHERE role = $1 AND disabled_at IS NULL".to_owned();
        if self.dialect() == sea_orm::DbBackend::Postgres {
            text.push_str(" FOR UPDATE");
        }
        if sql::all(&self.inner, attempted, text, values![ADMIN]).await?.len() > 1 {
            return Ok(());
        }
        let reason = format!("'{}' is the last admin who can sign in; make another one first", leaving.name);
        Err(StoreError::Refused { attempted, reason })
    }
}
