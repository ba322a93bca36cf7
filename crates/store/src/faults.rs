//! A database that fails when it is told to, for those who prove what follows from that.
//!
//! Nothing fails unless a caller wraps its own work in [`with_faults`]; other tasks of the process notice nothing.

use std::future::Future;
use std::sync::Arc;

use crate::{Result, StoreError};

/// Where a call can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultPoint {
    /// Before a transaction, or a snapshot for several reads, is opened.
    Begin,
    /// Before a statement that reads or writes.
    Statement,
    /// Before a commit: nothing of the transaction stands.
    BeforeCommit,
    /// After a commit, whose answer is lost: all of the transaction stands, and nobody is told.
    AfterCommit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is cut.
    Outage,
    /// The database refuses what was asked.
    Refusal,
}

/// Decides for each call; `attempted` is what the call is for, as it stands in the error. A point and what is attempted
/// there name a place in the store's code.
pub trait Faults: Send + Sync {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault>;
}

tokio::task_local! {
    static FAULTS: Arc<dyn Faults>;
}

/// Does `work`, whose calls to any store fail as `faults` says.
pub async fn with_faults<F: Future>(faults: Arc<dyn Faults>, work: F) -> F::Output {
    FAULTS.scope(faults, work).await
}

pub(crate) fn strike(point: FaultPoint, attempted: &'static str) -> Result<()> {
    let fault = FAULTS.try_with(|faults| faults.strike(point, attempted)).ok().flatten();
    let source = match fault {
        None => return Ok(()),
        Some(Fault::Outage) => sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(
            sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()).into(),
        )),
        Some(Fault::Refusal) => sea_orm::DbErr::Custom("refused on purpose".to_owned()),
    };
    Err(StoreError::Database { attempted, source })
}
