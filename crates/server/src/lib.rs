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

mod access;
mod api;
mod calendars;
mod deeds;
mod doors;
mod etags;
mod events;
mod explain;
mod format;
mod intake;
mod links;
mod listener;
mod live;
mod masking;
mod metrics;
mod openapi;
mod pages;
mod problem;
mod query;
mod rendering;
mod routes;
mod server;
mod streams;
mod tls;
mod viewer;
mod web_files;
mod webhooks;
mod words;

pub use access::client::{Network, NetworkError};
pub use access::oidc::{OidcError, OidcOptions, RoleMap, RoleMapError, Web, WebAnswer, WebRequest};
pub use access::password::{HashError, hash_password, verify_password};
pub use access::people::{MOST_TOKEN_DAYS, TOKEN_DAYS, check_password, check_user_name, make_token};
pub use access::permission::{Access, Act, Role, Scope, ScopeError};
pub use doors::Door;
pub use listener::Patience;
pub use openapi::Operation;
pub use routes::{doors, page_addresses};
pub use server::{ConnectionTest, ServeError, ServerOptions, serve};
pub use tls::{Tls, TlsError, TlsFiles};
