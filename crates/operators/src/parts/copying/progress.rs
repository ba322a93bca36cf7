//! How far a copy has come, with its pace and the time that is left.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::ledger::Checkpoint;
use millrace_operator_api::TaskContext;
use millrace_operator_api::context::{Clock, Reporter};

use crate::parts::report::Expected;

/// At most so often, however small the batches are.
const OFTEN: TimeDelta = TimeDelta::seconds(1);

pub struct Progress {
    reporter: Arc<dyn Reporter>,
    clock: Arc<dyn Clock>,
    name: String,
    expected: Expected,
    batch: u64,
    started_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
    last_rows: u64,
}

impl Progress {
    pub fn start(context: &TaskContext, name: String, batch: u64, expected: Expected) -> Self {
        let now = context.clock.now();
        Self {
            reporter: Arc::clone(&context.reporter),
            clock: Arc::clone(&context.clock),
            name,
            expected,
            batch,
            started_at: now,
            last_at: now,
            last_rows: 0,
        }
    }

    pub fn tick(&mut self, rows: u64, bytes: u64) {
        if rows - self.last_rows < self.batch {
            return;
        }
        let now = self.clock.now();
        if now - self.last_at < OFTEN {
            return;
        }
        self.last_at = now;
        self.last_rows = rows;
        self.report(rows, bytes, now);
    }

    pub fn finish(&self, rows: u64, bytes: u64) {
        self.report(rows, bytes, self.clock.now());
    }

    fn report(&self, rows: u64, bytes: u64, at: DateTime<Utc>) {
        // More rows than were expected: it was a bad guess.
        let total = self.expected.get().filter(|expected| *expected >= rows);
        let millis = u64::try_from((at - self.started_at).num_milliseconds()).unwrap_or(0);
        let mut message = match total {
            Some(total) => format!("{rows} of {total} rows, {bytes} bytes"),
            None => format!("{rows} rows, {bytes} bytes"),
        };
        if millis > 0 && rows > 0 {
            message.push_str(&format!(", {} rows/s", rows.saturating_mul(1000) / millis));
            if let Some(left) = total.and_then(|total| total.checked_sub(rows)).filter(|left| *left > 0) {
                message.push_str(&format!(", {} s left", (left.saturating_mul(millis) / rows).div_ceil(1000)));
            }
        }
        let (rows, bytes) = (Some(rows), Some(bytes));
        self.reporter.checkpoint(Checkpoint { name: self.name.clone(), message, rows, bytes, total_rows: total, at });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use millrace_model::ledger::LedgerEntry;
    use millrace_operator_api::context::LogLevel;

    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<Checkpoint>>);

    impl Reporter for Heard {
        fn log(&self, _: LogLevel, _: &str) {}
        fn checkpoint(&self, checkpoint: Checkpoint) {
            self.0.lock().unwrap().push(checkpoint);
        }
        fn ledger(&self, _: LedgerEntry) {}
    }

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> DateTime<Utc> {
            DateTime::UNIX_EPOCH
        }
    }

    #[test]
    fn a_guess_that_was_too_low_is_not_repeated() {
        let (heard, expected) = (Arc::new(Heard::default()), Expected::default());
        expected.set(100);
        let progress = Progress {
            reporter: heard.clone(),
            clock: Arc::new(Stopped),
            name: "copy".to_owned(),
            expected,
            batch: 1,
            started_at: DateTime::UNIX_EPOCH,
            last_at: DateTime::UNIX_EPOCH,
            last_rows: 0,
        };
        progress.finish(100, 7);
        progress.finish(150, 9);
        let heard = heard.0.lock().unwrap();
        let told: Vec<_> = heard.iter().map(|it| (it.message.as_str(), it.total_rows)).collect();
        assert_eq!(told, [("100 of 100 rows, 7 bytes", Some(100)), ("150 rows, 9 bytes", None)]);
    }
}
