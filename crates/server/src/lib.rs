//! The web face: REST under `/api/v1`, server-rendered pages, live updates, sign-in.
//!
//! Invariants:
//! - Nothing but health, static files and the sign-in page is answered without credentials; what changes something needs
//!   a role that may, and, when the credentials came by themselves (a cookie), a token that only our own pages know.
//! - Whoever changes something is named in the audit log: `rest:<user>` or `web:<user>`.
//! - Pages hold no inline script and no inline style, and fetch nothing from anywhere else; every text is escaped by the
//!   templates.
//! - A secret is never sent: connections are shown masked, and log lines pass the masker once more.
//!
//! Rows are read and written through `store` and `vault` only; this crate starts no task and knows no scheduler.

mod actions;
mod api;
mod assets;
mod attempts;
mod backfills;
mod calendars;
mod changes;
mod client;
mod deletions;
mod doors;
mod etags;
mod events;
mod explain;
mod format;
mod guard;
mod intake;
mod links;
mod listener;
mod live;
mod masking;
mod metrics;
mod oidc;
mod openapi;
mod pages;
mod password;
mod people;
mod permission;
mod person;
mod problem;
mod query;
mod rendering;
mod routes;
mod server;
mod sessions;
mod sign_in;
mod streams;
mod tls;
mod viewer;
mod webhooks;
mod words;

pub use client::{Network, NetworkError};
pub use doors::Door;
pub use listener::Patience;
pub use oidc::{OidcError, OidcOptions, RoleMap, RoleMapError, Web, WebAnswer, WebRequest};
pub use openapi::Operation;
pub use password::{HashError, hash_password, verify_password};
pub use people::{MOST_TOKEN_DAYS, TOKEN_DAYS, check_password, check_user_name, make_token};
pub use permission::{Access, Act, Role, Scope, ScopeError};
pub use routes::{doors, page_addresses};
pub use server::{ConnectionTest, ServeError, ServerOptions, serve};
pub use tls::{Tls, TlsError, TlsFiles};
