//! What every command needs: the home, the configuration, and, opened when first asked for, store, keys and vault.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use millrace_logs::LogFolder;
use millrace_model::maintenance::Maintenance;
use millrace_model::schedule::parse_zone;
use millrace_operator_api::context::Clock;
use millrace_settings::home::create_private_file;
use millrace_settings::{Config, Home, Keyring, Masker};
use millrace_situation::{Surroundings, said_by_leader};
use millrace_store::{Store, StoreError, StoreOptions, schema};
use millrace_vault::Vault;
use millrace_worker::SystemClock;
use serde_json::{Map, Value};

use crate::args::Global;
use crate::output::{Format, notice};

/// One for each use: reading, writing, and writing in turn. A command does one thing after the other, and each connection to
/// PostgreSQL is a process that begins by reading the catalogues.
const COMMAND_CONNECTIONS: u32 = 3;

pub struct App {
    pub home: Home,
    pub config: Config,
    pub format: Format,
    pub masker: Masker,
    pub environment: BTreeMap<String, String>,
    clock: Arc<dyn Clock>,
}

impl App {
    /// Reads the configuration; creates nothing.
    pub fn new(global: &Global, masker: Masker) -> anyhow::Result<Self> {
        // Names or values that are not UTF-8 can't be settings of ours.
        let environment: BTreeMap<String, String> =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        let home = Home::at(home_folder(global.home.as_deref(), &environment)?)?;
        let config = Config::load(&home, environment.clone())?;
        for secret in config.secrets() {
            masker.add(&secret);
        }
        Ok(Self { home, config, format: global.output, masker, environment, clock: Arc::new(SystemClock) })
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    pub fn database_url(&self) -> String {
        self.config.database_url(&self.home)
    }

    /// True when the metadata database is the home's SQLite file.
    pub fn is_sqlite(&self) -> bool {
        self.database_url().starts_with("sqlite:")
    }

    /// What the planner is told beside the database.
    pub fn surroundings(&self) -> anyhow::Result<Surroundings> {
        surroundings(&self.config, &self.config.core.default_timezone)
    }

    /// As [`App::surroundings`], of the scheduler that leads if one does.
    pub async fn surroundings_in_force(&self, store: &Store) -> anyhow::Result<Surroundings> {
        let own = self.surroundings()?;
        Ok(said_by_leader(store).await?.unwrap_or(own))
    }

    pub fn logs(&self) -> LogFolder {
        LogFolder::new(self.config.logs_folder(&self.home))
    }

    /// To write to: it is noted whose they are.
    pub fn logs_of(&self, installation: &str) -> LogFolder {
        let logs = self.logs();
        if let Err(error) = logs.claim(installation) {
            tracing::warn!(folder = %logs.root().display(), %error, "cannot write down whose logs these are");
        }
        logs
    }

    pub fn dags_folder(&self) -> PathBuf {
        self.config.dags_folder(&self.home)
    }

    fn store_options(&self, max_connections: u32) -> StoreOptions {
        StoreOptions { url: self.database_url(), max_connections, home: Some(self.home.root().to_owned()) }
    }

    /// Opens the metadata database for a command. A home without one gets one; a schema that needs migrating is left to
    /// `db migrate`.
    pub async fn store(&self) -> anyhow::Result<Store> {
        self.open_store(COMMAND_CONNECTIONS).await
    }

    /// As [`App::store`], for a process that does many things at once.
    pub async fn daemon_store(&self) -> anyhow::Result<Store> {
        self.open_store(self.config.database.max_connections).await
    }

    async fn open_store(&self, max_connections: u32) -> anyhow::Result<Store> {
        let options = self.store_options(max_connections);
        match Store::open(&options).await {
            Err(StoreError::NoDatabase { .. }) if self.is_sqlite() => {
                self.migrate(true).await?;
                // A command that looks for what is somewhere else must not leave anybody wondering where it went.
                notice(format!(
                    "there was nothing in {}: made a metadata database there (--home or MILLRACE_HOME names another home)",
                    self.home.root().display()
                ));
                Ok(Store::open(&options).await?)
            }
            other => Ok(other?),
        }
    }

    /// Opens the metadata database without writing to it; `None` when there is none.
    pub async fn store_read_only(&self) -> anyhow::Result<Option<Store>> {
        match Store::open_read_only(&self.store_options(COMMAND_CONNECTIONS)).await {
            Ok(store) => Ok(Some(store)),
            Err(StoreError::NoDatabase { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Brings the schema up to date; makes the home for SQLite.
    pub async fn migrate(&self, wait: bool) -> anyhow::Result<Vec<String>> {
        if self.is_sqlite() {
            self.home.create()?;
            // It holds password hashes and sealed secrets; SQLite gives its other files the mode of this one.
            create_private_file(&self.home.database_file(), b"")?;
        }
        Ok(schema::migrate(&self.database_url(), wait, self.now()).await?)
    }

    pub fn keyring(&self) -> anyhow::Result<Arc<Keyring>> {
        Ok(Arc::new(Keyring::open_or_create(&self.home)?))
    }

    /// Connections and variables, for reading and writing.
    pub fn vault(&self, store: &Store) -> anyhow::Result<Vault> {
        Ok(Vault::new(Some(store.clone()), Some(self.keyring()?), self.masker.clone(), self.environment.clone()))
    }

    /// Connections and variables without writing anything: not even a key is made.
    pub fn vault_read_only(&self, store: Option<Store>) -> anyhow::Result<Vault> {
        let keyring = Keyring::open(&self.home)?.map(Arc::new);
        Ok(Vault::new(store, keyring, self.masker.clone(), self.environment.clone()))
    }

    /// From now on every secret of connections and variables is masked. Without the key there is nothing to know.
    pub async fn learn_secrets(&self, store: &Store) -> anyhow::Result<()> {
        match self.vault_read_only(Some(store.clone())) {
            Ok(vault) => Ok(vault.tell_masker().await?),
            Err(_) => Ok(()),
        }
    }

    /// The conf of a run as it may be shown, here as on every other face.
    pub fn masked_members(&self, members: &Map<String, Value>) -> Value {
        let members = members.clone();
        self.masker.beside(&[&members]).mask_value(&Value::Object(members))
    }

    /// Says so when nothing will happen because no scheduler runs. Returns whether one does.
    pub async fn check_scheduler(&self, store: &Store) -> anyhow::Result<bool> {
        let is_led = store.is_led().await?;
        if !is_led {
            notice("no scheduler is running: start `millrace scheduler` or `millrace standalone`");
        }
        Ok(is_led)
    }
}

fn home_folder(given: Option<&Path>, environment: &BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    if let Some(home) = environment.get("MILLRACE_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    match environment.get("HOME").filter(|home| !home.is_empty()) {
        Some(home) => Ok(Path::new(home).join("millrace")),
        None => bail!("there is no home folder: give --home FOLDER or set MILLRACE_HOME"),
    }
}

/// Reads a value given on the command line; `-` means standard input.
pub fn argument_or_stdin(text: &str) -> anyhow::Result<String> {
    if text == "-" {
        std::io::read_to_string(std::io::stdin()).context("could not read standard input")
    } else {
        Ok(text.to_owned())
    }
}

/// Of a configuration; `zone` is that of windows that name none.
pub fn surroundings(config: &Config, zone: &str) -> anyhow::Result<Surroundings> {
    let core = &config.core;
    let zone = parse_zone(zone).context("core.default_timezone")?;
    let maintenance = Maintenance::parse(&core.maintenance, &core.maintenance_except_tags, zone);
    let maintenance = Arc::new(maintenance.context("core.maintenance")?);
    Ok(Surroundings { parallelism: core.parallelism, maintenance })
}
