//! What the scheduler asks the store to make true, and what passes between scheduler and executor.
//!
//! A [`Batch`] is one transaction. Each item is guarded by the state it was planned from: an item whose guard no longer
//! holds is left out and reported as stale, and the others stand.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::alert::Alert;
use crate::asset::{AssetEvent, AssetName};
use crate::choice::Choice;
use crate::dag::{Dag, Task};
use crate::ids::{DagId, RunId, TaskId};
use crate::ledger::LedgerEntry;
use crate::notice::Notice;
use crate::schedule::DataInterval;
use crate::state::{RunState, RunType, TaskState};

/// The row id of a run.
pub type RunKey = i64;
/// The row id of a task instance.
pub type InstanceKey = i64;

/// A run to create, with one task instance in state `none` for each task of the pinned version. Left out (stale) when
/// the DAG has a run with this id or, unless `logical_date` repeats are allowed by the caller, this logical date.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub run_type: RunType,
    /// `Queued`, or `Running` when it may start at once.
    pub state: RunState,
    pub logical_date: DateTime<Utc>,
    pub data_interval: DataInterval,
    pub run_after: DateTime<Utc>,
    pub conf: Map<String, Value>,
    /// Row id of the DAG version that the run is pinned to.
    pub version_key: i64,
    pub backfill_key: Option<i64>,
    /// `scheduler`, `cli`, `rest:<user>`, `backfill`.
    pub triggered_by: String,
    /// The events that call for it; they are used up with it.
    pub asset_events: Vec<AssetEvent>,
    pub tasks: Vec<NewInstance>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewInstance {
    pub task_id: TaskId,
    /// -1 for a task that is not mapped, and while it is not known how many items there are.
    pub map_index: i32,
    pub operator: String,
    pub pool: String,
    pub pool_slots: u32,
    /// The effective weight, by which ready instances are ordered.
    pub priority_weight: i32,
    /// `retries` of the task.
    pub max_tries: u32,
}

impl NewInstance {
    pub fn of(task: &Task) -> Self {
        Self {
            task_id: task.task_id.clone(),
            map_index: -1,
            operator: task.operator.clone(),
            pool: task.pool.clone(),
            pool_slots: task.pool_slots,
            priority_weight: task.priority_weight,
            max_tries: task.retries,
        }
    }
}

/// The instances of a mapped task become as many as there are items: what stood for all of them (map index -1) becomes
/// the first, missing ones are added, and surplus ones become `removed`. Without an item one instance stays, to be
/// skipped. Left out when the run is not running.
#[derive(Debug, Clone, PartialEq)]
pub struct Expansion {
    pub run: RunKey,
    pub count: u32,
    /// What each new instance is like, but for its map index.
    pub like: NewInstance,
}

/// An instance of a mapped task has ended, but for another item than the one that its list has in this place now: it
/// waits again, as though it had been cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    pub run: RunKey,
    pub instance: InstanceKey,
    pub from: TaskState,
    /// It may fail so often before that is final.
    pub retries: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RunMove {
    pub run: RunKey,
    pub from: RunState,
    pub to: RunState,
    /// `task_failure`, `deadlock`, `timeout`, `marked by …`.
    pub reason: Option<String>,
}

/// A running run winds down: what runs is stopped, what waits is skipped, teardowns are still run, and then the run fails
/// for this reason. Stored, so that a restart goes on with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnding {
    pub run: RunKey,
    /// `timeout`, `fail_fast: load failed`, `marked by …`.
    pub reason: String,
}

/// A running try to stop. Its completion still comes, and the planner then gives it the state that it decided on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancel {
    pub instance: InstanceKey,
    pub token: String,
    /// Goes to the log of the try.
    pub reason: String,
}

/// A task instance goes from one state to another without a worker: scheduled, skipped, upstream_failed, the success of
/// an inline task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskMove {
    pub instance: InstanceKey,
    pub from: TaskState,
    pub to: TaskState,
    pub reason: Option<String>,
    /// Counts a try (an inline task's success does, being skipped does not).
    pub counts_try: bool,
    /// It is skipped because its run is given up, not because of anything that was decided about it: to everybody who
    /// looks at it later it has failed with its run.
    pub given_up: bool,
}

/// A try is queued and, in the same commit, handed to the executor that holds the lease.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    pub instance: InstanceKey,
    pub from: TaskState,
    /// The number of the try that begins: 1 for the first.
    pub try_number: u32,
    /// The job that runs it.
    pub owner: String,
    /// Names this attempt; a completion with another token is refused.
    pub token: String,
    /// Only its distance from `queued_at` counts: for so long its owner may be silent.
    pub lease_expires_at: DateTime<Utc>,
    /// The moment of the claim.
    pub queued_at: DateTime<Utc>,
    /// Of a mapped task: by what the item is known that the try is for.
    pub item: Option<i64>,
}

