//! Tries: one row for each attempt.

use chrono::{DateTime, Utc};
use millrace_model::change::InstanceKey;
use millrace_model::state::TaskState;
use serde_json::Value;

use crate::sql::values;
use crate::{Result, Store, sql};

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
        let sql = "SELECT * FROM task_try WHERE instance_id = $1 ORDER BY try_number";
        let rows = sql::all(self.reader(), "read tries", sql, values![instance]).await?;
        rows.iter()
            .map(|row| {
                Ok(TryRow {
                    instance: row.int("instance_id")?,
                    try_number: row.count("try_number")?,
                    generation: row.count("generation")?,
                    state: row.word("state", TaskState::parse)?,
                    state_reason: row.opt_text("state_reason")?,
                    owner: row.text("owner")?,
                    queued_at: row.instant("queued_at")?,
                    start_date: row.opt_instant("start_date")?,
                    end_date: row.opt_instant("end_date")?,
                    error: row.opt_text("error")?,
                    rendered: row.opt_json("rendered")?,
                })
            })
            .collect()
    }

    /// Tells of a try while it runs what its end tells too. Nothing happens if the token is no longer the instance's.
    pub async fn put_rendered(&self, instance: InstanceKey, token: &str, rendered: &Value) -> Result<()> {
        let tx = self.begin("keep rendered parameters").await?;
        let sql = "UPDATE task_try SET rendered = $3 WHERE instance_id = $1 AND try_number = \
                   (SELECT i.try_number FROM task_instance i WHERE i.id = $1 AND i.lease_token = $2)";
        sql::run(&tx.inner, "keep rendered parameters", sql, values![instance, token, rendered.to_string()]).await?;
        tx.commit().await
    }
}
