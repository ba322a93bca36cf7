//! A home folder of a test's own, and the command line on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use millrace_testkit::{Daemon, wait_until_blocking};
use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;

const PROGRAM: &str = env!("CARGO_BIN_EXE_millrace");

/// The folder with README.md, dags/ and docs/.
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the crate is two folders below");
    root.to_owned()
}

/// A home folder, removed with the value, and what every command and daemon on it is told by the environment.
#[derive(Debug)]
pub struct TestHome {
    folder: TempDir,
    environment: BTreeMap<String, String>,
    /// Everything that any command printed.
    printed: Mutex<String>,
}

/// How a command ended, and what it printed.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Fails the test, with everything that was printed, unless the exit code is this.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        let Self { command, stdout, stderr, .. } = &self;
        assert_eq!(self.code, code, "exit code of `millrace {command}`\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let Self { command, stdout, stderr, .. } = self;
        serde_json::from_str(stdout).unwrap_or_else(|e| {
            panic!("`millrace {command}` printed no JSON: {e}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
        })
    }
}

impl TestHome {
    /// A home that holds nothing but an empty folder `dags`.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-home-").tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("dags")).expect("the folder dags");
        Self { folder, environment: BTreeMap::new(), printed: Mutex::new(String::new()) }
    }

    /// For every command and daemon from now on.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.environment.insert(name.to_owned(), value.into());
        self
    }

    /// Takes it back.
    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a DAG file in one step, as an editor does.
    pub fn write_dag(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join("dags").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("the file's folder");
        let temporary = path.with_extension("part");
        fs::write(&temporary, text).expect("a DAG file");
        fs::rename(&temporary, &path).expect("a DAG file");
        path
    }

    /// Copies an example of the repository's dags folder, unchanged.
    pub fn copy_example(&self, name: &str) {
        let text = fs::read_to_string(repository().join("dags").join(name)).expect("an example");
        self.write_dag(name, &text);
    }

    /// The program with this home and environment; what the machine has set of ours is not passed on.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        for (name, _) in std::env::vars_os() {
            let ours = ["MILLRACE", "AIRFLOW", "AWS"];
            if ours.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("MILLRACE_HOME", self.path()).envs(&self.environment).current_dir(self.path());
        command
    }

    /// Runs a command to its end, whatever the end is.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    /// As `run`, with something on standard input.
    pub fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        // Files, not pipes: a full pipe would stop the command, and a file can be read after its end.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let paths = ["stdin", "stdout", "stderr"].map(|name| folder.path().join(name));
        fs::write(&paths[0], input).expect("what it is to read");
        let create = |path: &Path| fs::File::create(path).expect("a file for what it prints");
        let mut command = self.command(arguments);
        command.stdin(fs::File::open(&paths[0]).expect("what it is to read"));
        command.stdout(create(&paths[1])).stderr(create(&paths[2]));
        let mut child = command.spawn().expect("the program starts");
        let ended = wait_until_blocking("the command ends", PATIENCE, || matches!(child.try_wait(), Ok(Some(_))));
        if ended.is_err() {
            let _ = child.kill();
        }
        let code = child.wait().expect("the program ends").code().unwrap_or(-1);
        let [_, stdout, stderr] = paths.map(|path| fs::read_to_string(path).expect("text"));
        let output = Output { command: arguments.join(" "), code, stdout, stderr };
        let Output { command, stdout, stderr, .. } = &output;
        assert!(ended.is_ok(), "`millrace {command}` did not end\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        let mut printed = self.printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        printed.push_str(&format!("$ millrace {}\n{}{}", output.command, output.stdout, output.stderr));
        output
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> Output {
        self.run(arguments).exits(0)
    }

    /// Runs a command that must succeed, with `-o json`, and returns what it printed.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.ok(&[arguments, &["-o", "json"]].concat()).json()
    }

    /// Everything that commands printed so far.
    pub fn printed(&self) -> String {
        self.printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Starts a daemon on this home.
    pub fn daemon(&self, arguments: &[&str]) -> Daemon {
        let mut builder = Daemon::builder(PROGRAM).args(arguments).home(self.path());
        for (name, value) in &self.environment {
            builder = builder.env(name, value);
        }
        builder.spawn().expect("the daemon starts")
    }

    /// Starts `millrace scheduler` and waits until it leads.
    pub fn scheduler(&self) -> Daemon {
        let mut daemon = self.daemon(&["scheduler"]);
        daemon.wait_for_line("this scheduler leads", PATIENCE).expect("the scheduler leads");
        daemon
    }

    /// The states of a DAG's runs, by logical date.
    pub fn run_states(&self, dag_id: &str) -> BTreeMap<String, String> {
        let runs = self.json(&["dags", "list-runs", dag_id, "--limit", "1000"]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let runs = runs.as_array().expect("a list").iter();
        runs.map(|run| (text(&run["logical_date"]), text(&run["state"]))).collect()
    }

    /// The states of the tasks of a run.
    pub fn task_states(&self, dag_id: &str, run: &str) -> BTreeMap<String, String> {
        let tasks = self.json(&["tasks", "states-for-dag-run", dag_id, run]);
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        tasks.as_array().expect("a list").iter().map(|task| (text(&task["task_id"]), text(&task["state"]))).collect()
    }

    /// Every file below the home, by its path in it.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![self.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(bytes) = fs::read(&path) {
                    let name = path.strip_prefix(self.path()).expect("below the home").to_string_lossy().into_owned();
                    files.insert(name, bytes);
                }
            }
        }
        files
    }
}
