//! One server per Unix user, started by whoever needs it first and shared by all test processes.
//!
//! Two file locks keep the order. `start.lock` is held while somebody looks whether the server answers and starts it if
//! not. `users.lock` is held shared by every process that uses the server, for as long as the process lives. A shell
//! runs the server as its child and ends it when nobody has held or touched `users.lock` for [`IDLE_MINUTES`]; it, too,
//! takes both locks first, so that no server ends under a test.

use std::fs::{self, File};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::site::{Endpoint, Engine, Site, base_folder, log_tail, make_folder, write_private};
use crate::wait_until_blocking;

const IDLE_MINUTES: u32 = 15;
/// Generous: the first test waits for it while two cores compile and thirty other tests start.
const START_TIMEOUT: Duration = Duration::from_mins(2);
const STOP_TIMEOUT: Duration = Duration::from_mins(1);
const START_ATTEMPTS: u32 = 5;

const SUPERVISOR: &str = r#"
folder=$1 idle=$2 signal=$3; shift 3
cd "$folder/data" || exit 1
"$@" </dev/null >>"$folder/server.log" 2>&1 &
server=$!
echo "$server" >"$folder/server.pid"
while kill -0 "$server" 2>/dev/null; do
    sleep 5
    if [ -n "$(find "$folder/users.lock" -mmin "+$idle" 2>/dev/null)" ]; then
        exec 8>>"$folder/start.lock" 9>>"$folder/users.lock"
        if flock -n -x 8 && flock -n -x 9; then
            kill "-$signal" "$server"
            wait "$server"
            cd /
            rm -rf -- "$folder/data" "$folder/state.json" "$folder/server.pid"
        fi
        exec 8>&- 9>&-
    fi
done
"#;

/// What became of a shared server that was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It ran and was stopped.
    Now,
    /// It did not run.
    NotRunning,
    /// Another process still uses it; it will end by itself when idle.
    InUse,
}

/// Joins the users of this user's shared server, starting it if it does not answer.
pub(crate) fn attach(engine: &impl Engine) -> Result<Endpoint> {
    let (endpoint, users) = attach_in(engine, &base_folder()?)?;
    // Held until the process ends: that is what says that the server is in use.
    std::mem::forget(users);
    Ok(endpoint)
}

/// The file is the lock that makes the caller a user.
fn attach_in<E: Engine>(engine: &E, base: &Path) -> Result<(Endpoint, File)> {
    let folder = base.join(E::NAME);
    make_folder(&folder)?;
    let start = open_lock(&folder, "start.lock")?;
    start.lock().with_context(|| format!("cannot lock the start of the {} test server", E::NAME))?;
    let users = open_lock(&folder, "users.lock")?;
    users.lock_shared().with_context(|| format!("cannot join the users of the {} test server", E::NAME))?;
    users.set_modified(SystemTime::now()).context("cannot touch the lock of the users")?;

    let endpoint = match read_state(&folder) {
        Some(endpoint) if engine.answers(&endpoint).is_ok() => endpoint,
        _ => start_anew(engine, &folder)?,
    };
    Ok((endpoint, users))
}

/// Stops this user's shared server, unless another process uses it.
pub(crate) fn stop<E: Engine>() -> Result<Stopped> {
    stop_in::<E>(&base_folder()?)
}

fn stop_in<E: Engine>(base: &Path) -> Result<Stopped> {
    let folder = base.join(E::NAME);
    if !folder.is_dir() {
        return Ok(Stopped::NotRunning);
    }
    let start = open_lock(&folder, "start.lock")?;
    start.lock().with_context(|| format!("cannot lock the start of the {} test server", E::NAME))?;
    let users = open_lock(&folder, "users.lock")?;
    match users.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => return Ok(Stopped::InUse),
        Err(fs::TryLockError::Error(error)) => return Err(error).context("cannot lock the users of the test server"),
    }
    let ran = end_leftover(&folder)?;
    clear(&folder)?;
    Ok(if ran { Stopped::Now } else { Stopped::NotRunning })
}

fn start_anew<E: Engine>(engine: &E, folder: &Path) -> Result<Endpoint> {
    end_leftover(folder)?;
    let mut problem = None;
    for _ in 0..START_ATTEMPTS {
        clear(folder)?;
        let site = Site::new(folder.to_owned(), E::ACCOUNT)?;
        engine.prepare(&site)?;
        let mut supervisor = spawn_supervisor(engine, &site)?;
        match wait_for_answer(engine, &site, &mut supervisor) {
            Ok(()) => {
                write_private(&folder.join("state.json"), &serde_json::to_string(&site.endpoint)?)?;
                return Ok(site.endpoint);
            }
            // Somebody took the port in between, most likely: another port, once more.
            Err(error) => problem = Some(error),
        }
        end_leftover(folder)?;
    }
    Err(problem.unwrap_or_else(|| anyhow::anyhow!("no attempt was made")))
        .with_context(|| format!("cannot start the {} test server", E::NAME))
}

fn spawn_supervisor<E: Engine>(engine: &E, site: &Site) -> Result<Child> {
    let server = engine.command(site)?;
    let mut supervisor = Command::new("/bin/sh");
    supervisor.args(["-c", SUPERVISOR, "millrace-testkit"]).arg(&site.folder);
    supervisor.args([&IDLE_MINUTES.to_string(), E::STOP_SIGNAL]);
    supervisor.arg(server.get_program()).args(server.get_args()).env_clear();
    supervisor.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
    supervisor
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Neither Ctrl-C nor a runner that kills the test's process group may end what others share.
        .process_group(0)
        .spawn()
        .context("cannot start /bin/sh to run a test server")
}

