//! The configuration: one struct per area, defaults, `millrace.toml`, and `MILLRACE__SECTION__KEY` overrides.

mod areas;
mod reading;
mod shown;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::home::{Home, HomeError};

pub use areas::{Core, Database, Devstack, Logs, Oidc, Scheduler, Server, Traces, Worker};
pub use shown::mask_url;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error(transparent)]
    Home(#[from] HomeError),
    #[error("{file}: {message}")]
    Syntax { file: String, message: String },
    #[error("{place}: unknown key '{key}'{hint}")]
    UnknownKey { place: String, key: String, hint: String },
    #[error("{place}: {key} = {found}: {message}")]
    BadValue { place: String, key: String, found: String, message: String },
}

/// Everything that can be set. `millrace config list` shows the values in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub core: Core,
    pub database: Database,
    pub scheduler: Scheduler,
    pub worker: Worker,
    pub server: Server,
    pub oidc: Oidc,
    pub logs: Logs,
    pub traces: Traces,
    pub devstack: Devstack,
}

impl Config {
    pub fn dags_folder(&self, home: &Home) -> PathBuf {
        in_home(home, &self.core.dags_folder, home.default_dags_folder())
    }

    pub fn logs_folder(&self, home: &Home) -> PathBuf {
        in_home(home, &self.logs.folder, home.default_logs_folder())
    }

    /// The files with the server's certificate and its key; None: plain HTTP.
    pub fn tls_files(&self, home: &Home) -> Option<(PathBuf, PathBuf)> {
        let Server { tls_certificate, tls_key, .. } = &self.server;
        let is_set = !tls_certificate.is_empty() || !tls_key.is_empty();
        is_set.then(|| (home.root().join(tls_certificate), home.root().join(tls_key)))
    }

    /// The database's address: the configured one, or the home's SQLite file.
    pub fn database_url(&self, home: &Home) -> String {
        if self.database.url.is_empty() {
            format!("sqlite://{}", home.database_file().display())
        } else {
            self.database.url.clone()
        }
    }
}

fn in_home(home: &Home, path: &str, default: PathBuf) -> PathBuf {
    if path.is_empty() { default } else { home.root().join(path) }
}
