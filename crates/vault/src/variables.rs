//! Variables.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_settings::connection::variable_variables;
use millrace_settings::mask::{MASK, is_sensitive_name};
use millrace_store::VariableRow;
use secrecy::{ExposeSecret, SecretString};

use crate::{Origin, Vault, VaultError};

#[derive(Debug, Clone)]
pub struct NamedVariable {
    pub key: String,
    pub value: SecretString,
    pub description: Option<String>,
    pub origin: Origin,
}

impl NamedVariable {
    /// The value, or `***` when the key says that it is a secret.
    pub fn masked_value(&self) -> &str {
        if is_sensitive_name(&self.key) { MASK } else { self.value.expose_secret() }
    }
}

fn sealed_name(key: &str) -> String {
    format!("variable/{key}")
}

impl Vault {
    /// `None` when neither the environment nor the database knows it.
    pub async fn variable(&self, key: &str) -> Result<Option<NamedVariable>, VaultError> {
        let found = match self.in_environment(&variable_variables(key)) {
            Some((_, value)) => Some(NamedVariable {
                key: key.to_owned(),
                value: SecretString::from(value.clone()),
                description: None,
                origin: Origin::Environment,
            }),
            None => match &self.store {
                Some(store) => store.variable(key).await?.map(|row| self.open_variable(row)).transpose()?,
                None => None,
            },
        };
        if let Some(variable) = &found {
            self.tell_masker(variable);
        }
        Ok(found)
    }

    /// All of them, by key; what the environment defines shadows the database.
    pub async fn variables(&self) -> Result<Vec<NamedVariable>, VaultError> {
        let mut found = BTreeMap::new();
        if let Some(store) = &self.store {
            for row in store.variables().await? {
                found.insert(row.key.clone(), self.open_variable(row)?);
            }
        }
        for prefix in ["AIRFLOW_VAR_", "MILLRACE_VAR_"] {
            for (name, value) in self.environment.iter().filter(|(name, _)| name.starts_with(prefix)) {
                let key = found
                    .keys()
                    .find(|key: &&String| key.to_uppercase() == name[prefix.len()..])
                    .cloned()
                    .unwrap_or_else(|| name[prefix.len()..].to_lowercase());
                let value = SecretString::from(value.clone());
                found.insert(key.clone(), NamedVariable { key, value, description: None, origin: Origin::Environment });
            }
        }
        let found: Vec<NamedVariable> = found.into_values().collect();
        for variable in &found {
            self.tell_masker(variable);
        }
        Ok(found)
    }

    /// Adds or replaces; `***` keeps what was there. Says whether it is new.
    pub async fn put_variable(
        &self,
        key: &str,
        value: &str,
        description: Option<String>,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, VaultError> {
        if key.is_empty() || key.chars().count() > 250 {
            return Err(VaultError::BadKey);
        }
        self.refuse_variable_in_environment(key)?;
        let (store, keyring) = self.writable(&format!("variable '{key}'"))?;
        let old = store.variable(key).await?;
        let sealed_value = match &old {
            Some(old) if value == MASK => old.sealed_value.clone(),
            _ => keyring.seal(&sealed_name(key), value)?,
        };
        if is_sensitive_name(key) {
            self.masker.add(value);
        }
        let description = description.or_else(|| old.and_then(|old| old.description));
        let row = VariableRow { key: key.to_owned(), sealed_value, description };
        Ok(store.put_variable(&row, actor, now).await?)
    }

    /// Says whether there was one.
    pub async fn delete_variable(&self, key: &str, actor: &str, now: DateTime<Utc>) -> Result<bool, VaultError> {
        self.refuse_variable_in_environment(key)?;
        let name = format!("variable '{key}'");
        let store = self.store.as_ref().ok_or(VaultError::NoDatabase { name })?;
        Ok(store.delete_variable(key, actor, now).await?)
    }

    /// Seals every stored variable again with the newest key. Returns how many were changed.
    pub async fn reseal_variables(&self, actor: &str, now: DateTime<Utc>) -> Result<usize, VaultError> {
        let (store, keyring) = self.writable("variables")?;
        let mut changed = 0;
        for row in store.variables().await? {
            if let Some(sealed_value) = keyring.reseal(&sealed_name(&row.key), &row.sealed_value)? {
                store.put_variable(&VariableRow { sealed_value, ..row }, actor, now).await?;
                changed += 1;
            }
        }
        Ok(changed)
    }

    fn refuse_variable_in_environment(&self, key: &str) -> Result<(), VaultError> {
        match self.in_environment(&variable_variables(key)) {
            Some((variable, _)) => {
                Err(VaultError::InEnvironment { name: format!("variable '{key}'"), variable: variable.clone() })
            }
            None => Ok(()),
        }
    }

    fn open_variable(&self, row: VariableRow) -> Result<NamedVariable, VaultError> {
        let name = sealed_name(&row.key);
        let value = self.key(&name)?.open_sealed(&name, &row.sealed_value)?;
        Ok(NamedVariable { key: row.key, value, description: row.description, origin: Origin::Database })
    }

    fn tell_masker(&self, variable: &NamedVariable) {
        if is_sensitive_name(&variable.key) {
            self.masker.add(variable.value.expose_secret());
        }
    }
}
