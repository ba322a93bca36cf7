//! The operators that there are, each with what it does and its parameters.

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_dagfile::parameters_of;
use millrace_model::error_code::ErrorCode;
use millrace_operator_api::entry::{OperatorEntry, find};
use serde_json::Value;

use crate::access::person::Person;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::Shared;

pub(super) async fn list(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let line = |entry: &OperatorEntry| {
        values! {
            name => entry.name,
            summary => entry.summary,
            aliases => entry.aliases,
            href => format!("/operators/{}", links::segment(entry.name)),
        }
    };
    let mut entries: Vec<&OperatorEntry> = server.options.operators.iter().collect();
    entries.sort_by_key(|entry| entry.name);
    let lines: Vec<_> = entries.into_iter().map(line).collect();
    server.page("operators.html", Some(&person), &Wishes::of(&headers), values! { lines }).await
}

/// By its name, or another that it answers to.
pub(super) async fn one(
    State(server): State<Shared>,
    person: Person,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let entry = find(server.options.operators, &name)
        .ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("there is no operator '{name}'")))?;
    let schema = (entry.schema)().to_value();
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let values = values! {
        name => entry.name,
        summary => entry.summary,
        aliases => entry.aliases,
        is_inline => entry.is_inline,
        paragraphs => text.split("\n\n").map(str::trim).filter(|text| !text.is_empty()).collect::<Vec<_>>(),
        parameters => parameters_of(entry, &schema),
    };
    server.page("operator.html", Some(&person), &Wishes::of(&headers), values).await
}
