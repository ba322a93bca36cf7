//! Named steps that a try reports while it works.

use millrace_model::change::InstanceKey;
use millrace_model::ledger::Checkpoint;

use crate::sql::{micros, values};
use crate::{Result, Store, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointRow {
    pub id: i64,
    pub instance: InstanceKey,
    pub try_number: u32,
    pub checkpoint: Checkpoint,
}

fn stored(count: Option<u64>) -> Option<i64> {
    count.map(|count| i64::try_from(count).unwrap_or(i64::MAX))
}

impl Store {
    pub async fn record_checkpoint(
        &self,
        instance: InstanceKey,
        try_number: u32,
        checkpoint: &Checkpoint,
    ) -> Result<()> {
        let tx = self.begin("record a checkpoint").await?;
        let sql = "INSERT INTO task_checkpoint (instance_id, try_number, name, message, row_count, byte_count, \
                   total_rows, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = values![
            instance,
            i64::from(try_number),
            checkpoint.name.replace('\0', "\u{fffd}"),
            checkpoint.message.replace('\0', "\u{fffd}"),
            stored(checkpoint.rows),
            stored(checkpoint.bytes),
            stored(checkpoint.total_rows),
            micros(checkpoint.at),
        ];
        sql::run(&tx.inner, "record a checkpoint", sql, values).await?;
        tx.commit().await
    }

    /// Oldest first; of all tries, or of one.
    pub async fn checkpoints(&self, instance: InstanceKey, try_number: Option<u32>) -> Result<Vec<CheckpointRow>> {
        let sql = "SELECT * FROM task_checkpoint WHERE instance_id = $1 AND (CAST($2 AS BIGINT) IS NULL OR try_number = $2) ORDER BY id";
        let values = values![instance, try_number.map(i64::from)];
        let rows = sql::all(self.reader(), "read checkpoints", sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(CheckpointRow {
                    id: row.int("id")?,
                    instance: row.int("instance_id")?,
                    try_number: row.count("try_number")?,
                    checkpoint: Checkpoint {
                        name: row.text("name")?,
                        message: row.text("message")?,
                        rows: row.opt_large("row_count")?,
                        bytes: row.opt_large("byte_count")?,
                        total_rows: row.opt_large("total_rows")?,
                        at: row.instant("at")?,
                    },
                })
            })
            .collect()
    }
}
