//! Waits for a run to end, without asking again and again.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::runs::{DagRun, run_value};
use crate::live::Message;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

/// Seconds, unless told; an answer takes a minute at the most.
const USUAL: u64 = 30;
const MOST: u64 = 55;

/// The run when it has ended, or as it is when the time is over: its `state` says which.
pub(super) async fn run(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<DagRun>> {
    let seconds = Parameters(parameters).number::<u64>("timeout")?.unwrap_or(USUAL);
    if seconds > MOST {
        return Err(Problem::invalid(format!("parameter 'timeout' must be at most {MOST} seconds; ask again then")));
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut run = server.run_row(&dag_id, &run_id).await?;
    if run.state.is_finished() || seconds == 0 {
        return Ok(Json(run_value(&server, &run)));
    }
    // It is as much of a load as a stream.
    let _place = server.streams.begin(&person.name)?;
    let mut changes = server.live.subscribe().await;
    loop {
        run = server.run_row(&dag_id, &run_id).await?;
        if run.state.is_finished() {
            break;
        }
        let concerns = |message: &Message| match message {
            Message::Refresh => true,
            Message::Change(change) => {
                change.dag_id.as_str() == dag_id
                    && change.task_id.is_none()
                    && change.run_id.as_ref().is_none_or(|id| id.as_str() == run_id)
            }
        };
        let changed = async {
            loop {
                match changes.recv().await {
                    Ok(message) if concerns(&message) => return true,
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => return true,
                    Err(RecvError::Closed) => return false,
                }
            }
        };
        let goes_on = tokio::select! {
            changed = timeout_at(until, changed) => changed.unwrap_or(false),
            () = server.stop.cancelled() => false,
        };
        if !goes_on {
            run = server.run_row(&dag_id, &run_id).await?;
            break;
        }
    }
    Ok(Json(run_value(&server, &run)))
}
