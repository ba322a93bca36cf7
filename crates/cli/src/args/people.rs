//! `millrace users …`, `roles …`, `tokens …`, `webhooks …` and `grants …`

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List the users and what each may
    List,
    /// Add a user; the password is read from standard input, or made and printed once
    Create(UserCreateArgs),
    /// Give a user another password; ends all of their sessions and tokens
    #[command(alias = "reset-password")]
    SetPassword {
        name: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Give a user another role
    SetRole {
        name: String,
        /// viewer, operator, editor or admin
        role: String,
    },
    /// Shut a user out, and end all of their sessions and tokens
    Disable { name: String },
    /// Let a user in again
    Enable { name: String },
    /// Let a user sign in with the provider of identities (oidc.issuer) too
    Link {
        name: String,
        /// Who the user is there: the claim `sub` of their tokens
        subject: String,
    },
    /// Delete a user with all of their sessions, tokens and grants
    Delete { name: String },
}

#[derive(Debug, Args)]
pub struct UserCreateArgs {
    pub name: String,
    /// viewer, operator, editor or admin
    #[arg(long, default_value = "viewer")]
    pub role: String,
    #[command(flatten)]
    pub password: PasswordArgs,
}

/// A password is never an argument: others on the machine see those.
#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// Make a password and print it, instead of reading one from standard input
    #[arg(long)]
    pub random: bool,
}

#[derive(Debug, Subcommand)]
pub enum RolesCommand {
    /// List the roles and what each may do
    List,
}

#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// List the API tokens, when they end and when each was last used
    List {
        /// Only this user's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Make an API token and print it, once
    Create {
        /// Whose rights it has
        user: String,
        /// What it is for
        label: String,
        /// Roles and acts that it is limited to, with spaces between them [default: all that its user may]
        #[arg(long)]
        scope: Option<String>,
        /// When it ends, in days
        #[arg(long, default_value_t = millrace_server::TOKEN_DAYS,
              value_parser = clap::value_parser!(u32).range(1..=i64::from(millrace_server::MOST_TOKEN_DAYS)))]
        days: u32,
    },
    /// End a token at once
    Revoke { id: i64 },
}

#[derive(Debug, Subcommand)]
pub enum WebhooksCommand {
    /// List the webhooks, what each is for, and when it was last used
    List {
        /// Only this user's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Make a webhook and print its secret, once
    Create(WebhookCreateArgs),
    /// End a webhook at once
    Revoke { name: String },
}

#[derive(Debug, Args)]
pub struct WebhookCreateArgs {
    /// Whose rights it has
    pub user: String,
    /// Its place in the address: /api/v1/webhooks/NAME
    pub name: String,
    /// A delivery starts a run of this DAG, with the body as params
    #[arg(long, value_name = "DAG_ID", required_unless_present = "asset", conflicts_with = "asset")]
    pub dag: Option<String>,
    /// A delivery says that this asset is up to date
    #[arg(long)]
    pub asset: Option<String>,
    /// When it ends, in days
    #[arg(long, default_value_t = millrace_server::TOKEN_DAYS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(millrace_server::MOST_TOKEN_DAYS)))]
    pub days: u32,
}

#[derive(Debug, Subcommand)]
pub enum GrantsCommand {
    /// List who has which role for which DAGs
    List {
        /// Only this user's
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Give a user a role for one DAG, or for all with a tag
    Add(GrantAddArgs),
    /// Take one back
    Delete { id: i64 },
}

#[derive(Debug, Args)]
pub struct GrantAddArgs {
    pub user: String,
    /// viewer, operator, editor or admin
    pub role: String,
    /// For this DAG
    #[arg(long, value_name = "DAG_ID", required_unless_present = "tag", conflicts_with = "tag")]
    pub dag: Option<String>,
    /// For all DAGs with this tag
    #[arg(long)]
    pub tag: Option<String>,
}
