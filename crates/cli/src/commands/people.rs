//! `millrace users …`, `roles …`, `tokens …` and `grants …`: whoever may write the home may say who gets in.

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use millrace_server::{Act, Role, Scope, check_password, check_user_name, hash_password, make_token};
use millrace_settings::keyring::random_bytes;
use millrace_store::{ApiTokenRow, GrantRow, Granted, NewToken, Store, UserRow};
use serde::Serialize;

use crate::app::{App, argument_or_stdin};
use crate::args::{
    GrantAddArgs, GrantsCommand, PasswordArgs, RolesCommand, TokensCommand, UserCreateArgs, UsersCommand,
};
use crate::failure::usage;
use crate::output::{notice, print_list, print_one};

const ACTOR: &str = "cli";

#[derive(Serialize)]
struct UserView {
    user: String,
    role: String,
    disabled: bool,
    created_at: DateTime<Utc>,
    password_changed_at: Option<DateTime<Utc>>,
}

impl From<UserRow> for UserView {
    fn from(row: UserRow) -> Self {
        Self {
            disabled: row.is_disabled(),
            user: row.name,
            role: row.role,
            created_at: row.created_at,
            password_changed_at: row.password_changed_at,
        }
    }
}

pub async fn users(app: &App, command: UsersCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        UsersCommand::List => {
            let views: Vec<UserView> = store.users().await?.into_iter().map(UserView::from).collect();
            print_list(app.format, &["user", "role", "disabled", "created_at", "password_changed_at"], &views)
        }
        UsersCommand::Create(args) => create(app, &store, args).await,
        UsersCommand::SetPassword { name, password } => {
            check_user(&store, &name).await?;
            let hash = new_password(app, &name, &password)?;
            store.set_password(&name, &hash, ACTOR, app.now()).await?;
            notice(format!("'{name}' has another password; their sessions and tokens have ended"));
            Ok(())
        }
        UsersCommand::SetRole { name, role } => {
            let role = role_named(&role)?;
            check_user(&store, &name).await?;
            store.set_role(&name, role.as_str(), ACTOR, app.now()).await?;
            notice(format!("'{name}' is now {role}"));
            Ok(())
        }
        UsersCommand::Disable { name } => {
            check_user(&store, &name).await?;
            store.set_disabled(&name, true, ACTOR, app.now()).await?;
            notice(format!("'{name}' is shut out; their sessions and tokens have ended"));
            Ok(())
        }
        UsersCommand::Enable { name } => {
            check_user(&store, &name).await?;
            store.set_disabled(&name, false, ACTOR, app.now()).await?;
            notice(format!("'{name}' may sign in"));
            Ok(())
        }
        UsersCommand::Link { name, subject } => {
            let issuer = &app.config.oidc.issuer;
            if issuer.is_empty() {
                return Err(usage("oidc.issuer names no provider to link with"));
            }
            check_user(&store, &name).await?;
            store.link_identity(issuer, &subject, &name, ACTOR, app.now()).await?;
            notice(format!("'{name}' signs in as '{subject}' of {issuer} too"));
            Ok(())
        }
        UsersCommand::Delete { name } => {
            if !store.delete_user(&name, ACTOR, app.now()).await? {
                bail!(no_user(&name));
            }
            notice(format!("deleted the user '{name}'"));
            Ok(())
        }
    }
}

async fn create(app: &App, store: &Store, args: UserCreateArgs) -> anyhow::Result<()> {
    let role = role_named(&args.role)?;
    check_user_name(&args.name).map_err(usage)?;
    if store.user(&args.name).await?.is_some() {
        bail!("there is a user '{}' already; `millrace users set-password` and `set-role` change one", args.name);
    }
    let hash = new_password(app, &args.name, &args.password)?;
    let row = store.add_user(&args.name, &hash, role.as_str(), ACTOR, app.now()).await?;
    notice(format!("added the user '{}' as {role}", row.name));
    Ok(())
}

/// Its hash. A password that is made is the only thing on standard output.
fn new_password(app: &App, name: &str, how: &PasswordArgs) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Made {
        password: String,
    }
    let password = if how.random {
        let password = random_password()?;
        print_one(app.format, &Made { password: password.clone() })?;
        password
    } else {
        use std::io::IsTerminal;
        if std::io::stdin().is_terminal() {
            notice("type the new password, then Enter and Ctrl-D (it is shown; --random makes one):");
        }
        argument_or_stdin("-")?.trim_end_matches(['\r', '\n']).to_owned()
    };
    app.masker.add(&password);
    check_password(name, &password).map_err(usage)?;
    Ok(hash_password(&password)?)
}

/// 24 letters and digits that are not easily confused: about 117 bits.
pub fn random_password() -> anyhow::Result<String> {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let bytes = random_bytes::<24>()?;
    Ok(bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect())
}

async fn check_user(store: &Store, name: &str) -> anyhow::Result<()> {
    store.user(name).await?.map(|_| ()).with_context(|| no_user(name))
}

fn no_user(name: &str) -> String {
    format!("there is no user '{name}'; `millrace users list` shows those that exist")
}

