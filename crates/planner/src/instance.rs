//! A task instance of an active run.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, NewInstance, PutOffs, RunFacts};
use millrace_model::choice::Choice;
use millrace_model::ids::TaskId;
use millrace_model::state::TaskState;

use crate::lines::{Begun, Lane, LimitKey};
use crate::version::{DagVersion, KeyFacts};

/// A task instance as it was read from the store.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSnapshot {
    pub key: InstanceKey,
    pub task_id: TaskId,
    /// -1 for a task that is not mapped.
    pub map_index: i32,
    pub state: TaskState,
    /// Tries that counted so far, the running one included.
    pub try_number: u32,
    /// A failure is final when `try_number` is larger than this.
    pub max_tries: u32,
    pub generation: u32,
    /// Lost workers of this generation; they cost no try.
    pub lost_workers: u32,
    pub pool: String,
    pub pool_slots: u32,
    pub priority_weight: i32,
    /// Set while `up_for_retry` and `up_for_reschedule`.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Set when the latest try was put off and goes on.
    pub put_offs: Option<PutOffs>,
    /// Of the lease, while a worker holds it: also when it was marked meanwhile.
    pub token: Option<String>,
    /// What it decided about the tasks after it, when it has ended.
    pub choice: Option<Choice>,
    /// Skipped because its run was given up.
    pub given_up: bool,
    /// It has a try that waits outside of any worker, also when it was cleared or marked since.
    pub is_outside: bool,
    /// None: its try holds what the run's version says.
    pub begun: Option<Begun>,
    /// Of a mapped task: by what the item is known that its last try was for.
    pub item: Option<i64>,
}

