//! Roles for some DAGs only.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_store::{GrantRow, Granted};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, instant};
use crate::people::role_named;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let rows = server.store().grants(parameters.text("username")).await?;
    let shown: Vec<Value> = rows.iter().skip(offset as usize).take(limit as usize).map(grant_value).collect();
    Ok(Json(json!({"grants": shown, "total_entries": rows.len()})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateBody {
    username: String,
    role: String,
    #[serde(default)]
    dag_id: Option<String>,
    #[serde(default)]
    tag: Option<String>,
}

/// A second one for the same DAG or tag takes the place of the first.
pub(super) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Result<Json<CreateBody>, JsonRejection>,
) -> Answer<(StatusCode, Json<Value>)> {
    let given = body(given)?;
    let of = match (given.dag_id, given.tag) {
        (Some(dag_id), None) => Granted::Dag(dag_id),
        (None, Some(tag)) => Granted::Tag(tag),
        _ => return Err(Problem::invalid("give either 'dag_id' or 'tag'")),
    };
    let (Granted::Dag(text) | Granted::Tag(text)) = &of;
    if text.is_empty() || text.len() > 250 || text.contains(char::is_control) {
        return Err(Problem::invalid("'dag_id' or 'tag' must have 1 to 250 characters, none of them invisible"));
    }
    let role = role_named(&given.role)?;
    let row = server.store().put_grant(&given.username, &of, role.as_str(), &person.actor(), server.now()).await?;
    Ok((StatusCode::CREATED, Json(grant_value(&row))))
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(id): Path<i64>) -> Answer<StatusCode> {
    if !server.store().delete_grant(id, &person.actor(), server.now()).await? {
        return Err(Problem::new(ErrorCode::NOT_FOUND, format!("there is no grant {id}")));
    }
    Ok(StatusCode::NO_CONTENT)
}

/// For what it is, without whose.
pub(super) fn place(of: &Granted, role: &str) -> Value {
    match of {
        Granted::Dag(dag_id) => json!({"dag_id": dag_id, "tag": null, "role": role}),
        Granted::Tag(tag) => json!({"dag_id": null, "tag": tag, "role": role}),
    }
}

fn grant_value(row: &GrantRow) -> Value {
    let mut value = place(&row.of, &row.role);
    value["id"] = json!(row.id);
    value["username"] = json!(row.user_name);
    value["created_at"] = instant(row.created_at);
    value
}
