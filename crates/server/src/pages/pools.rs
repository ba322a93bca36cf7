//! Pools: how full they are, and, for who may, how large.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_model::dag::DEFAULT_POOL;
use millrace_store::PoolRow;
use serde::{Deserialize, Serialize};

use super::seen::check_seen;
use crate::access::person::Person;
use crate::etags::version_of;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    show(&server, &person, &headers, &PoolForm::default(), None).await
}

async fn show(
    server: &Server,
    person: &Person,
    headers: &HeaderMap,
    form: &PoolForm,
    problem: Option<&Problem>,
) -> Answer {
    let (rows, used) = (server.store().pools().await?, server.store().pool_use().await?);
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            let used = used.get(&row.name).copied().unwrap_or_default();
            // What was typed of a change that was refused stands beside what the pool is now.
            let typed = Some(form).filter(|form| !form.seen.is_empty() && form.name.trim() == row.name);
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
                is_open => typed.is_some(),
                typed => values! {
                    slots => typed.map_or_else(|| row.slots.to_string(), |form| form.slots.clone()),
                    description => typed.map_or_else(|| row.description.clone().unwrap_or_default(), |form| form.description.clone()),
                    include_deferred => typed.map_or(row.include_deferred, |form| form.include_deferred.is_some()),
                },
                seen => version_of(row),
                delete => (row.name != DEFAULT_POOL).then(|| format!("/pools/delete/{}", links::segment(&row.name))),
            }
        })
        .collect();
    let none = PoolForm::default();
    let values = values! {
        lines,
        problem => problem.map(|problem| crate::format::sentence(&crate::words::say(&problem.detail))),
        // What was to become a new one.
        again => if form.seen.is_empty() { form } else { &none },
    };
    let mut page = server.page("pools.html", Some(person), &Wishes::of(headers), values).await?;
    if let Some(problem) = problem {
        *page.status_mut() = problem.status();
    }
    Ok(page)
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PoolForm {
    name: String,
    slots: String,
    description: String,
    include_deferred: Option<String>,
    /// The version that the form changes; empty: it makes a pool.
    seen: String,
}

pub(super) async fn save(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(form): Form<PoolForm>,
) -> Answer {
    match put(&server, &person, &form).await {
        Ok(()) => Ok(Redirect::to("/pools").into_response()),
        Err(problem) if problem.status().is_server_error() => Err(problem),
        Err(problem) => show(&server, &person, &headers, &form, Some(&problem)).await,
    }
}

async fn put(server: &Server, person: &Person, form: &PoolForm) -> Answer<()> {
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
    let there = server.store().pools().await?.into_iter().find(|there| there.name == row.name);
    check_seen(&form.seen, there.as_ref().map(version_of).as_deref(), "pool", &row.name)?;
    server.put_pool(person, &row).await
}

pub(super) async fn delete(State(server): State<Shared>, person: Person, Path(name): Path<String>) -> Answer {
    server.delete_pool(&person, &name).await?;
    Ok(Redirect::to("/pools").into_response())
}
