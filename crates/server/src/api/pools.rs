//! Pools and how full they are.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_store::{PoolRow, PoolUse};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::update_mask::UpdateMask;
use super::{Given, body, emptied, listed, paged};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

const LONGEST_NAME: usize = 250;
pub(super) const MEMBERS: &[&str] = &["name", "slots", "description", "include_deferred"];

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PoolBody")]
pub(crate) struct CreateBody {
    pub name: String,
    pub slots: i64,
    /// Null is none.
    #[serde(default, deserialize_with = "emptied")]
    pub description: Option<String>,
    #[serde(default)]
    pub include_deferred: Option<bool>,
}

impl From<CreateBody> for PoolRow {
    fn from(CreateBody { name, slots, description, include_deferred }: CreateBody) -> Self {
        let description = description.filter(|text| !text.is_empty());
        Self { name, slots, description, include_deferred: include_deferred.unwrap_or_default() }
    }
}

/// What is not named stays.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "PoolPatch")]
pub(crate) struct PatchBody {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    slots: Option<i64>,
    /// Null empties it.
    #[serde(default, deserialize_with = "emptied")]
    description: Option<String>,
    #[serde(default)]
    include_deferred: Option<bool>,
}

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Pools>> {
    let used = server.store().pool_use().await?;
    let value = |row: &PoolRow| pool_value(row, used.get(&row.name).copied().unwrap_or_default());
    let part = parameters.part("pool_name_pattern").map(|part| part.to_lowercase());
    let wanted = |row: &&PoolRow| part.as_ref().is_none_or(|part| row.name.to_lowercase().contains(part));
    let pools = server.store().pools().await?.iter().filter(wanted).map(value).collect();
    let (pools, total_entries) = paged(pools, &parameters, ORDERS)?;
    Ok(Json(Pools { pools, total_entries }))
}

pub(super) const ORDERS: &[&str] = &["name", "slots", "occupied_slots", "queued_slots", "open_slots"];

listed!(Pools { pools: Pool });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Pool {
    name: String,
    /// -1: without limit.
    slots: i64,
    description: Option<String>,
    include_deferred: bool,
    occupied_slots: i64,
    running_slots: i64,
    queued_slots: i64,
    scheduled_slots: i64,
    deferred_slots: i64,
    open_slots: i64,
}

pub(crate) async fn get(State(server): State<Shared>, Path(name): Path<String>) -> Answer<Json<Pool>> {
    let row = server.pool(&name).await?;
    server.pool_answer(&row).await
}

pub(crate) async fn create(
    State(server): State<Shared>,
    person: Person,
    given: Given<CreateBody>,
) -> Answer<(StatusCode, Json<Pool>)> {
    let row = PoolRow::from(body(given)?);
    if server.pool(&row.name).await.is_ok() {
        let text = format!("there is a pool '{}' already; change it with PATCH", row.name);
        return Err(Problem::new(ErrorCode::CONFLICT, text));
    }
    server.put_pool(&person, &row).await?;
    Ok((StatusCode::CREATED, server.pool_answer(&row).await?))
}

pub(crate) async fn patch(
    State(server): State<Shared>,
    person: Person,
    Path(name): Path<String>,
    parameters: Parameters,
    given: Given<PatchBody>,
) -> Answer<Json<Pool>> {
    let (given, mask) = (body(given)?, UpdateMask::of(&parameters, MEMBERS)?);
    if given.name.is_some_and(|other| other != name) {
        return Err(Problem::invalid("'name' cannot be changed; add a new pool and delete this one"));
    }
    let before = server.pool(&name).await?;
    let row = PoolRow {
        slots: mask.kept("slots", given.slots).unwrap_or(before.slots),
        description: mask.kept("description", given.description).or(before.description).filter(|text| !text.is_empty()),
        include_deferred: mask.kept("include_deferred", given.include_deferred).unwrap_or(before.include_deferred),
        name,
    };
    server.put_pool(&person, &row).await?;
    server.pool_answer(&row).await
}

pub(crate) async fn delete(
    State(server): State<Shared>,
    person: Person,
    Path(name): Path<String>,
) -> Answer<StatusCode> {
    server.delete_pool(&person, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Server {
    pub async fn pool(&self, name: &str) -> Answer<PoolRow> {
        self.store().pools().await?.into_iter().find(|row| row.name == name).ok_or_else(|| no_pool(name))
    }

    pub async fn delete_pool(&self, person: &Person, name: &str) -> Answer<()> {
        person.require(Act::WritePools)?;
        if !self.store().delete_pool(name, &person.actor(), self.now()).await? {
            return Err(no_pool(name));
        }
        Ok(())
    }

    /// Adds or replaces.
    pub async fn put_pool(&self, person: &Person, row: &PoolRow) -> Answer<()> {
        person.require(Act::WritePools)?;
        let name = &row.name;
        if name.trim().is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let text = format!("'name' must have 1 to {LONGEST_NAME} characters, none of them invisible");
            return Err(Problem::invalid(text));
        }
        if matches!(name.as_str(), "." | "..") {
            return Err(Problem::invalid("'name' must not be '.' or '..': no address could name it"));
        }
        if row.slots < -1 {
            return Err(Problem::invalid(format!("'slots' is {}; -1 means without limit", row.slots)));
        }
        self.store().put_pool(row, &person.actor(), self.now()).await?;
        Ok(())
    }

    async fn pool_answer(&self, row: &PoolRow) -> Answer<Json<Pool>> {
        let used = self.store().pool_use().await?;
        Ok(Json(pool_value(row, used.get(&row.name).copied().unwrap_or_default())))
    }
}

fn no_pool(name: &str) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is no pool '{name}'"))
}

fn pool_value(row: &PoolRow, used: PoolUse) -> Pool {
    Pool {
        name: row.name.clone(),
        slots: row.slots,
        description: row.description.clone(),
        include_deferred: row.include_deferred,
        occupied_slots: used.occupied(row),
        running_slots: used.running,
        queued_slots: used.queued,
        scheduled_slots: used.scheduled,
        deferred_slots: used.deferred,
        // As in Airflow, a pool without limit has -1.
        open_slots: used.open_slots(row).unwrap_or(-1),
    }
}
