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
    /// The members of the body, for whoever fills it in.
    body: Option<String>,
}

/// What of the body's schema a person is shown: each member with null, or what it may be.
fn example(document: &Value, schema: &Value) -> String {
    let named = schema["$ref"].as_str().and_then(|name| document.pointer(name.trim_start_matches('#')));
    let members = named.unwrap_or(schema)["properties"].as_object();
    let needed = |name: &str| {
        let list = named.unwrap_or(schema)["required"].as_array();
        list.is_some_and(|list| list.iter().any(|one| one == name))
    };
    let lines = members.into_iter().flatten().filter(|(name, _)| needed(name));
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
            });
        }
    }
    server.page("api.html", Some(&person), &Wishes::of(&headers), values! { entries }).await
}
