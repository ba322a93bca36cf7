//! Connections: shown masked; `***` sent back keeps what is there.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_settings::ConnectionForm;
use millrace_store::AuditRow;
use millrace_vault::{NamedConnection, to_port_connection};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::update_mask::{UpdateMask, masked};
use super::{Given, body, bulk, listed, paged};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::doors::Doors;
use crate::etags::{Versioned, version_of};
use crate::links;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

type Fields = Given<Map<String, Value>>;

pub(super) fn doors() -> Doors {
    use Act::{ReadConnections, TestConnections, WriteConnections};
    super::under()
        .get("/connections", ReadConnections, list)
        .does(
            op("List connections, secrets masked")
                .page()
                .query("connection_id_pattern", Kind::Text, "A part of the id")
                .ordered(ORDERS)
                .gives::<Connections>(),
        )
        .post("/connections", WriteConnections, create)
        .does(op("Add a connection").takes::<ConnectionBody>().creates::<Connection>())
        .patch("/connections", WriteConnections, bulk::connections)
        .does(
            op("Make, change and delete connections")
                .takes::<bulk::BulkBody<bulk::ConnectionEntity>>()
                .gives::<bulk::BulkAnswer>(),
        )
        .post("/connections/test", TestConnections, test)
        .does(op("Try a connection").takes::<ConnectionBody>().gives::<ConnectionAnswer>())
        // The address of trying is also that of a connection which somebody has named so.
        .get("/connections/test", ReadConnections, get_test)
        .does(op("Show the connection named test, secrets masked").gives::<Connection>())
        .patch("/connections/test", WriteConnections, patch_test)
        .does(masked(op("Change the connection named test")).takes::<ConnectionBody>().gives::<Connection>())
        .delete("/connections/test", WriteConnections, delete_test)
        .does(op("Delete the connection named test").gives_nothing())
        .get("/connections/{conn_id}", ReadConnections, get)
        .does(op("Show a connection, secrets masked").gives::<Connection>())
        .patch("/connections/{conn_id}", WriteConnections, patch)
        .does(masked(op("Change a connection")).takes::<ConnectionBody>().gives::<Connection>())
        .delete("/connections/{conn_id}", WriteConnections, delete)
        .does(op("Delete a connection").gives_nothing())
}

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Versioned<Connections>> {
    // First: who writes meanwhile is noticed.
    let version = version_of(&server.store().connections().await?);
    let part = parameters.part("connection_id_pattern").map(|part| part.to_lowercase());
    let wanted = |row: &&NamedConnection| part.as_ref().is_none_or(|part| row.conn_id.to_lowercase().contains(part));
    let rows = server.options.vault.connections().await?;
    let connections = rows.iter().filter(wanted).map(connection_value).collect();
    let (connections, total_entries) = paged(connections, &parameters, ORDERS)?;
    Ok(Versioned { shown: Json(Connections { connections, total_entries }), version })
}

const ORDERS: &[&str] = &["connection_id", "conn_type", "description", "host", "port"];

listed!(Connections { connections: Connection });

/// `***` stands for a secret; sent back, it keeps what is there.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Connection {
    connection_id: String,
    conn_type: Value,
    description: Value,
    host: Value,
    login: Value,
    password: Value,
    schema: Value,
    port: Value,
    /// A JSON object as a text.
    extra: Option<String>,
    /// `database` or `environment`.
    origin: &'static str,
    /// Why its secrets cannot be opened; enter them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// The members of a body.
pub(super) const MEMBERS: &[&str] =
    &["connection_id", "conn_type", "description", "host", "login", "password", "schema", "port", "extra"];

/// What a connection is made of; a PATCH leaves what it does not name.
pub(crate) struct ConnectionBody;

impl JsonSchema for ConnectionBody {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConnectionBody".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "connection_id": {"type": ["string", "null"]},
                "conn_type": {"type": "string", "description": "mysql, postgres, redshift, sqlite, aws, http, or one of your own"},
                "description": {"type": ["string", "null"]},
                "host": {"type": ["string", "null"]},
                "login": {"type": ["string", "null"]},
                "password": {"type": ["string", "null"], "description": "*** keeps what is there"},
                "schema": {"type": ["string", "null"]},
                "port": {"type": ["integer", "string", "null"], "minimum": 1, "maximum": 65535},
                "extra": {"type": ["object", "string", "null"], "description": "An object, or one as a text"},
            },
        })
    }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct ConnectionAnswer {
    status: bool,
    message: String,
}

