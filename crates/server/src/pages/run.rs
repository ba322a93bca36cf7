//! One run, beside its DAG's grid.

use std::collections::HashMap;

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_model::change::InstanceKey;
use millrace_model::state::TaskState;
use millrace_situation::Asked;
use millrace_store::InstanceRow;
use serde::Serialize;

use super::dag::Place;
use super::grid::{GridView, Selected, run_facts};
use super::instances;
use crate::access::person::Person;
use crate::api::{first_line, rows_moved};
use crate::format::{count, length, span};
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};

#[derive(Serialize)]
struct TaskLine {
    task_id: String,
    href: String,
    operator: String,
    state: &'static str,
    reason: Option<String>,
    /// Of a mapped task: how many instances are in which state.
    counts: Vec<(&'static str, usize)>,
    tries: Option<String>,
    took: Option<String>,
    /// Why it failed, in a line.
    error: Option<String>,
}

/// Failed tasks of which the page says why.
const MOST_ERRORS: usize = 20;

/// What the last tries of failed tasks said.
async fn errors(server: &Server, rows: &[InstanceRow]) -> Answer<HashMap<InstanceKey, String>> {
    let mut found = HashMap::new();
    for failed in rows.iter().filter(|row| row.state == TaskState::Failed).take(MOST_ERRORS) {
        if let Some(error) = server.store().tries(failed.key).await?.pop().and_then(|last| last.error) {
            found.insert(failed.key, first_line(&server.options.vault.masker().mask(&error)));
        }
    }
    Ok(found)
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let run = server.run_row(&dag_id, &run_id).await?;
    let row = server.dag_row(&dag_id, 0).await?;
    let now = server.now();
    let rows_of_run = server.store().instances(run.key).await?;
    let version = server.store().dag_version(run.version_key).await?;
    let errors = errors(&server, &rows_of_run).await?;
    // Of a mapped task, the instance that says most.
    let line = |of_task: &[InstanceRow]| {
        let instance = instances::most_urgent(of_task).unwrap_or(&of_task[0]);
        let is_mapped = of_task.iter().any(|instance| instance.map_index >= 0);
        TaskLine {
            task_id: instance.task_id.to_string(),
            href: links::task(&dag_id, &run_id, instance.task_id.as_str()),
            operator: instance.operator.clone(),
            state: instance.state.as_str(),
            reason: instance.state_reason.clone(),
            counts: if is_mapped { instances::counts(of_task) } else { Vec::new() },
            tries: (!is_mapped && instance.try_number > 0).then(|| match instance.max_tries {
                0 => instance.try_number.to_string(),
                more => format!("{}/{}", instance.try_number, more + 1),
            }),
            error: errors.get(&instance.key).cloned(),
            took: span(
                of_task.iter().filter_map(|it| it.start_date).min(),
                if of_task.iter().any(|it| it.end_date.is_none()) {
                    None
                } else {
                    of_task.iter().filter_map(|it| it.end_date).max()
                },
                now,
            )
            .filter(|_| instance.try_number > 0)
            .map(length),
        }
    };
    let rows = rows_moved(&server.store().ledger_of_run(run.key).await?);
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for state in TaskState::ALL {
        let number = rows_of_run.iter().filter(|instance| instance.state == *state).count();
        if number > 0 {
            counts.push((state.as_str(), number));
        }
    }
    let why = if run.state.is_finished() { None } else { Some(server.explain(Asked::Run(&run)).await?) };
    // A part of its DAG has no newer version.
    let may_get_newer = run.version_key != row.version_key
        && !row.is_stale
        && server.store().whole_version(run.version_key).await?.is_none();
    let asked_by = server.store().asking_task(run.key).await?;
    let values = values! {
        kind => "run",
        asked_by => asked_by.map(|task| values! {
            text => format!("{} {}", task.dag_id, task.task_id),
            href => links::task(task.dag_id.as_str(), task.run_id.as_str(), task.task_id.as_str()),
        }),
        why,
        run => run_facts(&server, &row, &run),
        sections => instances::sections(&version, &rows_of_run, &server.masker_of_run(&version, &run), line),
        counts,
        newer_version => may_get_newer.then_some(row.version_number),
        rows => rows.map(count),
    };
    let selected = Selected { run: Some(&run), task: None };
    let place = Place { row: &row, selected, view: GridView::of(&parameters)? };
    server.dag_page(&person, &wishes, place, values).await
}
