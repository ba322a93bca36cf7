//! A DAG's tasks as a table, with all that holds for each.

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::dag::Task;
use serde::Serialize;

use super::head::Tab;
use crate::format::When;
use crate::person::Person;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

#[derive(Serialize)]
struct Line {
    task_id: String,
    description: Option<String>,
    operator: String,
    depends_on: Vec<String>,
    trigger_rule: &'static str,
    retries: u32,
    retry_delay: String,
    timeout: Option<String>,
    pool: String,
    pool_slots: u32,
    priority_weight: i32,
    is_mapped: bool,
    parameters: String,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    let masker = server.masker_of_dag(&row.dag);
    let line = |task: &Task| Line {
        task_id: task.task_id.to_string(),
        description: task.description.as_deref().map(|text| masker.mask(text)),
        operator: task.operator.clone(),
        depends_on: task.depends_on.iter().map(ToString::to_string).collect(),
        trigger_rule: task.trigger_rule.as_str(),
        retries: task.retries,
        retry_delay: task.retry_delay.to_string(),
        timeout: task.execution_timeout.as_ref().map(ToString::to_string),
        pool: task.pool.clone(),
        pool_slots: task.pool_slots,
        priority_weight: task.priority_weight,
        is_mapped: task.expand.is_some(),
        parameters: serde_json::to_string_pretty(&masker.mask_value(&task.parameters)).unwrap_or_default(),
    };
    let when = |at| When::new(at, server.now(), row.dag.timetable.timezone).local;
    let values = values! {
        dag => server.dag_head(&row, Tab::Details),
        tasks => row.dag.tasks.iter().map(line).collect::<Vec<_>>(),
        owner => row.dag.owner,
        file => row.file_path,
        version => row.version_number,
        catchup => row.dag.catchup,
        max_active_runs => row.dag.max_active_runs,
        max_active_tasks => row.dag.max_active_tasks,
        timeout => row.dag.dagrun_timeout.as_ref().map(ToString::to_string),
        start => row.dag.start_date.map(when),
        end => row.dag.end_date.map(when),
    };
    server.page("details.html", Some(&person), &Wishes::of(&headers), values).await
}
