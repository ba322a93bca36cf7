//! Writing the log of a try.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Utc};

use crate::folder::{LogFolder, TryId};
use crate::line::{Level, LogLine};

/// Replaces secrets in a line.
pub type Mask = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Has a [`Making`] done on another thread.
pub type Aside = Box<dyn Fn(Making) + Send + Sync>;

/// So many lines wait for a file at most.
const WAITING: usize = 16;

/// The log of a running try. Cheap to share. The file is made with its first line, and every line goes to the operating
/// system at once, so that a reader sees it and a killed daemon loses none. A full disk must not fail the task: what
/// could not be written is counted, and said with the next line that can.
pub struct TryLog {
    file: Arc<LogFile>,
    mask: Mask,
    aside: Option<Aside>,
}

struct LogFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    /// Lines, for as long as another thread makes the file.
    waiting: Option<Vec<(DateTime<Utc>, String)>>,
    lost_lines: u64,
    /// Also those that were told of since.
    lost_in_all: u64,
    /// Of the last line that was lost a part may have been written.
    may_be_cut: bool,
}

/// The file of a log that is to be made.
pub struct Making(Arc<LogFile>);

impl LogFolder {
    /// Opens the log of a try for appending.
    pub fn open(&self, id: &TryId, mask: Mask) -> TryLog {
        TryLog { file: Arc::new(LogFile { path: self.path(id), state: Mutex::default() }), mask, aside: None }
    }

    /// As [`LogFolder::open`], but the file is made on another thread while the try goes on: a new folder with a file in it
    /// can take as long as a shell. Its first lines wait for it, until [`TryLog::flush`] at the longest; a daemon that is
    /// killed in that moment loses them.
    pub fn open_aside(&self, id: &TryId, mask: Mask, aside: Aside) -> TryLog {
        TryLog { aside: Some(aside), ..self.open(id, mask) }
    }
}

impl TryLog {
    /// Some: why this, or a line that had waited before it, could not be written; it is counted.
    pub fn write(&self, at: DateTime<Utc>, level: Level, text: &str) -> Option<io::Error> {
        let mut line = String::with_capacity(text.len() + 40);
        LogLine::write(&mut line, at, level, &(self.mask)(text));
        let mut state = self.file.state.lock().ok()?;
        if let Some(waiting) = &mut state.waiting {
            waiting.push((at, line));
            return if waiting.len() < WAITING { None } else { state.write_waiting(&self.file.path) };
        }
        match &self.aside {
            Some(aside) if !state.has_begun() => {
                state.waiting = Some(vec![(at, line)]);
                aside(Making(self.file.clone()));
                None
            }
            _ => state.write(&self.file.path, at, line).err(),
        }
    }

    /// Writes what still waits for its file. Some: why it could not be; it is counted.
    pub fn flush(&self) -> Option<io::Error> {
        self.file.state.lock().ok()?.write_waiting(&self.file.path)
    }

    /// Whether it has a file.
    pub fn has_begun(&self) -> bool {
        self.file.state.lock().is_ok_and(|state| state.file.is_some())
    }

    /// How many lines could not be written.
    pub fn lost_lines(&self) -> u64 {
        self.file.state.lock().map_or(0, |state| state.lost_in_all)
    }

    /// The text as it would be shown.
    pub fn mask(&self, text: &str) -> String {
        (self.mask)(text)
    }
}

impl Making {
    /// Makes the file and writes what waits for it. Some: why it could not be; it is counted.
    pub fn make(self) -> Option<io::Error> {
        // Not under the lock: the try goes on to write.
        let made = open(&self.0.path);
        let mut state = self.0.state.lock().ok()?;
        if state.waiting.is_some() {
            state.file = made.ok();
        }
        state.write_waiting(&self.0.path)
    }
}

impl State {
    fn has_begun(&self) -> bool {
        self.file.is_some() || self.lost_in_all > 0
    }

    fn write_waiting(&mut self, path: &Path) -> Option<io::Error> {
        let mut lost = None;
        for (at, line) in self.waiting.take()? {
            lost = self.write(path, at, line).err().or(lost);
        }
        lost
    }

