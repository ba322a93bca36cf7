//! The configuration: one struct per area, defaults, `millrace.toml`, and `MILLRACE__SECTION__KEY` overrides.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::home::{Home, HomeError, read_if_present};
use crate::mask::{MASK, is_sensitive_name};

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

/// DAG files and their defaults. These keys may also stand at the top of the file, outside any section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Core {
    /// Where DAG files are; empty = the folder `dags` in the home. A relative path is taken from the home.
    pub dags_folder: String,
    /// Seconds between two full scans of the folder; changes are also seen at once.
    pub dag_dir_list_interval: u64,
    /// New DAGs start paused.
    pub dags_are_paused_at_creation: bool,
    /// Tasks that run at the same time on this machine.
    pub parallelism: usize,
    /// `max_active_runs` of a DAG that does not say.
    pub max_active_runs_per_dag: u32,
    /// `max_active_tasks` of a DAG that does not say; per run.
    pub max_active_tasks_per_dag: u32,
    /// `retries` of a task that does not say.
    pub default_task_retries: u32,
    /// Seconds; `retry_delay` of a task that does not say.
    pub default_task_retry_delay: u64,
    /// Instances that a mapped task may have.
    pub max_map_length: usize,
    /// `timezone` of a DAG that does not say.
    pub default_timezone: String,
    /// Windows in which nothing starts, with `;` between them: `Sat 22:00..Sun 04:00 Asia/Seoul; 2026-12-24T22:00..2026-12-25T06:00`.
    pub maintenance: String,
    /// DAGs with one of these tags (with `,` between them) run in these windows too.
    pub maintenance_except_tags: String,
    /// Which of a DAG file's `overlays` is used: `prod`, say; empty = none.
    pub environment: String,
}

/// The metadata database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Database {
    /// `postgres://user:password@host:port/database`; empty = SQLite, `millrace.db` in the home.
    pub url: String,
    /// Connections at the most.
    pub max_connections: u32,
    /// Days that finished runs are kept, with their logs; 0 = for ever. The scheduler deletes what is older once a day.
    pub retention_days: u64,
    /// Write what is deleted to the folder `archive` in the home first.
    pub retention_archive: bool,
}

/// The scheduler's loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Scheduler {
    /// Seconds between two heartbeats of scheduler and workers.
    pub heartbeat_interval: u64,
    /// Seconds without a heartbeat after which a worker counts as dead and its tries are given to another.
    pub lease_timeout: u64,
    /// Seconds without a sign of life after which another scheduler takes the lead from one that hangs (PostgreSQL only).
    /// What that one runs is given again no earlier: when its leases have run out.
    pub leader_timeout: u64,
    /// Seconds between two looks at everything, should an event have been missed.
    pub slow_tick: u64,
    /// Seconds that running tasks get to finish when the daemon is stopped; then they are stopped and run again at the next start.
    pub drain_timeout: u64,
}

/// How tasks run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Worker {
    /// Seconds between SIGTERM and SIGKILL for a process that must stop.
    pub kill_grace: u64,
}

/// The web server: pages and REST.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 = any free one.
    pub port: u16,
    /// File with the certificate (PEM, those that vouch for it behind it): then the port speaks HTTPS. A relative path is taken from the home. Read again with `millrace config reload`.
    pub tls_certificate: String,
    /// File with the certificate's private key (PEM, not encrypted).
    pub tls_key: String,
    /// Where browsers find this server, as in `https://millrace.example`: for those who send people back to it.
    pub public_url: String,
    /// Hours that a sign-in lasts.
    pub session_hours: u64,
    /// Minutes without a request after which a sign-in ends; 0 = it lasts its hours.
    pub session_idle_minutes: u64,
    /// Addresses or networks of reverse proxies, with `,` between them: only they are believed when they say who the client is (X-Forwarded-For), whether it speaks HTTPS (X-Forwarded-Proto) and to which host (X-Forwarded-Host).
    pub trusted_proxies: String,
}

/// Signing in with a provider of identities (OpenID Connect).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Oidc {
    /// The provider's address, exactly as its tokens say it; empty = people sign in with passwords only. Takes `server.public_url` too.
    pub issuer: String,
    /// As the provider knows this server. The address that it sends people back to is `server.public_url` and `/sign-in/oidc/callback`.
    pub client_id: String,
    /// Empty = the variable `oidc_client_secret`, and if there is none, a client without a secret.
    pub client_secret: String,
    /// On the button of the sign-in page.
    pub label: String,
    /// What is asked for, with spaces between.
    pub scopes: String,
    /// The claim of the token that holds a person's groups; dots lead into it (`realm_access.roles`).
    pub groups_claim: String,
    /// What groups may: `GROUP=ROLE`, with `,` between them; `*` is everybody. The highest holds, at each sign-in anew; who has none does not get in.
    pub roles: String,
    /// Domains of e-mail addresses, with `,` between them: only people with a verified address of one get in; empty = all.
    pub allowed_domains: String,
    /// PEM file with the authorities that vouch for the provider; empty = those of the machine.
    pub ca_file: String,
}

