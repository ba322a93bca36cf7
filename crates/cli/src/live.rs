//! The configuration of a daemon that runs: SIGHUP, or `millrace config reload`, reads it again. What can change at once
//! does; what cannot is named. A file with a mistake changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::maintenance::Maintenance;
use millrace_model::span::SPANS;
use millrace_scheduler::Tuning;
use millrace_server::{Tls, TlsError, TlsFiles};
use millrace_settings::{Config, Home};
use millrace_situation::{InForce, Surroundings};
use millrace_store::{CleanRequest, Store};
use millrace_worker::LocalExecutor;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::app::{App, surroundings};
use crate::commands::db::clean::{FolderArchive, clean};

/// What takes effect without a restart. Everything else needs one.
pub const APPLIED_AT_ONCE: &[&str] = &[
    "core.dag_dir_list_interval",
    "core.maintenance",
    "core.maintenance_except_tags",
    "core.parallelism",
    "database.retention_archive",
    "database.retention_days",
    "logs.level",
    "scheduler.drain_timeout",
    "scheduler.slow_tick",
];

/// What became of reading the configuration again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    pub at: DateTime<Utc>,
    /// Changed, and in force.
    pub applied: Vec<String>,
    /// Changed, and in force after a restart.
    pub needs_restart: Vec<String>,
    /// The configuration has a mistake; nothing was changed.
    pub error: Option<String>,
}

/// Where a daemon leaves its report for whoever asked.
pub fn report_key(hostname: &str, pid: u32) -> String {
    format!("config_reload/{hostname}/{pid}")
}

/// The handle with which the log's filter is changed.
pub type LogFilter = reload::Handle<EnvFilter, Registry>;

/// What the daemon itself prints, by `logs.level`.
pub fn log_filter(config: &Config) -> EnvFilter {
    // Spans go elsewhere, and nowhere unless they are wanted.
    let spans = if config.traces.endpoint.is_empty() { "off" } else { "trace" };
    // What the S3 stand-in answers to a wrong request is for whoever asked.
    let quiet = "sqlx=warn,sea_orm=warn,hyper=warn,aws=warn,s3s=off";
    EnvFilter::try_new(format!("{},{quiet},{SPANS}={spans}", config.logs.level))
        .unwrap_or_else(|_| EnvFilter::new("info"))
}

/// The lengths of time of the scheduler.
pub fn tuning(config: &Config) -> Tuning {
    Tuning {
        rescan_interval: Duration::from_secs(config.core.dag_dir_list_interval.max(1)),
        slow_tick: Duration::from_secs(config.scheduler.slow_tick.max(1)),
        drain_timeout: Duration::from_secs(config.scheduler.drain_timeout),
    }
}

/// The configuration in force, and those who follow it.
pub struct Live {
    home: Home,
    environment: BTreeMap<String, String>,
    hostname: String,
    /// What the daemon was started with: what needs a restart is compared with it.
    started: Arc<Config>,
    pub config: watch::Sender<Arc<Config>>,
    /// What is in force, key by key, as people are shown it.
    pub configuration: watch::Sender<Vec<(String, String)>>,
    /// Of the web server, wherever it was said.
    port: OnceLock<u16>,
    pub tuning: watch::Sender<Tuning>,
    /// What those who explain are told, and of it the maintenance windows for the scheduler.
    pub surroundings: watch::Sender<Surroundings>,
    pub maintenance: watch::Sender<Arc<Maintenance>>,
    /// Of a web server that speaks HTTPS.
    tls: Option<watch::Sender<Tls>>,
    log: Option<LogFilter>,
}

impl Live {
    pub fn new(app: &App, log: Option<LogFilter>) -> anyhow::Result<Self> {
        let config = Arc::new(app.config.clone());
        let surroundings = app.surroundings()?;
        Ok(Self {
            home: app.home.clone(),
            environment: app.environment.clone(),
            hostname: crate::wiring::hostname(),
            tuning: watch::Sender::new(tuning(&config)),
            configuration: watch::Sender::new(config.entries()),
            port: OnceLock::new(),
            config: watch::Sender::new(config.clone()),
            maintenance: watch::Sender::new(surroundings.maintenance.clone()),
            surroundings: watch::Sender::new(surroundings),
            started: config,
            tls: None,
            log,
        })
    }

    /// For a process with a web server: reads its certificate, if it is to have one.
    pub fn read_certificate(&mut self) -> anyhow::Result<()> {
        let files = tls_files(&self.started, &self.home)?;
        self.tls = files.map(|files| files.load()).transpose()?.map(watch::Sender::new);
        Ok(())
    }

