//! What people are told of.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use millrace_model::alert::{Alert, AlertKind};
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, RunId};
use serde_json::json;

use crate::sql::{Kind, micros, values};
use crate::{Result, Store, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub id: i64,
    pub dag_id: DagId,
    /// None: the run is gone.
    pub run_id: Option<RunId>,
    pub kind: AlertKind,
    pub message: String,
    pub at: DateTime<Utc>,
    pub seen_at: Option<DateTime<Utc>>,
    pub seen_by: Option<String>,
}

impl Store {
    /// Newest first.
    pub async fn alerts(&self, only_unseen: bool, limit: u64) -> Result<Vec<AlertRow>> {
        let unseen = if only_unseen { "WHERE a.seen_at IS NULL" } else { "" };
        let sql = format!(
            "SELECT a.*, r.run_id AS run_name FROM alert a LEFT JOIN dag_run r ON r.id = a.run_id {unseen} \
             ORDER BY a.id DESC LIMIT $1"
        );
        let rows =
            sql::all(self.reader(), "list alerts", sql, values![i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
        rows.iter()
            .map(|row| {
                Ok(AlertRow {
                    id: row.int("id")?,
                    dag_id: DagId::new_unchecked(row.text("dag_id")?),
                    run_id: row.opt_text("run_name")?.map(RunId::new_unchecked),
                    kind: row.word("kind", AlertKind::parse)?,
                    message: row.text("message")?,
                    at: row.instant("at")?,
                    seen_at: row.opt_instant("seen_at")?,
                    seen_by: row.opt_text("seen_by")?,
                })
            })
            .collect()
    }

    /// Notes that somebody has seen these; without ids, all. Returns how many were new to them.
    pub async fn see_alerts(&self, ids: Option<&[i64]>, actor: &str, now: DateTime<Utc>) -> Result<u64> {
        let tx = self.begin("note that alerts were seen").await?;
        let source = sql::source(tx.dialect(), 3, &[("x_id", Kind::Int)]);
        let only = if ids.is_some() { format!("AND id IN (SELECT x_id FROM {source})") } else { String::new() };
        let sql = format!("UPDATE alert SET seen_at = $1, seen_by = $2 WHERE seen_at IS NULL {only}");
        let mut values = values![micros(now), actor];
        values.extend(ids.map(|ids| sql::column(ids.iter().copied())));
        let seen = sql::run(&tx.inner, "note that alerts were seen", sql, values).await?;
        tx.commit().await?;
        Ok(seen)
    }
}

/// One alert for each run and kind; a repetition is left out. Returns those that are new.
pub(crate) async fn raise(tx: &Tx, alerts: &[Alert]) -> Result<HashSet<(RunKey, AlertKind)>> {
    if alerts.is_empty() {
        return Ok(HashSet::new());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_dag", Kind::Text),
            ("x_run", Kind::Int),
            ("x_kind", Kind::Text),
            ("x_message", Kind::Text),
            ("x_at", Kind::Int),
        ],
    );
    let sql = format!(
        "INSERT INTO alert (dag_id, run_id, kind, message, at) SELECT x.* FROM {source} WHERE TRUE \
         ON CONFLICT (run_id, kind) DO NOTHING RETURNING run_id, kind"
    );
    let rows = sql::rows(alerts.iter().map(|alert| {
        vec![
            json!(alert.dag_id.as_str()),
            json!(alert.run),
            json!(alert.kind.as_str()),
            json!(alert.message),
            json!(micros(alert.at)),
        ]
    }));
    let new = sql::all(&tx.inner, "raise alerts", sql, vec![rows]).await?;
    new.iter().map(|row| Ok((row.int("run_id")?, row.word("kind", AlertKind::parse)?))).collect()
}
