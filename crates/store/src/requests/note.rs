//! What people say of a run.

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use serde_json::json;

use crate::processes::changes;
use crate::runs::run::run_in;
use crate::sql::{Kind, values};
use crate::{AuditRow, Result, RunRow, Store, StoreError, Tx, sql};

/// Characters.
pub const LONGEST_NOTE: usize = 1000;

impl Store {
    /// None or an empty text takes the note away. Returns the run as it is now. Errors: `Refused` for one too long.
    pub async fn set_note(&self, run: RunKey, note: Option<&str>, actor: &str, now: DateTime<Utc>) -> Result<RunRow> {
        let note = note.map(str::trim).filter(|note| !note.is_empty());
        let tx = self.begin("note something of a run").await?;
        let row = run_in(&tx.inner, run).await?;
        if row.note.as_deref() == note {
            return Ok(row);
        }
        write(&tx, &[run], note).await?;
        let told = |note: Option<&str>| json!({ "note": note });
        let audit = AuditRow::new(actor, "note", told(note), now);
        let audit = audit.with_change(Some(told(row.note.as_deref())), Some(told(note)));
        tx.audit(&audit.on_run(row.dag_id.as_str(), row.run_id.as_str())).await?;
        changes::collect(&tx, &[run], &[]).await?;
        tx.commit().await?;
        Ok(RunRow { note: note.map(str::to_owned), ..row })
    }
}

pub(crate) async fn write(tx: &Tx, runs: &[RunKey], note: Option<&str>) -> Result<()> {
    if let Some(length) = note.map(|note| note.chars().count()).filter(|length| *length > LONGEST_NOTE) {
        let reason = format!("it has {length} characters; {LONGEST_NOTE} are allowed");
        return Err(StoreError::Refused { attempted: "keep the note", reason });
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!("UPDATE dag_run SET note = $2 WHERE id IN (SELECT x_id FROM {source})");
    let mut values = vec![sql::column(runs.iter().copied())];
    values.extend(values![note.map(str::to_owned)]);
    sql::run(&tx.inner, "note something of runs", sql, values).await.map(|_| ())
}
