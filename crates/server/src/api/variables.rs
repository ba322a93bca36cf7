//! Variables: secrets are shown masked; `***` sent back keeps what is there.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_vault::NamedVariable;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::update_mask::UpdateMask;
use super::{Given, body, emptied, listed, paged};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::etags::{Versioned, version_of};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) const MEMBERS: &[&str] = &["key", "value", "description"];

listed!(Variables { variables: Variable });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Variable {
    key: String,
    /// `***` where the key says that it is a secret, and for the secrets within an object.
    value: String,
    description: Option<String>,
    /// As every one is that is stored in the database.
    is_encrypted: bool,
    /// `database` or `environment`.
    origin: &'static str,
    /// Why the value cannot be opened; enter it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VariableBody {
    pub key: String,
    /// A text, or other JSON, which is kept as a text; `***` keeps what is there.
    #[serde(deserialize_with = "written")]
    #[schemars(with = "Value")]
    pub value: String,
    #[serde(default)]
    pub description: Option<String>,
}

fn written<'de, D: Deserializer<'de>>(member: D) -> Result<String, D::Error> {
    match Value::deserialize(member)? {
        Value::String(text) => Ok(text),
        Value::Null => Err(D::Error::custom("'value' is null; a variable has a text, which may be empty")),
        other => Ok(other.to_string()),
    }
}

fn written_if_given<'de, D: Deserializer<'de>>(member: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(member)? {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text),
        Some(other) => Some(other.to_string()),
    })
}

/// What is not named stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct VariablePatch {
    #[serde(default)]
    key: Option<String>,
    #[serde(default, deserialize_with = "written_if_given")]
    #[schemars(with = "Value")]
    value: Option<String>,
    /// Null empties it.
    #[serde(default, deserialize_with = "emptied")]
    description: Option<String>,
}

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Versioned<Variables>> {
    // First: who writes meanwhile is noticed.
    let version = version_of(&server.store().variables().await?);
    let mut rows = server.options.vault.variables().await?;
    if let Some(part) = parameters.part("variable_key_pattern").map(|part| part.to_lowercase()) {
        rows.retain(|row| row.key.to_lowercase().contains(&part));
    }
    let variables = rows.iter().map(|row| variable(&server, row)).collect();
    let (variables, total_entries) = paged(variables, &parameters, ORDERS)?;
    Ok(Versioned { shown: Json(Variables { variables, total_entries }), version })
}

pub(super) const ORDERS: &[&str] = &["key", "description", "origin"];

pub(super) async fn get(State(server): State<Shared>, Path(key): Path<String>) -> Answer<Versioned<Variable>> {
    let version = version_of(&server.store().variable(&key).await?);
    Ok(Versioned { shown: Json(variable(&server, &server.named_variable(&key).await?)), version })
}

pub(super) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Given<VariableBody>,
) -> Answer<(StatusCode, Json<Variable>)> {
    let given = body(given)?;
    if server.options.vault.shown_variable(&given.key).await?.is_some() {
        let text = format!("there is a variable '{}' already; change it with PATCH", given.key);
        return Err(Problem::new(ErrorCode::CONFLICT, text));
    }
    server.put_variable(&person, &given).await?;
    Ok((StatusCode::CREATED, Json(variable(&server, &server.named_variable(&given.key).await?))))
}

pub(super) async fn patch(
    State(server): State<Shared>,
    person: Person,
    Path(key): Path<String>,
    parameters: Parameters,
    given: Given<VariablePatch>,
) -> Answer<Json<Variable>> {
    let (given, mask) = (body(given)?, UpdateMask::of(&parameters, MEMBERS)?);
    if given.key.is_some_and(|other| other != key) {
        return Err(Problem::invalid("'key' cannot be changed; add a new variable and delete this one"));
    }
    server.named_variable(&key).await?;
    let value = mask.kept("value", given.value).unwrap_or_else(|| millrace_settings::mask::MASK.to_owned());
    let description = mask.kept("description", given.description);
    server.put_variable(&person, &VariableBody { key: key.clone(), value, description }).await?;
    Ok(Json(variable(&server, &server.named_variable(&key).await?)))
}

pub(super) async fn delete(
    State(server): State<Shared>,
    person: Person,
    Path(key): Path<String>,
) -> Answer<StatusCode> {
    server.delete_variable(&person, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A longer value belongs into a file.
const LONGEST_VALUE: usize = 512 * 1024;

impl Server {
    pub async fn named_variable(&self, key: &str) -> Answer<NamedVariable> {
        self.options.vault.shown_variable(key).await?.ok_or_else(|| no_variable(key))
    }

    /// Adds or replaces.
    pub async fn put_variable(&self, person: &Person, given: &VariableBody) -> Answer<()> {
        person.require(Act::WriteVariables)?;
        if given.key.chars().any(char::is_control) || given.value.contains('\0') || given.value.len() > LONGEST_VALUE {
            let text =
                format!("a variable has a key without invisible characters, and a text of {LONGEST_VALUE} bytes");
            return Err(Problem::invalid(text));
        }
        let (vault, actor) = (&self.options.vault, person.actor());
        vault.put_variable(&given.key, &given.value, given.description.clone(), &actor, self.now()).await?;
        Ok(())
    }

    pub async fn delete_variable(&self, person: &Person, key: &str) -> Answer<()> {
        person.require(Act::WriteVariables)?;
        if self.options.vault.delete_variable(key, &person.actor(), self.now()).await? {
            return Ok(());
        }
        Err(no_variable(key))
    }
}

fn no_variable(key: &str) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no variable '{key}'"))
}

pub(super) fn variable(server: &Server, named: &NamedVariable) -> Variable {
    Variable {
        key: named.key.clone(),
        // Its own secrets are hidden, and those that it shares with a connection.
        value: server.masked_text(&named.masked_value()),
        description: named.description.clone(),
        is_encrypted: named.origin == millrace_vault::Origin::Database,
        origin: named.origin.as_str(),
        problem: named.problem.clone(),
    }
}
