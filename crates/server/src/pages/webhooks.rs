//! Webhooks: by which other systems start runs and tell of assets. One's own, and everybody's for who manages people.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_store::{WebhookRow, WebhookTarget};
use serde::{Deserialize, Serialize};

use crate::access::people::{MOST_TOKEN_DAYS, TOKEN_DAYS};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::format::{When, sentence};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::webhooks::WebhookWish;

#[derive(Serialize)]
struct Line {
    name: String,
    user_name: String,
    dag_id: Option<String>,
    dag_href: Option<String>,
    asset: Option<String>,
    created: When,
    expires: Option<When>,
    has_ended: bool,
    last_used: Option<When>,
    revoke: String,
}

/// As the form sends it, and as it is shown again when something was wrong with it.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Fields {
    #[serde(default)]
    name: String,
    /// `dag` or `asset`.
    #[serde(default)]
    kind: String,
    #[serde(default)]
    of: String,
    #[serde(default)]
    days: String,
    /// Whose rights it has; empty: the person's own.
    #[serde(default)]
    username: String,
}

/// What is told of an act.
#[derive(Default)]
struct Told<'a> {
    problem: Option<&'a Problem>,
    /// Of the webhook that was just made: shown this once.
    secret: Option<String>,
    address: Option<String>,
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    show(&server, &person, &headers, &Fields::default(), Told::default()).await
}

async fn show(server: &Server, person: &Person, headers: &HeaderMap, fields: &Fields, told: Told<'_>) -> Answer {
    let everybodys = person.may(Act::ManagePeople);
    let rows = server.store().webhooks(if everybodys { None } else { Some(&person.name) }).await?;
    let now = server.now();
    let when = |at| When::new(at, now, Tz::UTC);
    let line = |row: &WebhookRow| Line {
        name: row.name.clone(),
        user_name: row.user_name.clone(),
        dag_id: row.target.dag_id().map(str::to_owned),
        dag_href: row.target.dag_id().map(links::dag),
        asset: row.target.asset().map(str::to_owned),
        created: when(row.created_at),
        expires: row.expires_at.map(when),
        has_ended: row.expires_at.is_some_and(|end| end <= now),
        last_used: row.last_used_at.map(when),
        revoke: format!("/webhooks/delete/{}", links::segment(&row.name)),
    };
    let values = values! {
        lines => rows.iter().map(line).collect::<Vec<_>>(),
        everybodys,
        fields,
        days => TOKEN_DAYS,
        most_days => MOST_TOKEN_DAYS,
        secret => told.secret,
        address => told.address,
        problem => told.problem.map(|problem| sentence(&crate::words::say(&problem.detail))),
    };
    let mut page = server.page("webhooks.html", Some(person), &Wishes::of(headers), values).await?;
    if let Some(problem) = told.problem {
        *page.status_mut() = problem.status();
    }
    Ok(page)
}

fn wish(fields: &Fields) -> Answer<WebhookWish> {
    let of = fields.of.trim().to_owned();
    let target = match fields.kind.as_str() {
        "dag" => WebhookTarget::Dag(of),
        "asset" => WebhookTarget::Asset(of),
        _ => return Err(Problem::invalid("say whether it is for a DAG or for an asset")),
    };
    let days =
        match fields.days.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| {
                Problem::invalid(format!("'expires_in_days' must be 1 to {MOST_TOKEN_DAYS}, not {text}"))
            })?),
        };
    let user_name = Some(fields.username.trim().to_owned()).filter(|name| !name.is_empty());
    Ok(WebhookWish { name: fields.name.trim().to_owned(), user_name, target, days })
}

pub(super) async fn add(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(fields): Form<Fields>,
) -> Answer {
    let done = async { server.add_webhook(&person, wish(&fields)?).await };
    match done.await {
        Ok((secret, row)) => {
            let told = Told { problem: None, secret: Some(secret), address: Some(links::api_webhook(&row.name)) };
            show(&server, &person, &headers, &Fields::default(), told).await
        }
        Err(problem) if problem.status().is_client_error() => {
            let told = Told { problem: Some(&problem), ..Told::default() };
            show(&server, &person, &headers, &fields, told).await
        }
        Err(problem) => Err(problem),
    }
}

pub(super) async fn revoke(State(server): State<Shared>, person: Person, Path(name): Path<String>) -> Answer {
    server.revoke_webhook(&person, &name).await?;
    Ok(Redirect::to("/webhooks").into_response())
}
