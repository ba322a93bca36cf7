//! API tokens: everybody's own, and all of them for who manages people.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_store::ApiTokenRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, instant, listed, optional, paged};
use crate::access::people::TokenWish;
use crate::access::permission::{Act, Scope};
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

/// `username`: somebody else's; `~`: everybody's.
pub(super) async fn list(State(server): State<Shared>, person: Person, parameters: Parameters) -> Answer<Json<Tokens>> {
    let wanted = parameters.text("username").unwrap_or(&person.name);
    if wanted != person.name {
        person.require(Act::ManagePeople)?;
    }
    let rows = server.store().api_tokens(Some(wanted).filter(|name| *name != "~")).await?;
    let (tokens, total_entries) = paged(rows.iter().map(token_value).collect(), &parameters, ORDERS)?;
    Ok(Json(Tokens { tokens, total_entries }))
}

pub(super) const ORDERS: &[&str] = &["id", "username", "label", "created_at", "expires_at", "last_used_at"];

listed!(Tokens { tokens: Token });

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "TokenBody")]
pub(super) struct CreateBody {
    label: String,
    /// Roles and acts, with spaces between them; none: all that the person may.
    #[serde(default)]
    scope: Option<String>,
    #[serde(default)]
    expires_in_days: Option<u32>,
    /// Somebody else's, for who manages people.
    #[serde(default)]
    username: Option<String>,
}

/// The answer holds the token; it is told nowhere else and never again.
pub(super) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Given<CreateBody>,
) -> Answer<(StatusCode, Json<Token>)> {
    let given = body(given)?;
    let scope = Scope::parse(given.scope.as_deref().unwrap_or_default())
        .map_err(|error| Problem::invalid(error.to_string()).with("path", "scope".into()))?;
    let wish = TokenWish { user_name: given.username, label: given.label, scope, days: given.expires_in_days };
    let (token, row) = server.add_token(&person, wish).await?;
    let mut value = token_value(&row);
    value.token = Some(token);
    Ok((StatusCode::CREATED, Json(value)))
}

pub(super) async fn revoke(State(server): State<Shared>, person: Person, Path(id): Path<i64>) -> Answer<StatusCode> {
    server.revoke_token(&person, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Token {
    id: i64,
    username: String,
    label: String,
    scope: Option<String>,
    created_at: Instant,
    expires_at: Option<Instant>,
    last_used_at: Option<Instant>,
    /// Once, when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

fn token_value(row: &ApiTokenRow) -> Token {
    Token {
        id: row.id,
        username: row.user_name.clone(),
        label: row.label.clone(),
        scope: row.scope.clone(),
        created_at: instant(row.created_at),
        expires_at: optional(row.expires_at),
        last_used_at: optional(row.last_used_at),
        token: None,
    }
}
