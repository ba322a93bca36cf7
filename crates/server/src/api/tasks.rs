//! The tasks of a DAG, as its newest version has them.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::dag::{Dag, Task as DagTask};
use millrace_model::duration::Span;
use millrace_model::error_code::ErrorCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{listed, paged};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

listed!(Tasks { tasks: Task });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Task {
    task_id: String,
    task_display_name: String,
    operator_name: String,
    owner: Option<String>,
    description: Option<String>,
    group_id: Option<String>,
    upstream_task_ids: Vec<String>,
    downstream_task_ids: Vec<String>,
    trigger_rule: &'static str,
    retries: u32,
    retry_delay: Length,
    /// Each further wait is so many times the one before; 0: all are alike.
    retry_exponential_backoff: f64,
    execution_timeout: Option<Length>,
    /// Always empty.
    extra_links: Vec<String>,
    pool: String,
    pool_slots: u32,
    priority_weight: i32,
    depends_on_past: bool,
    wait_for_downstream: bool,
    is_mapped: bool,
    is_setup: bool,
    is_teardown: bool,
    /// Templates not yet rendered, secrets masked.
    parameters: Value,
}

/// As Airflow writes a length of time: the sum of its parts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TimeDelta")]
struct Length {
    #[serde(rename = "__type")]
    kind: &'static str,
    days: i64,
    seconds: i64,
    microseconds: i64,
}

impl Length {
    fn of(span: Span) -> Self {
        const DAY: i64 = 86_400;
        let delta = span.as_delta();
        let (seconds, microseconds) = (delta.num_seconds(), i64::from(delta.subsec_nanos()) / 1_000);
        Self { kind: "TimeDelta", days: seconds / DAY, seconds: seconds % DAY, microseconds }
    }
}

pub(super) async fn list(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Tasks>> {
    let row = server.dag_row(&dag_id, 0).await?;
    let tasks = row.dag.tasks.iter().map(|task| value(&server, &row.dag, task)).collect();
    let (tasks, total_entries) = paged(tasks, &parameters, ORDERS)?;
    Ok(Json(Tasks { tasks, total_entries }))
}

/// Unordered they are as the DAG runs them.
pub(super) const ORDERS: &[&str] = &[
    "task_id",
    "operator_name",
    "owner",
    "group_id",
    "trigger_rule",
    "retries",
    "pool",
    "pool_slots",
    "priority_weight",
];

pub(super) async fn get(
    State(server): State<Shared>,
    Path((dag_id, task_id)): Path<(String, String)>,
) -> Answer<Json<Task>> {
    let row = server.dag_row(&dag_id, 0).await?;
    let missing = || Problem::new(ErrorCode::TASK_NOT_FOUND, format!("DAG {dag_id} has no task '{task_id}'"));
    Ok(Json(value(&server, &row.dag, row.dag.task(&task_id).ok_or_else(missing)?)))
}

fn value(server: &Server, dag: &Dag, task: &DagTask) -> Task {
    let masker = server.masker_of_dag(dag);
    let after = dag.tasks.iter().filter(|other| other.depends_on.contains(&task.task_id));
    Task {
        task_id: task.task_id.to_string(),
        task_display_name: task.task_id.to_string(),
        operator_name: task.operator.clone(),
        owner: task.owner.as_ref().or(dag.owner.as_ref()).map(|owner| masker.mask(owner)),
        description: task.description.as_deref().map(|text| masker.mask(text)),
        group_id: task.group.as_ref().map(ToString::to_string),
        upstream_task_ids: task.depends_on.iter().map(ToString::to_string).collect(),
        downstream_task_ids: after.map(|other| other.task_id.to_string()).collect(),
        trigger_rule: task.trigger_rule.as_str(),
        retries: task.retries,
        retry_delay: Length::of(task.retry_delay),
        retry_exponential_backoff: task.retry_exponential_backoff.unwrap_or(0.0),
        execution_timeout: task.execution_timeout.map(Length::of),
        extra_links: Vec::new(),
        pool: task.pool.clone(),
        pool_slots: task.pool_slots,
        priority_weight: task.priority_weight,
        depends_on_past: task.depends_on_past,
        wait_for_downstream: task.wait_for_downstream,
        is_mapped: dag.expand_of(task).is_some(),
        is_setup: task.is_setup,
        is_teardown: task.is_teardown,
        parameters: masker.mask_value(&task.parameters),
    }
}