impl InstanceSnapshot {
    /// One that was just created.
    pub(crate) fn new(key: InstanceKey, new: &NewInstance, map_index: i32) -> Self {
        Self {
            key,
            task_id: new.task_id.clone(),
            map_index,
            state: TaskState::None,
            try_number: 0,
            max_tries: new.max_tries,
            generation: 0,
            lost_workers: 0,
            pool: new.pool.clone(),
            pool_slots: new.pool_slots,
            priority_weight: new.priority_weight,
            next_try_at: None,
            put_offs: None,
            token: None,
            choice: None,
            given_up: false,
            is_outside: false,
            begun: None,
            item: None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct InstanceView {
    pub key: InstanceKey,
    pub task: usize,
    pub map_index: i32,
    pub state: TaskState,
    pub try_number: u32,
    pub max_tries: u32,
    pub generation: u32,
    pub lost_workers: u32,
    pub lane: Lane,
    /// What its try holds, when it began with another pool or key than the run's version has.
    pub held: Option<Lane>,
    /// Why the text of its `concurrency` key is not known: it can't start.
    pub key_error: Option<String>,
    pub priority_weight: i32,
    pub next_try_at: Option<DateTime<Utc>>,
    pub put_offs: Option<PutOffs>,
    pub token: Option<String>,
    /// Its try waits outside of any worker.
    pub is_outside: bool,
    /// What it decided about the tasks after it, when it has ended.
    pub choice: Option<Choice>,
    /// Skipped because its run was given up: see [`InstanceView::counts_as`].
    pub given_up: bool,
    /// Its try was asked to stop: the state that it gets unless it succeeds all the same, and why.
    pub stopping: Option<(TaskState, String)>,
    /// The line it stands in, while it is ready.
    pub stands_in: Option<Lane>,
    /// Of a mapped task: by what the item is known that its last try was for.
    pub item: Option<i64>,
}

impl InstanceView {
    /// Its state in the eyes of all that depends on it: one that was given up never got its chance.
    pub fn counts_as(&self) -> TaskState {
        if self.given_up { TaskState::UpstreamFailed } else { self.state }
    }

    /// Its state for people.
    pub fn standing(&self) -> String {
        if self.given_up { format!("{} (given up with its run)", self.state) } else { told(self.state).to_owned() }
    }

    /// It was marked or removed while it ran, and its try has not stopped yet.
    pub fn is_leaving(&self) -> bool {
        self.state.is_finished() && self.token.is_some()
    }

    /// What it holds: one that is leaving, as though it still ran; one that was cleared or marked while its try waits
    /// outside, as though nobody had: it never comes back to a slot.
    pub fn holding(&self) -> TaskState {
        match self.state {
            state if !state.is_finished() && state != TaskState::Restarting => state,
            state if state.is_finished() && !self.is_leaving() => state,
            _ if self.is_outside => TaskState::Deferred,
            _ => TaskState::Running,
        }
    }

    /// What is counted while its try is under way.
    pub fn held_lane(&self) -> &Lane {
        self.held.as_ref().unwrap_or(&self.lane)
    }

    fn begun(&self) -> Option<Begun> {
        self.held.as_ref().map(|lane| Begun {
            pool: lane.pool.to_string(),
            pool_slots: lane.slots,
            key: lane.key().map(ToString::to_string),
        })
    }

    /// It runs as soon as its dependencies let it.
    pub fn may_begin(&self, now: DateTime<Utc>) -> bool {
        match self.state {
            TaskState::None | TaskState::Scheduled => true,
            TaskState::UpForRetry | TaskState::UpForReschedule => self.next_try_at.is_none_or(|at| at < now),
            _ => false,
        }
    }

    /// As it could be read from the store.
    pub fn snapshot(&self, task_id: TaskId) -> InstanceSnapshot {
        InstanceSnapshot {
            key: self.key,
            task_id,
            map_index: self.map_index,
            state: self.state,
            try_number: self.try_number,
            max_tries: self.max_tries,
            generation: self.generation,
            lost_workers: self.lost_workers,
            pool: self.lane.pool.to_string(),
            pool_slots: self.lane.slots,
            priority_weight: self.priority_weight,
            next_try_at: self.next_try_at,
            put_offs: self.put_offs,
            token: self.token.clone(),
            choice: self.choice.clone(),
            given_up: self.given_up,
            is_outside: self.is_outside,
            begun: self.begun(),
            item: self.item,
        }
    }

    pub fn new(snapshot: InstanceSnapshot, task: usize, version: &DagVersion, run: &RunFacts) -> Self {
        let (limits, key_error) = limits_of(version, task, run, snapshot.map_index);
        let lane = Lane { pool: snapshot.pool.into(), slots: snapshot.pool_slots, limits, is_way_back: false };
        let begun = snapshot.begun.as_ref().filter(|_| snapshot.token.is_some());
        let held = begun.map(|begun| lane.begun_with(begun)).filter(|held| *held != lane);
        Self {
            key: snapshot.key,
            task,
            map_index: snapshot.map_index,
            state: snapshot.state,
            try_number: snapshot.try_number,
            max_tries: snapshot.max_tries,
            generation: snapshot.generation,
            lost_workers: snapshot.lost_workers,
            lane,
            held,
            key_error,
            priority_weight: snapshot.priority_weight,
            next_try_at: snapshot.next_try_at,
            put_offs: snapshot.put_offs,
            token: snapshot.token,
            is_outside: snapshot.is_outside,
            choice: snapshot.choice,
            given_up: snapshot.given_up,
            stopping: None,
            stands_in: None,
            item: snapshot.item,
        }
    }
}

/// A state as people are told of it behind an "is".
pub(crate) fn told(state: TaskState) -> &'static str {
    if state == TaskState::None { "not started" } else { state.as_str() }
}

/// What a task's tries hold besides their pool's slots, and why its key has no text if it has none.
fn limits_of(
    version: &DagVersion,
    task: usize,
    run: &RunFacts,
    map_index: i32,
) -> (Arc<[(LimitKey, u32)]>, Option<String>) {
    let of_task = &version.dag.tasks[task];
    let (mut limits, mut key_error) = (Vec::new(), None);
    if let Some(most) = of_task.max_active_tis_per_dag {
        limits.push((LimitKey::Task(version.dag.dag_id.clone(), of_task.task_id.clone()), most));
    }
    if let Some(most) = of_task.max_active_tis_per_dagrun {
        limits.push((LimitKey::TaskInRun(run.run_key, task), most));
    }
    if let Some(concurrency) = &of_task.concurrency {
        let facts = KeyFacts { template: &concurrency.key, dag: &version.dag, task: Some(of_task), run, map_index };
        match (version.render_key)(&facts) {
            Ok(key) => limits.push((LimitKey::Key(key.into()), concurrency.limit)),
            Err(error) => key_error = Some(error),
        }
    }
    (limits.into(), key_error)
}
