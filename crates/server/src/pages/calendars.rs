//! Calendars that DAGs name.

use axum::extract::State;
use chrono::Datelike;
use http::HeaderMap;

use crate::access::person::Person;
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let year = parameters.number("year")?.unwrap_or_else(|| server.now().year());
    let calendars: Vec<_> = server
        .calendars(Some(year))
        .await?
        .into_iter()
        .map(|it| {
            let dags: Vec<(String, String)> = it.dag_ids.iter().map(|id| (id.clone(), links::dag(id))).collect();
            values! { name => it.name, description => it.description, days => it.days, dags }
        })
        .collect();
    let values = values! { calendars, year, before => year.saturating_sub(1), after => year.saturating_add(1) };
    server.page("calendars.html", Some(&person), &Wishes::of(&headers), values).await
}
