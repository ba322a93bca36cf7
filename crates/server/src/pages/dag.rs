//! One DAG: its grid, and beside it the DAG's own facts, a run's, or a task's.

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use http::HeaderMap;
use millrace_model::pool::PoolFault;
use millrace_model::schedule::{PlannedRun, Schedule};
use millrace_planner::next_runs;
use millrace_situation::Asked;
use millrace_store::DagRow;
use minijinja::Value;
use serde::Deserialize;

use super::dags;
use super::grid::{GridView, Selected};
use super::head::Tab;
use crate::access::person::Person;
use crate::format::When;
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, merged, values};
use crate::server::{Server, Shared};

const STRIP: u32 = 14;
/// Dates without a run that are shown.
const PASSED: u64 = 5;

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let row = server.dag_row(&dag_id, STRIP).await?;
    if wishes.wants("row") {
        let line = dags::row(&server, &person, &row, &headers).await?;
        return server.page("parts/dag_row.html", Some(&person), &wishes, values! { line }).await;
    }
    let now = server.now();
    let zone = row.dag.timetable.timezone;
    let upcoming = match &row.next {
        Some(next) if !row.is_paused && !row.is_stale => {
            let previous = server.store().last_automated_interval(&row.dag_id).await?;
            let mut runs: Vec<_> = next_runs(&row.dag, previous.as_ref(), now).take(5).collect();
            if runs.is_empty() {
                runs.push(*next);
            }
            // A calendar may put several dates on one day: then the dates tell them apart.
            let is_shared = runs.windows(2).any(|pair| pair[0].run_after == pair[1].run_after);
            let when = |at| When::new(at, now, zone);
            let one = |run: &PlannedRun| values! { at => when(run.run_after), of => is_shared.then(|| when(run.logical_date)) };
            runs.iter().map(one).collect()
        }
        _ => Vec::new(),
    };
    // One that runs only when triggered has nothing to explain.
    let why = match row.dag.timetable.schedule {
        Schedule::None if !row.is_stale && row.dag.assets.is_none() => None,
        _ => Some(server.explain(Asked::Dag(&row)).await?),
    };
    let pools = server.store().pool_sizes().await?;
    let pool_faults: Vec<Value> = PoolFault::all_of(&row.dag, &pools)
        .iter()
        .map(|fault| values! { text => fault.to_string(), hint => fault.hint() })
        .collect();
    let passed = server.store().passed_slots(row.dag_id.as_str(), PASSED, 0).await?;
    let passed_dates: Vec<Value> = passed
        .rows
        .iter()
        .map(|record| {
            values! {
                first => When::new(record.slots.first, now, zone),
                last => When::new(record.slots.last, now, zone),
                count => record.slots.count,
                outcome => record.slots.outcome.as_str(),
                reason => record.slots.reason,
            }
        })
        .collect();
    let values = values! {
        kind => "dag",
        passed_dates,
        passed_total => passed.total,
        why,
        pool_faults,
        upcoming,
        file => row.file_path,
        version => row.version_number,
        changed => When::new(row.last_changed_at, now, zone),
        owner => row.dag.owner.as_deref().map(|owner| server.masker_of_dag(&row.dag).mask(owner)),
        catchup => row.dag.catchup,
        waits_for_assets => row.dag.assets.is_some(),
        max_active_runs => row.dag.max_active_runs,
        max_active_tasks => row.dag.max_active_tasks,
        params => server.shown_params(&row.dag),
        task_count => row.dag.tasks.len(),
    };
    let place = Place { row: &row, selected: Selected::default(), view: GridView::of(&parameters)? };
    server.dag_page(&person, &wishes, place, values).await
}

/// Which grid a page shows beside its panel.
pub(super) struct Place<'a> {
    pub row: &'a DagRow,
    pub selected: Selected<'a>,
    pub view: GridView,
}

impl Server {
    /// The whole page, or only the grid or the panel.
    pub(super) async fn dag_page(&self, person: &Person, wishes: &Wishes, place: Place<'_>, panel: Value) -> Answer {
        let row = place.row;
        let address = match (place.selected.run, place.selected.task) {
            (Some(run), Some(task)) => links::task(row.dag_id.as_str(), run.run_id.as_str(), task),
            (Some(run), None) => links::run(row.dag_id.as_str(), run.run_id.as_str()),
            (None, _) => links::dag(row.dag_id.as_str()),
        };
        let dag = self.dag_head_of(row, Tab::Grid, place.selected.run.map(|run| run.run_id.as_str()));
        if wishes.wants("panel") {
            return self.page("parts/panel.html", Some(person), wishes, merged(values! { dag, address }, panel)).await;
        }
        let grid = self.grid(row, place.selected, &place.view).await?;
        let template = if wishes.wants("grid") { "parts/grid.html" } else { "dag.html" };
        self.page(template, Some(person), wishes, merged(values! { dag, address, grid }, panel)).await
    }
}

#[derive(Deserialize)]
pub(super) struct PauseForm {
    is_paused: bool,
}

pub(super) async fn pause(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    Form(form): Form<PauseForm>,
) -> Answer {
    server.set_paused(&person, &dag_id, form.is_paused).await?;
    Ok(Redirect::to(&links::back(&headers, &links::dag(&dag_id))).into_response())
}
