//! Server-sent events: changes of states for every page, and the lines of one log.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use chrono_tz::Tz;
use futures::{Stream, StreamExt};
use http::HeaderMap;
use millrace_logs::{LogPage, TryId};
use millrace_model::state::TaskState;
use millrace_settings::mask::without_escapes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::access::person::Person;
use crate::api::instances::instance_of;
use crate::live::{Mark, Marked, Message, Subscription};
use crate::problem::Answer;
use crate::query::{FARTHEST, Parameters};
use crate::server::Shared;
use crate::streams::Reader;
use crate::viewer::zone_for;

/// Changes within this time travel together.
const GATHER: Duration = Duration::from_millis(250);
/// More than these in one burst: the page reads itself again.
const MOST_AT_ONCE: usize = 500;
/// How soon a browser comes again when a stream has ended: before its page says that the connection is lost.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Told<'a> {
    dag: &'a str,
    run: Option<&'a str>,
    task: Option<&'a str>,
    state: &'a str,
}

/// `GET /events?dag=ID`: `begin`, then `changes` with a list, or `refresh`. Whoever lost the connection and says which
/// event was the last (`Last-Event-ID`) is told what came since, or `refresh` when nobody knows any more.
pub(crate) async fn changes(
    State(server): State<Shared>,
    person: Person,
    reader: Reader,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = server.streams.begin(&person.name)?;
    let only = parameters.owned("dag");
    let last = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(Mark::parse));
    let stop = server.stop.clone();
    let subscription = tokio::select! {
        subscription = server.live.subscribe_after(last.flatten()) => Some(subscription),
        () = stop.cancelled() => None,
    };
    let first = subscription.as_ref().map(|subscription| first_event(subscription, last.is_some(), only.as_deref()));
    let receiver = subscription.map(|subscription| subscription.receiver);
    let later = futures::stream::unfold((receiver, only, place), |(receiver, only, place)| async move {
        let mut receiver = receiver?;
        let mut lost = false;
        loop {
            let mut gathered = match receiver.recv().await {
                Ok(message) => vec![message],
                Err(RecvError::Lagged(_)) => {
                    lost = true;
                    continue;
                }
                Err(RecvError::Closed) => return None,
            };
            tokio::time::sleep(GATHER).await;
            loop {
                match receiver.try_recv() {
                    Ok(message) => gathered.push(message),
                    Err(TryRecvError::Lagged(_)) => lost = true,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            let event = match gathered.last() {
                Some((mark, _)) if lost => Some(refresh(*mark)),
                _ => event_of(&gathered, only.as_deref()),
            };
            if let Some(event) = event {
                return Some((Ok(event), (Some(receiver), only, place)));
            }
        }
    });
    let first = futures::stream::iter(first.map(|event| Ok(event.retry(AGAIN))));
    Ok(Sse::new(first.chain(later).take_until(end_of_streams(&server, reader))).keep_alive(KeepAlive::default()))
}

/// When the server stops, when whoever listens may no longer, or when they are to come again.
fn end_of_streams(server: &Shared, reader: Reader) -> impl Future<Output = ()> + use<> {
    let (stop, longest) = (server.stop.clone(), server.options.patience.stream);
    async move {
        tokio::select! {
            _ = tokio::time::timeout(longest, stop.cancelled()) => {}
            () = reader.shut_out() => {}
        }
    }
}

/// What was missed. Who comes for the first time is told the mark, to come again with.
fn first_event(subscription: &Subscription, comes_again: bool, only: Option<&str>) -> Event {
    let begin = || Event::default().event("begin").id(subscription.at.to_string()).data("");
    match &subscription.missed {
        Some(missed) => event_of(missed, only).unwrap_or_else(begin),
        None if comes_again => refresh(subscription.at),
        None => begin(),
    }
}

fn refresh(at: Mark) -> Event {
    Event::default().event("refresh").id(at.to_string()).data("")
}

fn event_of(messages: &[Marked], only: Option<&str>) -> Option<Event> {
    let (last, _) = messages.last()?;
    let mut told = Vec::with_capacity(messages.len());
    for (_, message) in messages {
        match message {
            Message::Refresh => return Some(refresh(*last)),
            Message::Change(change) if only.is_none_or(|only| only == change.dag_id.as_str()) => told.push(Told {
                dag: change.dag_id.as_str(),
                run: change.run_id.as_ref().map(AsRef::as_ref),
                task: change.task_id.as_ref().map(AsRef::as_ref),
                state: &change.state,
            }),
            Message::Change(_) => {}
        }
    }
    if told.is_empty() {
        return None;
    }
    if told.len() > MOST_AT_ONCE {
        return Some(refresh(*last));
    }
    Some(Event::default().event("changes").id(last.to_string()).data(json!(told).to_string()))
}

/// `GET …/tasks/{task}/log-events?try=N&offset=BYTES`: `lines` as they are written, then `end` once the try is over.
pub(crate) async fn log(
    State(server): State<Shared>,
    person: Person,
    reader: Reader,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let place = server.streams.begin(&person.name)?;
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    let instance = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?.1;
    let try_number = parameters.number::<u32>("try")?.unwrap_or(instance.try_number.max(1));
    // A browser that lost the connection says how far it got.
    let resumed = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.parse().ok());
    let offset = resumed.or(parameters.number::<u64>("offset")?).unwrap_or(0).min(FARTHEST);
    // While the lines go out, nobody knows any more who asked.
    let zone = zone_for(server.dag_row(&dag_id, 0).await?.dag.timetable.timezone);
    let id = TryId { dag_id, run_id, task_id, map_index, try_number };
    let (store, key) = (server.store().clone(), instance.key);
    let is_over = move || {
        let store = store.clone();
        async move {
            match store.instance_by_key(key).await {
                Ok(Some(now)) => now.try_number > try_number || !may_still_write(now.state),
                // It was deleted, or the database is gone: the reader comes again.
                Ok(None) | Err(_) => true,
            }
        }
    };
    let masker = server.options.vault.masker().clone();
    let pages = server.options.logs.clone().follow(id, offset, is_over);
    let lines = pages.filter_map(move |page| {
        let event = match page {
            Ok(page) if page.lines.is_empty() => None,
            Ok(page) => Some(lines_event(&page, zone, |text| masker.mask(text))),
            Err(error) => Some(Event::default().event("failed").data(error.to_string())),
        };
        let _open = &place;
        std::future::ready(event.map(Ok))
    });
    let begin = futures::stream::iter([Ok(Event::default().retry(AGAIN))]);
    let end = futures::stream::iter([Ok(Event::default().event("end").data(""))]);
    Ok(Sse::new(begin.chain(lines).chain(end).take_until(end_of_streams(&server, reader)))
        .keep_alive(KeepAlive::default()))
}

pub(crate) const fn may_still_write(state: TaskState) -> bool {
    matches!(state, TaskState::Running | TaskState::Queued | TaskState::Restarting)
}

fn lines_event(page: &LogPage, zone: Tz, mask: impl Fn(&str) -> String) -> Event {
    let lines: Vec<_> = page
        .lines
        .iter()
        .map(|line| {
            let at = line.at.map(|at| crate::format::clock(at, zone));
            json!({"at": at, "level": line.level, "text": mask(&without_escapes(&line.text))})
        })
        .collect();
    Event::default().event("lines").id(page.next_offset.to_string()).data(json!(lines).to_string())
}
