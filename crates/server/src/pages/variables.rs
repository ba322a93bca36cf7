//! Variables: what DAGs read by name. A secret is shown as `***`, and `***` keeps it.

use std::collections::HashMap;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_settings::mask::MASK;
use millrace_vault::{NamedVariable, Origin};
use serde::{Deserialize, Serialize};

use super::seen::check_seen;
use crate::access::person::Person;
use crate::api::VariableBody;
use crate::etags::version_of;
use crate::links;
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
    seen: String,
    /// What was typed of a change that was refused, beside what the variable is now; but no secret.
    is_open: bool,
    typed_value: String,
    typed_description: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Fields {
    #[serde(default)]
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    description: String,
    /// The version that the form changes; empty: it makes a variable.
    #[serde(default)]
    seen: String,
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
    let rows = server.store().variables().await?;
    let seen: HashMap<&str, String> = rows.iter().map(|row| (row.key.as_str(), version_of(row))).collect();
    let all = server.options.vault.variables().await?;
    let masker = server.options.vault.masker();
    let line = |variable: &NamedVariable| {
        let value = masker.mask(&variable.masked_value());
        let typed = Some(fields).filter(|fields| !fields.seen.is_empty() && fields.key.trim() == variable.key);
        let description = variable.description.clone().unwrap_or_default();
        Line {
            key: variable.key.clone(),
            is_open: typed.is_some(),
            typed_value: typed
                .filter(|_| !value.contains(MASK))
                .map_or_else(|| value.clone(), |fields| fields.value.clone()),
            typed_description: typed.map_or(description, |fields| fields.description.clone()),
            value,
            description: variable.description.clone(),
            is_from_environment: variable.origin == Origin::Environment,
            problem: variable.problem.clone(),
            delete: format!("/variables/delete/{}", links::segment(&variable.key)),
            seen: seen.get(variable.key.as_str()).cloned().unwrap_or_default(),
        }
    };
    let is_new = fields.seen.is_empty();
    let values = values! {
        lines => all.iter().map(line).collect::<Vec<_>>(),
        problem => problem.map(|problem| crate::format::sentence(&crate::words::say(&problem.detail))),
        // The value is not sent back: it may be a secret.
        key => is_new.then_some(&fields.key),
        description => is_new.then_some(&fields.description),
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
    // A description that was emptied is not left as it was.
    let given = VariableBody {
        key: fields.key.trim().to_owned(),
        value: fields.value.clone(),
        description: Some(fields.description.clone()),
    };
    let saved = async {
        let now = server.store().variable(&given.key).await?;
        check_seen(&fields.seen, now.as_ref().map(version_of).as_deref(), "variable", &given.key)?;
        server.put_variable(&person, &given).await
    };
    match saved.await {
        Ok(()) => Ok(Redirect::to("/variables").into_response()),
        Err(problem) if problem.status().is_server_error() => Err(problem),
        Err(problem) => show(&server, &person, &headers, &fields, Some(&problem)).await,
    }
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(key): Path<String>) -> Answer<Redirect> {
    server.delete_variable(&person, &key).await?;
    Ok(Redirect::to("/variables"))
}
