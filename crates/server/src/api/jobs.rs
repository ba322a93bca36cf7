//! Schedulers and other long-lived processes.

use axum::Json;
use axum::extract::State;
use millrace_store::JobRow;
use schemars::JsonSchema;
use serde::Serialize;

use super::health::SILENT_AFTER;
use super::{Instant, instant, listed, optional, paged};
use crate::problem::Answer;
use crate::query::{Parameters, unknown};
use crate::server::Shared;

/// Newer ones than that are looked through.
const LOOKED_AT: u64 = 1000;

/// The kinds of processes that there are, each with what Airflow calls it. It has others: one that asks whether such a
/// process lives must not read that it is dead.
const KINDS: [(&str, Option<&str>); 3] = [("scheduler", Some("SchedulerJob")), ("server", None), ("task_run", None)];

pub(super) const TYPES: &[&str] = &["scheduler", "SchedulerJob", "server", "task_run"];

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Jobs>> {
    let alive = parameters.flag("is_alive")?;
    let kind = |text| KINDS.iter().find(|(ours, theirs)| *ours == text || *theirs == Some(text)).map(|(ours, _)| *ours);
    let wanted = match parameters.text("job_type") {
        None => None,
        Some(text) => Some(kind(text).ok_or_else(|| unknown("job_type", text, TYPES))?),
    };
    let (now, timeout) = (server.now(), SILENT_AFTER);
    let mut rows = server.store().jobs(LOOKED_AT).await?;
    let is_asked = |row: &JobRow| {
        wanted.is_none_or(|kind| row.kind == kind)
            && alive.is_none_or(|alive| alive == (row.state(now, timeout) == "running"))
    };
    rows.retain(is_asked);
    let job = |row: JobRow| Job {
        state: row.state(now, timeout),
        id: row.id,
        job_type: row.kind,
        hostname: row.hostname,
        pid: row.pid.into(),
        start_date: instant(row.started_at),
        end_date: optional(row.ended_at),
        latest_heartbeat: instant(row.heartbeat_at),
    };
    let (jobs, total_entries) = paged(rows.into_iter().map(job).collect(), &parameters, ORDERS)?;
    Ok(Json(Jobs { jobs, total_entries }))
}

pub(super) const ORDERS: &[&str] =
    &["id", "job_type", "state", "hostname", "start_date", "end_date", "latest_heartbeat"];

listed!(Jobs { jobs: Job });

#[derive(Serialize, JsonSchema)]
pub(crate) struct Job {
    id: String,
    job_type: String,
    state: &'static str,
    hostname: String,
    pid: i64,
    start_date: Instant,
    end_date: Option<Instant>,
    latest_heartbeat: Instant,
}
