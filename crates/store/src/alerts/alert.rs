//! What people are told of.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use millrace_model::alert::{Alert, AlertKind};
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, RunId};
use serde_json::json;

use crate::conditions::Conditions;
use crate::sql::{Kind, Row, micros, values};
use crate::{AuditRow, Page, Result, Store, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub id: i64,
    pub dag_id: DagId,
    /// None: it is about the DAG's file, or the run is gone.
    pub run_id: Option<RunId>,
    pub kind: AlertKind,
    pub message: String,
    pub at: DateTime<Utc>,
    pub seen_at: Option<DateTime<Utc>>,
    pub seen_by: Option<String>,
}

/// None means "any".
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    pub only_unseen: bool,
    pub dag_id: Option<String>,
    pub kind: Option<AlertKind>,
    pub limit: u64,
    pub offset: u64,
}

impl AlertFilter {
    /// What nobody has seen yet.
    pub fn unseen(limit: u64) -> Self {
        Self { only_unseen: true, limit, ..Self::default() }
    }
}

impl Store {
    /// Newest first.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Page<AlertRow>> {
        let mut conditions = Conditions::default();
        conditions.among("a.dag_id", filter.dag_id.as_slice());
        conditions.among("a.kind", filter.kind.map(AlertKind::as_str).as_slice());
        if filter.only_unseen {
            conditions.add("a.seen_at IS NULL".to_owned());
        }
        let (clause, values) = (conditions.clause(), conditions.values);
        let count = format!("SELECT COUNT(*) AS n FROM alert a{clause}");
        // One that was raised again keeps its id.
        let list = format!(
            "SELECT a.*, r.run_id AS run_name FROM alert a LEFT JOIN dag_run r ON r.id = a.run_id{clause} \
             ORDER BY a.at DESC, a.id DESC"
        );
        self.page("list alerts", (count, list), values, (filter.limit, filter.offset), read).await
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
        if seen > 0 {
            let told = |is_seen| Some(json!({ "seen": is_seen }));
            let audit = AuditRow::new(actor, "alerts_seen", json!({ "alerts": seen, "ids": ids }), now);
            tx.audit(&audit.with_change(told(false), told(true))).await?;
        }
        tx.commit().await?;
        Ok(seen)
    }
}

fn read(row: &Row) -> Result<AlertRow> {
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
}

/// One alert for each run and kind; a repetition is left out, unless the same run, run again, has `paused` its DAG once more,
/// or the same version's file is broken once more: then somebody has to look again. Returns those that are new.
pub(crate) async fn raise(tx: &Tx, alerts: &[Alert], paused: &HashSet<&DagId>) -> Result<HashSet<(RunKey, AlertKind)>> {
    let mut known = HashSet::new();
    let is_due = |alert: &&Alert| alert.kind != AlertKind::AutoPaused || paused.contains(&alert.dag_id);
    // One statement may not meet a row twice.
    let alerts: Vec<&Alert> =
        alerts.iter().filter(is_due).filter(|alert| known.insert((alert.run, alert.kind))).collect();
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
         ON CONFLICT (run_id, kind) DO UPDATE SET message = excluded.message, at = excluded.at, seen_at = NULL, \
         seen_by = NULL WHERE alert.kind IN ('auto_paused', 'import_error') RETURNING run_id, kind"
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
