//! One run, beside its DAG's grid.

use axum::extract::{Path, Query, State};
use http::HeaderMap;
use millrace_model::state::TaskState;
use millrace_situation::Asked;
use millrace_store::InstanceRow;
use serde::Serialize;

use super::dag::Place;
use super::grid::{Selected, run_facts};
use crate::api::rows_moved;
use crate::format::{count, length, span};
use crate::links;
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

#[derive(Serialize)]
struct TaskLine {
    task_id: String,
    href: String,
    operator: String,
    state: &'static str,
    reason: Option<String>,
    tries: Option<String>,
    took: Option<String>,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    headers: HeaderMap,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let run = server.run_row(&dag_id, &run_id).await?;
    let row = server.dag_row(&dag_id, 0).await?;
    let now = server.now();
    let instances = server.store().instances(run.key).await?;
    let line = |instance: &InstanceRow| TaskLine {
        task_id: instance.task_id.to_string(),
        href: links::task(&dag_id, &run_id, instance.task_id.as_str()),
        operator: instance.operator.clone(),
        state: instance.state.as_str(),
        reason: instance.state_reason.clone(),
        tries: (instance.max_tries > 0 && instance.try_number > 0)
            .then(|| format!("{}/{}", instance.try_number, instance.max_tries + 1)),
        took: span(instance.start_date, instance.end_date, now).filter(|_| instance.try_number > 0).map(length),
    };
    let rows = rows_moved(&server.store().ledger_of_run(run.key).await?);
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for state in TaskState::ALL {
        let number = instances.iter().filter(|instance| instance.state == *state).count();
        if number > 0 {
            counts.push((state.as_str(), number));
        }
    }
    let why = if run.state.is_finished() { None } else { Some(server.explain(Asked::Run(&run)).await?) };
    let values = values! {
        kind => "run",
        why,
        run => run_facts(&row, &run, now),
        tasks => instances.iter().map(line).collect::<Vec<_>>(),
        counts,
        rows => rows.map(count),
    };
    let selected = Selected { run: Some(&run), task: None };
    let place = Place { row: &row, selected, runs: Parameters(parameters).number("runs")? };
    server.dag_page(&person, &wishes, place, values).await
}
