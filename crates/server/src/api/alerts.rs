//! What people are told of: late runs, long runs, DAGs that were paused.

use axum::Json;
use axum::extract::{Query, State};
use millrace_store::AlertRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, instant, optional};
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Alerts>> {
    let parameters = Parameters(parameters);
    let (limit, _) = parameters.page()?;
    let rows = server.store().alerts(!parameters.flag("seen")?.unwrap_or(false), limit).await?;
    Ok(Json(Alerts { alerts: rows.iter().map(alert).collect() }))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Serialize, JsonSchema)]
struct Alert {
    id: i64,
    dag_id: String,
    dag_run_id: Option<String>,
    kind: &'static str,
    message: String,
    timestamp: Instant,
    seen_at: Option<Instant>,
    seen_by: Option<String>,
}

fn alert(row: &AlertRow) -> Alert {
    Alert {
        id: row.id,
        dag_id: row.dag_id.to_string(),
        dag_run_id: row.run_id.as_ref().map(ToString::to_string),
        kind: row.kind.as_str(),
        message: row.message.clone(),
        timestamp: instant(row.at),
        seen_at: optional(row.seen_at),
        seen_by: row.seen_by.clone(),
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenBody {
    /// Without it, all.
    #[serde(default)]
    ids: Option<Vec<i64>>,
}

/// How many were new.
#[derive(Serialize, JsonSchema)]
pub(super) struct Seen {
    seen: u64,
}

pub(super) async fn see(State(server): State<Shared>, person: Person, given: Given<SeenBody>) -> Answer<Json<Seen>> {
    let given = body(given)?;
    let seen = server.store().see_alerts(given.ids.as_deref(), &person.actor(), server.now()).await?;
    Ok(Json(Seen { seen }))
}