    pub fn tls(&self) -> Option<watch::Receiver<Tls>> {
        self.tls.as_ref().map(watch::Sender::subscribe)
    }

    /// A command may name another port than the configuration.
    pub fn listens_on(&self, port: u16) {
        let _ = self.port.set(port);
        self.show_what_is_in_force();
    }

    fn show_what_is_in_force(&self) {
        let (started, now) = (self.started.entries(), self.config.borrow().entries());
        let mut shown: Vec<_> = started
            .into_iter()
            .zip(now)
            .map(|(started, now)| if APPLIED_AT_ONCE.contains(&now.0.as_str()) { now } else { started })
            .collect();
        if let (Some(port), Some(entry)) = (self.port.get(), shown.iter_mut().find(|(key, _)| key == "server.port")) {
            entry.1 = port.to_string();
        }
        self.configuration.send_replace(shown);
    }

    /// Answers each SIGHUP, until it is dropped.
    pub async fn follow(
        &self,
        mut hangups: Signal,
        store: &Store,
        executor: Option<&LocalExecutor>,
        now: impl Fn() -> DateTime<Utc>,
    ) {
        if executor.is_some() {
            self.say_what_is_in_force(store, now()).await;
        }
        while hangups.recv().await.is_some() {
            let report = self.reload(executor, now());
            if executor.is_some() {
                self.say_what_is_in_force(store, now()).await;
            }
            match &report.error {
                Some(error) => tracing::error!(error, "the configuration has a mistake; nothing was changed"),
                None => tracing::info!(
                    applied = report.applied.join(", "),
                    needs_restart = report.needs_restart.join(", "),
                    "read the configuration again"
                ),
            }
            // More slots, or no window any more: whoever waits for that must hear of it.
            store.wake().await;
            let key = report_key(&self.hostname, std::process::id());
            let text = serde_json::to_string(&report).unwrap_or_default();
            if let Err(error) = store.put_setting(&key, &text).await {
                tracing::warn!(%error, "the answer to the reload could not be stored");
            }
        }
    }

    /// For commands and web servers that explain what the scheduler does: it depends on nothing that is said here.
    async fn say_what_is_in_force(&self, store: &Store, now: DateTime<Utc>) {
        let core = self.config.borrow().core.clone();
        let said = InForce {
            parallelism: core.parallelism,
            maintenance: core.maintenance,
            maintenance_except_tags: core.maintenance_except_tags,
            zone: self.started.core.default_timezone.clone(),
        };
        if let Err(error) = said.say(store, &self.hostname, std::process::id(), now).await {
            tracing::warn!(%error, "what is in force could not be said; others explain by their own configuration");
        }
    }

    /// Takes back what was said, as the scheduler ends.
    pub async fn unsay(&self, store: &Store) {
        if let Err(error) = InForce::unsay(store, &self.hostname, std::process::id()).await {
            tracing::warn!(%error, "what was in force could not be taken back");
        }
    }

    fn reload(&self, executor: Option<&LocalExecutor>, now: DateTime<Utc>) -> ReloadReport {
        let mut report = ReloadReport { at: now, applied: Vec::new(), needs_restart: Vec::new(), error: None };
        let new = match Config::load(&self.home, self.environment.clone()) {
            Ok(new) => Arc::new(new),
            Err(error) => {
                report.error = Some(error.to_string());
                return report;
            }
        };
        // The zone of windows that name none changes with a restart, as that of the DAGs does.
        let surroundings = match surroundings(&new, &self.started.core.default_timezone) {
            Ok(surroundings) => surroundings,
            Err(error) => {
                report.error = Some(format!("{error:#}"));
                return report;
            }
        };
        let before = self.config.borrow().clone();
        // The files may hold another certificate; other files take a restart.
        let tls = match self.tls.as_ref().map(|_| tls_files(&self.started, &self.home)).transpose() {
            Ok(files) => files.flatten().map(|files| files.load()).transpose().map_err(anyhow::Error::from),
            Err(error) => Err(error),
        };
        let tls = match tls {
            Ok(tls) => tls,
            Err(error) => {
                report.error = Some(crate::chain(&error));
                return report;
            }
        };
        report.applied = changed(&before, &new, true);
        if let (Some(tls), Some(sender)) = (tls, &self.tls)
            && sender.send_if_modified(|current| std::mem::replace(current, tls.clone()) != tls)
        {
            report.applied.push("server.tls_certificate".to_owned());
        }
        report.needs_restart = changed(&self.started, &new, false);
        if let Some(log) = self.log.as_ref().filter(|_| before.logs.level != new.logs.level) {
            // The subscriber lives as long as the process.
            let _ = log.reload(log_filter(&new));
        }
        if let Some(executor) = executor {
            executor.set_slots(new.core.parallelism);
        }
        self.tuning.send_replace(tuning(&new));
        self.maintenance.send_replace(surroundings.maintenance.clone());
        self.surroundings.send_replace(surroundings);
        self.config.send_replace(new);
        self.show_what_is_in_force();
        report
    }
}

