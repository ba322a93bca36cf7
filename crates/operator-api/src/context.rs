//! What a running task is given.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::BoxFuture;
use millrace_model::change::{RunFacts, RunKey};
use millrace_model::ids::{DagId, TaskId};
use millrace_model::ledger::{Checkpoint, LedgerEntry, RowsRead};
use millrace_model::state::{RunState, TaskState};
use serde_json::{Map, Value};

use crate::error::{PortError, PortErrorKind};
use crate::ports::Ports;

/// Names one piece of outside work: the same for every try of a task instance until it is cleared. Effects carry it, so
/// that a retry recognises what an earlier try did and never does it twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WorkId {
    pub dag_id: DagId,
    pub run_id: String,
    /// When the run was made: a run that was deleted and made again under its id does its work again.
    pub run_created_at: DateTime<Utc>,
    pub task_id: TaskId,
    pub map_index: i32,
    /// When the instance was cleared last, in seconds since 1970 (or one more than before, if that is later); 0: never.
    pub generation: u32,
    /// Distinguishes homes that write to one place; random, made with the home.
    pub installation: String,
}

impl WorkId {
    /// `installation/dag/run@microseconds/task/map_index/generation`: the marker of a load, the metadata of an object.
    ///
    /// Versions before the microseconds wrote `run` alone. What a try had done under such a marker is not recognised: one
    /// that was cut off by the upgrade after its load had committed loads once more when it is retried, and finds its
    /// object taken by somebody else. Old markers are not looked for, because they can't be told from those of an
    /// earlier run of the same id.
    pub fn marker(&self) -> String {
        format!(
            "{}/{}/{}@{}/{}/{}/{}",
            self.installation,
            self.dag_id,
            self.run_id,
            self.run_created_at.timestamp_micros(),
            self.task_id,
            self.map_index,
            self.generation
        )
    }

    /// 16 hex digits made from the marker by FNV-1a: short and stable, for names of staging tables and scratch files.
    pub fn short_hash(&self) -> String {
        let hash = self
            .marker()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Info,
    Warning,
    Error,
}

/// Where a running task writes down what it does. Log lines are masked on the way.
pub trait Reporter: Send + Sync {
    fn log(&self, level: LogLevel, line: &str);
    /// The text without what must not be shown: to be asked before a text is cut, for half a secret is known to nobody.
    fn masked(&self, text: &str) -> String {
        text.to_owned()
    }
    /// Where a long text may be cut in bytes, without cutting a secret in two: at `at`, or as near as can be.
    fn cut(&self, _text: &str, at: usize) -> usize {
        at
    }
    /// A step of the work, shown live; survives retries.
    fn checkpoint(&self, checkpoint: Checkpoint);
    /// A movement of rows; stored with the end of the try, whether it succeeds or not.
    fn ledger(&self, entry: LedgerEntry);
}

/// A statement that was, or is about to be, sent to a remote service under a token that makes it idempotent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStatement {
    /// Names the step within the task: `load`, `check:1`.
    pub step: String,
    /// 1 to 64 characters, made from work id, try and step.
    pub client_token: String,
    /// Which service it was sent to, without secrets: `redshift-data:workgroup/dev`.
    pub service: String,
    /// The service's id, once known.
    pub remote_id: Option<String>,
    /// True once its end (whatever it was) is known.
    pub is_settled: bool,
}

/// Remembers remote statements durably: `record` returns only when the row is committed.
pub trait StatementJournal: Send + Sync {
    /// Statements of this work (any try of this generation) that are not settled.
    fn unsettled(&self) -> BoxFuture<'_, Result<Vec<RemoteStatement>, PortError>>;
    /// Writes the statement (new or changed; the client token is the key).
    fn record(&self, statement: RemoteStatement) -> BoxFuture<'_, Result<(), PortError>>;
}

/// Lets a task see that it should stop.
pub trait CancelSignal: Send + Sync {
    fn is_cancelled(&self) -> bool;
    /// Ends when the stop is asked for, with the reason.
    fn cancelled(&self) -> BoxFuture<'_, String>;
}

/// Reads other tasks' results.
pub trait Results: Send + Sync {
    /// The value under `key` (`return_value` for a task's own result) of a task in the same run.
    fn pull<'a>(&'a self, task_id: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>>;
}

/// A run of some DAG, and its tasks that were asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenRun {
    pub run_id: String,
    pub state: RunState,
    /// For each task asked about, the states of its instances (none: the run has no such task).
    pub tasks: Vec<Vec<TaskState>>,
}

/// Sees how runs, of other DAGs too, are getting on.
pub trait Runs: Send + Sync {
    /// The DAG's run at a logical date; `None` when there is none.
    fn at<'a>(
        &'a self,
        dag_id: &'a str,
        logical_date: DateTime<Utc>,
        task_ids: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SeenRun>, PortError>>;

    /// Why nothing makes the DAG's run at a logical date by itself; `None` when its schedule does, or when that is not known.
    fn why_never<'a>(&'a self, _: &'a str, _: DateTime<Utc>) -> BoxFuture<'a, Result<Option<String>, PortError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// What the newest run of a task's DAG that has such a movement of it has written down of the reading.
    fn read_before<'a>(&'a self, _: &'a SoughtRead<'a>) -> BoxFuture<'a, Result<Option<RowsRead>, PortError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Names movements of one task by which it reads the same again and again.
