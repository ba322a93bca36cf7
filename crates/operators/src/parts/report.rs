//! What a running movement tells: progress, ledger entries, and the end by cancellation.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::{Either, select};
use millrace_model::ledger::{Checkpoint, LedgerEntry, STAGES};
use millrace_operator_api::context::{Clock, Reporter};
use millrace_operator_api::ports::SqlSource;
use millrace_operator_api::{TaskContext, TaskError};

/// Rows between two progress checkpoints at most.
const PROGRESS_ROWS: u64 = 100_000;
/// Time between two progress checkpoints at most, as long as rows arrive.
const PROGRESS_TIME: TimeDelta = TimeDelta::seconds(2);

/// Time between two of a movement that says after how many rows it wants them.
const BATCH_TIME: TimeDelta = TimeDelta::seconds(1);

/// The rows to come, once somebody has counted or guessed them.
#[derive(Debug, Clone, Default)]
pub struct Expected(Arc<Rows>);

#[derive(Debug, Default)]
struct Rows {
    /// One more than they are; 0 while nobody knows.
    number: AtomicU64,
    is_counted: AtomicBool,
}

impl Expected {
    /// As the source's planner thinks.
    pub fn guess(&self, rows: u64) {
        self.0.number.store(rows.saturating_add(1), Ordering::Relaxed);
    }

    pub fn count(&self, rows: u64) {
        self.0.is_counted.store(true, Ordering::Relaxed);
        self.guess(rows);
    }

    pub fn get(&self) -> Option<u64> {
        self.0.number.load(Ordering::Relaxed).checked_sub(1)
    }

    fn is_counted(&self) -> bool {
        self.0.is_counted.load(Ordering::Relaxed)
    }
}

/// Does `work`, and beside it asks what the source's planner thinks of the rows to come. Nothing waits for the answer, and
/// without one the movement does without.
pub async fn guessing<T>(
    source: &dyn SqlSource,
    query: &str,
    expected: &Expected,
    work: impl Future<Output = T> + Send,
) -> T {
    let work = std::pin::pin!(work);
    match select(work, source.expected_rows(query)).await {
        Either::Left((done, _)) => done,
        Either::Right((guess, work)) => {
            if let Ok(Some(rows)) = guess {
                expected.guess(rows);
            }
            work.await
        }
    }
}

/// Reports how far a movement has come, now and then.
pub struct Progress {
    reporter: Arc<dyn Reporter>,
    clock: Arc<dyn Clock>,
    name: String,
    expected: Expected,
    batch: Option<u64>,
    started_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    last_rows: u64,
}

impl Progress {
    pub fn start(context: &TaskContext, name: &str, expected: Expected) -> Self {
        let now = context.clock.now();
        Self {
            reporter: Arc::clone(&context.reporter),
            clock: Arc::clone(&context.clock),
            name: name.to_owned(),
            expected,
            batch: None,
            started_at: now,
            last_at: now,
            last_rows: 0,
        }
    }

    /// Not before so many rows more.
    #[must_use]
    pub fn each(self, batch: u64) -> Self {
        Self { batch: Some(batch), ..self }
    }

    /// `rows` and `bytes` so far.
    pub fn tick(&mut self, rows: u64, bytes: u64) {
        let now = self.clock.now();
        let (more, passed) = (rows - self.last_rows, now - self.last_at);
        let is_due = match self.batch {
            Some(batch) => more >= batch && passed >= BATCH_TIME,
            None => more >= PROGRESS_ROWS || passed >= PROGRESS_TIME,
        };
        if !is_due {
            return;
        }
        self.last_at = now;
        self.last_rows = rows;
        self.report(rows, bytes, now, self.expected.get().filter(|expected| *expected > rows));
    }

    pub fn finish(&self, rows: u64, bytes: u64) {
        let total = self.expected.get().filter(|expected| self.expected.is_counted() && *expected == rows);
        self.report(rows, bytes, self.clock.now(), total);
    }

    /// Where there were more rows than `total_rows` it is left out: it was a bad guess.
    fn report(&self, rows: u64, bytes: u64, at: DateTime<Utc>, total_rows: Option<u64>) {
        let millis = u64::try_from((at - self.started_at).num_milliseconds()).unwrap_or(0);
        let about = if self.expected.is_counted() { "" } else { "about " };
        self.reporter.checkpoint(Checkpoint {
            name: self.name.clone(),
            message: message(rows, bytes, millis, total_rows.map(|total| (total, about))),
            rows: Some(rows),
            bytes: Some(bytes),
            total_rows,
            at,
        });
    }
}

