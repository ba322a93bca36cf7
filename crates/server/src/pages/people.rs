//! Users, their tokens and what each role may; and, for everybody, one's own tokens and password.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use axum::{Extension, Form};
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_model::error_code::ErrorCode;
use millrace_store::{ApiTokenRow, GrantRow, Granted, UserRow};
use serde::{Deserialize, Serialize};

use super::paging::paging;
use crate::access::client::Client;
use crate::access::people::{TOKEN_DAYS, TokenWish, check_user_name, role_named};
use crate::access::permission::{Act, Role, Scope};
use crate::access::person::Person;
use crate::format::{When, sentence};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::{MOST_ROWS, Parameters};
use crate::rendering::{Wishes, merged, values};
use crate::server::{Server, Shared};

#[derive(Serialize)]
struct UserLine {
    name: String,
    role: &'static str,
    is_disabled: bool,
    is_me: bool,
    created: When,
    password_changed: Option<When>,
    href: String,
    grants: Vec<GrantLine>,
}

#[derive(Serialize)]
struct GrantLine {
    id: i64,
    is_tag: bool,
    of: String,
    role: String,
}

pub(super) async fn users(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    show_users(&server, &person, &headers, None).await
}

async fn show_users(server: &Server, person: &Person, headers: &HeaderMap, problem: Option<&Problem>) -> Answer {
    let (rows, grants) = (server.store().users().await?, server.store().grants(None).await?);
    let when = |at| When::new(at, server.now(), Tz::UTC);
    let grant = |row: &GrantRow| {
        let (is_tag, of) = match &row.of {
            Granted::Dag(dag_id) => (false, dag_id.clone()),
            Granted::Tag(tag) => (true, tag.clone()),
        };
        GrantLine { id: row.id, is_tag, of, role: row.role.clone() }
    };
    let line = |row: &UserRow| UserLine {
        name: row.name.clone(),
        role: Role::of_row(&row.role).as_str(),
        is_disabled: row.is_disabled(),
        is_me: row.name == person.name,
        created: when(row.created_at),
        password_changed: row.password_changed_at.map(when),
        href: format!("/users/{}", links::segment(&row.name)),
        grants: grants.iter().filter(|grant| grant.user_name == row.name).map(grant).collect(),
    };
    let values = values! {
        lines => rows.iter().map(line).collect::<Vec<_>>(),
        roles => Role::ALL.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
        problem => problem.map(|problem| sentence(&crate::words::say(&problem.detail))),
    };
    let mut page = server.page("users.html", Some(person), &Wishes::of(headers), values).await?;
    if let Some(problem) = problem {
        *page.status_mut() = problem.status();
    }
    Ok(page)
}

/// What went wrong is said on the page that the form stood on.
async fn users_after(server: &Server, person: &Person, headers: &HeaderMap, done: Answer<()>) -> Answer {
    match done {
        Ok(()) => Ok(Redirect::to("/users").into_response()),
        Err(problem) if problem.status().is_client_error() => show_users(server, person, headers, Some(&problem)).await,
        Err(problem) => Err(problem),
    }
}

#[derive(Deserialize)]
pub(super) struct NewUser {
    username: String,
    password: String,
    role: String,
}

pub(super) async fn add_user(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Form(given): Form<NewUser>,
) -> Answer {
    let done = async {
        check_user_name(&given.username).map_err(Problem::invalid)?;
        let role = role_named(&given.role)?;
        let hash = server.hash_new_password(&given.username, given.password).await?;
        server.store().add_user(&given.username, &hash, role.as_str(), &person.actor(), server.now()).await?;
        Ok(())
    };
    let done = done.await;
    users_after(&server, &person, &headers, done).await
}

#[derive(Deserialize)]
pub(super) struct UserDeed {
    /// `role`, `password`, `disable`, `enable`, `delete`, `grant`, `revoke`.
    deed: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    password: String,
    /// `dag` or `tag`.
    #[serde(default)]
    kind: String,
    #[serde(default)]
    of: String,
    grant: Option<i64>,
}

