//! Processes that a task starts.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::context::{CancelSignal, LogLevel};
use crate::error::PortError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessSpec {
    pub program: String,
    pub args: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Given nothing of the daemon's environment but PATH, HOME, LANG and the like when false.
    pub inherit_env: bool,
    pub cwd: Option<PathBuf>,
    pub stdin: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessExit {
    /// The exit code, or `None` when a signal ended it.
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// The last non-empty line of its standard output: the task's result.
    pub last_line: Option<String>,
}

/// Takes the lines of a process as they come: standard output as info, standard error as warning.
pub trait LineSink: Send + Sync {
    fn line(&self, level: LogLevel, line: &str);

    /// Where a line that is too long may be cut, in bytes: at `at`, unless something stands there that must stay whole.
    fn cut(&self, _line: &str, at: usize) -> usize {
        at
    }
}

pub trait Processes: Send + Sync {
    /// Runs it in a process group of its own. When `cancel` fires, the group gets SIGTERM and, if it is still there after
    /// the grace time, SIGKILL. Lines longer than 64 KiB are cut in pieces, where
    /// `lines` says.
    fn run<'a>(
        &'a self,
        spec: ProcessSpec,
        lines: Arc<dyn LineSink>,
        cancel: Arc<dyn CancelSignal>,
    ) -> BoxFuture<'a, Result<ProcessExit, PortError>>;
}
