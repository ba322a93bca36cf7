//! The tries of a task, oldest first.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::error_code::ErrorCode;
use millrace_store::{InstanceRow, RunRow, TryRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::instances::{at_index, instance_of};
use super::{Instant, duration, instant, listed, optional};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

listed!(Tries { task_instances: Try });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Try {
    task_id: String,
    task_display_name: String,
    dag_id: String,
    dag_display_name: String,
    dag_run_id: String,
    map_index: i32,
    try_number: u32,
    /// As what follows, of the task.
    max_tries: u32,
    operator: String,
    pool: String,
    pool_slots: u32,
    /// Always `{}`: a task does not choose where it runs.
    executor_config: &'static str,
    state: &'static str,
    state_reason: Option<String>,
    hostname: String,
    queued_when: Instant,
    start_date: Option<Instant>,
    end_date: Option<Instant>,
    /// Seconds.
    duration: Option<f64>,
    /// Secrets masked.
    error: Option<String>,
    /// Its parameters, secrets masked.
    rendered_fields: Option<Value>,
}

fn attempt(server: &Server, run: &RunRow, task: &InstanceRow, row: &TryRow) -> Try {
    Try {
        task_id: task.task_id.to_string(),
        task_display_name: task.task_id.to_string(),
        dag_id: run.dag_id.to_string(),
        dag_display_name: run.dag_id.to_string(),
        dag_run_id: run.run_id.to_string(),
        map_index: task.map_index,
        try_number: row.try_number,
        max_tries: task.max_tries,
        operator: task.operator.clone(),
        pool: task.pool.clone(),
        pool_slots: task.pool_slots,
        executor_config: "{}",
        state: row.state.as_str(),
        state_reason: row.state_reason.clone(),
        hostname: row.owner.clone(),
        queued_when: instant(row.queued_at),
        start_date: optional(row.start_date),
        end_date: optional(row.end_date),
        duration: duration(row.start_date, row.end_date),
        error: row.error.as_deref().map(|error| server.masked_text(error)),
        rendered_fields: row.rendered.as_ref().map(|rendered| server.masked_value(rendered)),
    }
}

pub(super) async fn list(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    parameters: Parameters,
) -> Answer<Json<Tries>> {
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    let (run, instance) = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    let rows = server.store().tries(instance.key).await?;
    let task_instances: Vec<Try> = rows.iter().map(|row| attempt(&server, &run, &instance, row)).collect();
    Ok(Json(Tries { total_entries: task_instances.len() as u64, task_instances }))
}

pub(super) async fn list_mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
) -> Answer<Json<Tries>> {
    list(server, Path((dag_id, run_id, task_id)), at_index(index)).await
}

pub(super) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id, number)): Path<(String, String, String, u32)>,
    parameters: Parameters,
) -> Answer<Json<Try>> {
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    let (run, instance) = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    let rows = server.store().tries(instance.key).await?;
    // A lost worker's try is given again under its number: the last is what it came to.
    let row = rows.iter().rfind(|row| row.try_number == number);
    let missing = || Problem::new(ErrorCode::NOT_FOUND, format!("task {task_id} has had no try {number}"));
    Ok(Json(attempt(&server, &run, &instance, row.ok_or_else(missing)?)))
}

pub(super) async fn get_mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index, number)): Path<(String, String, String, i32, u32)>,
) -> Answer<Json<Try>> {
    get(server, Path((dag_id, run_id, task_id, number)), at_index(index)).await
}
