//! Variables: what DAGs read by name. A secret is shown as `***`, and `***` keeps it.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_vault::{NamedVariable, Origin};
use serde::{Deserialize, Serialize};

use crate::api::VariableBody;
use crate::links;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};

#[derive(Serialize)]
struct Line {
    key: String,
    value: String,
    description: Option<String>,
    is_from_environment: bool,
    problem: Option<String>,
    delete: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    description: String,
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    show(&server, &person, &headers, &Fields::default(), None).await
}

async fn show(
    server: &Server,
    person: &Person,
    headers: &HeaderMap,
    fields: &Fields,
    problem: Option<&Problem>,
) -> Answer {
    let all = server.options.vault.variables().await?;
    let masker = server.options.vault.masker();
    let line = |variable: &NamedVariable| Line {
        key: variable.key.clone(),
        value: masker.mask(&variable.masked_value()),
        description: variable.description.clone(),
        is_from_environment: variable.origin == Origin::Environment,
        problem: variable.problem.clone(),
        delete: format!("/variables/delete/{}", links::segment(&variable.key)),
    };
    let values = values! {
        lines => all.iter().map(line).collect::<Vec<_>>(),
        problem => problem.map(|problem| crate::format::sentence(&crate::words::say(&problem.detail))),
        // The value is not sent back: it may be a secret.
        key => fields.key,
        description => fields.description,
    };
    let mut page = server.page("variables.html", Some(person), &Wishes::of(headers), values).await?;
    if let Some(problem) = problem {
        *page.status_mut() = problem.status();
    }
    Ok(page)
}

pub(super) async fn save(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Answer {
    let given = VariableBody {
        key: fields.key.trim().to_owned(),
        value: fields.value.clone(),
        description: Some(fields.description.clone()).filter(|text| !text.is_empty()),
    };
    match server.put_variable(&person, &given).await {
        Ok(()) => Ok(Redirect::to("/variables").into_response()),
        Err(problem) if problem.status().is_server_error() => Err(problem),
        Err(problem) => show(&server, &person, &headers, &fields, Some(&problem)).await,
    }
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(key): Path<String>) -> Answer<Redirect> {
    server.delete_variable(&person, &key).await?;
    Ok(Redirect::to("/variables"))
}
