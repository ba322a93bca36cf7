//! Connections.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use millrace_operator_api::connection::{Connection, ConnectionLookup, Extra};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_settings::ConnectionForm;
use millrace_settings::connection::{check_conn_id, connection_variables};
use millrace_settings::mask::MASK;
use millrace_store::{ConnectionRow, Told};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{Origin, Vault, VaultError, noting_change, replaced};

#[derive(Debug, Clone)]
pub struct NamedConnection {
    pub conn_id: String,
    pub form: ConnectionForm,
    pub origin: Origin,
    /// Where it is only shown: why its secrets cannot be opened. They are left out then, a password is `***`.
    pub problem: Option<String>,
}

fn password_name(conn_id: &str) -> String {
    format!("connection/{conn_id}/password")
}

/// For the audit log: without secrets, but it says which of them are new.
fn told(before: Option<&ConnectionForm>, after: &ConnectionForm) -> Value {
    let shown = after.to_masked_value();
    let Some(before) = before else { return shown };
    let exposed = |form: &ConnectionForm| form.password.as_ref().map(|it| it.expose_secret().to_owned());
    let shown = noting_change(shown, "password", exposed(before) == exposed(after));
    let hides_change = before.extra != after.extra && shown.get("extra") == before.to_masked_value().get("extra");
    noting_change(shown, "secrets of extra", !hides_change)
}

fn extra_name(conn_id: &str) -> String {
    format!("connection/{conn_id}/extra")
}

impl Vault {
    /// `None` when neither the environment nor the database knows it.
    pub async fn connection(&self, conn_id: &str) -> Result<Option<NamedConnection>, VaultError> {
        self.find_connection(conn_id, Self::open_row).await
    }

    /// As [`Vault::connection`], to be shown or changed: also when its secrets cannot be opened.
    pub async fn shown_connection(&self, conn_id: &str) -> Result<Option<NamedConnection>, VaultError> {
        self.find_connection(conn_id, Self::open_for_show).await
    }

    async fn find_connection(
        &self,
        conn_id: &str,
        open: impl Fn(&Self, ConnectionRow) -> Result<NamedConnection, VaultError>,
    ) -> Result<Option<NamedConnection>, VaultError> {
        let found = match self.in_environment(&connection_variables(conn_id)) {
            Some((variable, text)) => Some(NamedConnection {
                conn_id: conn_id.to_owned(),
                form: ConnectionForm::parse(text)
                    .map_err(|source| VaultError::Form { name: format!("environment variable {variable}"), source })?,
                origin: Origin::Environment,
                problem: None,
            }),
            None => match &self.store {
                Some(store) => store.connection(conn_id).await?.map(|row| open(self, row)).transpose()?,
                None => None,
            },
        };
        if let Some(found) = &found {
            self.masker.add_all(found.form.secrets());
        }
        Ok(found)
    }

    /// All of them, to be shown, by id; what the environment defines shadows the database.
    pub async fn connections(&self) -> Result<Vec<NamedConnection>, VaultError> {
        let mut found = BTreeMap::new();
        if let Some(store) = &self.store {
            for row in store.connections().await? {
                found.insert(row.conn_id.clone(), self.open_for_show(row)?);
            }
        }
        for prefix in ["AIRFLOW_CONN_", "MILLRACE_CONN_"] {
            for (variable, text) in self.environment.iter().filter(|(name, _)| name.starts_with(prefix)) {
                // The environment writes ids in capitals; the usual spelling is small.
                let conn_id = found
                    .keys()
                    .find(|id: &&String| id.to_uppercase() == variable[prefix.len()..])
                    .cloned()
                    .unwrap_or_else(|| variable[prefix.len()..].to_lowercase());
                let form = ConnectionForm::parse(text)
                    .map_err(|source| VaultError::Form { name: format!("environment variable {variable}"), source })?;
                let origin = Origin::Environment;
                found.insert(conn_id.clone(), NamedConnection { conn_id, form, origin, problem: None });
            }
        }
        let found: Vec<NamedConnection> = found.into_values().collect();
        self.masker.add_all(found.iter().flat_map(|named| named.form.secrets()));
        Ok(found)
    }

