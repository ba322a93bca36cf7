//! Pools: how full they are, and, for who may, how large.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_model::dag::DEFAULT_POOL;
use millrace_store::PoolRow;
use serde::Deserialize;

use crate::links;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::Shared;

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let (rows, used) = (server.store().pools().await?, server.store().pool_use().await?);
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let used = used.get(&row.name).copied().unwrap_or_default();
            values! {
                name => row.name,
                slots => row.slots,
                description => row.description,
                include_deferred => row.include_deferred,
                running => used.running,
                queued => used.queued,
                scheduled => used.scheduled,
                deferred => used.deferred,
                open => used.open_slots(row),
                delete => (row.name != DEFAULT_POOL).then(|| format!("/pools/delete/{}", links::segment(&row.name))),
            }
        })
        .collect();
    server.page("pools.html", Some(&person), &Wishes::of(&headers), values! { lines }).await
}

#[derive(Deserialize)]
pub(super) struct PoolForm {
    name: String,
    slots: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    include_deferred: Option<String>,
}

/// Adds or replaces.
pub(super) async fn save(State(server): State<Shared>, person: Person, Form(form): Form<PoolForm>) -> Answer {
    let slots = form.slots.trim();
    let slots = slots
        .parse()
        .map_err(|_| Problem::invalid(format!("'slots' must be a whole number, -1 for no limit, not '{slots}'")))?;
    let row = PoolRow {
        name: form.name.trim().to_owned(),
        slots,
        description: Some(form.description.trim().to_owned()).filter(|text| !text.is_empty()),
        include_deferred: form.include_deferred.is_some(),
    };
    server.put_pool(&person, &row).await?;
    Ok(Redirect::to("/pools").into_response())
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(name): Path<String>) -> Answer {
    server.delete_pool(&person, &name).await?;
    Ok(Redirect::to("/pools").into_response())
}
