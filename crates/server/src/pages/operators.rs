//! The operators that there are, each with what it does and its parameters.

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::error_code::ErrorCode;
use millrace_operator_api::entry::{OperatorEntry, find};
use serde::Serialize;
use serde_json::Value;

use crate::links;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::Shared;

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Parameter {
    name: String,
    kind: String,
    is_required: bool,
    default: Option<String>,
    description: String,
}

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
        parameter_aliases => entry.parameter_aliases,
        is_inline => entry.is_inline,
        paragraphs => text.split("\n\n").map(str::trim).filter(|text| !text.is_empty()).collect::<Vec<_>>(),
        parameters => parameters(&schema),
    };
    server.page("operator.html", Some(&person), &Wishes::of(&headers), values).await
}

fn parameters(schema: &Value) -> Vec<Parameter> {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let parameter = |(name, field): (&String, &Value)| Parameter {
        name: name.clone(),
        kind: kind(field),
        is_required: required.contains(&name.as_str()),
        default: field.get("default").filter(|value| !value.is_null()).map(ToString::to_string),
        description: field.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
    };
    let mut all: Vec<Parameter> =
        schema.get("properties").and_then(Value::as_object).into_iter().flatten().map(parameter).collect();
    // What must be given comes first.
    all.sort_by(|one, other| other.is_required.cmp(&one.is_required).then_with(|| one.name.cmp(&other.name)));
    all
}

/// In a few words.
fn kind(field: &Value) -> String {
    if let Some(choices) = field.get("enum").and_then(Value::as_array) {
        return choices
            .iter()
            .map(|choice| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(" | ");
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(ways) = field.get(several).and_then(Value::as_array) {
            let mut kinds: Vec<String> = Vec::new();
            for one in ways.iter().map(kind).filter(|kind| kind != "null") {
                if !kinds.contains(&one) {
                    kinds.push(one);
                }
            }
            return kinds.join(" | ");
        }
    }
    if let Some(only) = field.get("const") {
        return only.as_str().map_or_else(|| only.to_string(), str::to_owned);
    }
    match field.get("type") {
        Some(Value::String(name)) => name.clone(),
        Some(Value::Array(names)) => {
            names.iter().filter_map(Value::as_str).filter(|name| *name != "null").collect::<Vec<_>>().join(" | ")
        }
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_come_from_the_schema() {
        let schema = json!({
            "required": ["sql"],
            "properties": {
                "limit": {"type": ["integer", "null"], "default": 5, "description": "At most."},
                "sql": {"type": "string"},
                "mode": {"oneOf": [{"const": "append"}, {"const": "replace"}]},
                "free": true,
            },
        });
        let found = parameters(&schema);
        let short: Vec<(&str, &str, bool)> =
            found.iter().map(|one| (one.name.as_str(), one.kind.as_str(), one.is_required)).collect();
        assert_eq!(
            short,
            [
                ("sql", "string", true),
                ("free", "any", false),
                ("limit", "integer", false),
                ("mode", "append | replace", false)
            ]
        );
        assert_eq!((found[2].default.as_deref(), found[2].description.as_str()), (Some("5"), "At most."));
    }
}
