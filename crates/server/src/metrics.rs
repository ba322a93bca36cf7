//! `GET /metrics`, in the text form that Prometheus reads. Everything is counted when it is asked for, by queries whose
//! cost grows with what is active and not with history.

mod counted;

use std::collections::HashSet;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use http::header;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{AlertFilter, DagFilter, DagRow, Store};

use crate::api::SILENT_AFTER;
use crate::problem::Answer;
use crate::server::{Server, Shared};

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

    processes(&mut page, &server).await?;
    let dags = store.dags(&DagFilter { include_stale: true, ..DagFilter::default() }).await?.rows;
    of_dags(&mut page, &dags, store.left_out_dags().await?.len(), now);
    page.gauge("import_errors", "DAG files that cannot be read", store.import_errors().await?.len() as f64);
    work(&mut page, &server).await?;
    pools(&mut page, store).await?;
    page.gauge(
        "alerts_unseen",
        "Alerts that nobody has seen",
        store.alerts(&AlertFilter::unseen(1)).await?.total as f64,
    );
    database_connections(&mut page, store);

    let counts = store.counts().await?;
    counted::counters(&mut page, &counts);
    counted::histograms(&mut page, &counts);
    let in_service: HashSet<&str> = dags.iter().filter(|dag| !dag.is_stale).map(|dag| dag.dag_id.as_str()).collect();
    counted::marks(&mut page, &counts, &in_service, now);
    answers(&mut page, &server.answered);

    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, page.0).into_response())
}

async fn processes(page: &mut Page, server: &Server) -> Answer<()> {
    let (store, now) = (server.store(), server.now());
    let heartbeat = store.health().await?.scheduler_heartbeat_at;
    if let Some(at) = heartbeat {
        let age = (now - at).num_milliseconds().max(0) as f64 / 1000.0;
        page.gauge("scheduler_heartbeat_age_seconds", "Since the scheduler was last heard", age);
    }
    let is_alive = heartbeat.is_some_and(|at| now - at < SILENT_AFTER);
    page.gauge("scheduler_alive", "1: a scheduler lives", f64::from(u8::from(is_alive)));
    page.metric("trouble", "gauge", "Parts of this process that cannot do their work now");
    for (part, _) in store.troubles() {
        page.line("trouble", &[("part", part)], 1.0);
    }
    Ok(())
}

fn of_dags(page: &mut Page, dags: &[DagRow], left_out: usize, now: DateTime<Utc>) {
    page.metric("dags", "gauge", "DAGs; left_out: what is stored of them cannot be used");
    let count = |test: &dyn Fn(&DagRow) -> bool| dags.iter().filter(|dag| test(dag)).count() as f64;
    page.line("dags", &[("state", "active")], count(&|dag| !dag.is_stale && !dag.is_paused));
    page.line("dags", &[("state", "paused")], count(&|dag| !dag.is_stale && dag.is_paused));
    page.line("dags", &[("state", "stale")], count(&|dag| dag.is_stale));
    page.line("dags", &[("state", "left_out")], left_out as f64);
    let late = |dag: &DagRow| {
        let due = dag.next.as_ref().map(|next| next.run_after).filter(|_| !dag.is_paused && !dag.is_stale)?;
        Some((now - due).num_milliseconds().max(0) as f64 / 1000.0)
    };
    let latest = dags.iter().filter_map(late).fold(0.0, f64::max);
    page.gauge("schedule_delay_seconds", "How long the run that is most overdue was due before now", latest);
}

async fn work(page: &mut Page, server: &Server) -> Answer<()> {
    let active = server.store().active_counts().await?;
    page.metric("runs", "gauge", "Runs that have not ended");
    for state in [RunState::Queued, RunState::Running] {
        page.line("runs", &[("state", state.as_str())], active.runs.get(&state).copied().unwrap_or(0) as f64);
    }
    page.metric("task_instances", "gauge", "Task instances of runs that have not ended");
    for state in TaskState::ALL {
        let count = active.instances.get(state).copied().unwrap_or(0) as f64;
        page.line("task_instances", &[("state", state.as_str())], count);
    }

    page.metric("worker_slots", "gauge", "Tries that may run at once: slots in use and open ones");
    let busy: u64 = active.instances.iter().filter(|(state, _)| state.occupies_slot()).map(|(_, count)| count).sum();
    let slots = server.surroundings().await?.parallelism as u64;
    page.line("worker_slots", &[("state", "in_use")], busy as f64);
    page.line("worker_slots", &[("state", "open")], slots.saturating_sub(busy) as f64);
    Ok(())
}

async fn pools(page: &mut Page, store: &Store) -> Answer<()> {
    let (pools, used) = (store.pools().await?, store.pool_use().await?);
    page.metric(
        "pool_slots",
        "gauge",
        "Slots of pools by what they are held for; starving: asked for by ready tasks beyond the open ones; open is absent \
         for pools without limit",
    );
    let (mut executable, mut starving) = (0, 0);
    for pool in &pools {
        let held = used.get(&pool.name).copied().unwrap_or_default();
        let beyond = held.starving(pool);
        (executable, starving) = (executable + held.scheduled - beyond, starving + beyond);
        let kinds = [
            ("running", held.running),
            ("queued", held.queued),
            ("scheduled", held.scheduled),
            ("deferred", held.deferred),
            ("starving", beyond),
        ];
        for (kind, slots) in kinds {
            page.line("pool_slots", &[("pool", &pool.name), ("for", kind)], slots as f64);
        }
        if let Some(open) = held.open_slots(pool) {
            page.line("pool_slots", &[("pool", &pool.name), ("for", "open")], open as f64);
        }
    }
    page.metric("ready_slots", "gauge", "Slots that ready tasks ask for, by whether their pools have them");
    page.line("ready_slots", &[("state", "executable")], executable as f64);
    page.line("ready_slots", &[("state", "starving")], starving as f64);
    Ok(())
}

fn database_connections(page: &mut Page, store: &Store) {
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
}

fn answers(page: &mut Page, answered: &Answers) {
    page.metric("http_responses_total", "counter", "Answers of this process");
    for class in 1..=5 {
        let count = answered.counts[class].load(Ordering::Relaxed);
        page.line("http_responses_total", &[("status", &format!("{class}xx"))], count as f64);
    }
    page.metric("http_response_seconds_total", "counter", "Time that this process took for answers");
    page.line("http_response_seconds_total", &[], answered.microseconds.load(Ordering::Relaxed) as f64 / 1e6);
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
