//! Connections and variables as everybody reads and writes them: the environment first, then the metadata database;
//! sealed and opened by the home's keyring.
//!
//! Invariants:
//! - Whatever is read here is told to the masker before it is handed out.
//! - What the environment defines can't be written or deleted; it shadows the database.
//! - Sealed values are bound to their name: swapping two rows in the database opens neither.

mod connections;
mod variables;
mod webhooks;

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_settings::connection::ConnectionFormError;
use millrace_settings::kept::UnknownSecret;
use millrace_settings::{Keyring, KeyringError, Masker};
use millrace_store::{Store, StoreError};
use secrecy::ExposeSecret;

pub use connections::{NamedConnection, to_port_connection};
pub use variables::NamedVariable;
pub use webhooks::{NewWebhook, WEBHOOK_PREFIX, is_webhook_name};

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Environment,
    Database,
}

impl Origin {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Database => "database",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    #[error("{name}: {source}")]
    Form {
        name: String,
        #[source]
        source: ConnectionFormError,
    },
    #[error("{name}: {source}")]
    UnknownSecret {
        name: String,
        #[source]
        source: UnknownSecret,
    },
    #[error("{name} is defined by the environment variable {variable}; change it there")]
    InEnvironment { name: String, variable: String },
    #[error(
        "{name} is stored encrypted, but the home has no encryption key; run the command as the user who owns the home"
    )]
    NoKey { name: String },
    #[error(
        "the metadata database holds {count} encrypted values, and no key of this home's encryption_key opens one of them; put the file of the home that encrypted them there (every machine that uses the database needs it), or, if it is lost, enter a connection or variable again by `millrace connections add` or `variables set`"
    )]
    ForeignKeys { count: usize },
    #[error("there is no metadata database to read {name} from; run `millrace db migrate`")]
    NoDatabase { name: String },
    #[error("a variable's key must have 1 to 250 characters, and must not be '.' or '..'")]
    BadKey,
    #[error("a webhook's name has 1 to 100 of the characters a-z, A-Z, 0-9, '_', '-' and '.'")]
    BadWebhookName,
}

impl VaultError {
    /// The database was out of reach: the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_transient())
    }

    /// Somebody may mend it before a task is tried again: also a file of keys that lacks one.
    pub fn may_be_mended(&self) -> bool {
        self.is_transient() || matches!(self, Self::Keyring(KeyringError::UnknownKey { .. }))
    }
}

/// Says so of a secret that is another one, where both are shown as `***`.
fn noting_change(mut shown: serde_json::Value, name: &str, is_same: bool) -> serde_json::Value {
    use millrace_settings::mask::MASK;
    if let (false, Some(members)) = (is_same, shown.as_object_mut()) {
        match members.get_mut(name) {
            Some(value) if value == MASK => *value = format!("{MASK} (another one)").into(),
            Some(_) => {}
            None => {
                members.insert(name.to_owned(), "changed".into());
            }
        }
    }
    shown
}

/// What was there before it is replaced. That it cannot be opened is no reason to keep it, unless `***` in what is new
/// stands for it.
fn replaced<T>(opened: Option<Result<T, VaultError>>, is_kept: bool) -> Result<Option<T>, VaultError> {
    match opened.transpose() {
        Err(VaultError::Keyring(_)) if !is_kept => Ok(None),
        opened => opened,
    }
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Vault {
    store: Option<Store>,
    keyring: Option<Arc<Keyring>>,
    masker: Masker,
    environment: Arc<BTreeMap<String, String>>,
}

impl Vault {
    /// `store` and `keyring` may be missing (`tasks test` works without a database); the environment is then all there is.
    pub fn new(
        store: Option<Store>,
        keyring: Option<Arc<Keyring>>,
        masker: Masker,
        environment: BTreeMap<String, String>,
    ) -> Self {
        Self { store, keyring, masker, environment: Arc::new(environment) }
    }

    pub fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Tells the masker every secret there is, so that a process that has used none keeps them out of what it shows. What
    /// cannot be opened cannot be shown either: it is passed over.
    pub async fn tell_masker(&self) -> Result<(), StoreError> {
        let mut secrets = Vec::new();
        for (name, text) in self.environment.iter() {
            if ["AIRFLOW_CONN_", "MILLRACE_CONN_"].iter().any(|prefix| name.starts_with(prefix)) {
                let form = millrace_settings::ConnectionForm::parse(text);
                secrets.extend(form.map(|form| form.secrets()).unwrap_or_default());
            }
            if let Some(key) = ["AIRFLOW_VAR_", "MILLRACE_VAR_"].iter().find_map(|prefix| name.strip_prefix(prefix)) {
                secrets.extend(variables::secrets_of(key, text));
            }
        }
        if let Some(store) = &self.store {
            for row in store.connections().await? {
                secrets.extend(self.open_row(row).map(|named| named.form.secrets()).unwrap_or_default());
            }
            for row in store.variables().await? {
                if let Ok(variable) = self.open_variable(row) {
                    secrets.extend(variables::secrets_of(&variable.key, variable.value.expose_secret()));
                }
            }
        }
        self.masker.add_all(secrets);
        Ok(())
    }

    /// Refuses a home whose keys open nothing of what the database holds: it is another home's. Where one value opens, the
    /// others are told of as they are asked for.
    pub async fn check_keys(&self) -> Result<(), VaultError> {
        let Some(store) = &self.store else { return Ok(()) };
        let mut opened = Vec::new();
        for row in store.connections().await? {
            if row.sealed_password.is_some() || row.sealed_extra.is_some() {
                opened.push(self.open_row(row).map(drop));
            }
        }
        for row in store.variables().await? {
            opened.push(self.open_variable(row).map(drop));
        }
        for row in store.webhooks(None).await? {
            opened.push(self.webhook_secret(&row).map(drop));
        }
        let is_foreign = |opened: &Result<(), VaultError>| {
            matches!(opened, Err(VaultError::NoKey { .. } | VaultError::Keyring(KeyringError::UnknownKey { .. })))
        };
        if !opened.is_empty() && opened.iter().all(is_foreign) {
            return Err(VaultError::ForeignKeys { count: opened.len() });
        }
        Ok(())
    }

    fn writable(&self, name: &str) -> Result<(&Store, &Keyring), VaultError> {
        let store = self.store.as_ref().ok_or_else(|| VaultError::NoDatabase { name: name.to_owned() })?;
        Ok((store, self.key(name)?))
    }

    fn key(&self, name: &str) -> Result<&Keyring, VaultError> {
        self.keyring.as_deref().ok_or_else(|| VaultError::NoKey { name: name.to_owned() })
    }

    /// The first of these environment variables that is set.
    fn in_environment(&self, names: &[String]) -> Option<(&String, &String)> {
        names.iter().find_map(|name| self.environment.get_key_value(name))
    }
}