/// Both, or an error that says which one is missing.
fn tls_files(config: &Config, home: &Home) -> anyhow::Result<Option<TlsFiles>> {
    let missing = match (config.server.tls_certificate.as_str(), config.server.tls_key.as_str()) {
        ("", "") => return Ok(None),
        (_, "") => Some(("server.tls_certificate", "server.tls_key")),
        ("", _) => Some(("server.tls_key", "server.tls_certificate")),
        _ => None,
    };
    if let Some((given, missing)) = missing {
        return Err(TlsError::Half { given, missing }.into());
    }
    Ok(config.tls_files(home).map(|(certificate, key)| TlsFiles { certificate, key }))
}

/// The keys that differ, of those that apply at once or of the others.
fn changed(before: &Config, after: &Config, at_once: bool) -> Vec<String> {
    let (old, new) = (before.entries(), after.entries());
    let differ = old.iter().zip(&new).filter(|(old, new)| {
        // Shown masked: another password is another address.
        old != new
            || (old.0 == "database.url" && before.database.url != after.database.url)
            || (old.0 == "traces.endpoint" && before.traces.endpoint != after.traces.endpoint)
            || (old.0 == "traces.headers" && before.traces.headers != after.traces.headers)
            || (old.0 == "oidc.client_secret" && before.oidc.client_secret != after.oidc.client_secret)
    });
    let keys = differ.map(|(old, _)| old.0.clone());
    keys.filter(|key| APPLIED_AT_ONCE.contains(&key.as_str()) == at_once).collect()
}

/// How often it looks whether it is time.
const LOOK: Duration = Duration::from_hours(1);
/// Names the daily cleaning among the turns that processes take.
const TURN: &str = "cleaned_at";

/// Deletes once a day what is older than `database.retention_days`, for as long as the daemon runs.
pub async fn retain(app: &App, mut config: watch::Receiver<Arc<Config>>, store: &Store) {
    loop {
        let wanted = config.borrow_and_update().database.clone();
        if let Some(days) = i64::try_from(wanted.retention_days).ok().filter(|days| *days > 0)
            && let Err(error) = retain_once(app, store, days, wanted.retention_archive).await
        {
            tracing::warn!(error = crate::chain(&error), "old runs could not be deleted");
        }
        tokio::select! {
            Ok(()) = config.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn retain_once(app: &App, store: &Store, days: i64, archives: bool) -> anyhow::Result<()> {
    let now = app.now();
    let Some(before) = TimeDelta::try_days(days).and_then(|kept| now.checked_sub_signed(kept)) else { return Ok(()) };
    if !store.take_turn(TURN, now, TimeDelta::days(1)).await? {
        return Ok(());
    }
    let request =
        CleanRequest { before, tables: Vec::new(), dag_ids: Vec::new(), batch: 50, actor: "retention".to_owned() };
    let mut archive = archives.then(|| FolderArchive::new(&app.home.archive_folder(), now));
    let report = clean(store, &request, archive.as_mut(), Some(&app.logs()), now).await?;
    tracing::info!(runs = report.runs.len(), rows = report.total(), days, "deleted what is older than retention_days");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_applies_at_once_exists() {
        let entries = Config::default().entries();
        for key in APPLIED_AT_ONCE {
            assert!(entries.iter().any(|(known, _)| known == key), "{key}");
        }
    }

    #[test]
    fn another_password_is_another_address() {
        let with = |password: &str| {
            let mut config = Config::default();
            config.database.url = format!("postgres://me:{password}@db/x");
            config.core.parallelism = password.len();
            config
        };
        let (old, new) = (with("one"), with("three"));
        assert_eq!(changed(&old, &new, false), ["database.url"]);
        assert_eq!(changed(&old, &new, true), ["core.parallelism"]);
    }
}
