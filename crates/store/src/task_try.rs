//! Tries: one row for each attempt.

use chrono::{DateTime, Utc};
use millrace_model::change::InstanceKey;
use millrace_model::state::TaskState;
use serde_json::Value;

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct TryRow {
    pub instance: InstanceKey,
    pub try_number: u32,
    /// Of the instance when the try began.
    pub generation: u32,
    /// `running`, or what it ended as.
    pub state: TaskState,
    pub state_reason: Option<String>,
    pub owner: String,
    pub queued_at: DateTime<Utc>,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
    /// The whole text, secrets masked.
    pub error: Option<String>,
    /// Rendered parameters, secrets masked.
    pub rendered: Option<Value>,
}

impl Store {
    /// Oldest first.
    pub async fn tries(&self, instance: InstanceKey) -> Result<Vec<TryRow>> {
        todo!("{instance}")
    }

    /// While the try runs, so that a page can show them. Nothing happens if the token is no longer the instance's.
    pub async fn put_rendered(
        &self,
        instance: InstanceKey,
        token: &str,
        rendered: &Value,
        now: DateTime<Utc>,
    ) -> Result<()> {
        todo!("{instance} {token} {rendered} {now}")
    }
}
