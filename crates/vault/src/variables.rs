//! Variables.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_settings::Masker;
use millrace_settings::connection::variable_variables;
use millrace_settings::kept::{UnknownSecret, keep_secret_text, keep_secrets};
use millrace_settings::mask::{MASK, is_secret, is_sensitive_name, mask_addresses, passwords_in_addresses, secrets_in};
use millrace_store::{Told, VariableRow};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::{Origin, Vault, VaultError, noting_change, replaced};

#[derive(Debug, Clone)]
pub struct NamedVariable {
    pub key: String,
    pub value: SecretString,
    pub description: Option<String>,
    pub origin: Origin,
    /// Where it is only shown: why the value cannot be opened. It is empty then.
    pub problem: Option<String>,
}

impl NamedVariable {
    /// The value, or `***` when the key says that it is a secret, or when nobody can read it; of an object, its secrets are
    /// `***`.
    pub fn masked_value(&self) -> String {
        let value = self.value.expose_secret();
        if is_sensitive_name(&self.key) || self.problem.is_some() {
            return MASK.to_owned();
        }
        match serde_json::from_str::<Value>(value) {
            Ok(object) if object.is_object() || object.is_array() => {
                let masked = Masker::new().mask_value(&object);
                // Its own spelling, unless something must be hidden.
                if masked == object { value.to_owned() } else { masked.to_string() }
            }
            _ => mask_addresses(value),
        }
    }
}

/// For the audit log.
fn told(variable: &NamedVariable) -> Value {
    json!({ "value": variable.masked_value(), "description": variable.description })
}

/// The new value, in which `***` stands for what was there.
fn kept(key: &str, new: &str, old: Option<&NamedVariable>, masker: &Masker) -> Result<String, UnknownSecret> {
    let mut new = new.to_owned();
    if !new.contains(MASK) {
        return Ok(new);
    }
    let before = old.map(|old| (old.value.expose_secret(), masker.mask(&old.masked_value())));
    let before = before.as_ref().map(|(before, shown)| (*before, shown.as_str()));
    let parsed = before.is_none_or(|(_, shown)| new != shown).then(|| serde_json::from_str::<Value>(&new).ok());
    if let Some(mut value @ (Value::Object(_) | Value::Array(_))) = parsed.flatten() {
        let before = before.and_then(|(before, _)| serde_json::from_str::<Value>(before).ok());
        keep_secrets(&mut value, before.as_ref(), key, masker)?;
        return Ok(value.to_string());
    }
    // Nothing but stars is no value: it says that there is one.
    keep_secret_text(&mut new, before, key, true)?;
    Ok(new)
}

fn sealed_name(key: &str) -> String {
    format!("variable/{key}")
}

impl Vault {
    /// `None` when neither the environment nor the database knows it.
    pub async fn variable(&self, key: &str) -> Result<Option<NamedVariable>, VaultError> {
        self.find_variable(key, Self::open_variable).await
    }

    /// As [`Vault::variable`], to be shown or changed: also when its value cannot be opened.
    pub async fn shown_variable(&self, key: &str) -> Result<Option<NamedVariable>, VaultError> {
        self.find_variable(key, Self::open_variable_for_show).await
    }

    async fn find_variable(
        &self,
        key: &str,
        open: impl Fn(&Self, VariableRow) -> Result<NamedVariable, VaultError>,
    ) -> Result<Option<NamedVariable>, VaultError> {
        let found = match self.in_environment(&variable_variables(key)) {
            Some((_, value)) => Some(NamedVariable {
                key: key.to_owned(),
                value: SecretString::from(value.clone()),
                description: None,
                origin: Origin::Environment,
                problem: None,
            }),
            None => match &self.store {
                Some(store) => store.variable(key).await?.map(|row| open(self, row)).transpose()?,
                None => None,
            },
        };
        if let Some(variable) = &found {
            self.note_variable(variable);
        }
        Ok(found)
    }

    /// All of them, to be shown, by key; what the environment defines shadows the database.
    pub async fn variables(&self) -> Result<Vec<NamedVariable>, VaultError> {
        let mut found = BTreeMap::new();
        if let Some(store) = &self.store {
            for row in store.variables().await? {
                found.insert(row.key.clone(), self.open_variable_for_show(row)?);
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
                let origin = Origin::Environment;
                found.insert(key.clone(), NamedVariable { key, value, description: None, origin, problem: None });
            }
        }
        let found: Vec<NamedVariable> = found.into_values().collect();
        for variable in &found {
            self.note_variable(variable);
        }
        Ok(found)
    }

