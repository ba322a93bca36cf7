//! What was moved, of every DAG: newest first, by DAG and by target.

use axum::extract::State;
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_model::ids::DagId;
use millrace_store::{LedgerFilter, LedgerLine};
use serde::Serialize;

use super::data::moved;
use super::paging::{kept, paging};
use crate::access::person::Person;
use crate::format::{When, count, length, size};
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, merged, values};
use crate::server::Shared;

const ROWS: u64 = 50;

#[derive(Serialize)]
struct Line {
    at: When,
    dag_id: String,
    data_href: String,
    task_id: String,
    href: String,
    stage: String,
    logical_date: When,
    target: String,
    source: String,
    rows: Option<String>,
    rejected: Option<String>,
    /// How many passed, of how many.
    checks: Option<(usize, usize)>,
    bytes: Option<String>,
    took: String,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let offset = parameters.offset()?;
    let filter = LedgerFilter {
        dag_id: parameters.owned("dag").map(DagId::new_unchecked),
        target: parameters.owned("target"),
        limit: ROWS,
        offset,
        ..LedgerFilter::default()
    };
    let page = server.store().ledger_lines(&filter).await?;
    let line = |line: &LedgerLine| {
        let entry = &line.row.entry;
        let dag_id = line.dag_id.as_str();
        Line {
            at: When::new(entry.ended_at, server.now(), Tz::UTC),
            dag_id: dag_id.to_owned(),
            data_href: format!("{}/data", links::dag(dag_id)),
            task_id: line.task_id.to_string(),
            href: links::task(dag_id, line.run_id.as_str(), line.task_id.as_str()),
            stage: entry.stage.clone(),
            logical_date: When::new(line.logical_date, server.now(), Tz::UTC),
            target: server.masked_text(&entry.target),
            source: server.masked_text(&entry.source),
            rows: moved(line).map(count),
            rejected: entry.rows_rejected.filter(|rows| *rows > 0).map(count),
            checks: entry.checks_passed(),
            bytes: entry.bytes.map(size),
            took: length(entry.ended_at - entry.started_at),
        }
    };
    let rest = kept(&parameters, &["dag", "target"]);
    let values = values! {
        lines => page.rows.iter().map(line).collect::<Vec<_>>(),
        total => page.total,
        is_searched => !rest.is_empty(),
        rest,
        // Not `dag`: that is whose head a page has.
        dag_id => parameters.owned("dag"),
        target => parameters.owned("target"),
    };
    let values = merged(values, paging(offset, page.rows.len(), ROWS, page.total));
    server.page("movements.html", Some(&person), &Wishes::of(&headers), values).await
}
