//! People and their tokens.

use chrono::{DateTime, Utc};

use crate::{Result, Store};

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

impl Store {
    /// By name.
    pub async fn users(&self) -> Result<Vec<UserRow>> {
        todo!()
    }

    pub async fn user(&self, name: &str) -> Result<Option<UserRow>> {
        todo!("{name}")
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
        todo!("{name} {} {role} {actor} {now}", password_hash.len())
    }

    /// Returns whether there was one. Its tokens go too.
    pub async fn delete_user(&self, name: &str, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{name} {actor} {now}")
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
        todo!("{user_name} {label} {} {expires_at:?} {now}", token_hash.len())
    }

    /// Found by its digest, not expired; says when it was last used (to the minute).
    pub async fn use_api_token(&self, token_hash: &str, now: DateTime<Utc>) -> Result<Option<ApiTokenRow>> {
        todo!("{} {now}", token_hash.len())
    }

    pub async fn api_tokens(&self, user_name: &str) -> Result<Vec<ApiTokenRow>> {
        todo!("{user_name}")
    }

    pub async fn delete_api_token(&self, id: i64, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{id} {actor} {now}")
    }
}
