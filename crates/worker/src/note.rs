//! What a recorded try tells of itself before it ends.

use millrace_model::change::{Assignment, InstanceKey};
use millrace_model::ledger::Checkpoint;
use millrace_store::{Store, StoreError};
use serde_json::Value;

#[derive(Debug, Clone)]
pub enum Note {
    Checkpoint(Checkpoint),
    /// Its parameters as they were rendered, masked.
    Rendered(Value),
    /// Its log begins to lack lines, for this reason.
    LosesLines(String),
}

/// Names the logs among what a process has trouble with.
pub(crate) const LOGS: &str = "logs";

/// Where the notes of one try are kept.
#[derive(Clone)]
pub struct Notebook {
    store: Store,
    instance: InstanceKey,
    try_number: u32,
    token: String,
}

impl Notebook {
    pub fn of(store: Store, assignment: &Assignment) -> Self {
        let Assignment { instance, try_number, token, .. } = assignment;
        Self { store, instance: *instance, try_number: *try_number, token: token.clone() }
    }

    pub async fn write(&self, note: &Note) -> Result<(), StoreError> {
        match note {
            Note::Checkpoint(checkpoint) => {
                self.store.record_checkpoint(self.instance, self.try_number, checkpoint).await
            }
            Note::Rendered(parameters) => self.store.put_rendered(self.instance, &self.token, parameters).await,
            Note::LosesLines(reason) => {
                // Once, until a log was written whole again: a full disk is everybody's.
                if self.store.set_trouble(LOGS, Some(reason.clone())) {
                    tracing::warn!(reason, "lines of the logs of tries cannot be written, and are lost");
                }
                Ok(())
            }
        }
    }

    /// Lets the try go on when the database does not take it.
    pub async fn try_write(&self, note: &Note) {
        if let Err(error) = self.write(note).await {
            let (instance, try_number) = (self.instance, self.try_number);
            tracing::warn!(instance, try_number, %error, "what a try told of itself could not be stored");
        }
    }
}
