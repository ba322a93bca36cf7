//! What a running try writes down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};
use millrace_logs::{Level, TryLog};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_operator_api::context::{Clock, LogLevel, Reporter};
use millrace_settings::Masker;

use crate::note::Note;

/// Characters. A value that was found may be a whole document.
const LONGEST_FOUND: usize = 1_000;

/// Where log lines and notes of a try go. They are already masked.
pub trait LogSink: Send + Sync {
    fn line(&self, at: DateTime<Utc>, level: LogLevel, text: &str);
    fn note(&self, note: Note);
}

/// The log of a recorded try: lines to its file, notes to the store, in order.
pub struct AttemptLog {
    log: TryLog,
    notes: Box<dyn Fn(Note) + Send + Sync>,
    loses_lines: AtomicBool,
}

impl AttemptLog {
    /// `notes` must not block.
    pub fn new(log: TryLog, notes: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Self { log, notes: Box::new(notes), loses_lines: AtomicBool::new(false) }
    }

    /// How many lines could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.log.lost_lines()
    }

    /// Whether there was something to write, and all of it was written.
    pub fn is_whole(&self) -> bool {
        self.log.has_begun() && self.lost_lines() == 0
    }
}

impl LogSink for AttemptLog {
    fn line(&self, at: DateTime<Utc>, level: LogLevel, text: &str) {
        let level = match level {
            LogLevel::Debug => Level::Debug,
            LogLevel::Info => Level::Info,
            LogLevel::Warning => Level::Warning,
            LogLevel::Error => Level::Error,
        };
        if let Some(error) = self.log.write(at, level, text)
            && !self.loses_lines.swap(true, Ordering::Relaxed)
        {
            (self.notes)(Note::LosesLines(error.to_string()));
        }
    }

    fn note(&self, note: Note) {
        (self.notes)(note);
    }
}

/// The reporter that an operator sees: adds the instant, keeps the ledger until the try ends.
pub struct AttemptReport {
    log: Arc<dyn LogSink>,
    clock: Arc<dyn Clock>,
    masker: Masker,
    /// Of the instant at which the try began. Written with the first line only, so that a task with nothing to say leaves no
    /// file.
    heading: Mutex<Option<(DateTime<Utc>, String)>>,
    ledger: Mutex<Vec<LedgerEntry>>,
}

impl AttemptReport {
    pub fn new(
        log: Arc<dyn LogSink>,
        clock: Arc<dyn Clock>,
        heading: Option<(DateTime<Utc>, String)>,
        masker: Masker,
    ) -> Self {
        Self { log, clock, masker, heading: Mutex::new(heading), ledger: Mutex::default() }
    }

    /// True once a line was written, also before a wait that the try goes on from.
    pub fn has_lines(&self) -> bool {
        self.heading.lock().is_ok_and(|heading| heading.is_none())
    }

    pub fn take_ledger(&self) -> Vec<LedgerEntry> {
        self.ledger.lock().map(|mut ledger| std::mem::take(&mut *ledger)).unwrap_or_default()
    }
}

impl Reporter for AttemptReport {
    fn log(&self, level: LogLevel, line: &str) {
        let now = self.clock.now();
        let heading = self.heading.lock().ok().and_then(|mut heading| heading.take());
        if let Some((began, heading)) = heading {
            self.log.line(began, LogLevel::Info, &self.masker.mask(&heading));
        }
        self.log.line(now, level, &self.masker.mask(line));
    }

    fn masked(&self, text: &str) -> String {
        self.masker.mask(text)
    }

    fn cut(&self, text: &str, at: usize) -> usize {
        self.masker.cut(text, at)
    }

    fn checkpoint(&self, mut checkpoint: Checkpoint) {
        checkpoint.message = self.masker.mask(&checkpoint.message);
        self.log.note(Note::Checkpoint(checkpoint));
    }

    fn ledger(&self, mut entry: LedgerEntry) {
        entry.source = self.masker.mask(&entry.source);
        entry.target = self.masker.mask(&entry.target);
        if let Some(read) = &mut entry.read {
            read.query = self.masker.mask(&read.query);
        }
        for check in &mut entry.checks {
            check.name = self.masker.mask(&check.name);
            check.found = self.masker.mask(&check.found);
            if let Some((end, _)) = check.found.char_indices().nth(LONGEST_FOUND) {
                check.found.truncate(end);
                check.found.push('…');
            }
        }
        if let Ok(mut ledger) = self.ledger.lock() {
            ledger.push(entry);
        }
    }
}
