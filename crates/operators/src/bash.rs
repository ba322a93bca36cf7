//! `bash`: a command in a shell.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use millrace_operator_api::context::{LogLevel, Reporter};
use millrace_operator_api::ports::{LineSink, ProcessExit, ProcessSpec};
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::parts::parameter::{is_blank, rendered, rendered_option, rendered_text};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<Bash>("bash", "runs a command in bash; exit code 99 is skipped")
    .aliases(&["BashOperator", "shell"])
    .parameter_aliases(&[
        ("command", "bash_command"),
        ("append_env", "inherit_env"),
        ("skip_on_exit_code", "skip_exit_codes"),
    ]);

/// Lines shown with the error when the command fails.
const LAST_LINES: usize = 10;

/// Runs a command in bash, in a process group of its own.
///
/// Its output goes to the task's log line by line; the last line of standard output is the task's result, and may have 4
/// MiB. Exit code 0 is success, 99 (see `skip_exit_codes`) skips the task, any other fails it.
///
/// The command finds the run in its environment: `DAG_ID`, `TASK_ID`, `RUN_ID`, `LOGICAL_DATE`, `DATA_INTERVAL_START`,
/// `DATA_INTERVAL_END`, `TRY_NUMBER`. Hand it values by `env` rather than inside the command: there they need no quoting,
/// and can't be taken for commands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of parameters are the field's standard ones")]
pub struct Bash {
    /// The command, or a whole script.
    bash_command: Template<String>,
    /// Environment variables for the command.
    #[serde(default)]
    env: Template<BTreeMap<String, String>>,
    /// Pass the daemon's own environment on, which may hold secrets. Otherwise the command gets PATH, HOME, LANG and the
    /// like only, and `MILLRACE_HOME`.
    #[serde(default)]
    inherit_env: bool,
    /// The folder to run in.
    #[serde(default)]
    cwd: Option<Template<String>>,
    /// Exit codes (1 to 255) that skip the task instead of failing it.
    #[serde(default = "default_skip_codes")]
    skip_exit_codes: ExitCodes,
}

/// One exit code or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum ExitCodes {
    One(i32),
    Many(Vec<i32>),
}

impl ExitCodes {
    fn as_slice(&self) -> &[i32] {
        match self {
            Self::One(code) => std::slice::from_ref(code),
            Self::Many(codes) => codes,
        }
    }
}

fn default_skip_codes() -> ExitCodes {
    ExitCodes::One(99)
}

/// Passes lines on to the log and keeps the last ones.
struct LogSink {
    reporter: Arc<dyn Reporter>,
    last: Mutex<VecDeque<String>>,
}

impl LineSink for LogSink {
    fn line(&self, level: LogLevel, line: &str) {
        self.reporter.log(level, line);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == LAST_LINES {
            last.pop_front();
        }
        last.push_back(self.reporter.masked(line).chars().take(500).collect());
    }

    fn cut(&self, line: &str, at: usize) -> usize {
        self.reporter.cut(line, at)
    }
}

impl Operator for Bash {
    fn check(&self, problems: &mut Problems) {
        if is_blank(&self.bash_command) {
            problems.add("bash_command", "bash_command is empty");
        }
        if self.skip_exit_codes.as_slice().iter().any(|code| !(1..=255).contains(code)) {
            problems.add("skip_exit_codes", "an exit code that skips is from 1 to 255 (0 is success)");
        }
        if let Some(env) = self.env.raw().as_object() {
            for name in env.keys().filter(|name| !is_variable_name(name)) {
                problems.add(format!("env.{name}"), format!("'{name}' can't be the name of an environment variable"));
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}

impl Bash {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let command = rendered_text("bash_command", &self.bash_command)?;
        let mut env = context.environment.clone();
        for (name, value) in rendered("env", &self.env)? {
            if !is_variable_name(&name) || value.contains('\0') {
                return Err(TaskError::Fail(format!("parameter env: '{name}' can't be an environment variable")));
            }
            env.retain(|(existing, _)| *existing != name);
            env.push((name, value));
        }
        let cwd = rendered_option("cwd", self.cwd.as_ref())?.map(Into::into);
        context.info(format!("running: {}", command.trim_end()));
        let sink = Arc::new(LogSink { reporter: Arc::clone(&context.reporter), last: Mutex::default() });
        let spec = ProcessSpec {
            program: "bash".to_owned(),
            args: vec!["-c".to_owned(), command],
            env,
            inherit_env: self.inherit_env,
            cwd,
            stdin: None,
        };
        let lines: Arc<dyn LineSink> = sink.clone();
        let exit = context.ports.processes().run(spec, lines, Arc::clone(&context.cancel)).await;
        if context.cancel.is_cancelled() {
            return Err(TaskError::Cancelled(context.cancel.cancelled().await));
        }
        let last = sink.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect::<Vec<_>>();
        self.outcome(context, exit?, &last)
    }

    fn outcome(&self, context: &TaskContext, exit: ProcessExit, last: &[String]) -> Result<Outcome, TaskError> {
        let tail = if last.is_empty() {
            "; it printed nothing".to_owned()
        } else {
            format!("; its last lines:\n{}", last.join("\n"))
        };
        match (exit.code, exit.signal) {
            (Some(0), _) => {
                context.info("bash exited with code 0");
                Ok(Outcome { result: exit.last_line.map(Value::String), ..Outcome::default() })
            }
            (Some(code), _) if self.skip_exit_codes.as_slice().contains(&code) => {
                Err(TaskError::Skip(format!("bash exited with code {code}, which skips the task")))
            }
            (Some(code), _) => Err(TaskError::Retry(format!("bash exited with code {code}{tail}"))),
            (None, Some(signal)) => Err(TaskError::Retry(format!("bash was ended by signal {signal}{tail}"))),
            (None, None) => Err(TaskError::Retry(format!("bash ended without an exit code{tail}"))),
        }
    }
}
