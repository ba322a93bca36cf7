//! Processes: who schedules, who serves, and who has stopped doing so.

use axum::extract::State;
use http::HeaderMap;

use crate::access::person::Person;
use crate::api::SILENT_AFTER;
use crate::format::When;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

/// Those at work come first.
const SHOWN: u64 = 50;

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let now = server.now();
    let rows = server.store().jobs(SHOWN).await?;
    let when = |at| When::new(at, now, chrono_tz::UTC);
    let lines: Vec<_> = rows
        .iter()
        .map(|row| {
            values! {
                kind => row.kind.replace('_', " "),
                state => row.state(now, SILENT_AFTER),
                hostname => row.hostname,
                pid => row.pid,
                started => when(row.started_at),
                heartbeat => when(row.heartbeat_at),
                ended => row.ended_at.map(when),
            }
        })
        .collect();
    server.page("jobs.html", Some(&person), &Wishes::of(&headers), values! { lines }).await
}
