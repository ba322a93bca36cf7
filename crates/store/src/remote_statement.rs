//! Work handed to an outside engine. The intent is recorded before it is sent, so that a retry attaches to it instead of
//! sending it again.

use chrono::{DateTime, Utc};
use millrace_model::change::InstanceKey;

use crate::{Result, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteStatementState {
    /// About to be sent; it may or may not have arrived.
    Intended,
    /// The engine has it, under `remote_id`.
    Sent,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatement {
    pub instance: InstanceKey,
    pub generation: u32,
    /// Names the piece of work; the same on every try of the generation. Unique with the two above.
    pub client_token: String,
    /// The connection it went to.
    pub conn_id: String,
    /// The engine's own id, once it has one.
    pub remote_id: Option<String>,
    pub state: RemoteStatementState,
    /// What the operator needs to attach again; its own business.
    pub details: String,
}

impl Store {
    /// Writes it, or moves what is recorded under the same token on to this state and id.
    pub async fn record_remote_statement(&self, statement: &RemoteStatement, now: DateTime<Utc>) -> Result<()> {
        todo!("{statement:?} {now}")
    }

    /// Those of one generation whose end is not recorded, oldest first.
    pub async fn unsettled_statements(&self, instance: InstanceKey, generation: u32) -> Result<Vec<RemoteStatement>> {
        todo!("{instance} {generation}")
    }

    /// Every one of an instance and generation.
    pub async fn remote_statements(&self, instance: InstanceKey, generation: u32) -> Result<Vec<RemoteStatement>> {
        todo!("{instance} {generation}")
    }
}