/// How a try ended, as the worker saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TryOutcome {
    Success,
    /// The task itself asked to be skipped (exit code 99, an operator's skip).
    Skipped {
        reason: String,
    },
    /// `retry` is false when the operator knows that trying again can't help.
    Failed {
        reason: String,
        retry: bool,
    },
    /// The scheduler or a person asked for the stop.
    Cancelled {
        reason: String,
    },
    /// What it waits for is not there yet. The slot is given back, and the same try looks again at `until`.
    PutOff {
        until: DateTime<Utc>,
        reason: String,
    },
    /// The work's holder died (its daemon was killed); costs none of the task's retries.
    LostWorker,
}

/// A try that looked for something, did not find it, and looks again later without holding a slot in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOffs {
    /// When the try started for the first time.
    pub first_start: DateTime<Utc>,
    /// How often it was put off.
    pub count: u32,
}

/// A finished try, on its way from the executor to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    pub instance: InstanceKey,
    pub try_number: u32,
    pub token: String,
    pub outcome: TryOutcome,
    pub started_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
    /// The whole error text for the page and the log, secrets masked.
    pub error: Option<String>,
    /// Results under their keys; the task's own is `return_value`.
    pub results: Vec<(String, Value)>,
    /// Those that hold secrets, as they may be shown: whoever shows them may not know every secret any more, or yet.
    pub shown_results: Vec<(String, Value)>,
    pub ledger: Vec<LedgerEntry>,
    /// The rendered parameters, secrets masked, cut to 4,096 characters a field.
    pub rendered: Option<Value>,
    /// Of a mapped task: what people call this instance.
    pub rendered_map_index: Option<String>,
    /// What it decided about the tasks after it.
    pub choice: Option<Choice>,
}

impl Completion {
    /// A try that ended without an error text, results or rows.
    pub fn new(
        instance: InstanceKey,
        try_number: u32,
        token: impl Into<String>,
        outcome: TryOutcome,
        (started_at, ended_at): (DateTime<Utc>, DateTime<Utc>),
    ) -> Self {
        Self {
            instance,
            try_number,
            token: token.into(),
            outcome,
            started_at,
            ended_at,
            error: None,
            results: Vec::new(),
            shown_results: Vec::new(),
            ledger: Vec::new(),
            rendered: None,
            rendered_map_index: None,
            choice: None,
        }
    }
}

/// A completion with the state that the planner gave it. Guarded by the token.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    pub completion: Completion,
    /// success, skipped, failed, up_for_retry, up_for_reschedule, none (cleared while it ran).
    pub to: TaskState,
    pub reason: Option<String>,
    /// Set with `up_for_retry` and `up_for_reschedule`.
    pub next_try_at: Option<DateTime<Utc>>,
    /// False for a lost worker: the try keeps its number and its log, and one more is allowed.
    pub counts_try: bool,
    /// The task's outlets when it has succeeded: who waits for them is told in the same commit.
    pub asset_events: Vec<AssetName>,
}

/// A try that counts for nothing any more, because its instance was marked or removed while it ran, has stopped: it lets
/// go of the instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    pub instance: InstanceKey,
    pub token: String,
}

/// A DAG is paused because too many of its runs have failed in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagPause {
    pub dag_id: DagId,
    /// The failure that is one too many; if the run did not end as it was planned, the DAG is not paused.
    pub run: RunKey,
    /// So many of the DAG's runs, the latest that have ended, must have failed: one that was counted may have been run again
    /// meanwhile.
    pub failures: u32,
    pub reason: String,
}

/// When a DAG's next scheduled run is due; shown by every face, and read back at start.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePointer {
    pub dag_id: DagId,
    pub next: Option<NextRun>,
    /// The last date that was dealt with, as a run or not; absent: as it was.
    pub passed: Option<DataInterval>,
}

/// Due dates of a DAG that became no run, one or a stretch of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedSlots {
    pub dag_id: DagId,
    /// Logical date of the first.
    pub first: DateTime<Utc>,
    /// Logical date of the last.
    pub last: DateTime<Utc>,
    /// From the first one's start to the last one's end.
    pub data_interval: DataInterval,
    pub count: u64,
    pub outcome: SlotOutcome,
    pub reason: String,
}

/// What became of a due date that became no run of its own at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotOutcome {
    /// Left out.
    Skipped,
    /// A later run stands for it.
    Coalesced,
    /// Its run starts on another day.
    Shifted,
    /// A run that the schedule did not make was there already.
    Taken,
}

impl SlotOutcome {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Coalesced => "coalesced",
            Self::Shifted => "shifted",
            Self::Taken => "taken",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Skipped, Self::Coalesced, Self::Shifted, Self::Taken]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }
}

/// The run that a DAG's timetable calls for next.
pub type NextRun = crate::schedule::PlannedRun;