    /// Adds or replaces; `***` keeps what was there. Says whether it is new. What cannot be opened any more is replaced.
    pub async fn put_connection(
        &self,
        conn_id: &str,
        form: ConnectionForm,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, VaultError> {
        check_conn_id(conn_id).map_err(|source| VaultError::Form { name: "connection".to_owned(), source })?;
        self.refuse_in_environment(conn_id)?;
        let (store, keyring) = self.writable(&format!("connection '{conn_id}'"))?;
        let is_kept = form.to_value().to_string().contains(MASK);
        let before = replaced(store.connection(conn_id).await?.map(|row| self.open_row(row)), is_kept)?;
        let before = before.map(|named| named.form);
        let form = form
            .keeping_masked_from(before.as_ref())
            .map_err(|source| VaultError::UnknownSecret { name: format!("connection '{conn_id}'"), source })?;
        let told = Told {
            before: before.as_ref().map(ConnectionForm::to_masked_value),
            after: Some(told(before.as_ref(), &form)),
        };
        self.masker.add_all(form.secrets());
        let sealed_password = match &form.password {
            Some(password) => Some(keyring.seal(&password_name(conn_id), password.expose_secret())?),
            None => None,
        };
        let sealed_extra = if form.extra.is_empty() {
            None
        } else {
            Some(keyring.seal(&extra_name(conn_id), &Value::Object(form.extra.clone()).to_string())?)
        };
        let row = ConnectionRow {
            conn_id: conn_id.to_owned(),
            conn_type: form.conn_type,
            description: form.description,
            host: form.host,
            login: form.login,
            schema: form.schema,
            port: form.port,
            sealed_password,
            sealed_extra,
        };
        Ok(store.put_connection(&row, told, actor, now).await?)
    }

    /// Says whether there was one.
    pub async fn delete_connection(&self, conn_id: &str, actor: &str, now: DateTime<Utc>) -> Result<bool, VaultError> {
        self.refuse_in_environment(conn_id)?;
        let name = format!("connection '{conn_id}'");
        let store = self.store.as_ref().ok_or(VaultError::NoDatabase { name })?;
        // What cannot be opened can be deleted all the same.
        let old = store.connection(conn_id).await?.and_then(|row| self.open_row(row).ok());
        let told = Told { before: old.map(|old| old.form.to_masked_value()), after: None };
        Ok(store.delete_connection(conn_id, told, actor, now).await?)
    }

    /// Seals every stored connection again with the newest key. Returns how many were changed.
    pub async fn reseal_connections(&self, actor: &str, now: DateTime<Utc>) -> Result<usize, VaultError> {
        let (store, keyring) = self.writable("connections")?;
        let mut changed = 0;
        for mut row in store.connections().await? {
            let password =
                row.sealed_password.as_deref().map(|s| keyring.reseal(&password_name(&row.conn_id), s)).transpose()?;
            let extra =
                row.sealed_extra.as_deref().map(|s| keyring.reseal(&extra_name(&row.conn_id), s)).transpose()?;
            let (password, extra) = (password.flatten(), extra.flatten());
            if password.is_none() && extra.is_none() {
                continue;
            }
            row.sealed_password = password.or(row.sealed_password);
            row.sealed_extra = extra.or(row.sealed_extra);
            store.put_connection(&row, Told::default(), actor, now).await?;
            changed += 1;
        }
        Ok(changed)
    }

    fn refuse_in_environment(&self, conn_id: &str) -> Result<(), VaultError> {
        match self.in_environment(&connection_variables(conn_id)) {
            Some((variable, _)) => {
                Err(VaultError::InEnvironment { name: format!("connection '{conn_id}'"), variable: variable.clone() })
            }
            None => Ok(()),
        }
    }

    pub(crate) fn open_row(&self, row: ConnectionRow) -> Result<NamedConnection, VaultError> {
        let open = |name: String, sealed: Option<&str>| -> Result<Option<SecretString>, VaultError> {
            sealed.map(|sealed| Ok(self.key(&name)?.open_sealed(&name, sealed)?)).transpose()
        };
        let password = open(password_name(&row.conn_id), row.sealed_password.as_deref())?;
        let extra = match open(extra_name(&row.conn_id), row.sealed_extra.as_deref())? {
            Some(text) => match serde_json::from_str(text.expose_secret()) {
                Ok(Value::Object(map)) => map,
                _ => return Err(millrace_settings::KeyringError::Corrupt { name: extra_name(&row.conn_id) }.into()),
            },
            None => serde_json::Map::new(),
        };
        let form = ConnectionForm {
            conn_type: row.conn_type,
            host: row.host,
            login: row.login,
            password,
            port: row.port,
            schema: row.schema,
            extra,
            description: row.description,
        };
        Ok(NamedConnection { conn_id: row.conn_id, form, origin: Origin::Database, problem: None })
    }

    fn open_for_show(&self, row: ConnectionRow) -> Result<NamedConnection, VaultError> {
        match self.open_row(row.clone()) {
            Err(VaultError::Keyring(error)) => {
                let has_password = row.sealed_password.is_some();
                let mut bare = self.open_row(ConnectionRow { sealed_password: None, sealed_extra: None, ..row })?;
                bare.form.password = has_password.then(|| SecretString::from(MASK));
                Ok(NamedConnection { problem: Some(error.to_string()), ..bare })
            }
            opened => opened,
        }
    }
}

/// As connectors take it.
pub fn to_port_connection(named: NamedConnection) -> Connection {
    let NamedConnection { conn_id, form, .. } = named;
    Connection {
        conn_id,
        conn_type: form.conn_type,
        host: form.host,
        login: form.login,
        password: form.password,
        port: form.port,
        schema: form.schema,
        extra: Extra(form.extra),
    }
}

impl ConnectionLookup for Vault {
    fn find<'a>(&'a self, conn_id: &'a str) -> BoxFuture<'a, Result<Option<Connection>, PortError>> {
        Box::pin(async move {
            let found = self.connection(conn_id).await.map_err(|error| {
                let kind = if error.may_be_mended() { PortErrorKind::Unavailable } else { PortErrorKind::Invalid };
                PortError::new(kind, format!("could not read the connection '{conn_id}': {error}"))
            })?;
            Ok(found.map(to_port_connection))
        })
    }
}