    fn write(&mut self, path: &Path, at: DateTime<Utc>, mut line: String) -> io::Result<()> {
        if self.lost_lines > 0 {
            let lost = format!("{} lines of this log could not be written (is the disk full?)", self.lost_lines);
            let mut notice = String::new();
            LogLine::write(&mut notice, at, Level::Warning, &lost);
            let end = if self.may_be_cut { "\n" } else { "" };
            line = format!("{end}{notice}{line}");
        }
        let written = self.append(path, line.as_bytes());
        if written.is_err() {
            self.lost_lines += 1;
            self.lost_in_all += 1;
            self.may_be_cut |= self.file.is_some();
        } else {
            self.lost_lines = 0;
            self.may_be_cut = false;
        }
        written
    }

    fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(path)?),
        };
        file.write_all(bytes)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            open()
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> TryId {
        let (dag_id, run_id, task_id) = ("nps".to_owned(), "r1".to_owned(), "extract".to_owned());
        TryId { dag_id, run_id, task_id, map_index: -1, try_number: 1 }
    }

    /// A log whose file is made when the test says so.
    fn aside(folder: &LogFolder) -> (TryLog, Arc<Mutex<Vec<Making>>>) {
        let files = Arc::new(Mutex::new(Vec::new()));
        let kept = files.clone();
        let log = folder.open_aside(
            &id(),
            Arc::new(str::to_owned),
            Box::new(move |file| {
                kept.lock().unwrap().push(file);
            }),
        );
        (log, files)
    }

    fn say(log: &TryLog, text: &str) -> Option<io::Error> {
        log.write(DateTime::UNIX_EPOCH, Level::Info, text)
    }

    fn lines(folder: &LogFolder) -> Vec<String> {
        let text = std::fs::read_to_string(folder.path(&id())).unwrap();
        text.lines().map(|line| LogLine::parse(line).text).collect()
    }

    #[test]
    fn lines_wait_for_a_file_that_is_made_aside_and_keep_their_order() {
        let root = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(root.path());
        let (log, files) = aside(&folder);
        assert!(say(&log, "first").is_none() && say(&log, "second").is_none());
        assert!(!folder.path(&id()).exists(), "it is made by another");
        let file = files.lock().unwrap().pop().unwrap();
        assert!(file.make().is_none());
        assert_eq!(lines(&folder), ["first", "second"]);
        say(&log, "third");
        assert!(log.has_begun() && files.lock().unwrap().is_empty(), "it is made once");
        assert_eq!(lines(&folder), ["first", "second", "third"]);
    }

    #[test]
    fn whoever_comes_late_writes_nothing_twice() {
        let root = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(root.path());
        let (log, files) = aside(&folder);
        say(&log, "first");
        assert!(log.flush().is_none());
        say(&log, "second");
        let file = files.lock().unwrap().pop().unwrap();
        assert!(file.make().is_none());
        say(&log, "third");
        assert_eq!(lines(&folder), ["first", "second", "third"]);
    }

    #[test]
    fn many_lines_do_not_wait() {
        let root = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(root.path());
        let (log, _files) = aside(&folder);
        for _ in 0..=WAITING {
            say(&log, "more");
        }
        assert_eq!(lines(&folder).len(), WAITING + 1);
    }

    #[test]
    fn lines_that_waited_for_a_file_that_cannot_be_made_are_counted_and_said() {
        let root = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(root.path());
        // A file where the folder should be.
        std::fs::write(root.path().join("dag_id=nps"), "").unwrap();
        let (log, files) = aside(&folder);
        say(&log, "first");
        say(&log, "second");
        let file = files.lock().unwrap().pop().unwrap();
        assert!(file.make().is_some());
        assert_eq!(log.lost_lines(), 2);
        assert!(say(&log, "third").is_some(), "nobody makes it aside again");
        std::fs::remove_file(root.path().join("dag_id=nps")).unwrap();
        assert!(say(&log, "fourth").is_none());
        assert_eq!(lines(&folder), ["3 lines of this log could not be written (is the disk full?)", "fourth"]);
    }
}
