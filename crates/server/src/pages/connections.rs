//! Connections: listed, added, changed, tested, deleted.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_settings::known_extra::unknown_settings;
use millrace_settings::mask::MASK;
use millrace_vault::{NamedConnection, Origin};
use minijinja::Value as View;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::seen::check_seen;
use crate::access::person::Person;
use crate::api::{ConnectionAnswer, form_of, try_connection};
use crate::etags::version_of;
use crate::links;
use crate::problem::Answer;
use crate::rendering::{Wishes, merged, values};
use crate::server::{Server, Shared};
use crate::words::{said, t};

const TYPES: [(&str, &str); 7] = [
    ("mysql", said!("MySQL or MariaDB")),
    ("postgres", said!("PostgreSQL")),
    ("redshift", said!("Amazon Redshift")),
    ("sqlite", said!("SQLite file")),
    ("aws", said!("AWS or another S3")),
    ("http", said!("Webhook of a callback")),
    ("generic", said!("Another: a key, or values of templates")),
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
    /// The version that the form changes; empty: it makes a connection.
    seen: String,
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
    /// Extra settings that nothing reads.
    unknown: Vec<String>,
    /// What came of trying it just now.
    tried: Option<ConnectionAnswer>,
}

pub(super) async fn list(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    show_list(&server, &person, &headers, None).await
}

async fn show_list(
    server: &Server,
    person: &Person,
    headers: &HeaderMap,
    mut tried: Option<(String, ConnectionAnswer)>,
) -> Answer {
    let mut lines: Vec<Line> = server.options.vault.connections().await?.into_iter().map(line).collect();
    for line in &mut lines {
        line.tried = tried.take_if(|(conn_id, _)| *conn_id == line.conn_id).map(|(_, answer)| answer);
    }
    server.page("connections.html", Some(person), &Wishes::of(headers), values! { lines }).await
}

fn line(named: NamedConnection) -> Line {
    let unknown = unknown_settings(&named.form.conn_type, &named.form.extra);
    // Passwords stand in addresses, too.
    let form = named.form.masked();
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
        unknown,
        tried: None,
    }
}

pub(super) async fn add(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let fields = Fields { conn_type: "postgres".to_owned(), ..Fields::default() };
    server.page("connection.html", Some(&person), &Wishes::of(&headers), view(&fields, None, &[])).await
}

pub(super) async fn edit(
    State(server): State<Shared>,
    person: Person,
    Path(conn_id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let named = server.named_connection(&conn_id).await?;
    let seen = server.seen_connection(&conn_id).await?.unwrap_or_default();
    let fields = Fields { seen, ..fields_of(&named) };
    let values = view(&fields, named.problem.as_deref(), &[]);
    server.page("connection.html", Some(&person), &Wishes::of(&headers), values).await
}

fn fields_of(named: &NamedConnection) -> Fields {
    let masked = named.form.to_masked_value();
    let text = |name: &str| match masked.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    Fields {
        connection_id: named.conn_id.clone(),
        conn_type: text("conn_type"),
        description: text("description"),
        host: text("host"),
        port: text("port"),
        login: text("login"),
        password: text("password"),
        schema: text("schema"),
        extra: text("extra"),
        seen: String::new(),
    }
}

impl Fields {
    /// What was typed as a password is not sent back.
    fn to_show_again(&self) -> Self {
        let password = if self.password == MASK { self.password.clone() } else { String::new() };
        Self { password, ..self.clone() }
    }
}

impl Server {
    /// None: it is not stored here.
    async fn seen_connection(&self, conn_id: &str) -> Answer<Option<String>> {
        Ok(self.store().connection(conn_id).await?.as_ref().map(version_of))
    }
}

/// `now` is what others have made of the connection since the form was drawn.
fn view(fields: &Fields, problem: Option<&str>, now: &[(&str, String)]) -> View {
    // A type that no choice names is the person's own, and stays what it is.
    let own = Some((fields.conn_type.as_str(), fields.conn_type.as_str()));
    let own = own.filter(|(own, _)| !own.is_empty() && TYPES.iter().all(|(known, _)| known != own));
    let types: Vec<(&str, &str)> = TYPES.into_iter().chain(own).collect();
    values! { fields => fields, editing => !fields.seen.is_empty(), types, problem, now }
}

pub(super) async fn save(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Answer {
    let conn_id = fields.connection_id.trim().to_owned();
    let saved = async {
        check_seen(&fields.seen, server.seen_connection(&conn_id).await?.as_deref(), "connection", &conn_id)?;
        server.put_connection(&person, &conn_id, form_of(object_of(&fields))?).await
    };
    match saved.await {
        Ok(()) => Ok(Redirect::to("/connections").into_response()),
        Err(problem) if problem.status().is_client_error() => {
            let mut again = fields.to_show_again();
            let mut now = Vec::new();
            if !fields.seen.is_empty() {
                again.seen = server.seen_connection(&conn_id).await?.unwrap_or_default();
                if again.seen != fields.seen && !again.seen.is_empty() {
                    now = changed(&server.named_connection(&conn_id).await?, &fields);
                }
            }
            let told = crate::format::sentence(&crate::words::say(&problem.detail));
            let values = view(&again, Some(&told), &now);
            let mut page = server.page("connection.html", Some(&person), &Wishes::of(&headers), values).await?;
            *page.status_mut() = problem.status();
            Ok(page)
        }
        Err(problem) => Err(problem),
    }
}

/// What of a connection is not as somebody wants it, by the names of the form.
fn changed(named: &NamedConnection, fields: &Fields) -> Vec<(&'static str, String)> {
    let there = fields_of(named);
    let named = [
        (t("Type"), there.conn_type, &fields.conn_type),
        (t("Description"), there.description, &fields.description),
        (t("Host"), there.host, &fields.host),
        (t("Port"), there.port, &fields.port),
        (t("Database"), there.schema, &fields.schema),
        (t("Login"), there.login, &fields.login),
        (t("Password"), there.password, &fields.password),
        (t("Extra"), there.extra, &fields.extra),
    ];
    let is_other = |(_, there, wanted): &(&str, String, &String)| there.trim() != wanted.trim().replace("\r\n", "\n");
    named.into_iter().filter(is_other).map(|(label, there, _)| (label, there)).collect()
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

/// For whoever has no scripts: a stored connection out of the list, or what stands in the form.
pub(super) async fn test(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Answer {
    let conn_id = fields.connection_id.trim().to_owned();
    let mut given = object_of(&fields);
    let is_stored = given.is_empty();
    if !conn_id.is_empty() {
        given.insert("connection_id".to_owned(), Value::String(conn_id.clone()));
    }
    let tried = try_connection(Shared::clone(&server), &person, given).await;
    if is_stored {
        return show_list(&server, &person, &headers, Some((conn_id, tried?))).await;
    }
    let (problem, status, tried) = match tried {
        Ok(answer) => (None, http::StatusCode::OK, Some(answer)),
        Err(problem) if problem.status().is_client_error() => {
            (Some(crate::format::sentence(&crate::words::say(&problem.detail))), problem.status(), None)
        }
        Err(problem) => return Err(problem),
    };
    let values = merged(view(&fields.to_show_again(), problem.as_deref(), &[]), values! { tried });
    let mut page = server.page("connection.html", Some(&person), &Wishes::of(&headers), values).await?;
    *page.status_mut() = status;
    Ok(page)
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(conn_id): Path<String>) -> Answer {
    server.delete_connection(&person, &conn_id).await?;
    Ok(Redirect::to("/connections").into_response())
}
