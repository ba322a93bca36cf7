//! Every run of every DAG, newest first.

use axum::extract::{Query, State};
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_model::state::RunState;
use millrace_store::{RunFilter, RunRow};
use serde::Serialize;

use crate::format::{When, length, span};
use crate::links;
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

const ROWS: u64 = 50;

#[derive(Serialize)]
struct Line {
    dag_id: String,
    dag_href: String,
    run_id: String,
    href: String,
    state: &'static str,
    run_type: &'static str,
    triggered_by: String,
    logical_date: When,
    started: Option<When>,
    took: Option<String>,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let parameters = Parameters(parameters);
    let offset = parameters.offset()?;
    let states = parameters.run_states()?;
    let filter = RunFilter { states: states.clone(), limit: ROWS, offset, ..RunFilter::default() };
    let page = server.store().runs(&filter).await?;
    let now = server.now();
    let line = |run: &RunRow| Line {
        dag_id: run.dag_id.to_string(),
        dag_href: links::dag(run.dag_id.as_str()),
        run_id: run.run_id.to_string(),
        href: links::run(run.dag_id.as_str(), run.run_id.as_str()),
        state: run.state.as_str(),
        run_type: run.run_type.as_str(),
        triggered_by: run.triggered_by.clone(),
        logical_date: When::new(run.logical_date, now, Tz::UTC),
        started: run.start_date.map(|at| When::new(at, now, Tz::UTC)),
        took: span(run.start_date, run.end_date, now).map(length),
    };
    let state = states.first().map(|state| state.as_str());
    let values = values! {
        runs => page.rows.iter().map(line).collect::<Vec<_>>(),
        total => page.total,
        state,
        states => RunState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>(),
        first => offset + 1,
        last => offset + page.rows.len() as u64,
        earlier => (offset > 0).then(|| offset.saturating_sub(ROWS)),
        later => Some(offset + ROWS).filter(|next| *next < page.total),
    };
    server.page("runs.html", Some(&person), &Wishes::of(&headers), values).await
}
