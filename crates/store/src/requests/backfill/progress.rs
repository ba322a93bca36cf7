//! How far backfills are; pausing them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::ids::DagId;
use millrace_model::state::RunState;
use serde_json::json;

use super::{BackfillRow, read_backfill};
use crate::sql::{Kind, values};
use crate::{AuditRow, Result, SignalKind, Store, StoreError, sql};

/// How many runs of a backfill are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BackfillProgress {
    pub queued: u64,
    pub running: u64,
    pub success: u64,
    pub failed: u64,
    /// Dates whose runs a later backfill has taken over, or that were deleted.
    pub gone: u64,
    /// Those of them that a later backfill has.
    pub taken_over: u64,
    /// The last that has any of them; 0: none has.
    pub taken_over_by: i64,
}

impl BackfillProgress {
    /// The dates that it began with.
    pub const fn total(&self) -> u64 {
        self.queued + self.running + self.ended() + self.gone
    }

    pub const fn is_over(&self) -> bool {
        self.queued + self.running == 0
    }

    pub const fn ended(&self) -> u64 {
        self.success + self.failed
    }
}

impl Store {
    /// Newest first; of one DAG, or of all.
    pub async fn backfills(&self, dag_id: Option<&DagId>) -> Result<Vec<BackfillRow>> {
        let sql = "SELECT * FROM backfill WHERE ($1 IS NULL OR dag_id = $1) ORDER BY id DESC";
        let values = values![dag_id.map(|dag_id| dag_id.as_str().to_owned())];
        let rows = sql::all(self.reader(), "list backfills", sql, values).await?;
        rows.iter().map(read_backfill).collect()
    }

    pub async fn backfill(&self, backfill_key: i64) -> Result<Option<BackfillRow>> {
        let sql = "SELECT * FROM backfill WHERE id = $1";
        let row = sql::one(self.reader(), "read a backfill", sql, values![backfill_key]).await?;
        row.as_ref().map(read_backfill).transpose()
    }

    /// Of each of these backfills.
    pub async fn backfill_progress(&self, keys: &[i64]) -> Result<HashMap<i64, BackfillProgress>> {
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql = format!(
            "SELECT r.backfill_id AS id, r.state, COUNT(*) AS n FROM {source} CROSS JOIN dag_run r \
             WHERE r.backfill_id = x_id GROUP BY r.backfill_id, r.state"
        );
        let rows = sql::all(self.reader(), "count the runs of backfills", sql, vec![sql::column(keys.iter().copied())]);
        let mut found: HashMap<i64, BackfillProgress> = HashMap::new();
        for row in &rows.await? {
            let progress = found.entry(row.int("id")?).or_default();
            let count = match row.word("state", RunState::parse)? {
                RunState::Queued => &mut progress.queued,
                RunState::Running => &mut progress.running,
                RunState::Success => &mut progress.success,
                RunState::Failed => &mut progress.failed,
            };
            *count = row.int("n")?.unsigned_abs();
        }
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql =
            format!("SELECT b.id, b.runs FROM {source} CROSS JOIN backfill b WHERE b.id = x_id AND b.runs IS NOT NULL");
        let keys = vec![sql::column(keys.iter().copied())];
        for row in &sql::all(self.reader(), "read how many runs backfills began with", sql, keys).await? {
            let progress = found.entry(row.int("id")?).or_default();
            progress.gone = row.int("runs")?.unsigned_abs().saturating_sub(progress.total());
        }
        let lessened: Vec<i64> = found.iter().filter(|(_, it)| it.gone > 0).map(|(key, _)| *key).collect();
        if lessened.is_empty() {
            return Ok(found);
        }
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql = format!(
            "SELECT b.id, COUNT(*) AS n, MAX(r.backfill_id) AS taker FROM {source} CROSS JOIN backfill b \
             JOIN dag_run r ON r.dag_id = b.dag_id AND r.logical_date BETWEEN b.from_date AND b.to_date \
             WHERE b.id = x_id AND r.backfill_id > b.id GROUP BY b.id"
        );
        let takers = sql::all(self.reader(), "see who took over runs of backfills", sql, vec![sql::column(lessened)]);
        for row in &takers.await? {
            let progress = found.entry(row.int("id")?).or_default();
            progress.taken_over = row.int("n")?.unsigned_abs().min(progress.gone);
            progress.taken_over_by = row.int("taker")?;
        }
        Ok(found)
    }

    /// Queued runs of a paused backfill do not start; what runs goes on. Returns whether anything changed. Errors:
    /// `NotFound` for one that has ended.
    pub async fn set_backfill_paused(
        &self,
        backfill_key: i64,
        paused: bool,
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let tx = self.begin_in_turn("pause or unpause a backfill").await?;
        let sql = "SELECT * FROM backfill WHERE id = $1 AND completed_at IS NULL";
        let row = sql::one(&tx.inner, "read a backfill", sql, values![backfill_key]).await?;
        let row =
            row.ok_or_else(|| StoreError::NotFound { kind: "active backfill", name: backfill_key.to_string() })?;
        let row = read_backfill(&row)?;
        if row.is_paused == paused {
            return Ok(false);
        }
        let sql = "UPDATE backfill SET is_paused = $2 WHERE id = $1";
        sql::run(&tx.inner, "pause or unpause a backfill", sql, values![backfill_key, paused]).await?;
        let action = if paused { "backfill_paused" } else { "backfill_unpaused" };
        let told = |is_paused| Some(json!({ "is_paused": is_paused }));
        let audit = AuditRow::new(actor, action, json!({ "backfill": backfill_key }), now)
            .with_change(told(!paused), told(paused));
        tx.audit(&audit.on_dag(row.dag_id.as_str())).await?;
        tx.signal(SignalKind::BackfillChanged, Some(&row.dag_id), None, now).await?;
        tx.commit().await?;
        Ok(true)
    }
}
