//! Variables: what DAGs read by name. A secret is shown as `***`, and `***` keeps it.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_vault::{NamedVariable, Origin};
use serde::{Deserialize, Serialize};

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
    let description = Some(fields.description.clone()).filter(|text| !text.is_empty());
    let vault = &server.options.vault;
    match vault.put_variable(fields.key.trim(), &fields.value, description, &person.actor(), server.now()).await {
        Ok(_) => Ok(Redirect::to("/variables").into_response()),
        Err(error) => {
            let problem = Problem::from(error);
            if problem.status().is_server_error() {
                return Err(problem);
            }
            show(&server, &person, &headers, &fields, Some(&problem)).await
        }
    }
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(key): Path<String>) -> Answer<Redirect> {
    server.options.vault.delete_variable(&key, &person.actor(), server.now()).await?;
    Ok(Redirect::to("/variables"))
}