pub(super) async fn change_user(
    State(server): State<Shared>,
    person: Person,
    Path(name): Path<String>,
    headers: HeaderMap,
    Form(given): Form<UserDeed>,
) -> Answer {
    let done = do_to(&server, &person, &name, given).await;
    users_after(&server, &person, &headers, done).await
}

async fn do_to(server: &Server, person: &Person, name: &str, given: UserDeed) -> Answer<()> {
    let (store, actor, now) = (server.store(), person.actor(), server.now());
    match given.deed.as_str() {
        "role" => {
            let role = role_named(&given.role)?;
            store.set_role(name, role.as_str(), &actor, now).await?;
        }
        "password" => {
            let hash = server.hash_new_password(name, given.password).await?;
            store.set_password(name, &hash, &actor, now).await?;
        }
        "disable" | "enable" => {
            store.set_disabled(name, given.deed == "disable", &actor, now).await?;
        }
        "delete" => {
            if !store.delete_user(name, &actor, now).await? {
                return Err(crate::access::people::no_user(name));
            }
        }
        "grant" => {
            let of = given.of.trim();
            if of.is_empty() || of.len() > 250 || of.contains(char::is_control) {
                return Err(Problem::invalid("the DAG or tag must have 1 to 250 characters, none of them invisible"));
            }
            let of = if given.kind == "tag" { Granted::Tag(of.to_owned()) } else { Granted::Dag(of.to_owned()) };
            let role = role_named(&given.role)?;
            store.put_grant(name, &of, role.as_str(), &actor, now).await?;
        }
        "revoke" => {
            let id = given.grant.unwrap_or_default();
            let is_theirs = store.grant(id).await?.is_some_and(|grant| grant.user_name == name);
            if !is_theirs || !store.delete_grant(id, &actor, now).await? {
                return Err(Problem::new(ErrorCode::NOT_FOUND, format!("{name} has no grant {id}")));
            }
        }
        _ => return Err(Problem::invalid("say what to do to the user")),
    }
    Ok(())
}

#[derive(Serialize)]
struct RoleLine {
    name: &'static str,
    text: &'static str,
    /// Who may it.
    roles: Vec<&'static str>,
    is_of_dag: bool,
}

pub(super) async fn roles(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let line = |act: &Act| RoleLine {
        name: act.name(),
        text: act.describe(),
        roles: Role::ALL.iter().filter(|role| **role >= act.least()).map(|role| role.as_str()).collect(),
        is_of_dag: act.is_of_dag(),
    };
    let values = values! {
        lines => Act::ALL.iter().map(line).collect::<Vec<_>>(),
        roles => Role::ALL.iter().map(|role| role.as_str()).collect::<Vec<_>>(),
    };
    server.page("roles.html", Some(&person), &Wishes::of(&headers), values).await
}

#[derive(Serialize)]
struct TokenLine {
    id: i64,
    user_name: String,
    label: String,
    scope: Option<String>,
    created: When,
    expires: Option<When>,
    last_used: Option<When>,
}

fn token_line(server: &Server, row: &ApiTokenRow) -> TokenLine {
    let when = |at| When::new(at, server.now(), Tz::UTC);
    TokenLine {
        id: row.id,
        user_name: row.user_name.clone(),
        label: row.label.clone(),
        scope: row.scope.clone(),
        created: when(row.created_at),
        expires: row.expires_at.map(when),
        last_used: row.last_used_at.map(when),
    }
}

/// Everybody's.
pub(super) async fn tokens(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    show_tokens(&server, &person, &headers, parameters.offset()?, None).await
}

