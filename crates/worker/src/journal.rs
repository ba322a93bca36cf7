//! Remote statements and other tasks' results, through the store or in memory.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_model::change::{InstanceKey, RunKey};
use millrace_operator_api::context::{Clock, RemoteStatement, Results, StatementJournal};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_store::{RemoteStatement as StoredStatement, RemoteStatementState, Store, StoreError};
use serde_json::Value;

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
            let stored = self
                .store
                .unsettled_statements(self.instance, self.generation)
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
            self.store
                .record_remote_statement(&stored, self.clock.now())
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

/// Other tasks' results, from the metadata database.
pub struct StoreResults {
    pub store: Store,
    pub run: RunKey,
}

impl Results for StoreResults {
    fn pull<'a>(&'a self, task_id: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>> {
        async move {
            self.store.xcom(self.run, task_id, -1, key).await.map_err(|e| port_error("read another task's result", &e))
        }
        .boxed()
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