fn role_named(text: &str) -> anyhow::Result<Role> {
    Role::parse(text).ok_or_else(|| usage(format!("there is no role '{text}'; `millrace roles list` shows all")))
}

pub fn roles(app: &App, command: &RolesCommand) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct View {
        role: &'static str,
        act: &'static str,
        per_dag: bool,
        what: &'static str,
    }
    let RolesCommand::List = command;
    let views: Vec<View> = Act::ALL
        .iter()
        .map(|act| View { role: act.least().as_str(), act: act.name(), per_dag: act.is_of_dag(), what: act.describe() })
        .collect();
    print_list(app.format, &["role", "act", "per_dag", "what"], &views)?;
    notice("each role may also what those before it may; a grant gives one for single DAGs (per_dag)");
    Ok(())
}

#[derive(Serialize)]
struct TokenView {
    id: i64,
    user: String,
    label: String,
    scope: Option<String>,
    created_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
}

impl From<ApiTokenRow> for TokenView {
    fn from(row: ApiTokenRow) -> Self {
        Self {
            id: row.id,
            user: row.user_name,
            label: row.label,
            scope: row.scope,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
        }
    }
}

pub async fn tokens(app: &App, command: TokensCommand) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Made {
        token: String,
        #[serde(flatten)]
        view: TokenView,
    }
    let store = app.store().await?;
    match command {
        TokensCommand::List { user } => {
            if let Some(user) = &user {
                check_user(&store, user).await?;
            }
            let rows = store.api_tokens(user.as_deref()).await?;
            let views: Vec<TokenView> = rows.into_iter().map(TokenView::from).collect();
            print_list(app.format, &["id", "user", "label", "scope", "expires_at", "last_used_at"], &views)
        }
        TokensCommand::Create { user, label, scope, days } => {
            let scope = Scope::parse(scope.as_deref().unwrap_or_default()).map_err(|error| usage(error.to_string()))?;
            let label = label.trim();
            if label.is_empty() || label.chars().count() > 100 || label.contains(char::is_control) {
                return Err(usage("a token's label has 1 to 100 characters, none of them invisible"));
            }
            check_user(&store, &user).await?;
            let (token, token_hash) = make_token()?;
            let new = NewToken {
                user_name: user,
                label: label.to_owned(),
                token_hash,
                scope: scope.text(),
                expires_at: Some(app.now() + TimeDelta::days(days.into())),
                actor: ACTOR.to_owned(),
            };
            let row = store.add_api_token(&new, app.now()).await?;
            notice("the token is shown this once; send it as `Authorization: Bearer mrt_…`");
            print_one(app.format, &Made { token, view: row.into() })
        }
        TokensCommand::Revoke { id } => {
            if !store.delete_api_token(id, ACTOR, app.now()).await? {
                bail!("there is no token {id}; `millrace tokens list` shows those that exist");
            }
            notice(format!("token {id} has ended"));
            Ok(())
        }
    }
}

#[derive(Serialize)]
struct GrantView {
    id: i64,
    user: String,
    role: String,
    dag_id: Option<String>,
    tag: Option<String>,
    created_at: DateTime<Utc>,
}

impl From<GrantRow> for GrantView {
    fn from(row: GrantRow) -> Self {
        let (dag_id, tag) = match row.of {
            Granted::Dag(dag_id) => (Some(dag_id), None),
            Granted::Tag(tag) => (None, Some(tag)),
        };
        Self { id: row.id, user: row.user_name, role: row.role, dag_id, tag, created_at: row.created_at }
    }
}

pub async fn grants(app: &App, command: GrantsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        GrantsCommand::List { user } => {
            if let Some(user) = &user {
                check_user(&store, user).await?;
            }
            let views: Vec<GrantView> = store.grants(user.as_deref()).await?.into_iter().map(GrantView::from).collect();
            print_list(app.format, &["id", "user", "role", "dag_id", "tag"], &views)
        }
        GrantsCommand::Add(GrantAddArgs { user, role, dag, tag }) => {
            let role = role_named(&role)?;
            let of = match (dag, tag) {
                (Some(dag_id), _) => Granted::Dag(dag_id),
                (None, tag) => Granted::Tag(tag.unwrap_or_default()),
            };
            let (Granted::Dag(text) | Granted::Tag(text)) = &of;
            if text.is_empty() || text.len() > 250 || text.contains(char::is_control) {
                return Err(usage("a DAG id or tag has 1 to 250 characters, none of them invisible"));
            }
            check_user(&store, &user).await?;
            let row = store.put_grant(&user, &of, role.as_str(), ACTOR, app.now()).await?;
            notice(format!("'{user}' is {role} for {}", place(&row.of)));
            Ok(())
        }
        GrantsCommand::Delete { id } => {
            if !store.delete_grant(id, ACTOR, app.now()).await? {
                bail!("there is no grant {id}; `millrace grants list` shows those that exist");
            }
            notice(format!("took back grant {id}"));
            Ok(())
        }
    }
}

fn place(of: &Granted) -> String {
    match of {
        Granted::Dag(dag_id) => format!("the DAG '{dag_id}'"),
        Granted::Tag(tag) => format!("DAGs with the tag '{tag}'"),
    }
}
