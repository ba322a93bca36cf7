//! What people are told of: late runs, long runs, DAGs that were paused.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Query, State};
use millrace_store::AlertRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, instant, optional};
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, _) = parameters.page()?;
    let rows = server.store().alerts(!parameters.flag("seen")?.unwrap_or(false), limit).await?;
    Ok(Json(json!({"alerts": rows.iter().map(alert).collect::<Vec<_>>()})))
}

fn alert(row: &AlertRow) -> Value {
    json!({
        "id": row.id,
        "dag_id": row.dag_id,
        "dag_run_id": row.run_id,
        "kind": row.kind,
        "message": row.message,
        "timestamp": instant(row.at),
        "seen_at": optional(row.seen_at),
        "seen_by": row.seen_by,
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeenBody {
    /// Without it, all.
    #[serde(default)]
    ids: Option<Vec<i64>>,
}

pub(super) async fn see(
    State(server): State<Shared>,
    person: Person,
    given: Result<Json<SeenBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    let given = body(given)?;
    let seen = server.store().see_alerts(given.ids.as_deref(), &person.actor(), server.now()).await?;
    Ok(Json(json!({"seen": seen})))
}
