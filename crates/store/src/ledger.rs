//! The ledger of data movements. Written by commits, with the try that moved the data.

use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ledger::LedgerEntry;

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct LedgerRow {
    pub id: i64,
    pub instance: InstanceKey,
    pub try_number: u32,
    pub entry: LedgerEntry,
}

impl Store {
    /// Oldest first.
    pub async fn ledger(&self, instance: InstanceKey) -> Result<Vec<LedgerRow>> {
        todo!("{instance}")
    }

    /// Of every task of a run, oldest first.
    pub async fn ledger_of_run(&self, run: RunKey) -> Result<Vec<LedgerRow>> {
        todo!("{run}")
    }
}