    /// Adds or replaces; `***` keeps what was there. Says whether it is new. What cannot be opened any more is replaced.
    pub async fn put_variable(
        &self,
        key: &str,
        value: &str,
        description: Option<String>,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, VaultError> {
        if matches!(key, "" | "." | "..") || key.chars().count() > 250 {
            return Err(VaultError::BadKey);
        }
        self.refuse_variable_in_environment(key)?;
        let (store, keyring) = self.writable(&format!("variable '{key}'"))?;
        let row = store.variable(key).await?;
        let description = description.or_else(|| row.as_ref().and_then(|row| row.description.clone()));
        let old = replaced(row.map(|row| self.open_variable(row)), value.contains(MASK))?;
        let value = kept(key, value, old.as_ref(), &self.masker)
            .map_err(|source| VaultError::UnknownSecret { name: format!("variable '{key}'"), source })?;
        let sealed_value = keyring.seal(&sealed_name(key), &value)?;
        let row = VariableRow { key: key.to_owned(), sealed_value, description: description.clone() };
        let value = SecretString::from(value);
        let new = NamedVariable { key: key.to_owned(), value, description, origin: Origin::Database, problem: None };
        self.note_variable(&new);
        let is_same = old.as_ref().is_some_and(|old| old.value.expose_secret() == new.value.expose_secret());
        let told = Told { before: old.as_ref().map(told), after: Some(noting_change(told(&new), "value", is_same)) };
        Ok(store.put_variable(&row, told, actor, now).await?)
    }

    /// Says whether there was one.
    pub async fn delete_variable(&self, key: &str, actor: &str, now: DateTime<Utc>) -> Result<bool, VaultError> {
        self.refuse_variable_in_environment(key)?;
        let name = format!("variable '{key}'");
        let store = self.store.as_ref().ok_or(VaultError::NoDatabase { name })?;
        // What cannot be opened can be deleted all the same.
        let old = store.variable(key).await?.and_then(|row| self.open_variable(row).ok());
        let told = Told { before: old.as_ref().map(told), after: None };
        Ok(store.delete_variable(key, told, actor, now).await?)
    }

    /// Seals every stored variable again with the newest key. Returns how many were changed.
    pub async fn reseal_variables(&self, actor: &str, now: DateTime<Utc>) -> Result<usize, VaultError> {
        let (store, keyring) = self.writable("variables")?;
        let mut changed = 0;
        for row in store.variables().await? {
            if let Some(sealed_value) = keyring.reseal(&sealed_name(&row.key), &row.sealed_value)? {
                store.put_variable(&VariableRow { sealed_value, ..row }, Told::default(), actor, now).await?;
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

    pub(crate) fn open_variable(&self, row: VariableRow) -> Result<NamedVariable, VaultError> {
        let name = sealed_name(&row.key);
        let value = self.key(&name)?.open_sealed(&name, &row.sealed_value)?;
        Ok(NamedVariable { key: row.key, value, description: row.description, origin: Origin::Database, problem: None })
    }

    fn open_variable_for_show(&self, row: VariableRow) -> Result<NamedVariable, VaultError> {
        match self.open_variable(row.clone()) {
            Err(VaultError::Keyring(error)) => Ok(NamedVariable {
                key: row.key,
                value: SecretString::default(),
                description: row.description,
                origin: Origin::Database,
                problem: Some(error.to_string()),
            }),
            opened => opened,
        }
    }

    pub(crate) fn note_variable(&self, variable: &NamedVariable) {
        self.masker.add_all(secrets_of(&variable.key, variable.value.expose_secret()));
    }
}

/// What of a variable must not be shown. Variables are often whole objects, with secrets in them, and a template may take
/// a part out of one: each part of a secret object is a secret.
pub(crate) fn secrets_of(key: &str, value: &str) -> Vec<String> {
    let is_secret = is_secret(key, &Value::from(value));
    let mut secrets: Vec<String> = is_secret.then(|| value.to_owned()).into_iter().collect();
    match serde_json::from_str::<Value>(value) {
        Ok(parsed) if is_secret || parsed.is_object() || parsed.is_array() => {
            secrets.extend(secrets_in(&parsed, is_secret));
        }
        _ => secrets.extend(passwords_in_addresses(value)),
    }
    secrets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_column_is_no_secret_of_everybody() {
        assert!(secrets_of("business_unit_key", "warehouse").is_empty());
        assert_eq!(secrets_of("business_unit_key", "sk-12ab"), ["sk-12ab"]);
        assert_eq!(secrets_of("stripe_api_key", "warehouse"), ["warehouse"]);
    }
}
