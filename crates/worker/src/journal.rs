//! Remote statements and other tasks' results, through the store or in memory.

use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_model::change::{Assignment, InstanceKey, RunKey};
use millrace_model::dag::Dag;
use millrace_operator_api::context::{Clock, RemoteStatement, Results, StatementJournal};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_store::{RemoteStatement as StoredStatement, RemoteStatementState, RunRow, Store, StoreError};
use serde_json::Value;

use crate::patience::ask;

fn port_error(attempted: &str, error: &StoreError) -> PortError {
    let kind = if error.is_transient() { PortErrorKind::Unavailable } else { PortErrorKind::Other };
    PortError::new(kind, format!("could not {attempted}: {error}"))
}

/// Remembers in the metadata database.
pub struct StoreJournal {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub instance: InstanceKey,
    pub generation: u32,
}

impl StatementJournal for StoreJournal {
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<RemoteStatement>, PortError>> {
        async move {
            let stored = ask(|| self.store.unsettled_statements(self.instance, self.generation))
                .await
                .map_err(|e| port_error("read the remote statements of this task", &e))?;
            Ok(stored
                .into_iter()
                .map(|statement| RemoteStatement {
                    step: statement.details,
                    client_token: statement.client_token,
                    service: statement.conn_id,
                    remote_id: statement.remote_id,
                    is_settled: false,
                })
                .collect())
        }
        .boxed()
    }

    fn record(&self, statement: RemoteStatement) -> BoxFuture<'_, Result<(), PortError>> {
        async move {
            let state = match (statement.is_settled, &statement.remote_id) {
                (true, _) => RemoteStatementState::Succeeded,
                (false, Some(_)) => RemoteStatementState::Sent,
                (false, None) => RemoteStatementState::Intended,
            };
            let stored = StoredStatement {
                instance: self.instance,
                generation: self.generation,
                client_token: statement.client_token,
                conn_id: statement.service,
                remote_id: statement.remote_id,
                state,
                details: statement.step,
            };
            let now = self.clock.now();
            ask(|| self.store.record_remote_statement(&stored, now))
                .await
                .map_err(|e| port_error("record a remote statement", &e))
        }
        .boxed()
    }
}

/// Remembers for as long as the process lives: `tasks test` writes nothing.
#[derive(Default)]
pub struct MemoryJournal {
    statements: Mutex<Vec<RemoteStatement>>,
}

impl StatementJournal for MemoryJournal {
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<RemoteStatement>, PortError>> {
        let statements = self.statements.lock().map(|all| all.iter().filter(|s| !s.is_settled).cloned().collect());
        futures::future::ready(Ok(statements.unwrap_or_default())).boxed()
    }

    fn record(&self, statement: RemoteStatement) -> BoxFuture<'_, Result<(), PortError>> {
        if let Ok(mut all) = self.statements.lock() {
            all.retain(|known| known.client_token != statement.client_token);
            all.push(statement);
        }
        futures::future::ready(Ok(())).boxed()
    }
}

/// Other tasks' results, from the metadata database, as one try sees them.
#[derive(Clone)]
pub struct StoreResults {
    store: Store,
    run: RunKey,
    logical_date: DateTime<Utc>,
    dag: Arc<Dag>,
    task_index: usize,
    map_index: i32,
}

impl StoreResults {
    pub fn new(store: Store, assignment: &Assignment) -> Self {
        let Assignment { dag, task_index, map_index, run, .. } = assignment;
        let logical_date = run.logical_date;
        Self { store, run: run.run_key, logical_date, dag: dag.clone(), task_index: *task_index, map_index: *map_index }
    }

    /// A task's value; of a mapped task the list of all its instances' values in the order of their items. Within a mapped
    /// group an instance sees that of its own item only.
    pub async fn read(&self, task_id: &str, key: &str) -> Result<Option<Value>, StoreError> {
        let own = &self.dag.tasks[self.task_index];
        let Some(task) = self.dag.task(task_id).filter(|task| self.dag.expand_of(task).is_some()) else {
            return ask(|| self.store.xcom(self.run, task_id, -1, key)).await;
        };
        if self.dag.is_mapped_together(own, task) {
            return ask(|| self.store.xcom(self.run, task_id, self.map_index, key)).await;
        }
        let values = ask(|| self.store.xcoms_of_task(self.run, task_id, key)).await?;
        Ok(Some(values.into_values().collect()))
    }
}

impl StoreResults {
    /// The newest successful run of the DAG before this one.
    pub async fn previous_success(&self) -> Result<Option<RunRow>, StoreError> {
        ask(|| self.store.previous_success(&self.dag.dag_id, self.logical_date)).await
    }

    /// As [`StoreResults::read`], of the newest run with an earlier logical date in which the task left something there.
    pub async fn read_prior(&self, task_id: &str, key: &str) -> Result<Option<Value>, StoreError> {
        let before = (&self.dag.dag_id, self.logical_date);
        let run = ask(|| self.store.earlier_run_with_result(before, task_id, key)).await?;
        let Some(run) = run else { return Ok(None) };
        Self { run, ..self.clone() }.read(task_id, key).await
    }

    /// The value of one instance of a mapped task.
    pub async fn read_at(&self, task_id: &str, key: &str, map_index: i32) -> Result<Option<Value>, StoreError> {
        ask(|| self.store.xcom(self.run, task_id, map_index, key)).await
    }
}

impl Results for StoreResults {
    fn pull<'a>(&'a self, task_id: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>> {
        async move { self.read(task_id, key).await.map_err(|e| port_error("read another task's result", &e)) }.boxed()
    }
}

/// There is no run whose results could be read.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoResults;

impl Results for NoResults {
    fn pull<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>> {
        futures::future::ready(Ok(None)).boxed()
    }
}
