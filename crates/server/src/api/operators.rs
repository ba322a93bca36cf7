//! The operators that there are: what each does, and the JSON Schema of its parameters.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::error_code::ErrorCode;
use millrace_operator_api::entry::{OperatorEntry, find};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{cut, listed};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

listed!(Operators { operators: Operator });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Operator {
    name: String,
    /// Other names that DAG files may use.
    aliases: Vec<&'static str>,
    summary: String,
    /// Old names of parameters, each with its own.
    parameter_aliases: BTreeMap<&'static str, &'static str>,
    /// The scheduler ends it itself; it takes no slot.
    is_inline: bool,
    /// JSON Schema of its parameters; its description tells what it does at length.
    parameters: Value,
}

fn operator(entry: &OperatorEntry) -> Operator {
    Operator {
        name: entry.name.to_owned(),
        aliases: entry.aliases.to_vec(),
        summary: entry.summary.to_owned(),
        parameter_aliases: entry.parameter_aliases.iter().copied().collect(),
        is_inline: entry.is_inline,
        parameters: (entry.schema)().to_value(),
    }
}

/// By name.
pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Operators>> {
    let page = parameters.page()?;
    let mut entries: Vec<&OperatorEntry> = server.options.operators.iter().collect();
    entries.sort_by_key(|entry| entry.name);
    let (entries, total_entries) = cut(entries, page);
    Ok(Json(Operators { operators: entries.into_iter().map(operator).collect(), total_entries }))
}

/// By its name, or another that it answers to.
pub(super) async fn get(State(server): State<Shared>, Path(name): Path<String>) -> Answer<Json<Operator>> {
    let missing = || Problem::new(ErrorCode::NOT_FOUND, format!("there is no operator '{name}'"));
    Ok(Json(operator(find(server.options.operators, &name).ok_or_else(missing)?)))
}
