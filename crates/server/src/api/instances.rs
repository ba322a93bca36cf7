//! Task instances of a run.

use std::collections::HashMap;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::state::TaskState;
use millrace_store::{ClearedInstance, InstanceFilter, InstanceRow, ListedInstance, RunRow, TouchedRun};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::asked::{MOST_COUNTED, asked, dates, in_all};
use super::{Given, Instant, body, duration, instant, listed, optional, uuid};
use crate::access::person::Person;
use crate::deeds::changes::{ClearBody, Cleared, MarkBody, Touched};
use crate::openapi::{Kind, Operation};
use crate::problem::{Answer, Problem};
use crate::query::{FARTHEST, Parameters};
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
    parameters: Parameters,
) -> Answer<Json<TaskInstances>> {
    browse(&server, (&dag_id, &run_id), &parameters, InstanceFilter::default()).await.map(Json)
}

/// What a list can be asked for, beside its page and its order.
pub(super) fn filtered(operation: Operation) -> Operation {
    dates(operation)
        .page()
        .many("state", Kind::Text, "In this state; may be repeated")
        .query("task_display_name_pattern", Kind::Text, "A part of the task's name")
        .many("operator", Kind::Text, "With this operator; may be repeated")
        .many("pool", Kind::Text, "In this pool; may be repeated")
        .many(
            "map_index",
            Kind::Number,
            "Of a mapped task, counted from 0; -1: of one that is not mapped; may be repeated",
        )
        .many("try_number", Kind::Number, "That had so many tries; may be repeated")
        .query("duration_gte", Kind::Seconds, "That took so long, or longer")
        .query("duration_lte", Kind::Seconds, "That took so long at the most")
        .ordered(ORDERS)
}

asked! {
    /// As Airflow's clients send it. Dates are in RFC 3339, durations seconds; what is left out asks for nothing.
    ListBody as "TaskInstancesBatch" {
        dag_ids: Vec<String>,
        dag_run_ids: Vec<String>,
        #[serde(rename(serialize = "task_id"))]
        task_ids: Vec<String>,
        /// null: nothing was decided about it.
        state: Vec<Option<String>>,
        pool: Vec<String>,
        operator: Vec<String>,
        task_display_name_pattern: String,
        map_index: Vec<i32>,
        try_number: Vec<u32>,
        duration_gte: f64,
        duration_lte: f64,
    }
}

pub(crate) async fn list_asked(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    given: Given<ListBody>,
) -> Answer<Json<TaskInstances>> {
    let parameters = Parameters::of_body(&body(given)?);
    browse(&server, (&dag_id, &run_id), &parameters, InstanceFilter::default()).await.map(Json)
}

/// Of one run, of every run of a DAG, or of all DAGs (`~`); as `chosen` says already, and the parameters.
async fn browse(
    server: &Server,
    (dag_id, run_id): (&str, &str),
    parameters: &Parameters,
    chosen: InstanceFilter,
) -> Answer<TaskInstances> {
    let (limit, offset) = parameters.page()?;
    let is_one = ![dag_id, run_id].contains(&"~");
    if is_one {
        server.run_row(dag_id, run_id).await?;
    }
    let texts = |name: &str| parameters.all(name).into_iter().map(str::to_owned).collect::<Vec<_>>();
    // Those of one run as they run, others the newest first.
    let usual = is_one.then_some((InstanceFilter::PLACE, false));
    let filter = InstanceFilter {
        dag_ids: parameters.named_or("dag_ids", dag_id)?,
        run_ids: parameters.named_or("dag_run_ids", run_id)?,
        task_ids: if chosen.task_ids.is_empty() { texts("task_id") } else { chosen.task_ids },
        task_part: parameters.part("task_display_name_pattern"),
        map_indexes: parameters.numbers("map_index")?,
        try_numbers: parameters.numbers("try_number")?,
        is_mapped: chosen.is_mapped,
        operators: texts("operator"),
        pools: texts("pool"),
        states: parameters.task_states()?,
        logical_date: parameters.span("logical_date")?,
        run_after: parameters.span("run_after")?,
        start_date: parameters.span("start_date")?,
        end_date: parameters.span("end_date")?,
        order: parameters.order(ORDERS)?.or(usual),
        duration_from: parameters.length("duration_gte")?,
        duration_to: parameters.length("duration_lte")?,
        limit: limit + 1,
        offset,
    };
    if dag_id != "~" {
        server.dag_row(dag_id, 0).await?;
    }
    let rows = server.store().list_instances(&filter).await?;
    let most = if is_one { FARTHEST } else { MOST_COUNTED };
    let total_entries = in_all(server.store().count_instances(&filter, most).await?, offset, rows.len());
    let value = |it: &ListedInstance| {
        let whose =
            Whose { dag_id: &it.dag_id, run_id: &it.run_id, logical_date: it.logical_date, run_after: it.run_after };
        instance_value(&whose, &it.row)
    };
    Ok(TaskInstances { task_instances: rows.iter().take(limit as usize).map(value).collect(), total_entries })
}

