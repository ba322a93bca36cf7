//! Runs and their instances.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{NewInstance, NewRun};
use millrace_model::state::{RunState, RunType};
use serde_json::{Value, json};

use super::CreatedRun;
use crate::sql::{Kind, micros, values};
use crate::{Result, Tx, sql};

/// Parallel to `runs`; `None`: its id or its logical date was there before. `queued`: none of them starts at once.
pub(crate) async fn insert(
    tx: &Tx,
    runs: &[NewRun],
    queued: bool,
    now: DateTime<Utc>,
) -> Result<Vec<Option<CreatedRun>>> {
    let ordinals: Vec<usize> = (0..runs.len()).collect();
    if queued {
        let queued: Vec<NewRun> = runs.iter().map(|run| NewRun { state: RunState::Queued, ..run.clone() }).collect();
        return insert_ordered(tx, &queued, &ordinals, now).await;
    }
    insert_ordered(tx, runs, &ordinals, now).await
}

/// As [`insert`]; `ordinals` are the places of runs in their backfill.
pub(crate) async fn insert_ordered(
    tx: &Tx,
    runs: &[NewRun],
    ordinals: &[usize],
    now: DateTime<Utc>,
) -> Result<Vec<Option<CreatedRun>>> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let keys = insert_runs(tx, runs, ordinals, now).await?;
    let mut created: Vec<Option<CreatedRun>> = keys
        .iter()
        .zip(runs)
        .map(|(key, run)| key.map(|run_key| CreatedRun { run: run_key, instances: vec![0; run.tasks.len()] }))
        .collect();
    insert_instances(tx, runs, &mut created).await?;
    Ok(created)
}

async fn insert_runs(tx: &Tx, runs: &[NewRun], ordinals: &[usize], now: DateTime<Utc>) -> Result<Vec<Option<i64>>> {
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_dag", Kind::Text),
            ("x_run", Kind::Text),
            ("x_type", Kind::Text),
            ("x_state", Kind::Text),
            ("x_logical", Kind::Int),
            ("x_from", Kind::Int),
            ("x_to", Kind::Int),
            ("x_after", Kind::Int),
            ("x_start", Kind::Int),
            ("x_conf", Kind::Text),
            ("x_version", Kind::Int),
            ("x_backfill", Kind::Int),
            ("x_ordinal", Kind::Int),
            ("x_scheduled", Kind::Bool),
            ("x_by", Kind::Text),
            ("x_events", Kind::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, \
         run_after, start_date, conf, version_id, backfill_id, backfill_ordinal, made_by_schedule, triggered_by, \
         asset_events, queued_at, created_at) SELECT x.*, $2, $2 FROM {source} WHERE TRUE ON CONFLICT DO NOTHING \
         RETURNING id, dag_id, run_id"
    );
    let rows = sql::rows(runs.iter().zip(ordinals).map(|(run, ordinal)| {
        vec![
            json!(run.dag_id.as_str()),
            json!(run.run_id.as_str()),
            json!(run.run_type.as_str()),
            json!(run.state.as_str()),
            json!(micros(run.logical_date)),
            json!(micros(run.data_interval.start)),
            json!(micros(run.data_interval.end)),
            json!(micros(run.run_after)),
            json!((run.state == RunState::Running).then(|| micros(now))),
            json!(Value::Object(run.conf.clone()).to_string()),
            json!(run.version_key),
            json!(run.backfill_key),
            json!(run.backfill_key.map(|_| ordinal)),
            json!(run.run_type == RunType::Scheduled),
            json!(run.triggered_by),
            json!((!run.asset_events.is_empty()).then(|| json!(run.asset_events).to_string())),
        ]
    }));
    let mut values = vec![rows];
    values.extend(values![micros(now)]);
    let rows = sql::all(&tx.inner, "create runs", sql, values).await?;
    let mut keys: HashMap<(String, String), i64> = HashMap::with_capacity(rows.len());
    for row in &rows {
        keys.insert((row.text("dag_id")?, row.text("run_id")?), row.int("id")?);
    }
    // Removed as it is found: of two equal runs in one batch, the first was created.
    Ok(runs.iter().map(|run| keys.remove(&(run.dag_id.as_str().to_owned(), run.run_id.as_str().to_owned()))).collect())
}

async fn insert_instances(tx: &Tx, runs: &[NewRun], created: &mut [Option<CreatedRun>]) -> Result<()> {
    let mut rows = Vec::new();
    let mut places: HashMap<(i64, &str, i64), (usize, usize)> = HashMap::new();
    for (run_index, (new, made)) in runs.iter().zip(created.iter()).enumerate() {
        let Some(made) = made else { continue };
        for (task_index, task) in new.tasks.iter().enumerate() {
            places.insert((made.run, task.task_id.as_str(), i64::from(task.map_index)), (run_index, task_index));
            rows.push(instance_row(made.run, task, i64::from(task.map_index)));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, INSTANCE_COLUMNS);
    let sql = format!(
        "INSERT INTO task_instance (run_id, task_id, map_index, operator, max_tries, pool, pool_slots, \
         priority_weight, state) SELECT x.*, 'none' FROM {source} RETURNING id, run_id, task_id, map_index"
    );
    for row in sql::all(&tx.inner, "create task instances", sql, vec![sql::rows(rows)]).await? {
        let task_id = row.text("task_id")?;
        if let Some((run, task)) = places.get(&(row.int("run_id")?, task_id.as_str(), row.int("map_index")?))
            && let Some(made) = &mut created[*run]
        {
            made.instances[*task] = row.int("id")?;
        }
    }
    Ok(())
}

/// A row of [`INSTANCE_COLUMNS`].
pub(crate) fn instance_row(run: i64, task: &NewInstance, map_index: i64) -> Vec<Value> {
    vec![
        json!(run),
        json!(task.task_id.as_str()),
        json!(map_index),
        json!(task.operator),
        json!(task.max_tries),
        json!(task.pool),
        json!(task.pool_slots),
        json!(task.priority_weight),
    ]
}

/// A task instance as it is created.
pub(crate) const INSTANCE_COLUMNS: &[(&str, Kind)] = &[
    ("x_run", Kind::Int),
    ("x_task", Kind::Text),
    ("x_map", Kind::Int),
    ("x_operator", Kind::Text),
    ("x_max", Kind::Int),
    ("x_pool", Kind::Text),
    ("x_slots", Kind::Int),
    ("x_weight", Kind::Int),
];