fn wait_for_answer<E: Engine>(engine: &E, site: &Site, supervisor: &mut Child) -> Result<()> {
    let deadline = Instant::now() + START_TIMEOUT;
    loop {
        let Err(problem) = engine.answers(&site.endpoint) else { return Ok(()) };
        let gone = server_pid(&site.folder).is_some_and(|pid| test_kill_process(pid).is_err());
        if gone || supervisor.try_wait().context("cannot look after the test server")?.is_some() {
            bail!("{} ended at once; its log says:\n{}", E::NAME, log_tail(&site.folder));
        }
        if Instant::now() >= deadline {
            let log = log_tail(&site.folder);
            return Err(problem)
                .with_context(|| format!("{} does not answer after {START_TIMEOUT:?}; its log says:\n{log}", E::NAME));
        }
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// Ends a server that an earlier run left in this folder; true if there was one.
fn end_leftover(folder: &Path) -> Result<bool> {
    let Some(pid) = server_pid(folder) else { return Ok(false) };
    let data = folder.join("data");
    let ours = || {
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(data.to_string_lossy().as_ref())
    };
    // A process id may have been given to somebody else since: only one that was started on our data is touched.
    if !ours() {
        return Ok(false);
    }
    kill_process(pid, Signal::INT).ok();
    kill_process(pid, Signal::TERM).ok();
    if wait_until_blocking("the server ends", STOP_TIMEOUT, || !ours()).is_err() {
        kill_process(pid, Signal::KILL).ok();
        wait_until_blocking("the killed test server ends", STOP_TIMEOUT, || !ours())?;
    }
    Ok(true)
}

fn server_pid(folder: &Path) -> Option<Pid> {
    let text = fs::read_to_string(folder.join("server.pid")).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

fn clear(folder: &Path) -> Result<()> {
    for name in ["state.json", "server.pid", "server.log", "password", "first.sql"] {
        let _ = fs::remove_file(folder.join(name));
    }
    let data = folder.join("data");
    match fs::remove_dir_all(&data) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove the old test data in {}", data.display()))
        }
        _ => Ok(()),
    }
}

fn read_state(folder: &Path) -> Option<Endpoint> {
    serde_json::from_str(&fs::read_to_string(folder.join("state.json")).ok()?).ok()
}

fn open_lock(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let opened = File::options().create(true).append(true).mode(0o600).open(&path);
    opened.with_context(|| format!("cannot open the lock file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::PostgresEngine;
    use crate::site::random_word;
    use std::path::PathBuf;

    /// A base folder of the test's own, removed at its end.
    struct Base(PathBuf);

    impl Base {
        fn new() -> Self {
            let folder = base_folder().unwrap().join(format!("test-{}", random_word(4).unwrap()));
            make_folder(&folder).unwrap();
            Self(folder)
        }

        fn server(&self) -> PathBuf {
            self.0.join(PostgresEngine::NAME)
        }
    }

    impl Drop for Base {
        fn drop(&mut self) {
            let _ = end_leftover(&self.server());
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_server_in_use_is_not_stopped() {
        let base = Base::new();
        assert_eq!(stop_in::<PostgresEngine>(&base.0).unwrap(), Stopped::NotRunning);
        let (endpoint, first) = attach_in(&PostgresEngine::Quick, &base.0).unwrap();
        let (same, second) = attach_in(&PostgresEngine::Quick, &base.0).unwrap();
        assert_eq!(endpoint.port, same.port);
        drop(first);
        assert_eq!(stop_in::<PostgresEngine>(&base.0).unwrap(), Stopped::InUse);
        PostgresEngine::Quick.answers(&endpoint).unwrap();
        drop(second);
        assert_eq!(stop_in::<PostgresEngine>(&base.0).unwrap(), Stopped::Now);
        assert!(PostgresEngine::Quick.answers(&endpoint).is_err(), "it answers after its end");
        assert!(!base.server().join("data").exists(), "its data stayed");
    }

    #[test]
    fn a_dead_server_is_replaced() {
        let base = Base::new();
        let (dead, users) = attach_in(&PostgresEngine::Quick, &base.0).unwrap();
        kill_process(server_pid(&base.server()).unwrap(), Signal::KILL).unwrap();
        wait_until_blocking("the server is dead", STOP_TIMEOUT, || PostgresEngine::Quick.answers(&dead).is_err())
            .unwrap();
        let (alive, _) = attach_in(&PostgresEngine::Quick, &base.0).unwrap();
        PostgresEngine::Quick.answers(&alive).unwrap();
        assert_ne!(dead.password, alive.password);
        drop(users);
    }

    #[test]
    fn an_idle_server_ends_by_itself() {
        let base = Base::new();
        let (endpoint, users) = attach_in(&PostgresEngine::Quick, &base.0).unwrap();
        let long_ago = SystemTime::now() - Duration::from_hours(1);
        users.set_modified(long_ago).unwrap();
        PostgresEngine::Quick.answers(&endpoint).unwrap();
        drop(users);
        wait_until_blocking("the idle server ends and its data goes", STOP_TIMEOUT, || {
            !base.server().join("data").exists()
        })
        .unwrap();
        assert!(PostgresEngine::Quick.answers(&endpoint).is_err(), "it answers after its end");
    }
}