fn message(rows: u64, bytes: u64, millis: u64, total: Option<(u64, &str)>) -> String {
    let of = total.map(|(total, about)| format!(" of {about}{total}")).unwrap_or_default();
    let pace = rows.saturating_mul(1000).checked_div(millis).map(|pace| format!(", {pace} rows/s")).unwrap_or_default();
    let left = total.and_then(|(total, _)| (total - rows.min(total)).saturating_mul(millis).checked_div(rows));
    let left = left.filter(|left| *left > 0).map(|left| format!(", about {} s left", left.div_ceil(1000)));
    format!("{rows}{of} rows, {bytes} bytes{pace}{}", left.unwrap_or_default())
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
        let measured = self.lock();
        measured.progress.finish(measured.rows, measured.bytes);
    }
}

/// A ledger entry of a stage, one of [`STAGES`], that began at `started_at` and ends now; every number is still unknown.
pub fn ledger_entry(
    context: &TaskContext,
    stage: &str,
    source: impl Into<String>,
    target: impl Into<String>,
    started_at: DateTime<Utc>,
) -> LedgerEntry {
    debug_assert!(STAGES.contains(&stage), "{stage} is no stage");
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
        checks: Vec::new(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_operator_api::context::LogLevel;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Checkpoint>>);

    impl Reporter for Heard {
        fn log(&self, _: LogLevel, _: &str) {}
        fn checkpoint(&self, checkpoint: Checkpoint) {
            self.0.lock().unwrap().push(checkpoint);
        }
        fn ledger(&self, _: LedgerEntry) {}
    }

    /// Ten seconds after the beginning.
    struct Later;

    impl Clock for Later {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH + TimeDelta::seconds(10)
        }
    }

    fn told(expected: &Expected, batch: Option<u64>, tell: impl FnOnce(&mut Progress)) -> Vec<(String, Option<u64>)> {
        let heard = Arc::new(Heard::default());
        let mut progress = Progress {
            reporter: heard.clone(),
            clock: Arc::new(Later),
            name: "copy".to_owned(),
            expected: expected.clone(),
            batch,
            started_at: DateTime::UNIX_EPOCH,
            last_at: DateTime::UNIX_EPOCH,
            last_rows: 0,
        };
        tell(&mut progress);
        let heard = heard.0.lock().unwrap();
        heard.iter().map(|it| (it.message.clone(), it.total_rows)).collect()
    }

    #[test]
    fn progress_says_how_much_is_left_where_that_is_known() {
        assert_eq!(message(0, 0, 0, None), "0 rows, 0 bytes");
        assert_eq!(message(500, 9_000, 2_000, None), "500 rows, 9000 bytes, 250 rows/s");
        assert_eq!(message(0, 0, 2_000, Some((7, "about "))), "0 of about 7 rows, 0 bytes, 0 rows/s");
        let half = message(500, 9_000, 2_000, Some((1_000, "")));
        assert_eq!(half, "500 of 1000 rows, 9000 bytes, 250 rows/s, about 2 s left");
    }

    #[test]
    fn a_guess_is_called_one_and_a_bad_one_is_not_repeated() {
        let expected = Expected::default();
        expected.guess(100);
        let both = |progress: &mut Progress| {
            progress.tick(50, 7);
            progress.finish(100, 9);
        };
        let guessed = told(&expected, None, both);
        assert_eq!(guessed[0], ("50 of about 100 rows, 7 bytes, 5 rows/s, about 10 s left".to_owned(), Some(100)));
        assert_eq!(guessed[1], ("100 rows, 9 bytes, 10 rows/s".to_owned(), None));
        expected.count(100);
        let counted = told(&expected, None, both);
        assert_eq!(counted[0].0, "50 of 100 rows, 7 bytes, 5 rows/s, about 10 s left");
        assert_eq!(counted[1], ("100 of 100 rows, 9 bytes, 10 rows/s".to_owned(), Some(100)));
        let more = told(&expected, None, |progress| progress.finish(150, 9));
        assert_eq!(more, [("150 rows, 9 bytes, 15 rows/s".to_owned(), None)]);
    }

    #[test]
    fn a_batch_is_waited_for() {
        let ticks = |progress: &mut Progress| [10, 99, 100, 120].into_iter().for_each(|rows| progress.tick(rows, 0));
        assert_eq!(told(&Expected::default(), Some(100), ticks).len(), 1);
    }
}
