//! What finished tasks did to assets, and the events that new runs use up.

use chrono::{DateTime, Utc};
use millrace_model::change::{Finish, NewRun};
use millrace_model::state::TaskState;
use serde_json::{Value, json};

use super::{CommitReport, CreatedRun};
use crate::sql::{Kind, micros};
use crate::{Result, Tx, asset, sql};

/// One event for each outlet of a task that has succeeded, put before the DAGs that wait for it.
pub(super) async fn emit(
    tx: &Tx,
    finished: &[(&Finish, TaskState)],
    now: DateTime<Utc>,
    report: &mut CommitReport,
) -> Result<()> {
    let emitted: Vec<Vec<Value>> = finished
        .iter()
        .filter(|(_, state)| *state == TaskState::Success)
        .flat_map(|(finish, _)| finish.asset_events.iter().map(|name| (finish.completion.instance, name)))
        .map(|(instance, name)| vec![json!(instance), json!(name.as_str())])
        .collect();
    if emitted.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_asset", Kind::Text)]);
    let sql = format!(
        "INSERT INTO asset_event (asset, instance_id, dag_id, run_id, task_id, interval_start, interval_end, at) \
         SELECT x_asset, i.id, r.dag_id, r.run_id, i.task_id, r.data_interval_start, r.data_interval_end, $2 \
         FROM {source} CROSS JOIN task_instance i CROSS JOIN dag_run r WHERE i.id = x_id AND r.id = i.run_id \
         RETURNING id"
    );
    let values = vec![sql::rows(emitted), micros(now).into()];
    let events = sql::ids(&tx.inner, "record asset events", sql, values).await?;
    report.waiting_for_assets.extend(asset::queue(tx, &events).await?);
    Ok(())
}

pub(super) async fn use_up(tx: &Tx, runs: &[NewRun], created: &[Option<CreatedRun>]) -> Result<()> {
    let used: Vec<Vec<Value>> = runs
        .iter()
        .zip(created)
        .filter(|(_, created)| created.is_some())
        .flat_map(|(run, _)| run.asset_events.iter().map(|event| (&run.dag_id, event.id)))
        .map(|(dag_id, event)| vec![json!(dag_id.as_str()), json!(event)])
        .collect();
    if used.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_dag", Kind::Text), ("x_id", Kind::Int)]);
    let sql = format!(
        "DELETE FROM asset_queue WHERE EXISTS (SELECT 1 FROM {source} WHERE dag_id = x_dag AND event_id = x_id)"
    );
    sql::run(&tx.inner, "use up asset events", sql, vec![sql::rows(used)]).await.map(|_| ())
}