#[derive(Debug, Clone, Copy)]
pub struct SoughtRead<'a> {
    pub work: &'a WorkId,
    pub stage: &'a str,
    /// Read from.
    pub conn_id: &'a str,
    /// The whole target as the ledger has it; `None`: any.
    pub target: Option<&'a str>,
}

/// There is nothing to see: for running without a metadata database.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoRuns;

impl Runs for NoRuns {
    fn at<'a>(
        &'a self,
        _: &'a str,
        _: DateTime<Utc>,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SeenRun>, PortError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// A run that a task asks for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RunWish {
    pub dag_id: String,
    /// Default: made from the logical date.
    pub run_id: Option<String>,
    /// Default: now.
    pub logical_date: Option<DateTime<Utc>>,
    pub conf: Map<String, Value>,
    pub note: Option<String>,
}

/// A run that a task asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedRun {
    pub key: RunKey,
    pub run_id: String,
    pub logical_date: DateTime<Utc>,
    pub state: RunState,
    /// Why it is in this state, if there is more to say than the state.
    pub reason: Option<String>,
    /// An earlier try asked for it.
    pub was_there: bool,
    /// Its DAG is paused: it stays queued until somebody changes that.
    pub is_held: bool,
}

/// Asks for runs in the name of one task instance.
pub trait Triggers: Send + Sync {
    /// The run that this task instance has asked for since it was last cleared: made by the first call, found by all
    /// others, whichever try makes them. `AlreadyExists`: a run of somebody else has that id or that logical date.
    fn trigger<'a>(&'a self, wish: &'a RunWish) -> BoxFuture<'a, Result<AskedRun, PortError>>;

    /// Ends when the run has ended.
    fn ended(&self, run: RunKey) -> BoxFuture<'_, Result<AskedRun, PortError>>;

    /// What has failed in the run runs again.
    fn run_again(&self, run: RunKey) -> BoxFuture<'_, Result<(), PortError>>;

    /// Stops the run because the task that waits for it was stopped for this reason. Not when the task only goes on
    /// elsewhere, or later. Returns whether it was stopped.
    fn stop<'a>(&'a self, run: RunKey, reason: &'a str) -> BoxFuture<'a, Result<bool, PortError>>;
}

/// Triggers nothing: for running without recording anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoTriggers;

impl NoTriggers {
    fn refused<T>() -> Result<T, PortError> {
        Err(PortError::new(PortErrorKind::Invalid, "nothing is recorded here, so no run can be triggered"))
    }
}

impl Triggers for NoTriggers {
    fn trigger<'a>(&'a self, _: &'a RunWish) -> BoxFuture<'a, Result<AskedRun, PortError>> {
        Box::pin(std::future::ready(Self::refused()))
    }

    fn ended(&self, _: RunKey) -> BoxFuture<'_, Result<AskedRun, PortError>> {
        Box::pin(std::future::ready(Self::refused()))
    }

    fn run_again(&self, _: RunKey) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::ready(Self::refused()))
    }

    fn stop<'a>(&'a self, _: RunKey, _: &'a str) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

/// The slot of the worker that a try holds.
pub trait Slot: Send + Sync {
    /// Gives it back, because the try only waits for something outside now.
    fn leave(&self);
    /// Ends when the try has a slot again. To be called once for each [`Slot::leave`].
    fn take_again(&self) -> BoxFuture<'_, ()>;
}

/// Nobody else wants the slot.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnSlot;

impl Slot for OwnSlot {
    fn leave(&self) {}

    fn take_again(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;
    /// Ends after so long; at once by a clock that is moved by hand, which knows of no waiting.
    fn sleep(&self, length: TimeDelta) -> BoxFuture<'static, ()> {
        let _ = length;
        Box::pin(std::future::ready(()))
    }
}

/// A running task's view of the world.
#[derive(Clone)]
pub struct TaskContext {
    pub work: WorkId,
    pub run: Arc<RunFacts>,
    /// 1 for the first try.
    pub try_number: u32,
    /// When this try first started: earlier than now if it was put off with [`TaskError::NotYet`](crate::TaskError).
    pub first_start: DateTime<Utc>,
    /// How often it was put off.
    pub put_offs: u32,
    /// The work is done, and nothing is recorded of it: the run cannot be looked at afterwards.
    pub is_test: bool,
    /// What an instance of a mapped task is for: the same in every run that has it in its list, at whichever place.
    pub item: Option<Value>,
    pub ports: Arc<dyn Ports>,
    pub reporter: Arc<dyn Reporter>,
    pub journal: Arc<dyn StatementJournal>,
    pub cancel: Arc<dyn CancelSignal>,
    pub results: Arc<dyn Results>,
    pub runs: Arc<dyn Runs>,
    pub triggers: Arc<dyn Triggers>,
    pub slot: Arc<dyn Slot>,
    pub clock: Arc<dyn Clock>,
    /// `DAG_ID`, `TASK_ID`, `RUN_ID`, `LOGICAL_DATE`, …: for processes that a task starts.
    pub environment: Vec<(String, String)>,
}

impl TaskContext {
    pub fn info(&self, line: impl AsRef<str>) {
        self.reporter.log(LogLevel::Info, line.as_ref());
    }

    pub fn warning(&self, line: impl AsRef<str>) {
        self.reporter.log(LogLevel::Warning, line.as_ref());
    }

    pub fn checkpoint(&self, name: &str, message: impl Into<String>) {
        self.reporter.checkpoint(Checkpoint {
            name: name.to_owned(),
            message: message.into(),
            rows: None,
            bytes: None,
            total_rows: None,
            at: self.clock.now(),
        });
    }
}