async fn show_tokens(
    server: &Server,
    person: &Person,
    headers: &HeaderMap,
    offset: u64,
    problem: Option<&Problem>,
) -> Answer {
    let mut rows = server.store().api_tokens(None).await?;
    rows.sort_by(|a, b| (&a.user_name, a.id).cmp(&(&b.user_name, b.id)));
    let lines: Vec<_> =
        rows.iter().skip(offset as usize).take(MOST_ROWS as usize).map(|row| token_line(server, row)).collect();
    let total = rows.len() as u64;
    let place = paging(offset, lines.len(), MOST_ROWS, total);
    let values = values! {
        lines,
        total,
        problem => problem.map(|problem| sentence(&crate::words::say(&problem.detail))),
    };
    let values = merged(values, place);
    let mut page = server.page("tokens.html", Some(person), &Wishes::of(headers), values).await?;
    if let Some(problem) = problem {
        *page.status_mut() = problem.status();
    }
    Ok(page)
}

pub(super) async fn revoke_token(
    State(server): State<Shared>,
    person: Person,
    Path(id): Path<i64>,
    headers: HeaderMap,
) -> Answer {
    match server.revoke_token(&person, id).await {
        Ok(()) => Ok(Redirect::to("/tokens").into_response()),
        Err(problem) if problem.status().is_client_error() => {
            show_tokens(&server, &person, &headers, 0, Some(&problem)).await
        }
        Err(problem) => Err(problem),
    }
}

/// What is told of an act on one's account.
#[derive(Default)]
struct Told<'a> {
    problem: Option<&'a Problem>,
    /// A new token: shown this once.
    token: Option<String>,
}

pub(super) async fn account(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    show_account(&server, &person, &headers, Told::default()).await
}

async fn show_account(server: &Server, person: &Person, headers: &HeaderMap, told: Told<'_>) -> Answer {
    let rows = server.store().api_tokens(Some(&person.name)).await?;
    let values = values! {
        lines => rows.iter().map(|row| token_line(server, row)).collect::<Vec<_>>(),
        roles => Role::ALL.iter().filter(|role| **role <= person.role).map(|role| role.as_str()).collect::<Vec<_>>(),
        days => TOKEN_DAYS,
        token => told.token,
        problem => told.problem.map(|problem| sentence(&crate::words::say(&problem.detail))),
    };
    let mut page = server.page("account.html", Some(person), &Wishes::of(headers), values).await?;
    if let Some(problem) = told.problem {
        *page.status_mut() = problem.status();
    }
    Ok(page)
}

#[derive(Deserialize)]
pub(super) struct AccountDeed {
    /// `token`, `revoke`, `password`.
    deed: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    scope: String,
    days: Option<u32>,
    token: Option<i64>,
    #[serde(default)]
    old_password: String,
    #[serde(default)]
    new_password: String,
}

pub(super) async fn change_account(
    State(server): State<Shared>,
    person: Person,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(given): Form<AccountDeed>,
) -> Answer {
    let done: Answer<Option<String>> = match given.deed.as_str() {
        "token" => match Scope::parse(&given.scope) {
            Ok(scope) => {
                let wish = TokenWish { user_name: None, label: given.label, scope, days: given.days };
                server.add_token(&person, wish).await.map(|(token, _)| Some(token))
            }
            Err(error) => Err(Problem::invalid(error.to_string())),
        },
        "revoke" => server.revoke_token(&person, given.token.unwrap_or_default()).await.map(|()| None),
        "password" => {
            let (old, new) = (&given.old_password, given.new_password);
            server.change_own_password(&person, client.address, old, new).await.map(|()| None)
        }
        _ => Err(Problem::invalid("say what to do")),
    };
    match done {
        Ok(None) => Ok(Redirect::to("/account").into_response()),
        Ok(token) => show_account(&server, &person, &headers, Told { token, problem: None }).await,
        Err(problem) if problem.status().is_client_error() => {
            show_account(&server, &person, &headers, Told { token: None, problem: Some(&problem) }).await
        }
        Err(problem) => Err(problem),
    }
}
