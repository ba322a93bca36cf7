//! DAG files that cannot be read, with everything that is wrong in them.

use axum::extract::State;
use http::HeaderMap;
use serde::Serialize;
use serde_json::Value;

use crate::format::When;
use crate::person::Person;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

#[derive(Serialize)]
struct Broken {
    file: String,
    since: When,
    faults: Vec<Fault>,
}

#[derive(Serialize)]
struct Fault {
    place: String,
    is_warning: bool,
    message: String,
    hint: Option<String>,
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let now = server.now();
    let rows = server.store().import_errors().await?;
    let fault = |file: &str, one: &Value| {
        let text = |key: &str| one.get(key).and_then(Value::as_str).map(|text| server.masked_text(text));
        Fault {
            place: crate::api::import_place(file, one),
            is_warning: one.get("severity").and_then(Value::as_str) == Some("warning"),
            message: text("message").unwrap_or_default(),
            hint: text("hint"),
        }
    };
    let files: Vec<Broken> = rows
        .iter()
        .map(|row| Broken {
            file: row.file_path.clone(),
            since: When::new(row.first_seen_at, now, chrono_tz::UTC),
            faults: row.diagnostics.iter().map(|one| fault(&row.file_path, one)).collect(),
        })
        .collect();
    server.page("import_errors.html", Some(&person), &Wishes::of(&headers), values! { files }).await
}
