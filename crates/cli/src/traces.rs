//! Spans for OpenTelemetry: runs, tries, commits, requests, sent as OTLP over HTTP in JSON.
//!
//! Whoever has done something that is a span says so once, at its end, by an event of `tracing` with the target
//! [`SPANS`]: with its name, its begin and its end in microseconds, and what it was of. Without `traces.endpoint` nobody
//! listens to these events and their texts are never made. A try and its run are one trace, though they end in different
//! processes and perhaps days apart: its ids are digests of their names.
//!
//! The SDK of OpenTelemetry is not used: its spans begin and end in one process, and it brings thirty packages for what is
//! one JSON document.

mod otlp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use millrace_model::span::SPANS;
use millrace_model::state::RunState;
use millrace_store::Store;
use serde_json::{Map, Value};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::app::App;
use crate::failure::usage;

/// Spans that wait to be sent; more are dropped, and counted.
const MOST_WAITING: usize = 4096;
/// Sent at once, and how long the first of them waits for others.
const MOST_AT_ONCE: usize = 512;
const EVERY: Duration = Duration::from_secs(1);

pub fn is_span(target: &str) -> bool {
    target == SPANS
}

/// The fields of one event.
#[derive(Debug, Default)]
pub struct SpanFields(pub Map<String, Value>);

impl Visit for SpanFields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

/// Takes the events of spans.
pub struct SpanLayer {
    sender: mpsc::Sender<SpanFields>,
    dropped: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for SpanLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !is_span(event.metadata().target()) {
            return;
        }
        let mut fields = SpanFields::default();
        event.record(&mut fields);
        if self.sender.try_send(fields).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Where spans go.
pub struct Exporter {
    receiver: mpsc::Receiver<SpanFields>,
    dropped: Arc<AtomicU64>,
    destination: Destination,
}

struct Destination {
    url: String,
    headers: Vec<(String, String)>,
    authorities: Option<String>,
    resource: otlp::Resource,
}

/// None: no spans are wanted.
pub fn exporter(app: &App) -> anyhow::Result<Option<(SpanLayer, Exporter)>> {
    let settings = &app.config.traces;
    let endpoint = settings.endpoint.trim_end_matches('/');
    if endpoint.is_empty() {
        return Ok(None);
    }
    let is_address = endpoint.parse::<http::Uri>().is_ok_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    if !is_address {
        return Err(usage(format!("traces.endpoint = {endpoint}: expected an address such as http://127.0.0.1:4318")));
    }
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    for pair in settings.headers.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let Some((name, value)) = pair.split_once('=') else {
            return Err(usage("traces.headers: expected NAME=VALUE, with ',' between them"));
        };
        app.masker.add(value.trim());
        headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
    }
    // As OpenTelemetry has it, the path of traces comes behind the endpoint.
    let url = if endpoint.ends_with("/v1/traces") { endpoint.to_owned() } else { format!("{endpoint}/v1/traces") };
    let authorities = (!settings.ca_file.is_empty()).then(|| app.home.root().join(&settings.ca_file));
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let destination = Destination {
        url,
        headers,
        authorities: authorities.map(|path| path.display().to_string()),
        resource: otlp::Resource { service: settings.service_name.clone(), host: crate::wiring::hostname() },
    };
    Ok(Some((SpanLayer { sender, dropped: dropped.clone() }, Exporter { receiver, dropped, destination })))
}

impl Exporter {
    /// Beside everything else, for as long as the process runs.
    pub fn begin(self) {
        tokio::spawn(self.run());
    }

    async fn run(mut self) {
        let mut is_reachable = true;
        loop {
            let mut batch = Vec::new();
            if self.receiver.recv_many(&mut batch, MOST_AT_ONCE).await == 0 {
                return;
            }
            if batch.len() < MOST_AT_ONCE {
                tokio::time::sleep(EVERY).await;
            }
            while batch.len() < MOST_AT_ONCE
                && let Ok(fields) = self.receiver.try_recv()
            {
                batch.push(fields);
            }
            // Said once, not with every batch.
            match self.destination.send(&batch).await {
                Err(error) if is_reachable => {
                    tracing::warn!(error, spans = batch.len(), "spans could not be sent; they are lost");
                    is_reachable = false;
                }
                Ok(()) if !is_reachable => {
                    tracing::info!("spans are sent again");
                    is_reachable = true;
                }
                _ => {}
            }
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                tracing::warn!(dropped, "there are more spans than can be sent");
            }
        }
    }
}

/// Says of each run that has ended what it was. A run that ends while nobody listens, or faster than this reads, has no span.
pub async fn follow_runs(store: &Store) {
    let mut changes = store.run_changes();
    loop {
        let change = match changes.recv().await {
            Ok(change) => change,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let Some(run_id) = change.run_id.filter(|_| change.state == "success" || change.state == "failed") else {
            continue;
        };
        let run = match store.run(change.dag_id.as_str(), run_id.as_str()).await {
            Ok(Some(run)) => run,
            Ok(None) => continue,
            Err(error) => {
                tracing::debug!(%error, "a run could not be read for its span");
                continue;
            }
        };
        let Some(end) = run.end_date else { continue };
        let begin = run.start_date.unwrap_or(end);
        let is_failed = run.state == RunState::Failed;
        let reason = run.state_reason.as_deref().unwrap_or("failed");
        tracing::trace!(
            target: SPANS,
            begin = begin.timestamp_micros(),
            end = end.timestamp_micros(),
            dag = run.dag_id.as_str(),
            run = run.run_id.as_str(),
            run_type = run.run_type.as_str(),
            state = run.state.as_str(),
            error = if is_failed { reason } else { "" },
            "run"
        );
    }
}

impl Destination {
    async fn send(&self, spans: &[SpanFields]) -> Result<(), String> {
        let body = otlp::request(&self.resource, spans).to_string();
        let headers: Vec<(&str, String)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let asked =
            millrace_connectors::ask(http::Method::POST, &self.url, &headers, body, self.authorities.as_deref())
                .await?;
        if (200..300).contains(&asked.0) { Ok(()) } else { Err(format!("{} answered {}", self.url, asked.0)) }
    }
}
