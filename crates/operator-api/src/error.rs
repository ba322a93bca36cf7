//! How a task ends, and what can go wrong at a port.

use chrono::{DateTime, Utc};
use millrace_model::choice::Choice;
use serde_json::Value;

/// A task that ended well.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The task's result (`return_value`); `None` stores nothing.
    pub result: Option<Value>,
    /// What it decided about the tasks after it.
    pub choice: Option<Choice>,
}

impl Outcome {
    pub fn with(result: Value) -> Self {
        Self { result: Some(result), choice: None }
    }
}

/// A task that did not end well. The operator says itself what should happen next.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Trying again may help: retried while tries are left.
    #[error("{0}")]
    Retry(String),
    /// Trying again can't help: failed at once.
    #[error("{0}")]
    Fail(String),
    /// Nothing to do: the task is skipped.
    #[error("{0}")]
    Skip(String),
    /// The stop was asked for from outside.
    #[error("cancelled: {0}")]
    Cancelled(String),
    /// What it waits for is not there yet: the slot is given back, and the same try looks again at `until`.
    #[error("{reason}")]
    NotYet { until: DateTime<Utc>, reason: String },
}

/// What kind of failure a port saw: decides whether a retry may help, and lets an operator tell "missing" from "broken".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortErrorKind {
    /// A connection id, object, table or file does not exist.
    NotFound,
    /// An object or table is already there and belongs to something else.
    AlreadyExists,
    /// Name, password, role or permission was refused.
    Denied,
    /// The request itself is wrong: bad SQL, bad option, wrong type of connection.
    Invalid,
    /// Data does not fit: a type, a length, a constraint.
    Data,
    /// The other side is away, slow, throttling, or aborted the work (a serialization failure, say): a retry may help.
    Unavailable,
    /// The task was cancelled.
    Cancelled,
    Other,
}

/// A failure at a port: what was attempted on what, and the whole chain of causes as text. Never holds a secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct PortError {
    pub kind: PortErrorKind,
    pub message: String,
    /// SQLSTATE, S3 error code, HTTP status: what the other side calls it.
    pub code: Option<String>,
}

impl PortError {
    pub fn new(kind: PortErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), code: None }
    }

    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }
}

/// The code of an error that says that nobody has made the connection.
pub const NO_CONNECTION: &str = "NoSuchConnection";
/// What S3 calls a bucket that is not there.
const NO_BUCKET: &str = "NoSuchBucket";

impl From<PortError> for TaskError {
    fn from(error: PortError) -> Self {
        match error.kind {
            // Left to itself neither comes into being: each retry would only delay the news.
            PortErrorKind::NotFound if matches!(error.code.as_deref(), Some(NO_CONNECTION | NO_BUCKET)) => {
                Self::Fail(error.message)
            }
            PortErrorKind::Cancelled => Self::Cancelled(error.message),
            PortErrorKind::Invalid | PortErrorKind::AlreadyExists => Self::Fail(error.message),
            // A missing table or a refused password is often mended between two tries, so these are retried too.
            PortErrorKind::NotFound
            | PortErrorKind::Denied
            | PortErrorKind::Data
            | PortErrorKind::Unavailable
            | PortErrorKind::Other => Self::Retry(error.message),
        }
    }
}
