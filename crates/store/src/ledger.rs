//! The ledger of data movements. Written by commits, with the try that moved the data.

use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ledger::LedgerEntry;

use crate::sql::{Row, values};
use crate::{Result, Store, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct LedgerRow {
    pub id: i64,
    pub instance: InstanceKey,
    pub try_number: u32,
    pub entry: LedgerEntry,
}

fn read_entry(row: &Row) -> Result<LedgerRow> {
    Ok(LedgerRow {
        id: row.int("id")?,
        instance: row.int("instance_id")?,
        try_number: row.count("try_number")?,
        entry: LedgerEntry {
            stage: row.text("stage")?,
            source: row.text("source")?,
            target: row.text("target")?,
            rows_read: row.opt_large("rows_read")?,
            rows_written: row.opt_large("rows_written")?,
            rows_inserted: row.opt_large("rows_inserted")?,
            rows_updated: row.opt_large("rows_updated")?,
            rows_deleted: row.opt_large("rows_deleted")?,
            rows_rejected: row.opt_large("rows_rejected")?,
            bytes: row.opt_large("byte_count")?,
            checksum: row.opt_text("checksum")?,
            remote_ids: row.json("remote_ids")?,
            started_at: row.instant("started_at")?,
            ended_at: row.instant("ended_at")?,
        },
    })
}

impl Store {
    /// Oldest first.
    pub async fn ledger(&self, instance: InstanceKey) -> Result<Vec<LedgerRow>> {
        let sql = "SELECT * FROM load_ledger WHERE instance_id = $1 ORDER BY id";
        let rows = sql::all(self.reader(), "read the ledger", sql, values![instance]).await?;
        rows.iter().map(read_entry).collect()
    }

    /// Of every task of a run, oldest first.
    pub async fn ledger_of_run(&self, run: RunKey) -> Result<Vec<LedgerRow>> {
        let sql = "SELECT l.* FROM task_instance i JOIN load_ledger l ON l.instance_id = i.id \
                   WHERE i.run_id = $1 ORDER BY l.id";
        let rows = sql::all(self.reader(), "read a run's ledger", sql, values![run]).await?;
        rows.iter().map(read_entry).collect()
    }
}
