//! What must hold, as people are told of it.

use chrono::{DateTime, Utc};

/// One thing that must hold before a task runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    pub ok: bool,
    /// A sentence with the numbers it was decided on.
    pub text: String,
    /// Unmet, but by then it will be met if nothing happens: all it waits for is the clock.
    pub until: Option<DateTime<Utc>>,
}

impl Condition {
    pub(crate) fn new(ok: bool, text: impl Into<String>) -> Self {
        Self { ok, text: text.into(), until: None }
    }

    /// Met from this moment on.
    pub(crate) fn at(at: DateTime<Utc>, ok: bool, text: impl Into<String>) -> Self {
        Self { until: (!ok).then_some(at), ..Self::new(ok, text) }
    }
}
