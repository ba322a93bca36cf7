//! Runs of some tasks of a DAG only.

use chrono::{DateTime, Utc};
use millrace_model::change::{NewInstance, RunKey};
use millrace_model::dag::Dag;
use serde_json::json;

use crate::commit::new_runs::{INSTANCE_COLUMNS, instance_row};
use crate::sql::{micros, values};
use crate::{Result, StoreError, Tx, sql};

/// Of a task that its run was not made for.
pub(super) const NOT_SELECTED: &str = "not in the backfill's selection";

/// The version that is this part of another; made if there is none yet. Nobody's newest: its number is below zero.
pub(super) async fn version_of(tx: &Tx, whole: i64, part: &Dag, now: DateTime<Utc>) -> Result<i64> {
    let hash = part.content_hash();
    let sql = "SELECT id FROM dag_version WHERE dag_id = $1 AND part_of = $2 AND content_hash = $3";
    let values = values![part.dag_id.as_str(), whole, hash.as_str()];
    if let Some(row) = sql::one(&tx.inner, "look for a part of a DAG", sql, values).await? {
        return row.int("id");
    }
    let sql = "INSERT INTO dag_version (dag_id, number, content_hash, data, file_path, source, created_at, part_of) \
               SELECT w.dag_id, (SELECT CASE WHEN MIN(v.number) < 0 THEN MIN(v.number) - 1 ELSE -1 END \
               FROM dag_version v WHERE v.dag_id = w.dag_id), $2, $3, w.file_path, w.source, $4, w.id \
               FROM dag_version w WHERE w.id = $1 RETURNING id";
    let values = values![whole, hash, json!(part).to_string(), micros(now)];
    let row = sql::one(&tx.inner, "store a part of a DAG", sql, values).await?;
    row.ok_or_else(|| StoreError::NotFound { kind: "DAG version", name: whole.to_string() })?.int("id")
}

/// Gives runs the tasks that they were not made for: they neither run nor are waited for.
pub(crate) async fn leave_out(
    tx: &Tx,
    runs: &[RunKey],
    tasks: &[NewInstance],
    reason: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    let row = |run: RunKey, task: &NewInstance| instance_row(run, task, task.map_index.into());
    let rows: Vec<_> = runs.iter().flat_map(|run| tasks.iter().map(move |task| row(*run, task))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO task_instance (run_id, task_id, map_index, operator, max_tries, pool, pool_slots, \
         priority_weight, state, state_reason, start_date, end_date) SELECT x.*, 'skipped', $2, $3, $3 FROM {}",
        sql::source(tx.dialect(), 1, INSTANCE_COLUMNS)
    );
    let mut values = vec![sql::rows(rows)];
    values.extend(values![reason, micros(now)]);
    sql::run(&tx.inner, "leave tasks out of runs", sql, values).await.map(|_| ())
}
