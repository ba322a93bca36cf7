//! Sign-ins of people with a browser. The cookie's token is nowhere; a digest of it is.
//!
//! A session's token is exchanged for a new one now and then. The one before stays good until the new one has been used
//! (a minute at the least): an answer that never arrived, or a request that was on its way, signs nobody out.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::people::user::COLUMNS;
use crate::sql::{Row, micros, values};
use crate::{AuditRow, Result, Store, UserRow, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRow {
    pub id: i64,
    pub user_name: String,
    /// Keys the tokens of forms, for the whole session.
    pub form_key: String,
    pub created_at: DateTime<Utc>,
    /// Since when the cookie has held this token.
    pub rotated_at: DateTime<Utc>,
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Found by the token before: the new one has not arrived yet.
    pub is_previous: bool,
}

#[derive(Debug, Clone)]
pub struct NewSession {
    pub user_name: String,
    pub token_hash: String,
    pub expires_at: DateTime<Utc>,
    /// The session that the browser had before, by its token's digest: it ends.
    pub instead_of: Option<String>,
    pub actor: String,
}

/// How exactly a last use is known; finer would be a write for each request.
pub(crate) const LAST_USED_EVERY: TimeDelta = TimeDelta::minutes(1);
const PREVIOUS_FOR: TimeDelta = TimeDelta::minutes(1);

fn read(row: &Row, token_hash: &str) -> Result<SessionRow> {
    Ok(SessionRow {
        id: row.int("session_id")?,
        user_name: row.text("name")?,
        form_key: row.text("form_key")?,
        created_at: row.instant("began_at")?,
        rotated_at: row.instant("rotated_at")?,
        last_used_at: row.instant("last_used_at")?,
        expires_at: row.instant("expires_at")?,
        is_previous: row.text("token_hash")? != token_hash,
    })
}

impl Store {
    pub async fn add_session(&self, new: &NewSession, now: DateTime<Utc>) -> Result<i64> {
        let tx = self.begin("begin a session").await?;
        if let Some(before) = &new.instead_of {
            let sql = "DELETE FROM session WHERE token_hash = $1 OR previous_hash = $1";
            sql::run(&tx.inner, "end the session before", sql, values![before.as_str()]).await?;
        }
        let sql = "INSERT INTO session (user_name, token_hash, form_key, created_at, rotated_at, last_used_at, expires_at) \
                   VALUES ($1, $2, $2, $3, $3, $3, $4) RETURNING id";
        let values = values![new.user_name.as_str(), new.token_hash.as_str(), micros(now), micros(new.expires_at)];
        let row = sql::one(&tx.inner, "begin a session", sql, values).await?;
        let id = row.map(|row| row.int("id")).transpose()?.unwrap_or_default();
        tx.audit(&AuditRow::new(&new.actor, "sign_in", json!({ "name": new.user_name }), now)).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// The session of a token with its person: not ended, used within `idle`, the person not shut out. To look is no use.
    pub async fn see_session(
        &self,
        token_hash: &str,
        idle: Option<TimeDelta>,
        now: DateTime<Utc>,
    ) -> Result<Option<(SessionRow, UserRow)>> {
        let attempted = "read a session";
        let text = format!(
            "SELECT {COLUMNS}, s.id AS session_id, s.form_key, s.created_at AS began_at, s.rotated_at, s.last_used_at, \
             s.expires_at, s.token_hash \
             FROM session s JOIN \"user\" u ON u.name = s.user_name \
             WHERE (s.token_hash = $1 OR s.previous_hash = $1) AND u.disabled_at IS NULL"
        );
        let Some(found) = sql::one(self.reader(), attempted, text, values![token_hash]).await? else {
            return Ok(None);
        };
        let (session, user) = (read(&found, token_hash)?, crate::people::user::read(&found)?);
        if session.expires_at <= now || idle.is_some_and(|idle| session.last_used_at + idle <= now) {
            return Ok(None);
        }
        Ok(Some((session, user)))
    }

    /// As [`Store::see_session`], and notes that it is used: often enough for `idle`, and not with every request.
    pub async fn use_session(
        &self,
        token_hash: &str,
        idle: Option<TimeDelta>,
        now: DateTime<Utc>,
    ) -> Result<Option<(SessionRow, UserRow)>> {
        let Some((session, user)) = self.see_session(token_hash, idle, now).await? else { return Ok(None) };
        let every = idle.map_or(LAST_USED_EVERY, |idle| LAST_USED_EVERY.min(idle / 4));
        let is_taken_over = !session.is_previous && now >= session.rotated_at + PREVIOUS_FOR;
        if now - session.last_used_at >= every {
            let tx = self.begin("note the use of a session").await?;
            let sql = if is_taken_over {
                "UPDATE session SET last_used_at = $2, previous_hash = NULL WHERE id = $1"
            } else {
                "UPDATE session SET last_used_at = $2 WHERE id = $1"
            };
            sql::run(&tx.inner, "note the use of a session", sql, values![session.id, micros(now)]).await?;
            tx.commit().await?;
        }
        Ok(Some((session, user)))
    }

    /// Gives a session another token than `token_hash`. False when it was given one since it was read: of requests at once,
    /// one does it.
    pub async fn rotate_session(
        &self,
        session: &SessionRow,
        token_hash: &str,
        new_hash: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let tx = self.begin("give a session another token").await?;
        let sql = "UPDATE session SET token_hash = $3, previous_hash = $2, rotated_at = $4, last_used_at = $4 \
                   WHERE id = $1 AND (token_hash = $2 OR previous_hash = $2) AND rotated_at = $5";
        let values = values![session.id, token_hash, new_hash, micros(now), micros(session.rotated_at)];
        let done = sql::run(&tx.inner, "give a session another token", sql, values).await?;
        tx.commit().await?;
        Ok(done > 0)
    }

    /// Returns whether there was one.
    pub async fn delete_session(&self, id: i64, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("end a session").await?;
        let done = sql::run(&tx.inner, "end a session", "DELETE FROM session WHERE id = $1", values![id]).await?;
        if done > 0 {
            tx.audit(&AuditRow::new(actor, "sign_out", json!({}), now)).await?;
        }
        tx.commit().await?;
        Ok(done > 0)
    }

    /// Deletes what has ended: sessions, tokens, and keys of repeated requests from before `keys_before`. Returns how many
    /// rows.
    pub async fn purge_access(
        &self,
        idle: Option<TimeDelta>,
        keys_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        let attempted = "delete what has ended";
        let tx = self.begin(attempted).await?;
        let sql = "DELETE FROM session WHERE expires_at <= $1 OR last_used_at <= $2";
        let idle_since = idle.map_or(i64::MIN, |idle| micros(now - idle));
        let mut gone = sql::run(&tx.inner, attempted, sql, values![micros(now), idle_since]).await?;
        let sql = "DELETE FROM api_token WHERE expires_at <= $1";
        gone += sql::run(&tx.inner, attempted, sql, values![micros(now)]).await?;
        let sql = "DELETE FROM idempotency_key WHERE at < $1";
        gone += sql::run(&tx.inner, attempted, sql, values![micros(keys_before)]).await?;
        tx.commit().await?;
        Ok(gone)
    }
}
