//! Writing the log of a try.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};

use crate::folder::{LogFolder, TryId};
use crate::line::{Level, LogLine};

/// Replaces secrets in a line.
pub type Mask = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// The log of a running try. Cheap to share. The file is made with its first line, and every line goes to the operating
/// system at once, so that a reader sees it and a killed daemon loses none. A full disk must not fail the task: what
/// could not be written is counted, and said with the next line that can.
pub struct TryLog {
    path: PathBuf,
    mask: Mask,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    lost_lines: u64,
    /// Also those that were told of since.
    lost_in_all: u64,
}

impl LogFolder {
    /// Opens the log of a try for appending.
    pub fn open(&self, id: &TryId, mask: Mask) -> TryLog {
        TryLog { path: self.path(id), mask, state: Mutex::new(State::default()) }
    }
}

impl TryLog {
    /// Some: why this could not be written; it is counted.
    pub fn write(&self, at: DateTime<Utc>, level: Level, text: &str) -> Option<io::Error> {
        let mut out = String::with_capacity(text.len() + 40);
        LogLine::write(&mut out, at, level, &(self.mask)(text));
        let Ok(mut state) = self.state.lock() else { return None };
        if state.lost_lines > 0 {
            let lost = format!("{} lines of this log could not be written (is the disk full?)", state.lost_lines);
            let mut notice = String::new();
            LogLine::write(&mut notice, at, Level::Warning, &lost);
            out.insert_str(0, &notice);
        }
        let lost = append(&mut state.file, &self.path, out.as_bytes()).err();
        if lost.is_some() {
            state.lost_lines += 1;
            state.lost_in_all += 1;
        } else {
            state.lost_lines = 0;
        }
        lost
    }

    /// Whether it has a file.
    pub fn has_begun(&self) -> bool {
        self.state.lock().is_ok_and(|state| state.file.is_some())
    }

    /// How many lines could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.state.lock().map_or(0, |state| state.lost_in_all)
    }

    /// The text as it would be shown.
    pub fn mask(&self, text: &str) -> String {
        (self.mask)(text)
    }
}

fn append(file: &mut Option<File>, path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    if file.is_none() {
        let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        *file = Some(match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                open()?
            }
            other => other?,
        });
    }
    match file {
        Some(file) => file.write_all(bytes),
        None => Ok(()),
    }
}
