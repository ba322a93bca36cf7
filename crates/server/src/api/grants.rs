//! Roles for some DAGs only.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_store::{GrantRow, Granted};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, cut, instant, listed};
use crate::access::people::role_named;
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Grants>> {
    let page = parameters.page()?;
    let (rows, total_entries) = cut(server.store().grants(parameters.text("username")).await?, page);
    Ok(Json(Grants { grants: rows.iter().map(grant_value).collect(), total_entries }))
}

listed!(Grants { grants: Grant });

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "GrantBody")]
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
    given: Given<CreateBody>,
) -> Answer<(StatusCode, Json<Grant>)> {
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

/// A role for a DAG, or for all with a tag.
#[derive(Serialize, JsonSchema)]
pub(super) struct Place {
    dag_id: Option<String>,
    tag: Option<String>,
    role: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Grant {
    id: i64,
    username: String,
    #[serde(flatten)]
    place: Place,
    created_at: Instant,
}

/// For what it is, without whose.
pub(super) fn place(of: &Granted, role: &str) -> Place {
    let (dag_id, tag) = match of {
        Granted::Dag(dag_id) => (Some(dag_id.clone()), None),
        Granted::Tag(tag) => (None, Some(tag.clone())),
    };
    Place { dag_id, tag, role: role.to_owned() }
}

fn grant_value(row: &GrantRow) -> Grant {
    Grant {
        id: row.id,
        username: row.user_name.clone(),
        place: place(&row.of, &row.role),
        created_at: instant(row.created_at),
    }
}
