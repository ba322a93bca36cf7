//! Processes that tasks start: each in a group of its own, ended as a group, found again after a crash.

mod orphans;
mod program;

pub use orphans::{kill_orphans, owner_mark};

use std::ffi::OsString;
use std::path::PathBuf;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_operator_api::context::{CancelSignal, LogLevel};
use millrace_operator_api::ports::{LineSink, ProcessExit, ProcessSpec, Processes};
use millrace_operator_api::{PortError, PortErrorKind};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Environment variable of every child: `<installation>/<owner>`, by which a later daemon knows whose it was.
pub const LEASE_OWNER_VARIABLE: &str = "MILLRACE_LEASE_OWNER";
/// Of one line in the log; a longer one becomes several.
const LONGEST_LINE: usize = 64 * 1024;
/// How much of a longer line must be there before it is cut: what begins before the cut and must stay whole ends within it.
const LOOK_AHEAD: usize = 16 * 1024;
/// Of the last line, which is a result.
const LONGEST_RESULT: usize = 4 * 1024 * 1024;
/// How long to go on reading from a grandchild that kept the pipe when the process itself has ended.
const DRAIN: Duration = Duration::from_secs(2);
/// What a child gets of the daemon's environment even when it shall not inherit it.
pub(crate) const ORDINARY: [&str; 9] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "SHELL", "TMPDIR"];

#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// Between SIGTERM and SIGKILL.
    pub grace: Duration,
    /// Which home the children belong to.
    pub installation: String,
    /// Which run of the daemon started them.
    pub owner: String,
    /// The home, as children find it in `MILLRACE_HOME`: a `millrace` that a task calls is this one.
    pub home: PathBuf,
}

/// Starts processes on this machine.
#[derive(Debug, Clone)]
pub struct LocalProcesses {
    settings: ProcessSettings,
}

impl LocalProcesses {
    pub fn new(settings: ProcessSettings) -> Self {
        Self { settings }
    }

    fn command(&self, spec: &ProcessSpec) -> Command {
        let own_path = spec.env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| OsString::from(value));
        let path = own_path.or_else(|| std::env::var_os("PATH"));
        let mut command = Command::new(program::located(&spec.program, path.as_deref()));
        // What the program is told of its own name stays what was asked for.
        command.arg0(&spec.program).args(&spec.args);
        if !spec.inherit_env {
            command.env_clear();
            for name in ORDINARY {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        }
        command.env("MILLRACE_HOME", &self.settings.home);
        command.envs(spec.env.iter().map(|(name, value)| (name, value)));
        command.env(LEASE_OWNER_VARIABLE, format!("{}/{}", self.settings.installation, self.settings.owner));
        if let Some(cwd) = &spec.cwd {
            command.current_dir(cwd);
        }
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(if spec.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        command
    }

    async fn run(
        &self,
        spec: ProcessSpec,
        lines: Arc<dyn LineSink>,
        cancel: Arc<dyn CancelSignal>,
    ) -> Result<ProcessExit, PortError> {
        let mut child = self.command(&spec).spawn().map_err(|error| not_started(&spec, &error))?;
        let mut group = Group::of(&child);
        if let (Some(text), Some(mut stdin)) = (spec.stdin.clone(), child.stdin.take()) {
            // A child that does not read must not hold us up, nor one that closes its end be an error.
            tokio::spawn(async move { drop(stdin.write_all(text.as_bytes()).await) });
        }
        let out = child.stdout.take();
        let err = child.stderr.take();
        let out_lines = Arc::clone(&lines);
        // All in one task: a process that ends wakes one thread once, not one for its end and others for its pipes.
        let mut reading = pin!(async move {
            let (last_line, _) =
                tokio::join!(forward(out, LogLevel::Info, &*out_lines), forward(err, LogLevel::Warning, &*lines));
            last_line
        });
        let mut last_line = None;
        let (status, cancelled) = {
            let mut ending = pin!(async {
                tokio::select! {
                    status = child.wait() => (status, None),
                    reason = cancel.cancelled() => (group.end(&mut child, self.settings.grace).await, Some(reason)),
                }
            });
            loop {
                tokio::select! {
                    biased;
                    line = &mut reading, if last_line.is_none() => last_line = Some(line),
                    ended = &mut ending => break ended,
                }
            }
        };
        let status = status.map_err(|error| {
            PortError::new(PortErrorKind::Other, format!("cannot wait for {}: {error}", spec.program))
        })?;
        // The process has ended; what it left in its group would outlive the task.
        let last_line = match last_line {
            Some(line) => line,
            None => match tokio::time::timeout(DRAIN, &mut reading).await {
                Ok(line) => line,
                Err(_) => {
                    group.kill();
                    tokio::time::timeout(DRAIN, &mut reading).await.unwrap_or_default()
                }
            },
        };
        group.kill();
        match cancelled {
            Some(reason) => Err(PortError::new(PortErrorKind::Cancelled, reason)),
            None if last_line.is_too_long && status.success() => Err(PortError::new(
                PortErrorKind::Invalid,
                format!(
                    "{} ended well, but the last line of its output, its result, is longer than {} MiB; write large \
                     results to a file and print its name",
                    spec.program,
                    LONGEST_RESULT / 1024 / 1024
                ),
            )),
            None => {
                let signal = std::os::unix::process::ExitStatusExt::signal(&status);
                Ok(ProcessExit { code: status.code(), signal, last_line: last_line.text() })
            }
        }
    }
}

fn not_started(spec: &ProcessSpec, error: &std::io::Error) -> PortError {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => PortErrorKind::NotFound,
        std::io::ErrorKind::PermissionDenied => PortErrorKind::Denied,
        _ => PortErrorKind::Other,
    };
    let place = spec.cwd.as_ref().map(|cwd| format!(" in {}", cwd.display())).unwrap_or_default();
    PortError::new(kind, format!("cannot start {}{place}: {error}", spec.program))
}

