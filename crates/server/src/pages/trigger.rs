//! What is asked before a run is started by hand: a field for each of the DAG's parameters, by what their values are.

use axum::extract::{Path, State};
use http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::head::Tab;
use crate::person::Person;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

/// A longer text gets several lines.
const ONE_LINE: usize = 80;

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Field {
    name: String,
    /// `text`, `long`, `number`, `flag`, `choice`, `json`.
    kind: &'static str,
    /// As it stands in the field; of a flag, `true` or nothing.
    value: String,
    title: Option<String>,
    description: Option<String>,
    choices: Vec<String>,
    minimum: Option<String>,
    maximum: Option<String>,
    is_required: bool,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let row = server.dag_row(&dag_id, 0).await?;
    let params = Value::Object(row.dag.params.clone());
    let params = server.options.vault.masker().mask_value(&params);
    let values = values! { dag => server.dag_head(&row, Tab::Grid), fields => fields(params.as_object()) };
    let template = if wishes.wants("fields") { "parts/trigger_fields.html" } else { "trigger.html" };
    server.page(template, Some(&person), &wishes, values).await
}

fn fields(params: Option<&Map<String, Value>>) -> Vec<Field> {
    params.into_iter().flatten().map(|(name, value)| field(name, value)).collect()
}

/// One that is an object with a `type` or an `enum` is a JSON Schema, whose `default` is the value; of any other, its value
/// says what it is.
fn field(name: &str, value: &Value) -> Field {
    let schema = value.as_object().filter(|map| map.contains_key("enum") || map.get("type").is_some_and(is_type));
    let said = |key: &str| schema.and_then(|schema| schema.get(key));
    let text = |key: &str| said(key).and_then(Value::as_str).map(str::to_owned);
    let default = if schema.is_some() { said("default").unwrap_or(&Value::Null) } else { value };
    let choices: Vec<String> = said("enum").and_then(Value::as_array).into_iter().flatten().map(shown).collect();
    let kind = match said("type").and_then(main_type) {
        _ if !choices.is_empty() => "choice",
        Some("boolean") => "flag",
        Some("integer" | "number") => "number",
        Some("array" | "object") => "json",
        Some(_) => {
            if shown(default).len() > ONE_LINE {
                "long"
            } else {
                "text"
            }
        }
        None => match default {
            Value::Bool(_) => "flag",
            Value::Number(_) => "number",
            Value::String(text) if text.len() > ONE_LINE || text.contains('\n') => "long",
            Value::String(_) => "text",
            Value::Null | Value::Array(_) | Value::Object(_) => "json",
        },
    };
    Field {
        name: name.to_owned(),
        kind,
        value: shown(default),
        title: text("title"),
        description: text("description"),
        choices,
        minimum: said("minimum").map(shown),
        maximum: said("maximum").map(shown),
        is_required: schema.is_some() && said("default").is_none(),
    }
}

fn is_type(value: &Value) -> bool {
    main_type(value).is_some_and(|name| ["string", "integer", "number", "boolean", "array", "object"].contains(&name))
}

/// `["string", "null"]` is a text that may be left out.
fn main_type(value: &Value) -> Option<&str> {
    match value {
        Value::String(name) => Some(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_what_its_value_is() {
        let kind = |value: Value| field("x", &value).kind;
        assert_eq!(
            [kind(json!("a")), kind(json!(1.5)), kind(json!(true)), kind(json!([1])), kind(json!(null))],
            ["text", "number", "flag", "json", "json"]
        );
        assert_eq!(kind(json!("a\nb")), "long");
        assert_eq!(kind(json!({"region": "eu"})), "json");
    }

    #[test]
    fn a_schema_says_it_itself() {
        let schema = json!({"type": "integer", "default": 3, "minimum": 1, "maximum": 9, "description": "how many"});
        let made = field("x", &schema);
        assert_eq!((made.kind, made.value.as_str(), made.minimum.as_deref()), ("number", "3", Some("1")));
        assert_eq!(made.description.as_deref(), Some("how many"));
        let choice = field("x", &json!({"enum": ["eu", "us"], "default": "us"}));
        assert_eq!((choice.kind, choice.choices), ("choice", vec!["eu".to_owned(), "us".to_owned()]));
        assert!(field("x", &json!({"type": ["string", "null"]})).is_required);
        assert_eq!(field("x", &json!({"type": "orders", "n": 1})).kind, "json", "an object of its own");
    }
}
