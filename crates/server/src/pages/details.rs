//! A DAG's tasks as a table, with all that holds for each.

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::alert::DeadlineReference;
use millrace_model::calendar::{Calendar, Shift};
use millrace_model::dag::{Dag, Task};
use millrace_model::notice::Callback;
use millrace_settings::Masker;
use serde::Serialize;

use super::head::Tab;
use crate::access::person::Person;
use crate::format::When;
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

/// What of the DAG's file says when it runs and who is told, as the file says it: only what is set.
fn settings(dag: &Dag, masker: &Masker) -> Vec<(&'static str, String)> {
    let mut set: Vec<(&'static str, String)> = Vec::new();
    if let Some(misfire) = &dag.misfire {
        set.push(("misfire", misfire.to_string()));
    } else if dag.catchup {
        set.push(("catchup", "true".to_owned()));
    }
    if let Some(rule) = &dag.calendar {
        let names =
            |calendars: &[Calendar]| calendars.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let lists = [("include", names(&rule.include)), ("exclude", names(&rule.exclude))];
        let mut parts: Vec<String> =
            lists.iter().filter(|(_, names)| !names.is_empty()).map(|(key, names)| format!("{key}: {names}")).collect();
        if rule.shift == Shift::NextBusinessDay {
            parts.push("shift: next_business_day".to_owned());
        }
        set.push(("calendar", parts.join("; ")));
    }
    if !dag.maintenance.is_empty() {
        let windows: Vec<String> = dag.maintenance.iter().map(ToString::to_string).collect();
        set.push(("maintenance", windows.join("; ")));
    }
    if let Some(deadline) = &dag.deadline {
        let reference = match deadline.reference {
            DeadlineReference::RunAfter => "run_after",
            DeadlineReference::LogicalDate => "logical_date",
            DeadlineReference::StartDate => "start_date",
        };
        set.push(("deadline", format!("{reference} + {}", deadline.within)));
    }
    if let Some(usual) = &dag.longer_than_usual {
        set.push(("longer_than_usual", format!("{} %", usual.percent)));
    }
    if let Some(limit) = &dag.concurrency {
        set.push(("concurrency", format!("{}: {}", masker.mask(&limit.key), limit.limit)));
    }
    if dag.max_consecutive_failed_dag_runs > 0 {
        set.push(("max_consecutive_failed_dag_runs", dag.max_consecutive_failed_dag_runs.to_string()));
    }
    if dag.fail_fast {
        set.push(("fail_fast", "true".to_owned()));
    }
    let told = &dag.callbacks;
    for (key, callbacks) in
        [("on_failure", &told.on_failure), ("on_success", &told.on_success), ("on_alert", &told.on_alert)]
    {
        let one = |callback: &Callback| match callback {
            Callback::Webhook(name) => format!("webhook: {name}"),
            Callback::Command(text) => format!("command: {}", masker.mask(text)),
        };
        let all: Vec<String> = callbacks.iter().map(one).collect();
        if !all.is_empty() {
            set.push((key, all.join("; ")));
        }
    }
    set
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
        owner => row.dag.owner.as_deref().map(|owner| masker.mask(owner)),
        file => row.file_path,
        version => row.version_number,
        settings => settings(&row.dag, &masker),
        max_active_runs => row.dag.max_active_runs,
        max_active_tasks => row.dag.max_active_tasks,
        timeout => row.dag.dagrun_timeout.as_ref().map(ToString::to_string),
        start => row.dag.start_date.map(when),
        end => row.dag.end_date.map(when),
    };
    server.page("details.html", Some(&person), &Wishes::of(&headers), values).await
}
