//! What a running movement tells: progress, ledger entries, and the end by cancellation.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::{Either, select};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_operator_api::context::{Clock, Reporter};
use millrace_operator_api::{TaskContext, TaskError};

/// Rows between two progress checkpoints at most.
const PROGRESS_ROWS: u64 = 100_000;
/// Time between two progress checkpoints at most, as long as rows arrive.
const PROGRESS_TIME: TimeDelta = TimeDelta::seconds(2);

/// Reports how far a movement has come, now and then.
pub struct Progress {
    reporter: Arc<dyn Reporter>,
    clock: Arc<dyn Clock>,
    name: String,
    started_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    last_rows: u64,
}

impl Progress {
    pub fn start(context: &TaskContext, name: &str) -> Self {
        let now = context.clock.now();
        Self {
            reporter: Arc::clone(&context.reporter),
            clock: Arc::clone(&context.clock),
            name: name.to_owned(),
            started_at: now,
            last_at: now,
            last_rows: 0,
        }
    }

    /// `rows` and `bytes` so far.
    pub fn tick(&mut self, rows: u64, bytes: u64) {
        let now = self.clock.now();
        if rows - self.last_rows < PROGRESS_ROWS && now - self.last_at < PROGRESS_TIME {
            return;
        }
        self.last_at = now;
        self.last_rows = rows;
        self.report(rows, bytes, now);
    }

    pub fn finish(&mut self, rows: u64, bytes: u64) {
        let now = self.clock.now();
        self.report(rows, bytes, now);
    }

    fn report(&self, rows: u64, bytes: u64, at: DateTime<Utc>) {
        let millis = (at - self.started_at).num_milliseconds();
        let pace = match u64::try_from(millis) {
            Ok(millis) if millis > 0 => format!(", {} rows/s", rows.saturating_mul(1000) / millis),
            _ => String::new(),
        };
        self.reporter.checkpoint(Checkpoint {
            name: self.name.clone(),
            message: format!("{rows} rows, {bytes} bytes{pace}"),
            rows: Some(rows),
            bytes: Some(bytes),
            total_rows: None,
            at,
        });
    }
}

/// One [`Progress`] that several streams add to.
#[derive(Clone)]
pub struct Meter(Arc<Mutex<Measured>>);

struct Measured {
    progress: Progress,
    rows: u64,
    bytes: u64,
}

impl Meter {
    pub fn new(progress: Progress) -> Self {
        Self(Arc::new(Mutex::new(Measured { progress, rows: 0, bytes: 0 })))
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, rows: u64, bytes: u64) {
        let mut measured = self.lock();
        measured.rows += rows;
        measured.bytes += bytes;
        let (rows, bytes) = (measured.rows, measured.bytes);
        measured.progress.tick(rows, bytes);
    }

    /// Reports the numbers at the end.
    pub fn finish(&self) {
        let mut measured = self.lock();
        let (rows, bytes) = (measured.rows, measured.bytes);
        measured.progress.finish(rows, bytes);
    }
}

/// A ledger entry that began at `started_at` and ends now; every number is still unknown.
pub fn ledger_entry(
    context: &TaskContext,
    stage: &str,
    source: impl Into<String>,
    target: impl Into<String>,
    started_at: DateTime<Utc>,
) -> LedgerEntry {
    LedgerEntry {
        stage: stage.to_owned(),
        source: source.into(),
        target: target.into(),
        rows_read: None,
        rows_written: None,
        rows_inserted: None,
        rows_updated: None,
        rows_deleted: None,
        rows_rejected: None,
        bytes: None,
        checksum: None,
        remote_ids: Vec::new(),
        started_at,
        ended_at: context.clock.now(),
        read: None,
        written: None,
    }
}

/// `mysql_prod: SELECT id, score FROM …` on one line, at most about 120 characters of the query.
pub fn query_label(conn_id: &str, query: &str) -> String {
    let words = query.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut label: String = words.chars().take(120).collect();
    if label.len() < words.len() {
        label.push('…');
    }
    format!("{conn_id}: {label}")
}

/// Waits for `work`, or drops it when the stop is asked for: what streams inside it is dropped with it, and ports promise
/// that a dropped stream leaves nothing behind.
pub async fn unless_cancelled<T>(
    context: &TaskContext,
    work: impl Future<Output = Result<T, TaskError>> + Send,
) -> Result<T, TaskError> {
    if context.cancel.is_cancelled() {
        return Err(TaskError::Cancelled(context.cancel.cancelled().await));
    }
    let work = std::pin::pin!(work);
    match select(work, context.cancel.cancelled()).await {
        Either::Left((result, _)) => result,
        Either::Right((reason, _)) => Err(TaskError::Cancelled(reason)),
    }
}

/// Puts what was attempted before an error's own words, and keeps what the error wants to happen next.
pub fn while_doing(attempted: &str, error: impl Into<TaskError>) -> TaskError {
    let with = |message: String| format!("{attempted}: {message}");
    match error.into() {
        TaskError::Retry(message) => TaskError::Retry(with(message)),
        TaskError::Fail(message) => TaskError::Fail(with(message)),
        TaskError::Skip(message) => TaskError::Skip(with(message)),
        TaskError::NotYet { until, reason } => TaskError::NotYet { until, reason: with(reason) },
        cancelled @ TaskError::Cancelled(_) => cancelled,
    }
}
