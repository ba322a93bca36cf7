//! Waits for a run to end, without asking again and again: with one answer, or with a stream of them that no proxy takes
//! for dead.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use futures::stream;
use http::{HeaderMap, header};
use millrace_model::error_code::ErrorCode;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::runs::{DagRun, run_value};
use crate::access::person::Person;
use crate::live::{Marked, Message};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;
use crate::streams::{OpenStream, Reader};

/// Seconds, unless told; an answer takes a minute at the most.
const USUAL: u64 = 30;
const MOST: u64 = 55;
/// The kind of a stream: a JSON object in each line.
pub(crate) const LINES: &str = "application/x-ndjson";
/// Seconds that a stream may take; as long as nothing is told.
const MOST_OF_STREAM: u64 = 24 * 60 * 60;
/// A stream says something so often, be it the same.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// The run when it has ended, or as it is when the time is over: its `state` says which. Who accepts a stream gets the run
/// as it is now, whenever that changes, and when it has ended; then the stream ends.
pub(super) async fn run(
    State(server): State<Shared>,
    person: Person,
    reader: Reader,
    Path((dag_id, run_id)): Path<(String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer<Response> {
    let is_stream = headers.get(header::ACCEPT).is_some_and(|kinds| kinds.to_str().is_ok_and(|it| it.contains(LINES)));
    let (usual, most) = if is_stream { (MOST_OF_STREAM, MOST_OF_STREAM) } else { (USUAL, MOST) };
    let seconds = parameters.number::<u64>("timeout")?.unwrap_or(usual);
    if seconds > most {
        let text = format!("parameter 'timeout' must be at most {most} seconds; ask again then, or accept {LINES}");
        return Err(Problem::invalid(text));
    }
    let until = Instant::now() + Duration::from_secs(seconds);
    let run = server.run_row(&dag_id, &run_id).await?;
    if !is_stream && (run.state.is_finished() || seconds == 0) {
        return Ok(Json(run_value(&server, &run)).into_response());
    }
    // It is as much of a load as a stream.
    let place = server.streams.begin(&person.name)?;
    let changes = server.live.subscribe().await;
    let mut watched =
        Watched { server, reader, dag_id, run_id, changes, until, last: None, is_over: false, _place: place };
    if is_stream {
        let lines = stream::unfold(watched, |mut watched| async move {
            let line = watched.next_line().await?;
            Some((Ok::<_, Infallible>(line), watched))
        });
        return Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(lines)).into_response());
    }
    loop {
        let run = watched.look().await?;
        if watched.is_over || !watched.may_have_changed(watched.until).await {
            // Once more: it may have ended with the time.
            let run = if watched.is_over { run } else { watched.look().await? };
            if !watched.reader.is_let_in().await {
                let text = "who waited may no longer see this: the credentials have ended";
                return Err(Problem::new(ErrorCode::UNAUTHENTICATED, text));
            }
            return Ok(Json(run).into_response());
        }
    }
}

/// One run, somebody who waits for it, and until when.
struct Watched {
    server: Shared,
    reader: Reader,
    dag_id: String,
    run_id: String,
    changes: broadcast::Receiver<Marked>,
    until: Instant,
    /// What the stream said last.
    last: Option<Bytes>,
    /// It has ended, or nobody waits any longer: what is said now is the last.
    is_over: bool,
    _place: OpenStream,
}

impl Watched {
    async fn look(&mut self) -> Answer<DagRun> {
        let run = self.server.run_row(&self.dag_id, &self.run_id).await?;
        self.is_over |= run.state.is_finished();
        Ok(run_value(&self.server, &run))
    }

    fn concerns(&self, message: &Message) -> bool {
        match message {
            Message::Refresh => true,
            Message::Change(change) => {
                change.dag_id.as_str() == self.dag_id
                    && change.task_id.is_none()
                    && change.run_id.as_ref().is_none_or(|id| id.as_str() == self.run_id)
            }
        }
    }

    /// Until something may have changed; false: not by then, or the server stops.
    async fn may_have_changed(&mut self, until: Instant) -> bool {
        let server: Shared = self.server.clone();
        let stops = server.stop.cancelled();
        tokio::pin!(stops);
        loop {
            let message = tokio::select! {
                message = timeout_at(until, self.changes.recv()) => message,
                () = &mut stops => return false,
            };
            match message {
                Ok(Ok((_, message))) if self.concerns(&message) => return true,
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(_))) => return true,
                Ok(Err(RecvError::Closed)) | Err(_) => return false,
            }
        }
    }

    /// The run as it is now, again when it changes, and now and then the same; None: all was said.
    async fn next_line(&mut self) -> Option<Bytes> {
        if self.is_over {
            return None;
        }
        let say_by = (Instant::now() + SAY_EVERY).min(self.until);
        loop {
            // The first line comes at once.
            let may_differ = self.last.is_none() || self.may_have_changed(say_by).await;
            // A run that is gone ends the stream, and who asks again is told why.
            let mut text = serde_json::to_string(&self.look().await.ok()?).ok()?;
            text.push('\n');
            let line = Bytes::from(text);
            self.is_over |= Instant::now() >= self.until || self.server.stop.is_cancelled();
            if may_differ && !self.is_over && self.last.as_ref() == Some(&line) {
                continue;
            }
            // The guard has just let them in for the first one.
            if self.last.is_some() && !self.reader.is_let_in().await {
                return None;
            }
            self.last = Some(line.clone());
            return Some(line);
        }
    }
}
