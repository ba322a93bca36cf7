//! A home, its daemon, and the eyes on its database.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use millrace_store::{Store, StoreOptions};
use millrace_testkit::{Daemon, PrivatePostgres};
use tokio::runtime::Runtime;

use crate::files::File;

pub const BINARY: &str = env!("CARGO_BIN_EXE_millrace");
const PATIENCE: Duration = Duration::from_mins(2);

pub struct Home {
    folder: PathBuf,
    pub url: String,
    runtime: Runtime,
    store: Store,
    daemon: Option<Daemon>,
}

impl Home {
    /// Migrated, with these DAG files in it, and nothing read yet.
    pub fn new(server: Option<&PrivatePostgres>, files: &[File]) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let dags = folder.join("dags");
        std::fs::create_dir_all(&dags).unwrap();
        for (name, text) in files {
            std::fs::write(dags.join(name), text).unwrap();
        }
        let mut config = "dags_are_paused_at_creation = false\n[core]\nparallelism = 16\n".to_owned();
        let url = match server {
            None => format!("sqlite://{}/millrace.db", folder.display()),
            Some(server) => {
                let database = server.create_database().unwrap();
                let url = database.url();
                writeln!(config, "[database]\nurl = \"{url}\"").unwrap();
                // The server goes away as a whole.
                std::mem::forget(database);
                url
            }
        };
        std::fs::write(folder.join("millrace.toml"), config).unwrap();
        run(&folder, &["db", "migrate"]);
        let runtime = Runtime::new().unwrap();
        let options = StoreOptions { url: url.clone(), max_connections: 2, home: Some(folder.clone()) };
        let store = runtime.block_on(Store::open(&options)).unwrap();
        Self { folder, url, runtime, store, daemon: None }
    }

    pub fn run(&self, args: &[&str]) -> String {
        run(&self.folder, args)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn dags(&self) -> PathBuf {
        self.folder.join("dags")
    }

    /// What the database says.
    pub fn ask<T>(&self, question: impl AsyncFnOnce(&Store) -> T) -> T {
        self.runtime.block_on(question(&self.store))
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Until a run that is waited for succeeds, which takes a scheduler.
    pub fn start_scheduler(&mut self) {
        self.start(&["scheduler"]);
        let ready = Instant::now() + PATIENCE;
        while !self.succeeds(&["dags", "trigger", "warm_up", "--wait"]) {
            assert!(Instant::now() < ready, "no scheduler came up");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn start(&mut self, args: &[&str]) {
        self.daemon = Some(Daemon::builder(BINARY).args(args).home(&self.folder).spawn().unwrap());
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    pub fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            assert!(daemon.terminate(PATIENCE).unwrap().success(), "{}", daemon.stderr());
        }
    }

    fn succeeds(&self, args: &[&str]) -> bool {
        Command::new(BINARY).args(args).arg("--home").arg(&self.folder).output().unwrap().status.success()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(self.daemon.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(home: &Path, args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).arg("--home").arg(home).output().unwrap();
    assert!(output.status.success(), "millrace {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Asks until there is an answer.
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Seconds that this takes.
pub fn timed(work: impl FnOnce()) -> f64 {
    let begin = Instant::now();
    work();
    begin.elapsed().as_secs_f64()
}
