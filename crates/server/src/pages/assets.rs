//! Assets: who makes them, who waits for them, when they changed.

use axum::extract::State;
use http::HeaderMap;
use millrace_store::AssetRow;
use serde::Serialize;

use super::asset_graph;
use crate::access::person::Person;
use crate::format::When;
use crate::links;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};

#[derive(Serialize)]
struct Link {
    href: String,
    text: String,
}

#[derive(Serialize)]
struct Line {
    asset: String,
    producers: Vec<Link>,
    consumers: Vec<Link>,
    last: Option<When>,
    last_run: Option<Link>,
    events: u64,
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let rows = server.store().assets().await?;
    let picture = asset_graph::picture(&rows);
    let lines: Vec<Line> = rows.into_iter().map(|row| line(&server, row)).collect();
    server.page("assets.html", Some(&person), &Wishes::of(&headers), values! { lines, picture }).await
}

fn line(server: &Server, row: AssetRow) -> Line {
    let dag = |id: &str, text: String| Link { href: links::dag(id), text };
    let last_run = row.last_event.as_ref().and_then(|event| {
        let (dag_id, run_id) = (event.dag_id.as_ref()?.as_str(), event.run_id.as_ref()?.as_str());
        Some(Link { href: links::run(dag_id, run_id), text: format!("{dag_id} {run_id}") })
    });
    Line {
        asset: row.asset.to_string(),
        producers: row
            .producers
            .iter()
            .map(|it| dag(it.dag_id.as_str(), format!("{}.{}", it.dag_id, it.task_id)))
            .collect(),
        consumers: row.consumers.iter().map(|it| dag(it.dag_id.as_str(), it.dag_id.to_string())).collect(),
        last: row.last_event.map(|event| When::new(event.at, server.now(), chrono_tz::UTC)),
        last_run,
        events: row.event_count,
    }
}
