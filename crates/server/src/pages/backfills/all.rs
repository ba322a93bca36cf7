//! The backfills of every DAG, newest first.

use axum::extract::State;
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_model::ids::DagId;
use millrace_store::{BackfillRow, BackfillState};

use super::lines::lines;
use crate::access::person::Person;
use crate::pages::paging::{kept, paging};
use crate::problem::Answer;
use crate::query::{Parameters, unknown};
use crate::rendering::{Wishes, merged, values};
use crate::server::Shared;
use crate::words::said;

const ROWS: usize = 50;

/// What the buttons above the list choose.
const STATES: [&str; 4] = [said!("running"), said!("paused"), said!("finished"), said!("cancelled")];

fn state(row: &BackfillRow) -> &'static str {
    match row.state {
        BackfillState::Running if row.is_paused => "paused",
        BackfillState::Running => "running",
        BackfillState::Finished => "finished",
        BackfillState::Cancelled => "cancelled",
    }
}

pub(in crate::pages) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let offset = parameters.offset()?;
    let chosen = parameters.text("state");
    if let Some(text) = chosen.filter(|text| !STATES.contains(text)) {
        return Err(unknown("state", text, &STATES));
    }
    let dag_id = parameters.text("dag").map(DagId::new_unchecked);
    // People make them one by one: there are few.
    let mut rows = server.store().backfills(dag_id.as_ref()).await?;
    rows.retain(|row| chosen.is_none_or(|chosen| state(row) == chosen));
    let total = rows.len();
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(total);
    let shown = &rows[start..(start + ROWS).min(total)];
    let values = values! {
        lines => lines(&server, shown, Tz::UTC).await?,
        total,
        state => chosen,
        states => STATES,
        rest => kept(&parameters, &["dag"]),
        dag_id => parameters.text("dag"),
    };
    let values = merged(values, paging(offset, shown.len(), ROWS as u64, total as u64));
    server.page("all_backfills.html", Some(&person), &Wishes::of(&headers), values).await
}
