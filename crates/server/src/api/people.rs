//! Users, for who manages people; and the account of whoever asks.

use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::StatusCode;
use millrace_store::UserRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, instant, listed, optional, paged};
use crate::access::client::Client;
use crate::access::people::{check_user_name, no_user, role_named};
use crate::access::permission::{Act, Role};
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

/// Who asks, and what they may.
pub(super) async fn account(person: Person) -> Json<Account> {
    let acts = Act::ALL.iter().filter(|act| person.may(**act)).map(|act| act.name()).collect();
    let grants = person.grants.iter().map(|grant| super::grants::place(&grant.of, grant.role.as_str()));
    Json(Account {
        role: person.role.as_str(),
        scope: person.scope.text(),
        acts,
        grants: grants.collect(),
        username: person.name,
    })
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Account {
    username: String,
    role: &'static str,
    /// Of the token, if it was one with a scope.
    scope: Option<String>,
    acts: Vec<&'static str>,
    grants: Vec<super::grants::Place>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasswordBody {
    old_password: String,
    new_password: String,
}

/// Ends every session and token of the person, this one too.
pub(super) async fn change_own_password(
    State(server): State<Shared>,
    person: Person,
    Extension(client): Extension<Client>,
    given: Given<PasswordBody>,
) -> Answer<StatusCode> {
    let given = body(given)?;
    server.change_own_password(&person, client.address, &given.old_password, given.new_password).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Users>> {
    let users = server.store().users().await?.iter().map(user_value).collect();
    let (users, total_entries) = paged(users, &parameters, ORDERS)?;
    Ok(Json(Users { users, total_entries }))
}

pub(super) const ORDERS: &[&str] = &["username", "role", "created_at"];

listed!(Users { users: User });

pub(super) async fn get(State(server): State<Shared>, Path(name): Path<String>) -> Answer<Json<User>> {
    Ok(Json(user_value(&server.user_row(&name).await?)))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserBody")]
pub(super) struct CreateBody {
    username: String,
    password: String,
    role: String,
}

pub(super) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Given<CreateBody>,
) -> Answer<(StatusCode, Json<User>)> {
    let CreateBody { username, password, role } = body(given)?;
    check_user_name(&username).map_err(|text| Problem::invalid(text).with("path", "username".into()))?;
    let role = role_named(&role)?;
    let hash = server.hash_new_password(&username, password).await?;
    let row = server.store().add_user(&username, &hash, role.as_str(), &person.actor(), server.now()).await?;
    Ok((StatusCode::CREATED, Json(user_value(&row))))
}

/// What is not named stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "UserPatch")]
pub(super) struct PatchBody {
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    is_disabled: Option<bool>,
}

/// A new password, and shutting somebody out, end the person's sessions and tokens.
pub(super) async fn patch(
    State(server): State<Shared>,
    person: Person,
    Path(name): Path<String>,
    given: Given<PatchBody>,
) -> Answer<Json<User>> {
    let given = body(given)?;
    let row = server.user_row(&name).await?;
    let (actor, now) = (person.actor(), server.now());
    let role = given.role.as_deref().map(role_named).transpose()?;
    let hash = match given.password {
        Some(password) => Some(server.hash_new_password(&name, password).await?),
        None => None,
    };
    if let Some(role) = role.filter(|role| *role != Role::of_row(&row.role)) {
        server.store().set_role(&name, role.as_str(), &actor, now).await?;
    }
    if let Some(is_disabled) = given.is_disabled {
        server.store().set_disabled(&name, is_disabled, &actor, now).await?;
    }
    if let Some(hash) = hash {
        server.store().set_password(&name, &hash, &actor, now).await?;
    }
    Ok(Json(user_value(&server.user_row(&name).await?)))
}

pub(super) async fn delete(
    State(server): State<Shared>,
    person: Person,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    if !server.store().delete_user(&name, &person.actor(), server.now()).await? {
        return Err(no_user(&name));
    }
    Ok(StatusCode::NO_CONTENT)
}

impl Server {
    async fn user_row(&self, name: &str) -> Answer<UserRow> {
        self.store().user(name).await?.ok_or_else(|| no_user(name))
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct User {
    username: String,
    role: &'static str,
    is_disabled: bool,
    disabled_at: Option<Instant>,
    created_at: Instant,
    password_changed_at: Option<Instant>,
}

fn user_value(row: &UserRow) -> User {
    User {
        username: row.name.clone(),
        role: Role::of_row(&row.role).as_str(),
        is_disabled: row.is_disabled(),
        disabled_at: optional(row.disabled_at),
        created_at: instant(row.created_at),
        password_changed_at: optional(row.password_changed_at),
    }
}