pub(crate) async fn get(State(server): State<Shared>, Path(conn_id): Path<String>) -> Answer<Versioned<Connection>> {
    let version = version_of(&server.store().connection(&conn_id).await?);
    Ok(Versioned { shown: Json(connection_value(&server.named_connection(&conn_id).await?)), version })
}

pub(crate) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Fields,
) -> Answer<(StatusCode, Json<Connection>)> {
    let mut fields = body(given)?;
    let conn_id = take_id(&mut fields)?.ok_or_else(|| Problem::invalid("'connection_id' is missing"))?;
    if server.options.vault.shown_connection(&conn_id).await?.is_some() {
        let text = format!("there is a connection '{conn_id}' already; change it with PATCH");
        return Err(Problem::new(ErrorCode::CONFLICT, text).with("href", links::api_connection(&conn_id).into()));
    }
    server.put_connection(&person, &conn_id, form_of(fields)?).await?;
    Ok((StatusCode::CREATED, Json(connection_value(&server.named_connection(&conn_id).await?))))
}

pub(crate) async fn patch(
    State(server): State<Shared>,
    person: Person,
    Path(conn_id): Path<String>,
    parameters: Parameters,
    given: Fields,
) -> Answer<Json<Connection>> {
    let (mut fields, mask) = (body(given)?, UpdateMask::of(&parameters, MEMBERS)?);
    if take_id(&mut fields)?.is_some_and(|given| given != conn_id) {
        return Err(Problem::invalid("'connection_id' cannot be changed; add a new connection and delete this one"));
    }
    fields.retain(|name, _| mask.keeps(name));
    let before = server.named_connection(&conn_id).await?;
    // The masked form as the base: what is not named stays, secrets too.
    let Value::Object(mut merged) = before.form.to_masked_value() else { return Err(Problem::invalid("no object")) };
    merged.extend(fields);
    server.put_connection(&person, &conn_id, form_of(merged)?).await?;
    Ok(Json(connection_value(&server.named_connection(&conn_id).await?)))
}

