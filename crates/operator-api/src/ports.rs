//! The ports: what operators can ask of the outside world.

mod object_store;
mod process;
mod row_hashing;
mod scratch;
mod source;
mod spelling;
mod value_type;
mod warehouse;

pub use object_store::*;
pub use process::*;
pub use row_hashing::*;
pub use scratch::*;
pub use source::*;
pub use spelling::*;
pub use value_type::*;
pub use warehouse::*;

use std::sync::Arc;

use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::context::TaskContext;
use crate::error::{PortError, PortErrorKind};

/// Opens connections by id. A connection id that does not exist, or is of a type without that port, is an error that
/// names both. What is opened belongs to the task: it is cancelled with it, and statements sent to remote services go
/// through the task's journal.
pub trait Ports: Send + Sync {
    fn source<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn SqlSource>, PortError>>;
    /// A connection to look at rows that are there already. Where rows are not read from by tasks (Redshift) answers arrive
    /// whole, so that only small questions can be asked.
    fn reader<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn SqlSource>, PortError>> {
        self.source(context, conn_id)
    }
    fn objects<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn ObjectStore>, PortError>>;
    fn warehouse<'a>(
        &'a self,
        context: &'a TaskContext,
        conn_id: &'a str,
    ) -> BoxFuture<'a, Result<Arc<dyn Warehouse>, PortError>>;
    /// The password of a connection of any type, for a task that needs a key. `Invalid` when it has none.
    fn secret<'a>(&'a self, _: &'a TaskContext, conn_id: &'a str) -> BoxFuture<'a, Result<SecretString, PortError>> {
        let message = format!("connection {conn_id:?} can't be looked up for a key here");
        Box::pin(std::future::ready(Err(PortError::new(PortErrorKind::Invalid, message))))
    }
    fn processes(&self) -> Arc<dyn Processes>;
    fn scratch(&self) -> Arc<dyn Scratch>;
}