pub(crate) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    parameters: Parameters,
) -> Answer<Json<TaskInstance>> {
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    let (run, instance) = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    let mut value = instance_value(&Whose::of(&run), &instance);
    let triggered = server.store().triggered_by(run.key).await?.remove(&instance.key);
    let last = server.store().tries(instance.key).await?.pop();
    let rendered = last.and_then(|last| last.rendered).unwrap_or_else(|| json!({}));
    value.triggered_run = Some(triggered.map(|it| TriggeredRun {
        dag_id: it.dag_id.to_string(),
        dag_run_id: it.run_id.to_string(),
        state: it.state.as_str(),
    }));
    value.rendered_fields = Some(server.masked_value(&rendered));
    Ok(Json(value))
}

pub(crate) async fn clear(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
    given: Given<ClearBody>,
) -> Answer<Json<Touched>> {
    let cleared = server.clear(&person, &dag_id, body(given)?).await?;
    Ok(Json(server.cleared(&dag_id, cleared).await?))
}

/// The instances of one mapped task.
pub(crate) async fn list_mapped(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    parameters: Parameters,
) -> Answer<Json<TaskInstances>> {
    let run = server.run_row(&dag_id, &run_id).await?;
    if server.store().instances(run.key).await?.iter().all(|row| row.task_id.as_str() != task_id) {
        return Err(Problem::no_task(&dag_id, &task_id));
    }
    // One that stands for all of them is no instance yet.
    let chosen = InstanceFilter { task_ids: vec![task_id], is_mapped: true, ..InstanceFilter::default() };
    browse(&server, (&dag_id, &run_id), &parameters, chosen).await.map(Json)
}

/// As with the parameter `map_index`.
pub(crate) fn at_index(index: i32) -> Parameters {
    Parameters(vec![("map_index".to_owned(), index.to_string())])
}

pub(crate) async fn get_mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
) -> Answer<Json<TaskInstance>> {
    get(server, Path((dag_id, run_id, task_id)), at_index(index)).await
}

pub(crate) async fn patch_mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
    person: Person,
    given: Given<MarkBody>,
) -> Answer<Json<Touched>> {
    patch(server, Path((dag_id, run_id, task_id)), at_index(index), person, given).await
}

pub(crate) async fn patch_mapped_dry_run(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
    person: Person,
    given: Given<MarkBody>,
) -> Answer<Json<Touched>> {
    patch_dry_run(server, Path((dag_id, run_id, task_id)), at_index(index), person, given).await
}

/// Gives the task, or the instance with `map_index`, a state.
pub(crate) async fn patch(
    State(server): State<Shared>,
    Path(names): Path<(String, String, String)>,
    parameters: Parameters,
    person: Person,
    given: Given<MarkBody>,
) -> Answer<Json<Touched>> {
    mark(&server, names, &parameters, &person, body(given)?, false).await
}

