//! Mapped tasks get the instances that their lists call for. Each statement says what must be, not what is to be added,
//! so that an expansion that comes twice changes nothing.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{Expansion, InstanceKey};
use millrace_model::state::TaskState;
use serde_json::{Value, json};

use super::new_runs::{INSTANCE_COLUMNS, instance_row};
use super::{CommitReport, Touched, moves};
use crate::requests::clear::next_generation;
use crate::runs::xcom;
use crate::sql::Kind;
use crate::{Result, Tx, sql};

const COLUMNS: &[(&str, Kind)] = &[("x_run", Kind::Int), ("x_task", Kind::Text), ("x_count", Kind::Int)];

const IS_RUNNING: &str = "EXISTS (SELECT 1 FROM dag_run r WHERE r.id = x_run AND r.state = 'running')";

pub(super) async fn apply(
    tx: &Tx,
    expansions: &[Expansion],
    now: DateTime<Utc>,
    report: &mut CommitReport,
    touched: &mut Touched,
) -> Result<()> {
    if expansions.is_empty() {
        return Ok(());
    }
    let row = |it: &Expansion| vec![json!(it.run), json!(it.like.task_id.as_str()), json!(it.count)];
    let named = sql::rows(expansions.iter().map(row));
    let source = sql::source(tx.dialect(), 1, COLUMNS);
    let of_task = "task_instance.run_id = x_run AND task_instance.task_id = x_task";
    let has_first = "EXISTS (SELECT 1 FROM task_instance o WHERE o.run_id = x_run AND o.task_id = x_task \
                     AND o.map_index = 0)";

    let sql = format!(
        "UPDATE task_instance SET map_index = 0 FROM {source} WHERE {of_task} AND map_index = -1 AND x_count > 0 \
         AND {IS_RUNNING} AND NOT {has_first}"
    );
    sql::run(&tx.inner, "number a mapped task", sql, vec![named.clone()]).await?;

    add_missing(tx, expansions, now).await?;

    let sql = format!(
        "UPDATE task_instance SET state = 'removed', state_reason = 'there is no item for it any more', \
         next_try_at = NULL FROM {source} \
         WHERE {of_task} AND state <> 'removed' AND {IS_RUNNING} \
         AND (map_index >= CASE WHEN x_count > 0 THEN x_count ELSE 1 END \
              OR (map_index = -1 AND x_count > 0 AND {has_first})) RETURNING id"
    );
    let surplus = sql::ids(&tx.inner, "remove surplus instances", sql, vec![named.clone()]).await?;
    let taken: Vec<(InstanceKey, TaskState)> = surplus.iter().map(|key| (*key, TaskState::Removed)).collect();
    moves::close_open_tries(tx, &taken, now).await?;
    xcom::forget(tx, &surplus).await?;
    touched.instances.extend(&surplus);

    let sql = format!(
        "SELECT i.id, i.run_id, i.task_id FROM {source} CROSS JOIN task_instance i \
         WHERE i.run_id = x_run AND i.task_id = x_task AND i.state = 'none' AND i.generation = 0 \
         ORDER BY i.run_id, i.task_id, i.map_index"
    );
    let mut fresh: HashMap<(i64, String), Vec<InstanceKey>> = HashMap::new();
    for row in sql::all(&tx.inner, "read the instances of a mapped task", sql, vec![named]).await? {
        fresh.entry((row.int("run_id")?, row.text("task_id")?)).or_default().push(row.int("id")?);
    }
    for it in expansions {
        let keys = fresh.remove(&(it.run, it.like.task_id.as_str().to_owned())).unwrap_or_default();
        touched.instances.extend(&keys);
        let is_plain = surplus.is_empty() && it.count > 0 && keys.len() == it.count as usize;
        report.expanded.push(is_plain.then_some(keys));
    }
    Ok(())
}

/// Those that were removed before come back as though they had been cleared.
async fn add_missing(tx: &Tx, expansions: &[Expansion], now: DateTime<Utc>) -> Result<()> {
    let rows: Vec<Vec<Value>> = expansions
        .iter()
        .flat_map(|it| (0..it.count).map(|map_index| instance_row(it.run, &it.like, i64::from(map_index))))
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, INSTANCE_COLUMNS);
    let sql = format!(
        "INSERT INTO task_instance (run_id, task_id, map_index, operator, max_tries, pool, pool_slots, \
         priority_weight, state) SELECT x.*, 'none' FROM {source} WHERE {IS_RUNNING} \
         ON CONFLICT (run_id, task_id, map_index) DO UPDATE SET state = 'none', state_reason = NULL, \
         {}, lost_workers = 0, given_up = FALSE, \
         max_tries = task_instance.try_number + excluded.max_tries, start_date = NULL, end_date = NULL \
         WHERE task_instance.state = 'removed'",
        next_generation(2)
    );
    sql::run(&tx.inner, "add instances of a mapped task", sql, vec![sql::rows(rows), now.timestamp().into()])
        .await
        .map(|_| ())
}
