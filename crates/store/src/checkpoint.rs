//! Named steps that a try reports while it works.

use chrono::{DateTime, Utc};
use millrace_model::change::InstanceKey;
use millrace_model::ledger::Checkpoint;

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRow {
    pub id: i64,
    pub instance: InstanceKey,
    pub try_number: u32,
    pub checkpoint: Checkpoint,
}

impl Store {
    pub async fn record_checkpoint(
        &self,
        instance: InstanceKey,
        try_number: u32,
        checkpoint: &Checkpoint,
        now: DateTime<Utc>,
    ) -> Result<()> {
        todo!("{instance} {try_number} {checkpoint:?} {now}")
    }

    /// Oldest first; of all tries, or of one.
    pub async fn checkpoints(&self, instance: InstanceKey, try_number: Option<u32>) -> Result<Vec<CheckpointRow>> {
        todo!("{instance} {try_number:?}")
    }
}