/// Gives the tasks of a group a state.
pub(crate) async fn patch_group(
    State(server): State<Shared>,
    Path(names): Path<(String, String, String)>,
    person: Person,
    given: Given<MarkBody>,
) -> Answer<Json<Touched>> {
    mark_group(&server, names, &person, body(given)?, false).await
}

pub(crate) async fn patch_group_dry_run(
    State(server): State<Shared>,
    Path(names): Path<(String, String, String)>,
    person: Person,
    given: Given<MarkBody>,
) -> Answer<Json<Touched>> {
    mark_group(&server, names, &person, body(given)?, true).await
}

async fn mark_group(
    server: &Server,
    names: (String, String, String),
    person: &Person,
    body: MarkBody,
    dry_run: bool,
) -> Answer<Json<Touched>> {
    let (dag_id, _, group_id) = &names;
    let dag = server.dag_row(dag_id, 0).await?.dag;
    if dag.task(group_id).is_some() || dag.tasks_in(group_id).is_empty() {
        let text = format!("DAG {dag_id} has no group of tasks '{group_id}'");
        return Err(Problem::new(ErrorCode::NOT_FOUND, text));
    }
    mark(server, names, &Parameters(Vec::new()), person, body, dry_run).await
}

/// What a `PATCH` would touch.
pub(crate) async fn patch_dry_run(
    State(server): State<Shared>,
    Path(names): Path<(String, String, String)>,
    parameters: Parameters,
    person: Person,
    given: Given<MarkBody>,
) -> Answer<Json<Touched>> {
    mark(&server, names, &parameters, &person, body(given)?, true).await
}

pub(super) async fn mark(
    server: &Server,
    (dag_id, run_id, task_id): (String, String, String),
    parameters: &Parameters,
    person: &Person,
    body: MarkBody,
    dry_run: bool,
) -> Answer<Json<Touched>> {
    let run = server.run_row(&dag_id, &run_id).await?;
    let index = parameters.number::<i32>("map_index")?;
    let is_task = server.store().instances(run.key).await?.iter().any(|it| it.task_id.as_str() == task_id);
    if !is_task && server.dag_row(&dag_id, 0).await?.dag.tasks_in(&task_id).is_empty() {
        return Err(Problem::no_task(&dag_id, &task_id));
    }
    let report = server.mark(person, &run, (TaskId::new_unchecked(task_id), index), body, dry_run).await?;
    let changed: Vec<_> = report.marked.iter().chain(&report.cleared).cloned().collect();
    Ok(Json(server.touched(&dag_id, &changed, &report.runs).await?))
}

listed! {
    /// Those of one run are all counted, those of several to 10,000: `total_entries` says of more of them that another page
    /// follows.
    TaskInstances { task_instances: TaskInstance }
}

#[derive(Serialize, JsonSchema)]
struct TriggeredRun {
    dag_id: String,
    dag_run_id: String,
    state: &'static str,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct TaskInstance {
    id: String,
    task_id: String,
    task_display_name: String,
    dag_id: String,
    dag_display_name: String,
    dag_run_id: String,
    /// -1: the task is not mapped.
    map_index: i32,
    rendered_map_index: Option<String>,
    logical_date: Instant,
    run_after: Instant,
    /// None: nothing was decided about it.
    state: Option<&'static str>,
    state_reason: Option<String>,
    try_number: u32,
    max_tries: u32,
    operator: String,
    operator_name: String,
    /// Always `{}`: a task does not choose where it runs.
    executor_config: &'static str,
    pool: String,
    pool_slots: u32,
    priority_weight: i32,
    queued_when: Option<Instant>,
    start_date: Option<Instant>,
    end_date: Option<Instant>,
    /// Seconds.
    duration: Option<f64>,
    next_try_at: Option<Instant>,
    /// Asked for alone: the run that it triggered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[expect(clippy::option_option, reason = "absent where nobody asked, null where it triggered none")]
    triggered_run: Option<Option<TriggeredRun>>,
    /// Asked for alone: parameters of the last try, secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    rendered_fields: Option<Value>,
}

