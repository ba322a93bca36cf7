//! Task instances of a run.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use millrace_model::ids::TaskId;
use millrace_model::state::TaskState;
use millrace_store::{InstanceRow, RunRow};
use serde_json::{Value, json};

use super::{body, duration, instant, optional};
use crate::changes::{ClearBody, MarkBody, touched_value};
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

/// One instance with its run; says which of DAG, run and task is missing.
pub(crate) async fn instance_of(
    server: &Server,
    dag_id: &str,
    run_id: &str,
    task_id: &str,
    map_index: i32,
) -> Answer<(RunRow, InstanceRow)> {
    let run = server.run_row(dag_id, run_id).await?;
    let instance = server.store().instance(run.key, task_id, map_index).await?;
    Ok((run, instance.ok_or_else(|| Problem::no_task(dag_id, task_id))?))
}

pub(crate) async fn list(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let run = server.run_row(&dag_id, &run_id).await?;
    let wanted = parameters.all("state");
    let rows = server.store().instances(run.key).await?;
    let rows: Vec<&InstanceRow> =
        rows.iter().filter(|row| wanted.is_empty() || wanted.contains(&row.state.as_str())).collect();
    let shown: Vec<Value> =
        rows.iter().skip(offset as usize).take(limit as usize).map(|row| instance_value(&run, row)).collect();
    Ok(Json(json!({"task_instances": shown, "total_entries": rows.len()})))
}

pub(crate) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let map_index = Parameters(parameters).number::<i32>("map_index")?.unwrap_or(-1);
    let (run, instance) = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    let mut value = instance_value(&run, &instance);
    let triggered = server.store().triggered_by(run.key).await?.remove(&instance.key);
    let triggered =
        triggered.map(|it| json!({"dag_id": it.dag_id, "dag_run_id": it.run_id, "state": it.state.as_str()}));
    let last = server.store().tries(instance.key).await?.pop();
    let rendered = last.and_then(|last| last.rendered).unwrap_or_else(|| json!({}));
    if let Value::Object(fields) = &mut value {
        fields.insert("triggered_run".to_owned(), triggered.unwrap_or_default());
        fields.insert("rendered_fields".to_owned(), server.options.vault.masker().mask_value(&rendered));
    }
    Ok(Json(value))
}

pub(crate) async fn clear(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
    given: Result<Json<ClearBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    let report = server.clear(&person, &dag_id, body(given)?).await?;
    Ok(Json(touched_value(&dag_id, &report.cleared, &report.runs)))
}

/// The instances of one mapped task.
pub(crate) async fn list_mapped(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let run = server.run_row(&dag_id, &run_id).await?;
    let wanted = parameters.all("state");
    let mut rows = server.store().instances(run.key).await?;
    rows.retain(|row| row.task_id.as_str() == task_id);
    if rows.is_empty() {
        return Err(Problem::no_task(&dag_id, &task_id));
    }
    // One that stands for all of them is no instance yet.
    rows.retain(|row| row.map_index >= 0 && (wanted.is_empty() || wanted.contains(&row.state.as_str())));
    let shown: Vec<Value> =
        rows.iter().skip(offset as usize).take(limit as usize).map(|row| instance_value(&run, row)).collect();
    Ok(Json(json!({"task_instances": shown, "total_entries": rows.len()})))
}

/// As with the parameter `map_index`.
pub(crate) fn at_index(index: i32) -> Query<Vec<(String, String)>> {
    Query(vec![("map_index".to_owned(), index.to_string())])
}

pub(crate) async fn get_mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
) -> Answer<Json<Value>> {
    get(server, Path((dag_id, run_id, task_id)), at_index(index)).await
}

pub(crate) async fn patch_mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
    person: Person,
    given: Result<Json<MarkBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    patch(server, Path((dag_id, run_id, task_id)), at_index(index), person, given).await
}

pub(crate) async fn patch_mapped_dry_run(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
    person: Person,
    given: Result<Json<MarkBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    patch_dry_run(server, Path((dag_id, run_id, task_id)), at_index(index), person, given).await
}

/// Gives the task, or the instance with `map_index`, a state.
pub(crate) async fn patch(
    State(server): State<Shared>,
    Path(names): Path<(String, String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
    person: Person,
    given: Result<Json<MarkBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    mark(&server, names, &Parameters(parameters), &person, body(given)?, false).await
}

/// What a `PATCH` would touch.
pub(crate) async fn patch_dry_run(
    State(server): State<Shared>,
    Path(names): Path<(String, String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
    person: Person,
    given: Result<Json<MarkBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    mark(&server, names, &Parameters(parameters), &person, body(given)?, true).await
}

async fn mark(
    server: &Server,
    (dag_id, run_id, task_id): (String, String, String),
    parameters: &Parameters,
    person: &Person,
    body: MarkBody,
    dry_run: bool,
) -> Answer<Json<Value>> {
    let run = server.run_row(&dag_id, &run_id).await?;
    let index = parameters.number::<i32>("map_index")?;
    let is_task = server.store().instances(run.key).await?.iter().any(|it| it.task_id.as_str() == task_id);
    if !is_task && server.dag_row(&dag_id, 0).await?.dag.tasks_in(&task_id).is_empty() {
        return Err(Problem::no_task(&dag_id, &task_id));
    }
    let report = server.mark(person, &run, (TaskId::new_unchecked(task_id), index), body, dry_run).await?;
    let changed: Vec<_> = report.marked.iter().chain(&report.cleared).cloned().collect();
    Ok(Json(touched_value(&dag_id, &changed, &report.runs)))
}

fn instance_value(run: &RunRow, row: &InstanceRow) -> Value {
    json!({
        "id": row.key.to_string(),
        "task_id": row.task_id,
        "task_display_name": row.task_id,
        "dag_id": run.dag_id,
        "dag_run_id": run.run_id,
        "map_index": row.map_index,
        "rendered_map_index": row.rendered_map_index,
        "logical_date": instant(run.logical_date),
        "run_after": instant(run.run_after),
        // As in Airflow, one that nothing was decided about has no state.
        "state": (row.state != TaskState::None).then(|| row.state.as_str()),
        "state_reason": row.state_reason,
        "try_number": row.try_number,
        "max_tries": row.max_tries,
        "operator": row.operator,
        "pool": row.pool,
        "pool_slots": row.pool_slots,
        "priority_weight": row.priority_weight,
        "queued_when": optional(row.queued_at),
        "start_date": optional(row.start_date),
        "end_date": optional(row.end_date),
        "duration": duration(row.start_date, row.end_date),
        "next_try_at": optional(row.next_try_at),
    })
}
