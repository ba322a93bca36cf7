//! Calendars that DAGs name, with their days of a year.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::error_code::ErrorCode;

use super::{cut, listed};
use crate::calendars::NamedCalendar;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Calendars>> {
    let page = parameters.page()?;
    let (calendars, total_entries) = cut(server.calendars(parameters.number("year")?).await?, page);
    Ok(Json(Calendars { calendars, total_entries }))
}

listed!(Calendars { calendars: NamedCalendar });

pub(crate) async fn get(
    State(server): State<Shared>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Answer<Json<NamedCalendar>> {
    let found = server.calendars(parameters.number("year")?).await?;
    let calendar = found.into_iter().find(|calendar| calendar.name == name);
    calendar.map(Json).ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("no DAG names a calendar '{name}'")))
}
