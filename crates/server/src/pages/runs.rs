//! Runs, newest first: of every DAG, or of one.

use std::collections::HashMap;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use http::{HeaderMap, StatusCode};
use millrace_model::ids::DagId;
use millrace_model::instant::parse_instant;
use millrace_model::state::{RunState, RunType};
use millrace_store::{DagRow, DateSpan, RunFilter, RunRow};
use serde::Serialize;

use super::head::Tab;
use super::paging::{kept, paging};
use crate::access::person::Person;
use crate::api::{MOST_COUNTED, run_order};
use crate::format::{When, length, sentence, span};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, merged, values};
use crate::server::{Server, Shared};
use crate::viewer::zone_for;
use crate::words::say;

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
    note: Option<String>,
    /// The person who looks.
    may_change: bool,
    logical_date: When,
    started: Option<When>,
    took: Option<String>,
}

fn line(server: &Server, run: &RunRow, may_change: bool, (now, zone): (DateTime<Utc>, Tz)) -> Line {
    Line {
        dag_id: run.dag_id.to_string(),
        dag_href: links::dag(run.dag_id.as_str()),
        run_id: run.run_id.to_string(),
        href: links::run(run.dag_id.as_str(), run.run_id.as_str()),
        state: run.state.as_str(),
        run_type: run.run_type.as_str(),
        triggered_by: run.triggered_by.clone(),
        note: server.note_of(run),
        may_change,
        logical_date: When::new(run.logical_date, now, zone),
        started: run.start_date.map(|at| When::new(at, now, zone)),
        took: span(run.start_date, run.end_date, now).map(length),
    }
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    show(&server, &person, &headers, None, &parameters).await
}

pub(super) async fn of_dag(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    show(&server, &person, &headers, Some(&row), &parameters).await
}

/// Where the links of the list lead.
#[derive(Serialize)]
struct Ways {
    base: String,
    /// What was asked for beside the state.
    rest: String,
    /// The same for states of what has not ended, and has no end to be chosen by.
    rest_unended: String,
    /// To this list, for another order.
    sorted: String,
    here: String,
}

impl Ways {
    fn of(dag: Option<&DagRow>, parameters: &Parameters, state: Option<&str>, offset: u64) -> Self {
        let base = dag.map_or_else(|| "/runs".to_owned(), |row| format!("{}/runs", links::dag(row.dag_id.as_str())));
        let asked = kept(parameters, &["dag", "run_type", "from", "to", "ended_from"]);
        let order = kept(parameters, &["order_by"]);
        let sorted = format!("{base}?state={}{asked}", state.unwrap_or_default());
        Self {
            rest: format!("{asked}{order}"),
            rest_unended: kept(parameters, &["dag", "run_type", "from", "to", "order_by"]),
            here: format!("{sorted}{order}&offset={offset}"),
            sorted,
            base,
        }
    }
}

async fn show(
    server: &Server,
    person: &Person,
    headers: &HeaderMap,
    dag: Option<&DagRow>,
    parameters: &Parameters,
) -> Answer {
    let offset = parameters.offset()?;
    let states = parameters.run_states()?;
    let zone = dag.map_or(Tz::UTC, |row| row.dag.timetable.timezone);
    let date = |name: &str| {
        let read = |text: &str| {
            parse_instant(text, zone_for(zone))
                .map_err(|error| Problem::invalid(format!("parameter '{name}' must be a date: {error}")))
        };
        parameters.text(name).map(read).transpose()
    };
    // What was mistyped is said at its field, not instead of the page.
    let mut wrong: HashMap<&str, String> = HashMap::new();
    let mut typed = |name: &'static str| {
        date(name).unwrap_or_else(|problem| {
            wrong.insert(name, sentence(&say(&problem.detail)));
            None
        })
    };
    let logical_date = DateSpan { from: typed("from"), before: typed("to") };
    let end_date = DateSpan { from: typed("ended_from"), before: None };
    let (order, ascending) = run_order(parameters)?;
    let named = dag.map(|row| row.dag_id.clone()).or_else(|| parameters.owned("dag").map(DagId::new_unchecked));
    let filter = RunFilter {
        dag_ids: named.into_iter().collect(),
        states: states.clone(),
        run_type: parameters.run_type()?,
        logical_date,
        end_date,
        order,
        ascending,
        limit: if wrong.is_empty() { ROWS } else { 0 },
        offset,
        // Nobody reads how many of a million there are; counting them all would be the slowest part of the page.
        count_to: Some(offset + MOST_COUNTED),
        ..RunFilter::default()
    };
    let page = server.store().runs(&filter).await?;
    let now = server.now();
    let is_wrong = !wrong.is_empty();
    let state = states.first().map(|state| state.as_str());
    let ways = Ways::of(dag, parameters, state, offset);
    let changeable = server.dags_to_change(person, page.rows.iter().map(|run| run.dag_id.as_str())).await?;
    let shown = |run: &RunRow| line(server, run, changeable.contains(run.dag_id.as_str()), (now, zone));
    let values = values! {
        dag => dag.map(|row| server.dag_head(row, Tab::Runs)),
        ways,
        order_by => parameters.text("order_by"),
        any_may_change => !changeable.is_empty(),
        runs => page.rows.iter().map(shown).collect::<Vec<_>>(),
        total => page.total,
        is_more => page.total >= offset + MOST_COUNTED,
        state,
        states => RunState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>(),
        run_type => parameters.text("run_type"),
        run_types => RunType::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        dag_id => parameters.text("dag"),
        from => parameters.text("from"),
        to => parameters.text("to"),
        ended_from => parameters.text("ended_from"),
        wrong,
        is_wrong,
    };
    let values = merged(values, paging(offset, page.rows.len(), ROWS, page.total));
    let mut answer = server.page("runs.html", Some(person), &Wishes::of(headers), values).await?;
    if is_wrong {
        *answer.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    }
    Ok(answer)
}
