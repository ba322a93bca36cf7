//! Puts the rooms together: ports for operators, look-ups for templates, what a worker needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use millrace_connectors::{Connectors, ConnectorsConfig, ProcessSettings, owner_mark};
use millrace_model::change::Assignment;
use millrace_operators::catalogue;
use millrace_store::{Store, StoreError};
use millrace_template::{ConnView, Lookup, PreviousSuccess};
use millrace_vault::{Vault, VaultError};
use millrace_worker::{Equipment, StoreResults, ask_while};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::app::App;

/// What tries of this process share. `owner` marks the processes that tasks start, so that a later daemon finds those
/// that this one left behind; `store` is where other tasks' results are read.
pub fn equipment(app: &App, vault: &Vault, store: Option<Store>, installation: String) -> Equipment {
    let grace = Duration::from_secs(app.config.worker.kill_grace);
    let processes = process_settings(app, grace, installation.clone());
    let config = ConnectorsConfig { scratch_root: app.home.scratch_folder(), processes };
    let ports = Arc::new(Connectors::new(Arc::new(vault.clone()), config));
    let (vault, runtime) = (vault.clone(), Handle::current());
    let lookup = move |assignment: &Assignment| -> Arc<dyn Lookup> {
        Arc::new(VaultLookup {
            vault: vault.clone(),
            results: store.clone().map(|store| StoreResults::new(store, assignment)),
            runtime: runtime.clone(),
            was_out_of_reach: AtomicBool::new(false),
        })
    };
    let mut equipment =
        Equipment::new(catalogue(), ports, app.clock(), app.masker.clone(), Arc::new(lookup), installation);
    // A process gets its grace first; then the operator has a moment to say how it ended.
    equipment.cancel_grace = grace + Duration::from_secs(10);
    equipment
}

fn process_settings(app: &App, grace: Duration, installation: String) -> ProcessSettings {
    ProcessSettings { grace, installation, owner: owner_mark(), home: app.home.root().to_owned() }
}

/// Connections outside of any task.
pub fn connectors(app: &App, vault: &Vault) -> Connectors {
    let processes = process_settings(app, Duration::ZERO, String::new());
    let config = ConnectorsConfig { scratch_root: app.home.scratch_folder(), processes };
    Connectors::new(Arc::new(vault.clone()), config)
}

pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What templates look up, each with the patience of a try. Used on threads that may block.
struct VaultLookup {
    vault: Vault,
    results: Option<StoreResults>,
    runtime: Handle,
    was_out_of_reach: AtomicBool,
}

impl VaultLookup {
    fn ask_vault<T, F>(&self, question: impl Fn() -> F) -> Result<T, String>
    where
        F: Future<Output = Result<T, VaultError>>,
    {
        self.settle(ask_while(VaultError::is_transient, question), VaultError::may_be_mended)
    }

    fn ask_results<T>(&self, answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, String> {
        self.settle(answer, StoreError::is_transient)
    }

    fn settle<T, E>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
        is_transient: impl Fn(&E) -> bool,
    ) -> Result<T, String>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        self.runtime.block_on(answer).map_err(|error| {
            self.was_out_of_reach.fetch_or(is_transient(&error), Ordering::Relaxed);
            crate::chain(&error.into())
        })
    }
}

impl Lookup for VaultLookup {
    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        let found = self.ask_vault(|| self.vault.variable(key))?;
        Ok(found.map(|variable| variable.value.expose_secret().to_owned()))
    }

    fn connection(&self, conn_id: &str) -> Result<Option<ConnView>, String> {
        let found = self.ask_vault(|| self.vault.connection(conn_id))?;
        Ok(found.map(|named| ConnView {
            conn_type: named.form.conn_type,
            host: named.form.host,
            login: named.form.login,
            password: named.form.password.map(|password| password.expose_secret().to_owned()),
            port: named.form.port,
            schema: named.form.schema,
            extra: named.form.extra,
        }))
    }

    fn xcom(&self, task_id: &str, key: &str) -> Result<Option<Value>, String> {
        let Some(results) = &self.results else { return Ok(None) };
        self.ask_results(results.read(task_id, key))
    }

    fn prior_xcom(&self, task_id: &str, key: &str) -> Result<Option<Value>, String> {
        let Some(results) = &self.results else { return Ok(None) };
        self.ask_results(results.read_prior(task_id, key))
    }

    fn previous_success(&self) -> Result<Option<PreviousSuccess>, String> {
        let Some(results) = &self.results else { return Ok(None) };
        let found = self.ask_results(results.previous_success())?;
        Ok(found.map(|run| PreviousSuccess {
            logical_date: run.logical_date,
            data_interval: run.data_interval,
            start_date: run.start_date,
            end_date: run.end_date,
        }))
    }

    fn xcom_at(&self, task_id: &str, key: &str, map_index: i32) -> Result<Option<Value>, String> {
        let Some(results) = &self.results else { return Ok(None) };
        self.ask_results(results.read_at(task_id, key, map_index))
    }

    fn was_out_of_reach(&self) -> bool {
        self.was_out_of_reach.load(Ordering::Relaxed)
    }
}
