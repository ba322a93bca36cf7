//! `GET /metrics`, in the text form that Prometheus reads. Everything is counted when it is asked for, by queries whose
//! cost grows with what is active and not with history.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{Counted, CounterRow, DagFilter, TURN_ENDS};

use crate::api::SILENT_AFTER;
use crate::problem::Answer;
use crate::server::Shared;

/// Answers of this process, by the first digit of their status.
#[derive(Default)]
pub(crate) struct Answers {
    counts: [AtomicU64; 6],
    microseconds: AtomicU64,
}

impl Answers {
    pub fn note(&self, status: u16, took: Duration) {
        let class = usize::from(status / 100).min(5);
        self.counts[class].fetch_add(1, Ordering::Relaxed);
        self.microseconds.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The text, metric by metric.
#[derive(Default)]
struct Page(String);

impl Page {
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP millrace_{name} {help}\n# TYPE millrace_{name} {kind}");
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "millrace_{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.metric(name, "gauge", help);
        self.line(name, &[], value);
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

pub(crate) async fn metrics(State(server): State<Shared>) -> Answer<Response> {
    let (store, now) = (server.store(), server.now());
    let mut page = Page::default();
    page.metric("info", "gauge", "The version that runs");
    page.line("info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);

    let heartbeat = store.health().await?.scheduler_heartbeat_at;
    if let Some(at) = heartbeat {
        let age = (now - at).num_milliseconds().max(0) as f64 / 1000.0;
        page.gauge("scheduler_heartbeat_age_seconds", "Since the scheduler was last heard", age);
    }
    let is_alive = heartbeat.is_some_and(|at| now - at < SILENT_AFTER);
    page.gauge("scheduler_alive", "1: a scheduler lives", f64::from(u8::from(is_alive)));
    page.metric("trouble", "gauge", "Parts of this process that have trouble with the metadata database");
    for (part, _) in store.troubles() {
        page.line("trouble", &[("part", part)], 1.0);
    }

    let dags = store.dags(&DagFilter { include_stale: true, ..DagFilter::default() }).await?.rows;
    page.metric("dags", "gauge", "DAGs");
    let count = |test: &dyn Fn(&millrace_store::DagRow) -> bool| dags.iter().filter(|dag| test(dag)).count() as f64;
    page.line("dags", &[("state", "active")], count(&|dag| !dag.is_stale && !dag.is_paused));
    page.line("dags", &[("state", "paused")], count(&|dag| !dag.is_stale && dag.is_paused));
    page.line("dags", &[("state", "stale")], count(&|dag| dag.is_stale));
    page.gauge("import_errors", "DAG files that cannot be read", store.import_errors().await?.len() as f64);
    let late = |dag: &millrace_store::DagRow| {
        let due = dag.next.as_ref().map(|next| next.run_after).filter(|_| !dag.is_paused && !dag.is_stale)?;
        Some((now - due).num_milliseconds().max(0) as f64 / 1000.0)
    };
    let latest = dags.iter().filter_map(late).fold(0.0, f64::max);
    page.gauge("schedule_delay_seconds", "How long the run that is most overdue was due before now", latest);

    let active = store.active_counts().await?;
    page.metric("runs", "gauge", "Runs that have not ended");
    for state in [RunState::Queued, RunState::Running] {
        page.line("runs", &[("state", state.as_str())], active.runs.get(&state).copied().unwrap_or(0) as f64);
    }
    page.metric("task_instances", "gauge", "Task instances of runs that have not ended");
    for state in TaskState::ALL {
        let count = active.instances.get(state).copied().unwrap_or(0) as f64;
        page.line("task_instances", &[("state", state.as_str())], count);
    }

    let (pools, used) = (store.pools().await?, store.pool_use().await?);
    page.metric(
        "pool_slots",
        "gauge",
        "Slots of pools by what they are held for; open is absent for pools without limit",
    );
    for pool in &pools {
        let held = used.get(&pool.name).copied().unwrap_or_default();
        let kinds = [
            ("running", held.running),
            ("queued", held.queued),
            ("scheduled", held.scheduled),
            ("deferred", held.deferred),
        ];
        for (kind, slots) in kinds {
            page.line("pool_slots", &[("pool", &pool.name), ("for", kind)], slots as f64);
        }
        if let Some(open) = held.open_slots(pool) {
            page.line("pool_slots", &[("pool", &pool.name), ("for", "open")], open as f64);
        }
    }
    page.gauge(
        "alerts_unseen",
        "Alerts that nobody has seen, 1000 at the most",
        store.alerts(true, 1000).await?.len() as f64,
    );

    page.metric(
        "database_connections",
        "gauge",
        "Connections of this process to the metadata database, by what they are for",
    );
    for pool in store.connection_pools() {
        for (state, count) in [("in_use", pool.in_use), ("idle", pool.idle)] {
            page.line("database_connections", &[("for", pool.purpose), ("state", state)], f64::from(count));
        }
    }

    counters(&mut page, &store.counts().await?);

    page.metric("http_responses_total", "counter", "Answers of this process");
    for class in 1..=5 {
        let count = server.answered.counts[class].load(Ordering::Relaxed);
        page.line("http_responses_total", &[("status", &format!("{class}xx"))], count as f64);
    }
    page.metric("http_response_seconds_total", "counter", "Time that this process took for answers");
    page.line("http_response_seconds_total", &[], server.answered.microseconds.load(Ordering::Relaxed) as f64 / 1e6);

    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, page.0).into_response())
}

/// What all processes together have counted, also before they were started last.
fn counters(page: &mut Page, rows: &[CounterRow]) {
    let simple: [(Counted, &str, &str, &[&str]); 12] = [
        (Counted::Tries, "task_tries_total", "Tries that have ended", &["operator", "outcome"]),
        (Counted::TryTime, "task_try_seconds_total", "Time that tries took", &["operator"]),
        (Counted::Lost, "task_tries_lost_total", "Tries whose worker died or was cut off", &[]),
        (Counted::Runs, "runs_ended_total", "Runs that have ended", &["state"]),
        (
            Counted::Rows,
            "moved_rows_total",
            "Rows of the ledger, by stage and by what became of them",
            &["stage", "rows"],
        ),
        (Counted::Bytes, "moved_bytes_total", "Bytes of the ledger", &["stage"]),
        (Counted::RunsMade, "runs_created_total", "Runs that were created", &["run_type"]),
        (Counted::AssetEvents, "asset_events_total", "Things that happened to assets, by who did them", &["by"]),
        (Counted::Commits, "commits_total", "Transactions with what was planned and done", &[]),
        (Counted::CommitTime, "commit_seconds_total", "Time that those took", &[]),
        (Counted::FilesRead, "dag_files_read_total", "DAG files that were read and checked", &[]),
        (Counted::ReadTime, "dag_file_read_seconds_total", "Time that reading and checking them took", &[]),
    ];
    for (of, name, help, labels) in simple {
        page.metric(name, "counter", help);
        let mut found = rows.iter().filter(|row| row.of == of).peekable();
        if labels.is_empty() && found.peek().is_none() {
            page.line(name, &[], 0.0);
        }
        for row in found {
            let labels: Vec<(&str, &str)> = labels.iter().copied().zip(row.labels.iter().map(String::as_str)).collect();
            let is_time = matches!(of, Counted::TryTime | Counted::CommitTime | Counted::ReadTime);
            let unit = if is_time { 1e6 } else { 1.0 };
            page.line(name, &labels, row.value as f64 / unit);
        }
    }
    let name = "scheduler_turn_seconds";
    page.metric(name, "histogram", "Turns of the scheduler: planning, committing and starting");
    let of = |of: Counted, label: Option<String>| {
        let fits = |row: &&CounterRow| row.of == of && row.labels.first() == label.as_ref();
        rows.iter().find(fits).map_or(0, |row| row.value)
    };
    let mut all = 0;
    for (index, end) in TURN_ENDS.iter().enumerate() {
        all += of(Counted::Turns, Some(index.to_string()));
        page.line(&format!("{name}_bucket"), &[("le", &end.to_string())], all as f64);
    }
    all += of(Counted::Turns, Some(TURN_ENDS.len().to_string()));
    page.line(&format!("{name}_bucket"), &[("le", "+Inf")], all as f64);
    page.line(&format!("{name}_sum"), &[], of(Counted::TurnTime, None) as f64 / 1e6);
    page.line(&format!("{name}_count"), &[], all as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page::default();
        page.line("pool_slots", &[("pool", "a\"b\\c\nd")], 1.5);
        assert_eq!(page.0, "millrace_pool_slots{pool=\"a\\\"b\\\\c\\nd\"} 1.5\n");
    }
}
