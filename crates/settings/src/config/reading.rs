//! The configuration read: defaults, `millrace.toml`, and `MILLRACE__SECTION__KEY` over it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Config, ConfigError};
use crate::home::{Home, read_if_present};

const PREFIX: &str = "MILLRACE__";

impl Config {
    /// The home's file, then the environment. A home without a file has the defaults.
    pub fn load(home: &Home, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let path = home.config_file();
        let text = read_if_present(&path)?.unwrap_or_default();
        let overrides = environment.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
        Self::read(&text, &path.display().to_string(), &overrides)
    }

    fn read(text: &str, file: &str, overrides: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let written: Table = text
            .parse()
            .map_err(|e: toml::de::Error| ConfigError::Syntax { file: file.to_owned(), message: e.to_string() })?;
        let mut table = defaults();
        for (section, value) in written {
            match value {
                Value::Table(keys) => {
                    for (key, value) in keys {
                        set(&mut table, &section, &key, value, file)?;
                    }
                }
                // Keys of [core] may stand at the top of the file.
                value => set(&mut table, "core", &section, value, file)?,
            }
        }
        for (name, text) in overrides {
            let Some((section, key)) = name[PREFIX.len()..].split_once("__") else {
                return Err(unknown(name, name, &[]));
            };
            set(&mut table, &section.to_lowercase(), &key.to_lowercase(), Value::String(text.clone()), name)?;
        }
        table
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Syntax { file: file.to_owned(), message: e.to_string() })
    }
}

pub(super) fn defaults() -> Table {
    Table::try_from(Config::default()).unwrap_or_default()
}

/// Puts a value in its place, given the type that the default has there.
fn set(table: &mut Table, section: &str, key: &str, value: Value, place: &str) -> Result<(), ConfigError> {
    let sections: Vec<String> = table.keys().cloned().collect();
    let Some(Value::Table(keys)) = table.get_mut(section) else { return Err(unknown(place, section, &sections)) };
    let known: Vec<String> = keys.keys().cloned().collect();
    let Some(slot) = keys.get_mut(key) else { return Err(unknown(place, key, &known)) };
    *slot = coerce(slot, value).map_err(|(found, expected)| ConfigError::BadValue {
        place: place.to_owned(),
        key: format!("{section}.{key}"),
        found,
        message: format!("expected {expected}"),
    })?;
    Ok(())
}

fn coerce(default: &Value, value: Value) -> Result<Value, (String, &'static str)> {
    match (default, value) {
        (Value::String(_), Value::String(text)) => Ok(Value::String(text)),
        (Value::Integer(_), Value::Integer(number)) if number >= 0 => Ok(Value::Integer(number)),
        (Value::Integer(_), Value::String(text)) => text
            .trim()
            .parse::<u32>()
            .map(|n| Value::Integer(n.into()))
            .map_err(|_| (text, "a whole number, 0 or more")),
        (Value::Boolean(_), Value::Boolean(flag)) => Ok(Value::Boolean(flag)),
        (Value::Boolean(_), Value::String(text)) => match text.trim().to_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Ok(Value::Boolean(true)),
            "false" | "0" | "no" | "off" => Ok(Value::Boolean(false)),
            _ => Err((text, "true or false")),
        },
        (Value::Integer(_), other) => Err((other.to_string(), "a whole number, 0 or more")),
        (Value::Boolean(_), other) => Err((other.to_string(), "true or false")),
        (_, other) => Err((other.to_string(), "text in quotes")),
    }
}

fn unknown(place: &str, key: &str, known: &[String]) -> ConfigError {
    let close = known.iter().map(|name| (strsim::jaro_winkler(name, key), name)).max_by(|a, b| a.0.total_cmp(&b.0));
    let hint = match close {
        Some((score, name)) if score > 0.8 => format!("; did you mean '{name}'?"),
        _ if known.is_empty() => "; the form is MILLRACE__SECTION__KEY".to_owned(),
        _ => format!("; known are {}", known.join(", ")),
    };
    ConfigError::UnknownKey { place: place.to_owned(), key: key.to_owned(), hint }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn read(text: &str, overrides: &[(&str, &str)]) -> Result<Config, String> {
        let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::read(text, "millrace.toml", &overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_file_and_environment_in_that_order() {
        assert_eq!(read("", &[]).unwrap(), Config::default());
        let config =
            read("[core]\nparallelism = 4\ndag_dir_list_interval = 10\n", &[("MILLRACE__CORE__PARALLELISM", "8")])
                .unwrap();
        assert_eq!((config.core.parallelism, config.core.dag_dir_list_interval), (8, 10));
        let config = read("dags_are_paused_at_creation = false", &[]).unwrap();
        assert!(!config.core.dags_are_paused_at_creation);
    }

    #[test]
    fn mistakes_say_where_and_how_to_mend() {
        for (text, overrides, expected) in [
            ("[core]\nparalelism = 4", &[][..], "millrace.toml: unknown key 'paralelism'; did you mean 'parallelism'?"),
            ("[cor]\nx = 4", &[], "millrace.toml: unknown key 'cor'; did you mean 'core'?"),
            (
                "[core]\nparallelism = \"many\"",
                &[],
                "millrace.toml: core.parallelism = many: expected a whole number, 0 or more",
            ),
            (
                "",
                &[("MILLRACE__SERVER__PORT", "99x")],
                "MILLRACE__SERVER__PORT: server.port = 99x: expected a whole number, 0 or more",
            ),
            (
                "",
                &[("MILLRACE__SERVER", "1")],
                "MILLRACE__SERVER: unknown key 'MILLRACE__SERVER'; the form is MILLRACE__SECTION__KEY",
            ),
        ] {
            assert_eq!(read(text, overrides).unwrap_err(), expected);
        }
        assert!(read("[core\n", &[]).unwrap_err().starts_with("millrace.toml: "));
        assert!(read("[server]\nport = 70000\n", &[]).is_err());
    }
}