/// Logs of tries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    /// Where they are written; empty = the folder `logs` in the home. A relative path is taken from the home.
    pub folder: String,
    /// What the daemon itself prints: error, warn, info, debug or trace.
    pub level: String,
}

/// Spans of runs, tries, commits and requests for OpenTelemetry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Traces {
    /// A collector that takes OTLP over HTTP as JSON: `http://127.0.0.1:4318`; empty = none.
    pub endpoint: String,
    /// Sent with the spans: `NAME=VALUE`, with `,` between them.
    pub headers: String,
    /// What spans call this installation.
    pub service_name: String,
    /// PEM file with the authorities that vouch for the collector; empty = those of the machine.
    pub ca_file: String,
}

/// The stand-ins that `standalone` starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Devstack {
    /// Port of the S3 stand-in; 0 = any free one.
    pub s3_port: u16,
}

impl Default for Core {
    fn default() -> Self {
        Self {
            dags_folder: String::new(),
            dag_dir_list_interval: 300,
            dags_are_paused_at_creation: true,
            parallelism: 32,
            max_active_runs_per_dag: 16,
            max_active_tasks_per_dag: 16,
            default_task_retries: 0,
            default_task_retry_delay: 300,
            max_map_length: 1024,
            default_timezone: "UTC".to_owned(),
            maintenance: String::new(),
            maintenance_except_tags: String::new(),
            environment: String::new(),
        }
    }
}

impl Default for Database {
    fn default() -> Self {
        Self { url: String::new(), max_connections: 10, retention_days: 0, retention_archive: true }
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self { heartbeat_interval: 5, lease_timeout: 30, leader_timeout: 7, slow_tick: 10, drain_timeout: 5 }
    }
}

impl Default for Worker {
    fn default() -> Self {
        Self { kill_grace: 5 }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8080,
            tls_certificate: String::new(),
            tls_key: String::new(),
            public_url: String::new(),
            session_hours: 24,
            session_idle_minutes: 720,
            trusted_proxies: String::new(),
        }
    }
}

impl Default for Oidc {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: String::new(),
            label: "Single sign-on".to_owned(),
            scopes: "openid profile email".to_owned(),
            groups_claim: "groups".to_owned(),
            roles: "*=viewer".to_owned(),
            allowed_domains: String::new(),
            ca_file: String::new(),
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            headers: String::new(),
            service_name: "millrace".to_owned(),
            ca_file: String::new(),
        }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self { folder: String::new(), level: "info".to_owned() }
    }
}

impl Default for Devstack {
    fn default() -> Self {
        Self { s3_port: 9000 }
    }
}

const PREFIX: &str = "MILLRACE__";

/// Section and key of what is never shown.
const SECRETS: &[(&str, &str)] = &[("oidc", "client_secret"), ("traces", "headers")];

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

    /// Every key with its value in force, `section.key`, in the order of the reference; secrets masked.
    pub fn entries(&self) -> Vec<(String, String)> {
        let Ok(Value::Table(sections)) = Value::try_from(self) else { return Vec::new() };
        let mut entries = Vec::new();
        for (section, keys) in sections {
            let Value::Table(keys) = keys else { continue };
            for (key, value) in keys {
                let text = match value {
                    Value::String(text) if section == "database" && key == "url" => mask_url(&text),
                    Value::String(text) if SECRETS.contains(&(section.as_str(), key.as_str())) && !text.is_empty() => {
                        MASK.to_owned()
                    }
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                entries.push((format!("{section}.{key}"), text));
            }
        }
        entries
    }

    /// The values that are never shown, for the masker: as they stand here, and what they say.
    pub fn secrets(&self) -> impl Iterator<Item = String> {
        let headers = self.traces.headers.split(',').filter_map(|pair| Some(pair.split_once('=')?.1.trim().to_owned()));
        let passwords = url_passwords(&self.database.url).into_iter().map(|range| self.database.url[range].to_owned());
        let decoded = |text: String| {
            let plain = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            [text, plain]
        };
        let passwords = passwords.flat_map(decoded);
        [self.oidc.client_secret.clone()]
            .into_iter()
            .chain(headers)
            .chain(passwords)
            .filter(|secret| !secret.is_empty())
    }

    /// A documented `millrace.toml` with every key at its default, commented out.
    pub fn reference() -> String {
        let schema = schemars::generate::SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true);
        let schema = schema.into_generator().into_root_schema_for::<Self>();
        let mut text = String::from(
            "# Millrace's configuration. Every key can also be set by the environment: MILLRACE__SECTION__KEY=value.\n# What is commented out is the default.\n",
        );
        for (section, keys) in &defaults() {
            let area = &schema.as_value()["properties"][section];
            text.push_str(&format!("\n{}[{section}]\n", comment(&area["description"])));
            let Value::Table(keys) = keys else { continue };
            for (key, value) in keys {
                text.push_str(&format!("{}#{key} = {value}\n", comment(&area["properties"][key]["description"])));
            }
        }
        text
    }

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

