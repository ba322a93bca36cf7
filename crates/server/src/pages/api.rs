//! The API: its document, and a page to try it.

use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

use crate::access::person::Person;
use crate::openapi;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::routes;
use crate::server::Shared;

/// Made when somebody first asks.
static DOCUMENT: OnceLock<Arc<Value>> = OnceLock::new();

fn whole() -> &'static Arc<Value> {
    DOCUMENT.get_or_init(|| Arc::new(openapi::document(&routes::doors())))
}

pub(crate) async fn document() -> Json<Arc<Value>> {
    Json(whole().clone())
}

#[derive(Serialize)]
struct Entry {
    id: String,
    method: String,
    path: String,
    summary: String,
    description: String,
    /// Name, place, whether it is needed, what it is.
    parameters: Vec<(String, String, bool, String)>,
    /// What of the body is needed, for whoever fills it in.
    body: Option<String>,
    members: Vec<Member>,
}

/// What a body may have.
#[derive(Serialize)]
struct Member {
    name: String,
    kind: String,
    needed: bool,
    text: String,
}

/// A schema that is named stands for itself elsewhere in the document.
fn named<'d>(document: &'d Value, schema: &'d Value) -> &'d Value {
    let pointer = schema["$ref"].as_str().map(|name| name.trim_start_matches('#'));
    pointer.and_then(|pointer| document.pointer(pointer)).unwrap_or(schema)
}

fn is_needed(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().is_some_and(|list| list.iter().any(|one| one == name))
}

fn members(document: &Value, schema: &Value) -> Vec<Member> {
    let schema = named(document, schema);
    let member = |(name, of): (&String, &Value)| Member {
        name: name.clone(),
        kind: kind(of),
        needed: is_needed(schema, name),
        text: of["description"]
            .as_str()
            .or_else(|| named(document, of)["description"].as_str())
            .unwrap_or_default()
            .to_owned(),
    };
    schema["properties"].as_object().into_iter().flatten().map(member).collect()
}

/// `string`, `array of string`, `one of a, b`, or the name of a schema.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str() {
        return name.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        return format!("one of {}", words.join(", "));
    }
    if let Some(several) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let kinds: Vec<String> = several.iter().map(kind).filter(|kind| kind != "null").collect();
        return kinds.join(" or ");
    }
    let types = match &schema["type"] {
        Value::Array(several) => several.iter().filter_map(Value::as_str).filter(|kind| *kind != "null").collect(),
        one => one.as_str().into_iter().collect::<Vec<_>>(),
    };
    match types.as_slice() {
        [] => "any".to_owned(),
        ["array"] => format!("array of {}", kind(&schema["items"])),
        several => several.join(" or "),
    }
}

/// What of the body's schema a person is shown: each member with null, or what it may be.
fn example(document: &Value, schema: &Value) -> String {
    let schema = named(document, schema);
    let lines = schema["properties"].as_object().into_iter().flatten().filter(|(name, _)| is_needed(schema, name));
    let value: serde_json::Map<String, Value> = lines
        .map(|(name, schema)| {
            let empty = match schema["type"].as_str() {
                Some("string") => "".into(),
                Some("integer" | "number") => 0.into(),
                Some("boolean") => false.into(),
                Some("array") => Value::Array(Vec::new()),
                _ => Value::Null,
            };
            (name.clone(), empty)
        })
        .collect();
    serde_json::to_string_pretty(&value).unwrap_or_default()
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let document = whole();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut entries = Vec::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            let parameters = operation["parameters"].as_array().into_iter().flatten().map(|one| {
                let is_needed = one["required"].as_bool().unwrap_or_default();
                (text(&one["name"]), text(&one["in"]), is_needed, text(&one["description"]))
            });
            let schema = operation.pointer("/requestBody/content/application~1json/schema");
            entries.push(Entry {
                id: text(&operation["operationId"]),
                method: method.to_uppercase(),
                path: path.clone(),
                summary: text(&operation["summary"]),
                description: text(&operation["description"]),
                parameters: parameters.collect(),
                body: schema.map(|schema| example(document, schema)),
                members: schema.map(|schema| members(document, schema)).unwrap_or_default(),
            });
        }
    }
    server.page("api.html", Some(&person), &Wishes::of(&headers), values! { entries }).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_said_as_people_read_them() {
        for (schema, wanted) in [
            (json!({"type": "string"}), "string"),
            (json!({"type": ["integer", "null"]}), "integer"),
            (json!({"type": "array", "items": {"type": "string"}}), "array of string"),
            (json!({"anyOf": [{"$ref": "#/components/schemas/Pool"}, {"type": "null"}]}), "Pool"),
            (json!({"type": "string", "enum": ["any", "all"]}), "one of any, all"),
            (json!(true), "any"),
        ] {
            assert_eq!(kind(&schema), wanted);
        }
    }
}
