//! What people are told of: late runs, long runs, DAGs that were paused, files that broke or lost tasks.

use axum::Json;
use axum::extract::State;
use millrace_model::alert::AlertKind;
use millrace_store::{AlertFilter, AlertRow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Given, Instant, body, instant, listed, optional};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::doors::Doors;
use crate::openapi::{Kind, op};
use crate::problem::Answer;
use crate::query::{Parameters, unknown};
use crate::server::Shared;

pub(super) fn doors() -> Doors {
    use Act::{ReadSystem, SeeAlerts};
    super::under()
        .get("/alerts", ReadSystem, list)
        .does(
            op("List what people are told of, newest first")
                .page()
                .query("seen", Kind::Flag, "Also what was seen")
                .query("dag_id", Kind::Text, "Of this DAG")
                .query("kind", Kind::Text, "deadline, longer_than_usual, auto_paused, import_error or tasks_lost")
                .gives::<Alerts>(),
        )
        .post("/alerts/seen", SeeAlerts, see)
        .does(op("Note that alerts were seen").takes::<SeenBody>().gives::<Seen>())
}

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Alerts>> {
    let (limit, offset) = parameters.page()?;
    let kind = |text| AlertKind::parse(text).ok_or_else(|| unknown("kind", text, AlertKind::ALL));
    let filter = AlertFilter {
        only_unseen: !parameters.flag("seen")?.unwrap_or(false),
        dag_id: parameters.owned("dag_id"),
        kind: parameters.text("kind").map(kind).transpose()?,
        limit,
        offset,
    };
    let page = server.store().alerts(&filter).await?;
    Ok(Json(Alerts { alerts: page.rows.iter().map(alert).collect(), total_entries: page.total }))
}

listed!(Alerts { alerts: Alert });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Alert {
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