/// A process group; killed when dropped before its end, as with a try that is dropped.
struct Group {
    id: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> Self {
        Self { id: child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)) }
    }

    async fn end(&mut self, child: &mut Child, grace: Duration) -> std::io::Result<std::process::ExitStatus> {
        if let Some(id) = self.id {
            let _ = kill_process_group(id, Signal::TERM);
        }
        match tokio::time::timeout(grace, self.all_gone(child)).await {
            Ok(status) => status,
            Err(_) => {
                self.kill();
                child.wait().await
            }
        }
    }

    /// Waits for the leader and then for the rest of its group.
    async fn all_gone(&self, child: &mut Child) -> std::io::Result<std::process::ExitStatus> {
        let status = child.wait().await?;
        while self.id.is_some_and(|id| test_kill_process_group(id).is_ok()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(status)
    }

    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // Gone already: fine.
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last line that is not blank, whole.
#[derive(Default)]
struct LastLine {
    whole: Option<Vec<u8>>,
    is_too_long: bool,
    /// What came of the line that is being read, and whether that is all of it.
    current: Vec<u8>,
    is_cut: bool,
}

impl LastLine {
    fn add(&mut self, bytes: &[u8]) {
        self.is_cut |= self.current.len() + bytes.len() > LONGEST_RESULT;
        if !self.is_cut {
            self.current.extend_from_slice(bytes);
        }
    }

    fn end(&mut self) {
        let (line, is_cut) = (std::mem::take(&mut self.current), std::mem::take(&mut self.is_cut));
        if is_cut || !line.trim_ascii().is_empty() {
            (self.whole, self.is_too_long) = (Some(line), is_cut);
        }
    }

    fn text(self) -> Option<String> {
        let line = self.whole?;
        Some(String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(&line)).into_owned())
    }
}

/// Hands on each line, a long one in pieces, and gives the last one.
async fn forward(pipe: Option<impl AsyncRead + Unpin>, level: LogLevel, lines: &dyn LineSink) -> LastLine {
    let mut last = LastLine::default();
    let Some(mut pipe) = pipe else { return last };
    let mut buffer = Vec::with_capacity(8 * 1024);
    let tell = |line: &[u8]| {
        lines.line(level, &String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)));
    };
    loop {
        let read = pipe.read_buf(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            break;
        }
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &buffer[start..]) {
            let line = &buffer[start..start + length];
            pieces(line, lines).into_iter().for_each(tell);
            last.add(line);
            last.end();
            start += length + 1;
        }
        buffer.drain(..start);
        if buffer.len() >= LONGEST_LINE + LOOK_AHEAD {
            let cut = piece(&buffer, lines);
            tell(&buffer[..cut]);
            last.add(&buffer[..cut]);
            buffer.drain(..cut);
        }
    }
    if !buffer.is_empty() {
        pieces(&buffer, lines).into_iter().for_each(tell);
        last.add(&buffer);
    }
    last.end();
    last
}

/// About 64 KiB each, cut between characters and where the sink says.
fn pieces<'a>(mut line: &'a [u8], lines: &dyn LineSink) -> Vec<&'a [u8]> {
    let mut pieces = Vec::with_capacity(1);
    while line.len() > LONGEST_LINE {
        let (piece, rest) = line.split_at(piece(line, lines));
        pieces.push(piece);
        line = rest;
    }
    pieces.push(line);
    pieces
}

/// How long the first piece of this long line is.
fn piece(line: &[u8], lines: &dyn LineSink) -> usize {
    let seen = &line[..line.len().min(LONGEST_LINE + LOOK_AHEAD)];
    // As long as the bytes are: what is no text counts one letter a byte.
    let mut text = String::with_capacity(seen.len());
    for chunk in seen.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    lines.cut(&text, character_start(line, LONGEST_LINE)).clamp(1, seen.len())
}

fn character_start(text: &[u8], at: usize) -> usize {
    (at.saturating_sub(3)..=at).rev().find(|cut| text.get(*cut).is_none_or(|byte| byte & 0xc0 != 0x80)).unwrap_or(at)
}

impl Processes for LocalProcesses {
    fn run<'a>(
        &'a self,
        spec: ProcessSpec,
        lines: Arc<dyn LineSink>,
        cancel: Arc<dyn CancelSignal>,
    ) -> BoxFuture<'a, Result<ProcessExit, PortError>> {
        Box::pin(LocalProcesses::run(self, spec, lines, cancel))
    }
}