/// What instances can be ordered by.
pub(super) const ORDERS: &[&str] = InstanceFilter::ORDERS;

/// What an instance has of its run.
struct Whose<'r> {
    dag_id: &'r DagId,
    run_id: &'r RunId,
    logical_date: DateTime<Utc>,
    run_after: DateTime<Utc>,
}

impl<'r> Whose<'r> {
    fn of(run: &'r RunRow) -> Self {
        Self { dag_id: &run.dag_id, run_id: &run.run_id, logical_date: run.logical_date, run_after: run.run_after }
    }
}

fn instance_value(run: &Whose<'_>, row: &InstanceRow) -> TaskInstance {
    TaskInstance {
        id: uuid(row.key),
        task_id: row.task_id.to_string(),
        task_display_name: row.task_id.to_string(),
        dag_id: run.dag_id.to_string(),
        dag_display_name: run.dag_id.to_string(),
        dag_run_id: run.run_id.to_string(),
        map_index: row.map_index,
        rendered_map_index: row.rendered_map_index.clone(),
        logical_date: instant(run.logical_date),
        run_after: instant(run.run_after),
        state: shown(row.state),
        state_reason: row.state_reason.clone(),
        try_number: row.try_number,
        max_tries: row.max_tries,
        operator: row.operator.clone(),
        operator_name: row.operator.clone(),
        executor_config: "{}",
        pool: row.pool.clone(),
        pool_slots: row.pool_slots,
        priority_weight: row.priority_weight,
        queued_when: optional(row.queued_at),
        start_date: optional(row.start_date),
        end_date: optional(row.end_date),
        duration: duration(row.start_date, row.end_date),
        next_try_at: optional(row.next_try_at),
        triggered_run: None,
        rendered_fields: None,
    }
}

/// An instance of which something was or would be done.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TouchedInstance {
    /// With the state of before; the rest of it is as it is now.
    #[serde(flatten)]
    instance: TaskInstance,
    /// After.
    new_state: Option<&'static str>,
}

fn shown(state: TaskState) -> Option<&'static str> {
    // As in Airflow, one that nothing was decided about has no state.
    (state != TaskState::None).then(|| state.as_str())
}

impl Server {
    pub async fn touched(&self, dag_id: &str, changed: &[ClearedInstance], runs: &[TouchedRun]) -> Answer<Touched> {
        let dag_id = DagId::new_unchecked(dag_id);
        let keys: Vec<InstanceKey> = changed.iter().map(|it| it.instance).collect();
        let rows = self.store().instances_by_key(&keys).await?;
        let rows: HashMap<InstanceKey, InstanceRow> = rows.into_iter().map(|row| (row.key, row)).collect();
        let runs: HashMap<RunKey, &TouchedRun> = runs.iter().map(|run| (run.run, run)).collect();
        let value = |it: &ClearedInstance| {
            let (run, row) = (runs.get(&it.run)?, rows.get(&it.instance)?);
            let whose = Whose {
                dag_id: &dag_id,
                run_id: &run.run_id,
                logical_date: run.logical_date,
                run_after: run.run_after,
            };
            let instance = TaskInstance { state: shown(it.from), ..instance_value(&whose, row) };
            Some(TouchedInstance { instance, new_state: shown(it.to) })
        };
        Ok(Touched::of(changed.iter().filter_map(value).collect()))
    }

    pub async fn cleared(&self, dag_id: &str, Cleared { report, warnings }: Cleared) -> Answer<Touched> {
        let mut touched = self.touched(dag_id, &report.cleared, &report.runs).await?;
        touched.warnings = warnings;
        Ok(touched)
    }
}