/// Everything one turn of the scheduler decided. Applied in the order of the fields.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    pub finishes: Vec<Finish>,
    pub releases: Vec<Release>,
    pub new_runs: Vec<NewRun>,
    pub expansions: Vec<Expansion>,
    pub renewals: Vec<Renewal>,
    /// Runs that begin to wind down.
    pub endings: Vec<RunEnding>,
    pub run_moves: Vec<RunMove>,
    pub task_moves: Vec<TaskMove>,
    pub claims: Vec<Claim>,
    pub pointers: Vec<SchedulePointer>,
    pub passed_slots: Vec<PassedSlots>,
    pub pauses: Vec<DagPause>,
    pub alerts: Vec<Alert>,
    /// What callbacks are told. One whose cause has not come about is left out.
    pub notices: Vec<Notice>,
    /// Signal rows that this turn has taken into account; deleted with it.
    pub signals_handled: Vec<i64>,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.finishes.is_empty()
            && self.releases.is_empty()
            && self.new_runs.is_empty()
            && self.expansions.is_empty()
            && self.renewals.is_empty()
            && self.endings.is_empty()
            && self.run_moves.is_empty()
            && self.task_moves.is_empty()
            && self.claims.is_empty()
            && self.pointers.is_empty()
            && self.passed_slots.is_empty()
            && self.pauses.is_empty()
            && self.alerts.is_empty()
            && self.notices.is_empty()
            && self.signals_handled.is_empty()
    }
}

/// What a run gives to its tasks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunFacts {
    pub run_key: RunKey,
    pub run_id: RunId,
    pub run_type: RunType,
    pub logical_date: DateTime<Utc>,
    pub data_interval: DataInterval,
    pub run_after: DateTime<Utc>,
    /// When the run was made. Ids of runs come again once a run was deleted; together with this they do not.
    pub created_at: DateTime<Utc>,
    pub start_date: Option<DateTime<Utc>>,
    pub conf: Map<String, Value>,
    /// What triggered it, oldest first; empty unless it is of type `asset_triggered`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asset_events: Vec<AssetEvent>,
}

/// One claimed try, with all that a worker needs: it reads nothing from the database to begin.
#[derive(Debug, Clone)]
pub struct Assignment {
    pub instance: InstanceKey,
    pub token: String,
    pub dag: Arc<Dag>,
    /// Index into `dag.tasks`.
    pub task_index: usize,
    pub run: Arc<RunFacts>,
    pub map_index: i32,
    pub try_number: u32,
    pub max_tries: u32,
    /// When the instance was cleared last, in seconds since 1970 (or one more than before, if that is later); 0: never.
    /// Together with run, task and map index it names one piece of outside work: a retry of the same generation must not
    /// repeat an effect, a new generation does what its method says.
    pub generation: u32,
    /// Set when this try was put off before.
    pub put_offs: Option<PutOffs>,
}

impl Assignment {
    pub fn task(&self) -> &Task {
        &self.dag.tasks[self.task_index]
    }
}

/// What an executor says of its tries, over a channel that the wiring gives to both sides.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are ends, and none is kept")]
pub enum Report {
    Ended(Completion),
    /// The try waits for something outside, and has given its slot back; its work and its lease go on.
    WentOutside {
        instance: InstanceKey,
        token: String,
    },
    /// What it waited for has come: it goes on when [`Executor::resume`] gives it a slot.
    CameBack {
        instance: InstanceKey,
        token: String,
    },
}

impl From<Completion> for Report {
    fn from(completion: Completion) -> Self {
        Self::Ended(completion)
    }
}

/// A try that came back gets a slot again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumption {
    pub instance: InstanceKey,
    pub token: String,
}

/// Where tries run.
pub trait Executor: Send + Sync {
    /// How many tries could be started now.
    fn free_slots(&self) -> usize;
    /// Takes tries whose claims are committed. Never blocks.
    fn start(&self, assignments: Vec<Assignment>);
    /// Asks a running try to stop; its completion still comes. `reason` goes to its log.
    fn cancel(&self, instance: InstanceKey, token: &str, reason: &str);
    /// The leases of what runs here cannot be extended, and may be given to others soon: every try is asked to stop, as is
    /// each that starts before [`Executor::lift_fence`]; one that has not ended after `grace` is cut off.
    fn fence(&self, reason: &str, grace: Duration);
    fn lift_fence(&self);
    /// Gives a slot to a try that said it came back. Executors whose tries never leave their slots have nothing to do.
    fn resume(&self, instance: InstanceKey, token: &str) {
        let _ = (instance, token);
    }
    /// Says in the log of a try whose worker is gone what became of it. Executors that keep no logs have nothing to do.
    fn tell_of_loss(&self, lost: &LostTry) {
        let _ = lost;
    }
}

/// A try that another process had and that nobody will end any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostTry {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub task_id: TaskId,
    pub map_index: i32,
    pub try_number: u32,
    /// When it was found.
    pub at: DateTime<Utc>,
    /// A sentence for its log.
    pub text: String,
}
