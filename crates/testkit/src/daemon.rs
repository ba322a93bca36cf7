//! A long-running program under test, usually our own `millrace`, with a home folder of its own.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::leash::Leash;

const PAUSE: Duration = Duration::from_millis(20);

/// What to start, and how.
#[derive(Debug)]
pub struct DaemonBuilder {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    home: Option<PathBuf>,
}

impl DaemonBuilder {
    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Uses an existing home folder, which then stays: to start a daemon again on what another left behind. Without
    /// this the home is a new, empty folder that goes with the [`Daemon`].
    #[must_use]
    pub fn home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// Starts the program with MILLRACE_HOME and the current folder set to the home. Variables of the machine that
    /// begin with MILLRACE, AIRFLOW or AWS are not passed on.
    pub fn spawn(self) -> Result<Daemon> {
        let temporary = tempfile::Builder::new().prefix("millrace-daemon-").tempdir();
        let temporary = temporary.context("cannot create a temporary folder for a daemon")?;
        let home = self.home.unwrap_or_else(|| temporary.path().join("home"));
        fs::create_dir_all(&home).with_context(|| format!("cannot create the home {}", home.display()))?;
        let stdout = temporary.path().join("stdout");
        let stderr = temporary.path().join("stderr");

        let mut command = Command::new(&self.program);
        for (name, _) in std::env::vars_os() {
            if ["MILLRACE", "AIRFLOW", "AWS"]
                .iter()
                .any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes()))
            {
                command.env_remove(name);
            }
        }
        command.args(self.args).env("MILLRACE_HOME", &home).envs(self.env).current_dir(&home).process_group(0);
        command.stdin(Stdio::null());
        command.stdout(File::create(&stdout).context("cannot create the file for a daemon's output")?);
        command.stderr(File::create(&stderr).context("cannot create the file for a daemon's messages")?);
        let child = command.spawn().with_context(|| format!("cannot start {}", self.program.display()))?;
        let leash = Leash::new(child.id(), None)?;
        Ok(Daemon { child, home, stdout, stderr, _leash: leash, _temporary: temporary })
    }
}

/// A running program. Dropping it kills it with its process group.
///
/// Its waiting calls block the thread. A test that serves something to the daemon from its own runtime must use a
/// multi-threaded one, or `spawn_blocking`.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    home: PathBuf,
    stdout: PathBuf,
    stderr: PathBuf,
    _leash: Leash,
    _temporary: TempDir,
}

impl Daemon {
    /// A daemon that runs `program`.
    pub fn builder(program: impl Into<PathBuf>) -> DaemonBuilder {
        DaemonBuilder { program: program.into(), args: Vec::new(), env: Vec::new(), home: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Everything it has written to stdout so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// Everything it has written to stderr so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits until a whole line that contains `text` stands in stdout or stderr, and returns it. Fails at once when the
    /// program ends without it.
    pub fn wait_for_line(&mut self, text: &str, timeout: Duration) -> Result<String> {
        self.wait_for(&format!("a line with {text:?}"), timeout, |daemon| {
            [daemon.stdout(), daemon.stderr()].iter().find_map(|output| {
                let whole = output.rfind('\n').map_or("", |end| &output[..end]);
                whole.lines().find(|line| line.contains(text)).map(ToOwned::to_owned)
            })
        })
    }

    /// Waits until a GET of `url` (`http://HOST:PORT/PATH`) is answered with status 200.
    pub fn wait_for_url(&mut self, url: &str, timeout: Duration) -> Result<()> {
        self.wait_for(&format!("status 200 at {url}"), timeout, |_| (status_of(url) == Some(200)).then_some(()))
    }

    /// Waits until `condition` yields a value; fails at once, with the output, when the program ends before.
    pub fn wait_for<T>(
        &mut self,
        description: &str,
        timeout: Duration,
        mut condition: impl FnMut(&Self) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.child.try_wait().context("cannot look after a daemon")?;
            if let Some(value) = condition(self) {
                return Ok(value);
            }
            if let Some(status) = ended {
                bail!("the daemon ended with {status} before this came: {description}\n{}", self.output());
            }
            if Instant::now() >= deadline {
                bail!("waited {timeout:?} in vain for the daemon: {description}\n{}", self.output());
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// True until the program has ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait(timeout)
    }

    /// SIGINT, as Ctrl-C sends it, and waits for the end.
    pub fn interrupt(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(Signal::INT)?;
        self.wait(timeout)
    }

    /// SIGKILL to the program alone, and waits for the end: what it had started is left to itself, as after a crash.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.child.kill().context("cannot kill a daemon")?;
        self.child.wait().context("cannot wait for a killed daemon")
    }

    /// Waits for the end.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait().context("cannot look after a daemon")? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("the daemon still runs after {timeout:?}\n{}", self.output());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        // Once waited for, its id may be somebody else's.
        if !self.is_running() {
            return Ok(());
        }
        let pid = Pid::from_raw(self.child.id() as i32).context("a process without id")?;
        kill_process(pid, signal).with_context(|| format!("cannot send {signal:?} to a daemon"))
    }

    fn output(&self) -> String {
        format!("--- stdout\n{}--- stderr\n{}", self.stdout(), self.stderr())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The group, not only the program. Once the program was waited for, the group's id may be somebody else's: numbers
        // go round within minutes where thousands of processes are started.
        if self.is_running()
            && let Some(group) = Pid::from_raw(self.child.id() as i32)
        {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// The status of a GET, without an HTTP client: one request, one connection. HTTP/1.1, because chromedriver closes the
/// door on 1.0.
pub(crate) fn status_of(url: &str) -> Option<u16> {
    let (host, path) = url.strip_prefix("http://")?.split_once('/').unwrap_or((url.strip_prefix("http://")?, ""));
    let mut stream = TcpStream::connect(host).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).ok()?;
    std::str::from_utf8(&answer[9..]).ok()?.parse().ok()
}
