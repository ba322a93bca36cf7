//! Instances of mapped tasks that have ended for an item which is another one now wait again.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, Renewal};
use serde_json::json;

use super::Touched;
use crate::requests::clear::next_generation;
use crate::runs::xcom;
use crate::sql::Kind;
use crate::{AuditRow, Result, Tx, sql};

/// Whoever plans them reads their runs again.
pub(super) async fn apply(tx: &Tx, renewals: &[Renewal], now: DateTime<Utc>, touched: &mut Touched) -> Result<()> {
    if renewals.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_from", Kind::Text), ("x_retries", Kind::Int)]);
    let sql = format!(
        "UPDATE task_instance SET state = 'none', state_reason = 'its item is another one now', item_digest = NULL, {}, \
         max_tries = try_number + x_retries, lost_workers = 0, next_try_at = NULL, first_start = NULL, put_offs = 0, \
         choice = NULL, given_up = FALSE, queued_at = NULL, start_date = NULL, end_date = NULL FROM {source} \
         WHERE task_instance.id = x_id AND state = x_from AND lease_token IS NULL{} RETURNING id",
        next_generation(2),
        touched.unless_changed("task_instance.run_id"),
    );
    let rows =
        sql::rows(renewals.iter().map(|it| vec![json!(it.instance), json!(it.from.as_str()), json!(it.retries)]));
    let values = vec![rows, now.timestamp().into()];
    let done = sql::ids(&tx.inner, "renew instances of mapped tasks", sql, values).await?;
    xcom::forget(tx, &done).await?;
    touched.instances.extend(&done);
    record(tx, renewals, &done.into_iter().collect(), now).await
}

/// A row of the audit log for each task, and a warning in the daemon's log: nobody asked for it.
async fn record(tx: &Tx, renewals: &[Renewal], done: &HashSet<InstanceKey>, now: DateTime<Utc>) -> Result<()> {
    let before: HashMap<InstanceKey, &Renewal> = renewals.iter().map(|it| (it.instance, it)).collect();
    let sql = format!(
        "SELECT i.id, i.task_id, i.map_index, r.dag_id, r.run_id FROM {} CROSS JOIN task_instance i \
         JOIN dag_run r ON r.id = i.run_id WHERE i.id = x_id ORDER BY i.run_id, i.task_id, i.map_index",
        sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)])
    );
    let ids = sql::column(done.iter().copied());
    let mut changed: BTreeMap<(String, String, String), BTreeMap<String, &str>> = BTreeMap::new();
    for row in sql::all(&tx.inner, "read renewed instances", sql, vec![ids]).await? {
        let of = (row.text("dag_id")?, row.text("run_id")?, row.text("task_id")?);
        let from = before.get(&row.int("id")?).map_or("", |it| it.from.as_str());
        changed.entry(of).or_default().insert(row.int("map_index")?.to_string(), from);
    }
    for ((dag_id, run_id, task_id), instances) in changed {
        tracing::warn!(
            dag = dag_id,
            run = run_id,
            task = task_id,
            instances = instances.len(),
            "the list has other items than before: what has ended for another one runs again"
        );
        let row = AuditRow::new("scheduler", "items_changed", json!({ "instances": instances.len() }), now)
            .with_change(Some(json!(instances)), None);
        tx.audit(&row.on_run(&dag_id, &run_id).on_task(&task_id)).await?;
    }
    Ok(())
}
