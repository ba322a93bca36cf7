//! A server of one test alone, which that test may stop, kill and start again.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::leash::Leash;
use crate::site::{Engine, Site, base_folder, log_path, log_tail, make_folder, random_word};

const START_TIMEOUT: Duration = Duration::from_mins(2);
const STOP_TIMEOUT: Duration = Duration::from_mins(1);

/// The process is in a group of its own; the data stays until this value is dropped.
#[derive(Debug)]
pub(crate) struct PrivateServer<E: Engine> {
    engine: E,
    site: Site,
    running: Option<(Child, Leash)>,
}

impl<E: Engine> PrivateServer<E> {
    /// Makes the data and starts the server.
    pub(crate) fn new(engine: E) -> Result<Self> {
        Self::with_password(engine, None)
    }

    /// As [`PrivateServer::new`]; its data comes with the password.
    pub(crate) fn with_password(engine: E, password: Option<&str>) -> Result<Self> {
        let folder = base_folder()?.join(format!("{}-{}", E::NAME, random_word(4)?));
        make_folder(&folder)?;
        let mut site = Site::new(folder, E::ACCOUNT)?;
        if let Some(password) = password {
            password.clone_into(&mut site.endpoint.password);
        }
        let mut server = Self { engine, site, running: None };
        server.engine.prepare(&server.site)?;
        server.start()?;
        Ok(server)
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// Starts it on the same port and data, and waits until it answers.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let deadline = Instant::now() + START_TIMEOUT;
        // The first start after a kill may find that processes of the old server have not gone yet.
        while let Err(error) = self.try_start(deadline) {
            self.kill()?;
            if Instant::now() >= deadline {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn try_start(&mut self, deadline: Instant) -> Result<()> {
        let log = File::options().create(true).append(true).open(log_path(&self.site.folder));
        let log = log.context("cannot open the log of a test server")?;
        let mut command = self.engine.command(&self.site)?;
        command.current_dir(&self.site.data).stdin(Stdio::null()).process_group(0);
        command.stdout(log.try_clone().context("cannot share the log of a test server")?).stderr(log);
        let child = command.spawn().with_context(|| format!("cannot start a {} of the test's own", E::NAME))?;
        let leash = Leash::new(child.id(), Some(&self.site.folder))?;
        let (child, _) = self.running.insert((child, leash));
        loop {
            let Err(problem) = self.engine.answers(&self.site.endpoint) else { return Ok(()) };
            if let Some(status) = child.try_wait().context("cannot look after a test server")? {
                bail!("{} ended with {status}; its log says:\n{}", E::NAME, log_tail(&self.site.folder));
            }
            if Instant::now() >= deadline {
                let log = log_tail(&self.site.folder);
                return Err(problem).with_context(|| format!("{} does not answer; its log says:\n{log}", E::NAME));
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Ends it in order: connections are cut, nothing committed is lost.
    pub(crate) fn stop(&mut self, signal: Signal) -> Result<()> {
        let Some((child, _)) = &mut self.running else { return Ok(()) };
        if let Some(pid) = Pid::from_raw(child.id() as i32) {
            kill_process(pid, signal).with_context(|| format!("cannot signal the test's {}", E::NAME))?;
        }
        let mut ended = false;
        crate::wait_until_blocking("the private server ends", STOP_TIMEOUT, || {
            ended = matches!(child.try_wait(), Ok(Some(_)));
            ended
        })?;
        self.running = None;
        Ok(())
    }

    /// SIGKILL: as if the machine had taken it.
    pub(crate) fn kill(&mut self) -> Result<()> {
        if let Some((mut child, _leash)) = self.running.take() {
            child.kill().with_context(|| format!("cannot kill the test's {}", E::NAME))?;
            child.wait().with_context(|| format!("cannot wait for the killed {}", E::NAME))?;
        }
        Ok(())
    }
}

impl<E: Engine> Drop for PrivateServer<E> {
    fn drop(&mut self) {
        let _ = self.kill();
        // The helpers of a killed PostgreSQL may still write for a moment.
        let folder = &self.site.folder;
        let _ = crate::wait_until_blocking("the data is removed", Duration::from_secs(10), || {
            fs::remove_dir_all(folder).is_ok() || !folder.exists()
        });
    }
}