pub(crate) async fn delete(
    State(server): State<Shared>,
    person: Person,
    Path(conn_id): Path<String>,
) -> Answer<StatusCode> {
    server.delete_connection(&person, &conn_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The connection whose name is that of an address.
fn test_path() -> Path<String> {
    Path("test".to_owned())
}

pub(crate) async fn get_test(state: State<Shared>) -> Answer<Versioned<Connection>> {
    get(state, test_path()).await
}

pub(crate) async fn patch_test(
    state: State<Shared>,
    person: Person,
    parameters: Parameters,
    given: Fields,
) -> Answer<Json<Connection>> {
    patch(state, person, test_path(), parameters, given).await
}

pub(crate) async fn delete_test(state: State<Shared>, person: Person) -> Answer<StatusCode> {
    delete(state, person, test_path()).await
}

/// Less than an answer may take, so that it is told who did not answer.
const TRIED_FOR: Duration = Duration::from_secs(45);

pub(crate) async fn test(
    State(server): State<Shared>,
    person: Person,
    given: Fields,
) -> Answer<Json<ConnectionAnswer>> {
    Ok(Json(try_connection(server, &person, body(given)?).await?))
}

/// Tries what is given, not what is stored; `***` stands for what is stored under the same id, as long as it goes where the
/// stored one goes: else whoever may write connections could have every password sent to a listener of their own.
pub(crate) async fn try_connection(
    server: Shared,
    person: &Person,
    mut fields: Map<String, Value>,
) -> Answer<ConnectionAnswer> {
    let conn_id = take_id(&mut fields)?.unwrap_or_else(|| "test".to_owned());
    let stored = server.options.vault.connection(&conn_id).await?;
    let form = match (fields.is_empty(), stored) {
        (true, Some(stored)) => stored.form,
        (true, None) => return Err(no_connection(&conn_id)),
        // Only those who may write a secret may send one to another place.
        (false, stored) => {
            person.require(Act::WriteConnections)?;
            let stored = stored.map(|stored| stored.form);
            let given = form_of(fields)?;
            let keeps = given.clone().keeping_masked_from(None).is_err();
            let form =
                given.keeping_masked_from(stored.as_ref()).map_err(|error| Problem::invalid(error.to_string()))?;
            if keeps && !stored.is_some_and(|stored| form.leads_where(&stored)) {
                return Err(Problem::invalid(
                    "a stored secret (***) is tried only where it is stored for, and the type, host, port, schema or \
                     extra given here are others; enter the secret itself, or save the connection first",
                ));
            }
            form
        }
    };
    let actor = person.actor();
    // Whoever hangs up has tried it all the same.
    let tried = tokio::spawn(async move {
        let mut details = form.to_masked_value();
        let (status, message) = server.test_connection(&conn_id, form).await;
        details["conn_id"] = conn_id.into();
        details["answered"] = status.into();
        let row = AuditRow::new(&actor, "connection_tested", details, server.now());
        server.store().record_audit(&row).await?;
        Ok(ConnectionAnswer { status, message })
    });
    tried.await.map_err(|error| Problem::internal(&error))?
}

impl Server {
    pub async fn named_connection(&self, conn_id: &str) -> Answer<NamedConnection> {
        self.options.vault.shown_connection(conn_id).await?.ok_or_else(|| no_connection(conn_id))
    }

    pub async fn put_connection(&self, person: &Person, conn_id: &str, form: ConnectionForm) -> Answer<()> {
        person.require(Act::WriteConnections)?;
        self.options.vault.put_connection(conn_id, form, &person.actor(), self.now()).await?;
        Ok(())
    }

    pub async fn delete_connection(&self, person: &Person, conn_id: &str) -> Answer<()> {
        person.require(Act::WriteConnections)?;
        if self.options.vault.delete_connection(conn_id, &person.actor(), self.now()).await? {
            return Ok(());
        }
        Err(no_connection(conn_id))
    }

    pub async fn test_connection(&self, conn_id: &str, form: ConnectionForm) -> (bool, String) {
        // What is only tried is a secret of this answer, and of no other text.
        let masker = self.options.vault.masker().beside_secrets(form.secrets());
        let origin = millrace_vault::Origin::Database;
        let named = NamedConnection { conn_id: conn_id.to_owned(), form, origin, problem: None };
        match timeout(TRIED_FOR, (self.options.test_connection)(to_port_connection(named))).await {
            Ok(Ok(text)) => (true, masker.mask(&text)),
            Ok(Err(text)) => (false, masker.mask(&text)),
            Err(_) => (false, format!("there was no answer within {} seconds", TRIED_FOR.as_secs())),
        }
    }
}

fn no_connection(conn_id: &str) -> Problem {
    Problem::new(ErrorCode::CONNECTION_NOT_FOUND, format!("there is no connection '{conn_id}'"))
}

fn take_id(fields: &mut Map<String, Value>) -> Answer<Option<String>> {
    match fields.remove("connection_id") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Problem::invalid("'connection_id' must be a text")),
    }
}

pub(crate) fn form_of(fields: Map<String, Value>) -> Answer<ConnectionForm> {
    ConnectionForm::from_value(Value::Object(fields)).map_err(|error| Problem::invalid(error.to_string()))
}

pub(super) fn connection_value(named: &NamedConnection) -> Connection {
    let masked = named.form.to_masked_value();
    let field = |name: &str| masked.get(name).cloned().unwrap_or(Value::Null);
    Connection {
        connection_id: named.conn_id.clone(),
        conn_type: field("conn_type"),
        description: field("description"),
        host: field("host"),
        login: field("login"),
        password: field("password"),
        schema: field("schema"),
        port: field("port"),
        extra: masked.get("extra").filter(|extra| !extra.is_null()).map(Value::to_string),
        origin: named.origin.as_str(),
        problem: named.problem.clone(),
    }
}
