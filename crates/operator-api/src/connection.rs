//! A connection as connectors get it: looked up, decrypted, typed by name only.

use secrecy::SecretString;
use serde_json::{Map, Value};

/// A named description of an outside system. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Connection {
    pub conn_id: String,
    /// `mysql`, `postgres`, `redshift`, `sqlite`, `aws`.
    pub conn_type: String,
    pub host: Option<String>,
    pub login: Option<String>,
    pub password: Option<SecretString>,
    pub port: Option<u16>,
    /// Database name; for SQLite the file.
    pub schema: Option<String>,
    /// Further settings; values under sensitive names are secrets (see [`Extra`]).
    pub extra: Extra,
}

/// The extra settings of a connection. `Debug` shows keys only.
#[derive(Clone, Default)]
pub struct Extra(pub Map<String, Value>);

impl std::fmt::Debug for Extra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Extra {
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
    }

    /// `true`, `"true"`, `1`, `"1"` are true.
    pub fn flag(&self, key: &str) -> bool {
        match self.0.get(key) {
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) => number.as_i64() == Some(1),
            Some(Value::String(text)) => matches!(text.as_str(), "true" | "True" | "1" | "yes"),
            _ => false,
        }
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        match self.0.get(key) {
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            _ => None,
        }
    }
}

/// Looks a connection up: environment first, then the metadata database. `Ok(None)` when nobody knows it.
pub trait ConnectionLookup: Send + Sync {
    fn find<'a>(
        &'a self,
        conn_id: &'a str,
    ) -> futures::future::BoxFuture<'a, Result<Option<Connection>, crate::error::PortError>>;
}
