//! What a running try writes down.

use std::io;
use std::sync::{Arc, Mutex, Once};

use chrono::{DateTime, Utc};
use millrace_logs::{Level, LogFolder, Making, TryId, TryLog};
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_operator_api::context::{Clock, LogLevel, Reporter};
use millrace_settings::Masker;
use tokio::runtime::Handle;

use crate::note::Note;

/// Characters. A value that was found may be a whole document.
const LONGEST_FOUND: usize = 1_000;

/// Where log lines and notes of a try go. They are already masked.
pub trait LogSink: Send + Sync {
    fn line(&self, at: DateTime<Utc>, level: LogLevel, text: &str);
    fn note(&self, note: Note);
    /// What was written down is where others can read it.
    fn flush(&self);
}

/// The log of a recorded try: lines to its file, notes to the store, in order.
pub struct AttemptLog {
    log: TryLog,
    notes: Arc<Notes>,
}

struct Notes {
    send: Box<dyn Fn(Note) + Send + Sync>,
    tells_of_lost_lines: Once,
}

impl Notes {
    fn lost(&self, line: Option<io::Error>) {
        if let Some(error) = line {
            self.tells_of_lost_lines.call_once(|| (self.send)(Note::LosesLines(error.to_string())));
        }
    }
}

impl AttemptLog {
    /// The file is made beside the try, on a thread of the runtime. `notes` must not block.
    pub fn new(logs: &LogFolder, id: &TryId, runtime: Handle, notes: impl Fn(Note) + Send + Sync + 'static) -> Self {
        let notes = Arc::new(Notes { send: Box::new(notes), tells_of_lost_lines: Once::new() });
        let teller = notes.clone();
        let aside = Box::new(move |file: Making| {
            let teller = teller.clone();
            runtime.spawn_blocking(move || teller.lost(file.make()));
        });
        // The report masks; masking a masked line again would cost and change nothing.
        Self { log: logs.open_aside(id, Arc::new(str::to_owned), aside), notes }
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
        self.notes.lost(self.log.write(at, level, text));
    }

    fn note(&self, note: Note) {
        (self.notes.send)(note);
    }

    fn flush(&self) {
        self.notes.lost(self.log.flush());
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
