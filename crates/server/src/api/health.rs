//! Is it alive.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Instant, optional};
use crate::format::ago;
use crate::problem::Answer;
use crate::server::{Server, Shared};
use crate::words::{fill, t};

/// A scheduler that has not been heard for this long is taken for dead.
pub(crate) const SILENT_AFTER: TimeDelta = TimeDelta::seconds(30);

/// How long the database may take to answer this one.
const PATIENCE: Duration = Duration::from_secs(3);

/// `degraded`: the scheduler of this very process lives, but its database does not take what it writes, or the disk no logs.
pub(crate) async fn health(State(server): State<Shared>) -> Json<Health> {
    let (problem, heartbeat) = match tokio::time::timeout(PATIENCE, server.store().health()).await {
        Ok(Ok(health)) => (None, health.scheduler_heartbeat_at),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the health of the metadata database is unknown");
            (Some("it does not answer as it should; the daemon's log tells more".to_owned()), None)
        }
        Err(_) => (Some(format!("no answer within {} s", PATIENCE.as_secs())), None),
    };
    // Anybody may ask: the reasons are in the log of whoever had the trouble.
    let troubles: Vec<String> = server.store().troubles().into_iter().map(|(part, _)| part.to_string()).collect();
    let scheduler = if !troubles.is_empty() {
        "degraded"
    } else if is_alive(heartbeat, server.now()) {
        "healthy"
    } else {
        "unhealthy"
    };
    let database = if problem.is_none() { "healthy" } else { "unhealthy" };
    let trouble =
        (!troubles.is_empty()).then(|| format!("trouble with: {}; the daemon's log tells more", troubles.join(", ")));
    Json(Health {
        metadatabase: DatabaseHealth { status: database, problem },
        scheduler: Heart { status: scheduler, latest_scheduler_heartbeat: optional(heartbeat), problem: trouble },
        triggerer: NoTriggerer { status: None, latest_triggerer_heartbeat: None },
    })
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Health {
    metadatabase: DatabaseHealth,
    scheduler: Heart,
    triggerer: NoTriggerer,
}

/// There is none: the scheduler looks after what is deferred. Null in Airflow where none runs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TriggererHealth")]
struct NoTriggerer {
    status: Option<&'static str>,
    latest_triggerer_heartbeat: Option<Instant>,
}

#[derive(Serialize, JsonSchema)]
struct DatabaseHealth {
    /// `healthy` or `unhealthy`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SchedulerHealth")]
struct Heart {
    /// `healthy`, `degraded` or `unhealthy`.
    status: &'static str,
    latest_scheduler_heartbeat: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn is_alive(heartbeat: Option<DateTime<Utc>>, now: DateTime<Utc>) -> bool {
    heartbeat.is_some_and(|at| now - at < SILENT_AFTER)
}

/// The dot in the bar.
#[derive(Debug, Serialize)]
pub(crate) struct SchedulerHealth {
    pub is_alive: bool,
    pub text: String,
}

impl Server {
    pub async fn scheduler_health(&self) -> Answer<SchedulerHealth> {
        let (heartbeat, now) = (self.store().health().await?.scheduler_heartbeat_at, self.now());
        let text = match heartbeat {
            Some(at) if is_alive(heartbeat, now) => {
                fill("The scheduler is alive; last heard {when}", &[("when", &ago(at, now))])
            }
            Some(at) => fill("The scheduler is silent; last heard {when}", &[("when", &ago(at, now))]),
            None => {
                t("No scheduler is running. Start one with `millrace scheduler` or `millrace standalone`").to_owned()
            }
        };
        Ok(SchedulerHealth { is_alive: is_alive(heartbeat, now), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_death() {
        let now = "2024-01-01T00:00:30Z".parse::<DateTime<Utc>>().unwrap();
        assert!(!is_alive(None, now));
        assert!(is_alive(Some(now - TimeDelta::seconds(29)), now));
        assert!(!is_alive(Some(now - TimeDelta::seconds(30)), now));
    }
}
