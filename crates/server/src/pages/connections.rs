//! Connections: listed, added, changed, tested, deleted.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::{HeaderMap, StatusCode};
use millrace_vault::{NamedConnection, Origin};
use minijinja::Value as View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::form_of;
use crate::links;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::Shared;
use crate::words::said;

const TYPES: [(&str, &str); 6] = [
    ("mysql", said!("MySQL or MariaDB")),
    ("postgres", said!("PostgreSQL")),
    ("redshift", said!("Amazon Redshift")),
    ("sqlite", said!("SQLite file")),
    ("aws", said!("AWS or another S3")),
    ("http", said!("Webhook of a callback")),
];

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Fields {
    connection_id: String,
    conn_type: String,
    description: String,
    host: String,
    port: String,
    login: String,
    password: String,
    schema: String,
    extra: String,
    /// The form changes a connection that is there.
    #[serde(skip_serializing_if = "String::is_empty")]
    editing: String,
}

#[derive(Serialize)]
struct Line {
    conn_id: String,
    conn_type: String,
    description: Option<String>,
    place: String,
    login: Option<String>,
    has_password: bool,
    edit: String,
    delete: String,
    is_from_environment: bool,
    problem: Option<String>,
}

pub(super) async fn list(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let found = server.options.vault.connections().await?;
    let lines: Vec<Line> = found.into_iter().map(line).collect();
    server.page("connections.html", Some(&person), &Wishes::of(&headers), values! { lines }).await
}

fn line(named: NamedConnection) -> Line {
    let form = named.form;
    let mut place = form.host.unwrap_or_default();
    if let Some(port) = form.port {
        place.push_str(&format!(":{port}"));
    }
    if let Some(schema) = &form.schema {
        place = if place.is_empty() { schema.clone() } else { format!("{place}/{schema}") };
    }
    if place.is_empty() {
        place.push_str(form.extra.get("endpoint_url").and_then(Value::as_str).unwrap_or_default());
    }
    Line {
        edit: format!("/connections/edit/{}", links::segment(&named.conn_id)),
        delete: format!("/connections/delete/{}", links::segment(&named.conn_id)),
        conn_id: named.conn_id,
        conn_type: form.conn_type,
        description: form.description,
        place,
        login: form.login,
        has_password: form.password.is_some(),
        is_from_environment: named.origin == Origin::Environment,
        problem: named.problem,
    }
}

pub(super) async fn add(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let fields = Fields { conn_type: "postgres".to_owned(), ..Fields::default() };
    server.page("connection.html", Some(&person), &Wishes::of(&headers), view(&fields, None)).await
}

pub(super) async fn edit(
    State(server): State<Shared>,
    person: Person,
    Path(conn_id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let named = server.named_connection(&conn_id).await?;
    let masked = named.form.to_masked_value();
    let text = |name: &str| match masked.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let fields = Fields {
        connection_id: conn_id,
        conn_type: text("conn_type"),
        description: text("description"),
        host: text("host"),
        port: text("port"),
        login: text("login"),
        password: text("password"),
        schema: text("schema"),
        extra: text("extra"),
        editing: "yes".to_owned(),
    };
    let values = view(&fields, named.problem.as_deref());
    server.page("connection.html", Some(&person), &Wishes::of(&headers), values).await
}

fn view(fields: &Fields, problem: Option<&str>) -> View {
    // A type that no choice names is the person's own, and stays what it is.
    let own = Some((fields.conn_type.as_str(), fields.conn_type.as_str()));
    let own = own.filter(|(own, _)| !own.is_empty() && TYPES.iter().all(|(known, _)| known != own));
    let types: Vec<(&str, &str)> = TYPES.into_iter().chain(own).collect();
    values! { fields => fields, editing => !fields.editing.is_empty(), types, problem }
}

pub(super) async fn save(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Answer {
    let conn_id = fields.connection_id.trim().to_owned();
    let saved = async {
        if fields.editing.is_empty() && server.options.vault.shown_connection(&conn_id).await?.is_some() {
            return Err(Problem::invalid(format!("there is a connection '{conn_id}' already")));
        }
        server.put_connection(&person, &conn_id, form_of(object_of(&fields))?).await
    };
    match saved.await {
        Ok(()) => Ok(Redirect::to("/connections").into_response()),
        Err(problem) if problem.status().is_client_error() => {
            let mut again = fields.clone();
            // What was typed as a password is not sent back.
            again.password.clear();
            let values = view(&again, Some(&problem.detail));
            let mut page = server.page("connection.html", Some(&person), &Wishes::of(&headers), values).await?;
            *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

fn object_of(fields: &Fields) -> Map<String, Value> {
    let named = [
        ("conn_type", &fields.conn_type),
        ("description", &fields.description),
        ("host", &fields.host),
        ("port", &fields.port),
        ("login", &fields.login),
        ("password", &fields.password),
        ("schema", &fields.schema),
        ("extra", &fields.extra),
    ];
    named
        .into_iter()
        .filter(|(_, text)| !text.trim().is_empty())
        .map(|(name, text)| (name.to_owned(), Value::String(text.trim_end_matches(['\r', '\n']).to_owned())))
        .collect()
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(conn_id): Path<String>) -> Answer {
    server.delete_connection(&person, &conn_id).await?;
    Ok(Redirect::to("/connections").into_response())
}
