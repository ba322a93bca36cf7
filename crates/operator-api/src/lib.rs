//! What an operator is, and everything it may see of the world: the task context and the ports.
//!
//! Invariants:
//! - No tokio, no driver, no metadata database: an operator written against this crate runs against fakes as well.
//! - Ports are small traits with boxed futures and streams of bytes; connectors implement them.
//! - Every outside effect belongs to a [`context::WorkId`], so that a retry can recognise its own.

pub mod connection;
pub mod context;
pub mod entry;
pub mod error;
pub mod ports;

pub use context::{TaskContext, WorkId};
pub use entry::{Operator, OperatorEntry, Problems};
pub use error::{Outcome, PortError, PortErrorKind, TaskError};

pub use futures::future::BoxFuture;
pub use futures::stream::BoxStream;
