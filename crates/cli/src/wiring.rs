//! Puts the rooms together: ports for operators, look-ups for templates, what a worker needs.

use std::sync::Arc;
use std::time::Duration;

use millrace_connectors::{Connectors, ConnectorsConfig, ProcessSettings, owner_mark};
use millrace_model::change::Assignment;
use millrace_operators::catalogue;
use millrace_store::Store;
use millrace_template::{ConnView, Lookup, PreviousSuccess};
use millrace_vault::Vault;
use millrace_worker::{Equipment, StoreResults};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::app::App;

/// What tries of this process share. `owner` marks the processes that tasks start, so that a later daemon finds those
/// that this one left behind; `store` is where other tasks' results are read.
pub fn equipment(app: &App, vault: &Vault, store: Option<Store>, installation: String) -> Equipment {
    let grace = Duration::from_secs(app.config.worker.kill_grace);
    let processes = ProcessSettings { grace, installation: installation.clone(), owner: owner_mark() };
    let config = ConnectorsConfig { scratch_root: app.home.scratch_folder(), processes };
    let ports = Arc::new(Connectors::new(Arc::new(vault.clone()), config));
    let (vault, runtime) = (vault.clone(), Handle::current());
    let lookup = move |assignment: &Assignment| -> Arc<dyn Lookup> {
        Arc::new(VaultLookup {
            vault: vault.clone(),
            results: store.clone().map(|store| StoreResults::new(store, assignment)),
            runtime: runtime.clone(),
        })
    };
    let mut equipment =
        Equipment::new(catalogue(), ports, app.clock(), app.masker.clone(), Arc::new(lookup), installation);
    // A process gets its grace first; then the operator has a moment to say how it ended.
    equipment.cancel_grace = grace + Duration::from_secs(10);
    equipment
}

/// Connections outside of any task.
pub fn connectors(app: &App, vault: &Vault) -> Connectors {
    let processes = ProcessSettings { grace: Duration::ZERO, installation: String::new(), owner: owner_mark() };
    let config = ConnectorsConfig { scratch_root: app.home.scratch_folder(), processes };
    Connectors::new(Arc::new(vault.clone()), config)
}

pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What templates look up. Used on threads that may block.
struct VaultLookup {
    vault: Vault,
    results: Option<StoreResults>,
    runtime: Handle,
}

impl Lookup for VaultLookup {
    fn variable(&self, key: &str) -> Result<Option<String>, String> {
        let found = self.runtime.block_on(self.vault.variable(key)).map_err(|e| e.to_string())?;
        Ok(found.map(|variable| variable.value.expose_secret().to_owned()))
    }

    fn connection(&self, conn_id: &str) -> Result<Option<ConnView>, String> {
        let found = self.runtime.block_on(self.vault.connection(conn_id)).map_err(|e| e.to_string())?;
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
        match &self.results {
            Some(results) => self.runtime.block_on(results.read(task_id, key)).map_err(|e| e.to_string()),
            None => Ok(None),
        }
    }

    fn prior_xcom(&self, task_id: &str, key: &str) -> Result<Option<Value>, String> {
        match &self.results {
            Some(results) => self.runtime.block_on(results.read_prior(task_id, key)).map_err(|e| e.to_string()),
            None => Ok(None),
        }
    }

    fn previous_success(&self) -> Result<Option<PreviousSuccess>, String> {
        let Some(results) = &self.results else { return Ok(None) };
        let found = self.runtime.block_on(results.previous_success()).map_err(|e| e.to_string())?;
        Ok(found.map(|run| PreviousSuccess {
            logical_date: run.logical_date,
            data_interval: run.data_interval,
            start_date: run.start_date,
            end_date: run.end_date,
        }))
    }

    fn xcom_at(&self, task_id: &str, key: &str, map_index: i32) -> Result<Option<Value>, String> {
        match &self.results {
            Some(results) => self.runtime.block_on(results.read_at(task_id, key, map_index)).map_err(|e| e.to_string()),
            None => Ok(None),
        }
    }
}
