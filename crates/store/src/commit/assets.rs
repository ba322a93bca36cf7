//! What finished tasks did to assets, and the events that new runs use up.

use chrono::{DateTime, Utc};
use millrace_model::change::{Finish, NewRun};
use millrace_model::state::TaskState;
use serde_json::{Value, json};

use super::{CommitReport, CreatedRun};
use crate::dags::{asset, asset_event};
use crate::sql::{Kind, micros, values};
use crate::{Result, Tx, sql};

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
    // A run that began before they had numbers may be of a version whose assets nobody names any more.
    asset::number(tx, &emitted.iter().filter_map(|cells| cells[1].as_str()).collect(), now).await?;
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_asset", Kind::Text)]);
    let sql = format!(
        "INSERT INTO asset_event (asset, instance_id, dag_id, run_id, task_id, map_index, interval_start, \
         interval_end, at) SELECT x_asset, i.id, r.dag_id, r.run_id, i.task_id, i.map_index, r.data_interval_start, r.data_interval_end, $2 \
         FROM {source} CROSS JOIN task_instance i CROSS JOIN dag_run r WHERE i.id = x_id AND r.id = i.run_id \
         RETURNING id"
    );
    let values = vec![sql::rows(emitted), micros(now).into()];
    let events = sql::ids(&tx.inner, "record asset events", sql, values).await?;
    report.waiting_for_assets.extend(asset_event::queue(tx, &events).await?);
    Ok(())
}

/// Takes everything that has happened so far from before the DAGs of new runs: what a run names, and what it does not since
/// there is too much of it. Such a run is made to cover that too, and its place in `created` is reported.
pub(super) async fn use_up(
    tx: &Tx,
    runs: &[NewRun],
    created: &[Option<CreatedRun>],
    report: &mut CommitReport,
) -> Result<()> {
    for (place, (run, created)) in runs.iter().zip(created).enumerate() {
        let (Some(created), Some(last)) = (created, run.asset_events.last()) else { continue };
        let values = || values![run.dag_id.as_str(), last.id];
        let sql = "SELECT COUNT(*) AS events, MIN(e.interval_start) AS first, MAX(e.interval_end) AS last \
                   FROM asset_queue q JOIN asset_event e ON e.id = q.event_id WHERE q.dag_id = $1 AND q.event_id <= $2";
        let all = sql::one(&tx.inner, "look at queued asset events", sql, values()).await?;
        let sql = "INSERT INTO asset_event_run (event_id, run_id) \
                   SELECT event_id, $3 FROM asset_queue WHERE dag_id = $1 AND event_id <= $2";
        let used = values![run.dag_id.as_str(), last.id, created.run];
        sql::run(&tx.inner, "note what a run came of", sql, used).await?;
        let sql = "DELETE FROM asset_queue WHERE dag_id = $1 AND event_id <= $2";
        sql::run(&tx.inner, "use up asset events", sql, values()).await?;
        let Some(all) = all else { continue };
        if usize::try_from(all.int("events")?).is_ok_and(|events| events > run.asset_events.len()) {
            let sql = "UPDATE dag_run SET data_interval_start = $2, data_interval_end = $3 WHERE id = $1";
            let values = values![created.run, all.int("first")?, all.int("last")?];
            sql::run(&tx.inner, "widen a run", sql, values).await?;
            report.widened.push(place);
        }
    }
    Ok(())
}
