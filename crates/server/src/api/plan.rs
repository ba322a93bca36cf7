//! What will run, and the due dates that became no run.

use axum::Json;
use axum::extract::{Path, State};
use chrono::TimeDelta;
use millrace_model::ids::DagId;
use millrace_situation::{Ahead, PassedSlot, PlanEntry};
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

/// Hours that are looked ahead when nobody says.
const HOURS: u32 = 24;
const MOST_HOURS: u32 = 24 * 366;

pub(crate) async fn all(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Plan>> {
    server.plan(None, &parameters).await
}

pub(crate) async fn dag(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Plan>> {
    let row = server.dag_row(&dag_id, 0).await?;
    server.plan(Some(&row.dag_id), &parameters).await
}

pub(crate) async fn slots(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Slots>> {
    let (limit, offset) = parameters.page()?;
    let row = server.dag_row(&dag_id, 0).await?;
    let page = server.store().passed_slots(row.dag_id.as_str(), limit.max(1), offset).await?;
    let shown = if limit == 0 { 0 } else { page.rows.len() };
    let slots: Vec<PassedSlot> = page.rows.iter().take(shown).map(PassedSlot::from).collect();
    Ok(Json(Slots { slots, total_entries: page.total }))
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Plan {
    #[schemars(with = "Vec<serde_json::Value>")]
    plan: Vec<PlanEntry>,
    has_more: bool,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Slots {
    #[schemars(with = "Vec<serde_json::Value>")]
    slots: Vec<PassedSlot>,
    total_entries: u64,
}

impl Server {
    async fn plan(&self, dag_id: Option<&DagId>, parameters: &Parameters) -> Answer<Json<Plan>> {
        let (limit, _) = parameters.page()?;
        let hours = parameters.number::<u32>("hours")?.unwrap_or(HOURS);
        if hours > MOST_HOURS {
            return Err(Problem::invalid(format!("parameter 'hours' must be at most {MOST_HOURS}, not {hours}")));
        }
        let now = self.now();
        let range = (now, now + TimeDelta::hours(hours.into()));
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let ahead = Ahead::read(self.store(), &self.surroundings().await?, dag_id, range).await?;
        // Others are answered meanwhile.
        let reckoned = tokio::task::spawn_blocking(move || ahead.plan(limit)).await;
        let (plan, has_more) = reckoned.map_err(|error| Problem::internal(&error))?;
        Ok(Json(Plan { plan, has_more }))
    }
}
