//! API tokens: everybody's own, and all of them for who manages people.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use millrace_store::ApiTokenRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, instant, optional};
use crate::people::TokenWish;
use crate::permission::{Act, Scope};
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

/// `username`: somebody else's; `~`: everybody's.
pub(super) async fn list(
    State(server): State<Shared>,
    person: Person,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let wanted = parameters.text("username").unwrap_or(&person.name);
    if wanted != person.name {
        person.require(Act::ManagePeople)?;
    }
    let rows = server.store().api_tokens(Some(wanted).filter(|name| *name != "~")).await?;
    let shown: Vec<Value> = rows.iter().skip(offset as usize).take(limit as usize).map(token_value).collect();
    Ok(Json(json!({"tokens": shown, "total_entries": rows.len()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    given: Result<Json<CreateBody>, JsonRejection>,
) -> Answer<(StatusCode, Json<Value>)> {
    let given = body(given)?;
    let scope = Scope::parse(given.scope.as_deref().unwrap_or_default())
        .map_err(|error| Problem::invalid(error.to_string()).with("path", "scope".into()))?;
    let wish = TokenWish { user_name: given.username, label: given.label, scope, days: given.expires_in_days };
    let (token, row) = server.add_token(&person, wish).await?;
    let mut value = token_value(&row);
    value["token"] = json!(token);
    Ok((StatusCode::CREATED, Json(value)))
}

pub(super) async fn revoke(State(server): State<Shared>, person: Person, Path(id): Path<i64>) -> Answer<StatusCode> {
    server.revoke_token(&person, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn token_value(row: &ApiTokenRow) -> Value {
    json!({
        "id": row.id,
        "username": row.user_name,
        "label": row.label,
        "scope": row.scope,
        "created_at": instant(row.created_at),
        "expires_at": optional(row.expires_at),
        "last_used_at": optional(row.last_used_at),
    })
}