fn comment(description: &serde_json::Value) -> String {
    description.as_str().unwrap_or_default().lines().map(|line| format!("# {line}\n")).collect()
}

fn defaults() -> Table {
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

/// Where passwords stand in the address of a database: byte ranges, in order.
fn url_passwords(url: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let Some(begin) = url.find("://").map(|place| place + 3) else { return found };
    // A password may hold '/' or '@' unencoded: the last '@' ends it.
    let at = url.rfind('@').filter(|at| *at >= begin);
    if let Some((at, colon)) = at.and_then(|at| Some((at, begin + url[begin..at].find(':')?))) {
        found.push(colon + 1..at);
    }
    let after = at.unwrap_or(begin);
    let mut from = url[after..].find('?').map_or(url.len(), |place| after + place + 1);
    for pair in url[from..].split('&') {
        if let Some((name, value)) = pair.split_once('=').filter(|(name, _)| is_sensitive_name(name)) {
            let value_from = from + name.len() + 1;
            found.push(value_from..value_from + value.len());
        }
        from += pair.len() + 1;
    }
    found
}

/// A database address with its passwords hidden.
pub fn mask_url(url: &str) -> String {
    let mut masked = url.to_owned();
    for range in url_passwords(url).into_iter().rev() {
        masked.replace_range(range, MASK);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, overrides: &[(&str, &str)]) -> Result<Config, String> {
        let overrides = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::read(text, "millrace.toml", &overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn every_secret_is_hidden_and_known_to_the_masker() {
        let config = read(
            "[database]\nurl = 'postgres://me:p%40ss@db/meta?sslmode=disable&password=in-query'\n\
             [traces]\nheaders = 'authorization=Bearer%20x, x-key=key-of-traces'\n[oidc]\nclient_secret = 'of-oidc'\n",
            &[],
        );
        let config = config.unwrap();
        let secrets: Vec<String> = config.secrets().collect();
        for secret in ["p%40ss", "p@ss", "in-query", "key-of-traces", "Bearer%20x", "of-oidc"] {
            assert!(secrets.iter().any(|known| known == secret), "{secret}: {secrets:?}");
        }
        let shown = config.entries().into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n");
        for secret in ["p%40ss", "in-query", "key-of-traces", "of-oidc"] {
            assert!(!shown.contains(secret), "{secret}: {shown}");
        }
        assert_eq!(mask_url(&config.database.url), "postgres://me:***@db/meta?sslmode=disable&password=***");
        assert_eq!(mask_url("sqlite:///a/b.db?mode=rwc"), "sqlite:///a/b.db?mode=rwc");
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

    #[test]
    fn the_reference_is_complete_and_readable() {
        let reference = Config::reference();
        let uncommented: String = reference
            .lines()
            .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(read(&uncommented, &[]).unwrap(), Config::default());
        let documented = reference.lines().filter(|line| line.starts_with("# ")).count();
        assert!(documented > Config::default().entries().len(), "every key has a sentence");
    }

    #[test]
    fn a_database_password_is_never_listed() {
        let secret = read("[oidc]\nclient_secret = \"hunter22\"", &[]).unwrap();
        assert!(secret.entries().contains(&("oidc.client_secret".to_owned(), "***".to_owned())));
        let config = read("[database]\nurl = \"postgres://u:p@/s%s@h:5432/db\"", &[]).unwrap();
        let entries = config.entries();
        assert!(entries.contains(&("database.url".to_owned(), "postgres://u:***@h:5432/db".to_owned())), "{entries:?}");
    }
}
