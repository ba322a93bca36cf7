//! What the scheduler leaves alone because the database refuses what it writes of it, for those who explain.

use millrace_model::change::RunKey;
use millrace_model::ids::DagId;
use serde::{Deserialize, Serialize};

use crate::sql::values;
use crate::{Result, Store, StoreError, sql};

const KEY: &str = "set_aside";

/// A DAG whose runs cannot be created, or a run that cannot be moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dag_id: Option<DagId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunKey>,
    /// The database's words.
    pub reason: String,
}

impl Store {
    /// As the scheduler that leads noted it last.
    pub async fn set_aside(&self) -> Result<Vec<SetAside>> {
        let attempted = "read what was set aside";
        let row = sql::one(self.reader(), attempted, "SELECT value FROM setting WHERE key = $1", values![KEY]).await?;
        row.map_or_else(|| Ok(Vec::new()), |row| row.json("value"))
    }

    pub async fn note_set_aside(&self, all: &[SetAside]) -> Result<()> {
        if all.is_empty() {
            return self.take_setting(KEY).await.map(|_| ());
        }
        let text = serde_json::to_string(all)
            .map_err(|error| StoreError::Refused { attempted: "note what was set aside", reason: error.to_string() })?;
        self.put_setting(KEY, &text).await
    }
}
