//! The handle.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::broadcast;

use crate::{Change, Result};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `sqlite:///abs/path/millrace.db` or `postgres://user:password@host:5432/database`.
    pub url: String,
    /// Connections for reading on SQLite, all on PostgreSQL.
    pub max_connections: u32,
    /// Where lock and wake files lie; needed on SQLite to lead.
    pub home: Option<PathBuf>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) changes: broadcast::Sender<Change>,
}

impl Store {
    /// Opens an existing database whose schema is exactly this program's. Errors: `NoDatabase`, `SchemaPending`,
    /// `SchemaTooNew`.
    pub async fn open(options: &StoreOptions) -> Result<Self> {
        todo!("{}", options.max_connections)
    }

    /// Writes nothing, whatever is asked of it.
    pub async fn open_read_only(options: &StoreOptions) -> Result<Self> {
        todo!("{}", options.max_connections)
    }

    pub fn backend(&self) -> Backend {
        todo!()
    }

    /// Made once, when the schema was: tells one installation's objects from another's.
    pub async fn installation_id(&self) -> Result<String> {
        todo!()
    }

    /// Every committed change of this process from now on. A receiver that is too slow loses the oldest.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// Waits for what is being written, and closes every connection.
    pub async fn close(&self) {
        todo!()
    }
}
