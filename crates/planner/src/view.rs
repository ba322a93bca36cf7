//! The planner's picture of the metadata database.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::alert::AlertKind;
use millrace_model::asset::AssetEvent;
use millrace_model::change::{Completion, InstanceKey, NewRun, NextRun, RunFacts, RunKey};
use millrace_model::ids::DagId;
use millrace_model::schedule::{DataInterval, Schedule};
use millrace_model::state::{RunState, RunType, TaskState};

use crate::alerts::RecentRuns;
use crate::instance::InstanceSnapshot;
use crate::lines::{Lane, Lines};
use crate::outside::Step;
use crate::past::Pasts;
use crate::run::{RunSnapshot, RunView};
use crate::run_keys::RunKeys;
use crate::timeouts::times_out_at;
use crate::version::DagVersion;
use crate::windows::Windows;

/// A DAG as it was read from the store.
#[derive(Debug, Clone)]
pub struct DagFacts {
    /// The newest version, which new runs are pinned to.
    pub version: Arc<DagVersion>,
    pub is_paused: bool,
    /// Its file is gone: no scheduled run is created.
    pub is_stale: bool,
    /// Of the newest run that the schedule made.
    pub last_interval: Option<DataInterval>,
    /// The next scheduled run as it is stored.
    pub pointer: Option<NextRun>,
    pub recent: RecentRuns,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFacts {
    /// Negative: without limit.
    pub slots: i64,
    /// Tries that wait outside hold its slots too.
    pub include_deferred: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackfillFacts {
    pub max_active_runs: u32,
    /// What runs goes on, nothing queued starts.
    pub is_paused: bool,
}

/// The runs that share a `max_active_runs`: those of a DAG, or those of a backfill of it.
pub(crate) type GroupKey = (DagId, Option<i64>);

/// When the run may start, its place in its backfill, its logical date. A backfill's runs may start at any time, and do so
/// in the order that the backfill gave them.
pub(crate) type StartOrder = (DateTime<Utc>, i64, DateTime<Utc>, RunKey);

#[derive(Debug, Default)]
pub(crate) struct Group {
    /// In the order in which they start.
    pub queued: BTreeSet<StartOrder>,
    /// Those that hold a place.
    pub running: u32,
}

impl Group {
    pub fn active(&self) -> u32 {
        self.queued.len() as u32 + self.running
    }

    /// Queued for a later moment.
    fn later(&self, now: DateTime<Utc>) -> u32 {
        self.queued.iter().rev().take_while(|(run_after, ..)| *run_after > now).count() as u32
    }
}

/// Everything the planner knows. Filled by the scheduler, moved forward by [`plan`](crate::plan).
#[derive(Debug, Default)]
pub struct View {
    pub(crate) dags: BTreeMap<DagId, DagFacts>,
    pub(crate) pools: BTreeMap<String, PoolFacts>,
    /// Slots in use, by pool.
    pub(crate) used: BTreeMap<Arc<str>, i64>,
    /// Slots that deferred ones would hold, by pool.
    pub(crate) deferred: BTreeMap<Arc<str>, i64>,
    /// The active backfills.
    pub(crate) backfills: BTreeMap<i64, BackfillFacts>,
    pub(crate) runs: BTreeMap<RunKey, RunView>,
    pub(crate) groups: BTreeMap<GroupKey, Group>,
    pub(crate) places: HashMap<InstanceKey, (RunKey, usize)>,
    /// The runs of instances whose task their version does not have, and whose tries have not stopped yet.
    pub(crate) departed: HashMap<InstanceKey, RunKey>,
    /// Those of each run that may start, and what holds them up.
    pub(crate) lines: Lines,
    /// When scheduled runs are to be created.
    pub(crate) due: BTreeSet<(DateTime<Utc>, DagId)>,
    due_at: BTreeMap<DagId, DateTime<Utc>>,
    /// When tries may be repeated.
    pub(crate) retries: BTreeSet<(DateTime<Utc>, InstanceKey)>,
    /// When running runs have taken too long. May name runs that ended or began anew.
    pub(crate) timeouts: BTreeSet<(DateTime<Utc>, RunKey)>,
    /// Groups with room whose next run may only start later.
    pub(crate) later_groups: BTreeSet<(DateTime<Utc>, GroupKey)>,
    pub(crate) pasts: Pasts,
    pub(crate) dirty_runs: BTreeSet<RunKey>,
    pub(crate) dirty_groups: BTreeSet<GroupKey>,
    /// The number of the last start in each group, counted since the view was made.
    pub(crate) last_starts: BTreeMap<GroupKey, u64>,
    pub(crate) starts_made: u64,
    /// DAGs whose pointer must be worked out again.
    pub(crate) dirty_dags: BTreeSet<DagId>,
    /// What has happened since a DAG's last asset-triggered run.
    pub(crate) asset_events: BTreeMap<DagId, Vec<AssetEvent>>,
    pub(crate) dirty_assets: BTreeSet<DagId>,
    /// At which the last asset-triggered run could not be created.
    pub(crate) refused_dates: BTreeMap<DagId, DateTime<Utc>>,
    pub(crate) windows: Windows,
    /// When people are to be told of a run.
    pub(crate) watches: BTreeSet<(DateTime<Utc>, RunKey, AlertKind)>,
    pub(crate) watches_of: BTreeMap<(RunKey, AlertKind), DateTime<Utc>>,
    pub(crate) completions: Vec<Completion>,
    /// Runs for which nothing is planned.
    pub(crate) frozen: BTreeSet<RunKey>,
    pub(crate) frozen_dags: BTreeSet<DagId>,
    pub(crate) steps: Vec<Step>,
    /// Numbers claims: part of the token.
    pub(crate) claims_made: u64,
    pub(crate) max_map_length: Option<usize>,
    pub(crate) run_keys: RunKeys,
}

impl View {
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a DAG: a new version, paused, unpaused.
    pub fn put_dag(&mut self, facts: DagFacts) {
        let dag_id = facts.version.dag.dag_id.clone();
        let held_changed = self.dags.get(&dag_id).is_none_or(|known| known.is_paused != facts.is_paused);
        self.windows.look_at(&dag_id, &facts.version.dag);
        self.dags.insert(dag_id.clone(), facts);
        if held_changed {
            self.hold_runs(&dag_id);
        }
        self.mark_groups(&dag_id);
        self.look_at_assets(&dag_id);
        self.dirty_dags.insert(dag_id);
    }

    /// Forgets a DAG; its active runs go on with their own version.
    pub fn remove_dag(&mut self, dag_id: &DagId) {
        self.dags.remove(dag_id);
        self.windows.forget(dag_id);
        self.asset_events.remove(dag_id);
        self.refused_dates.remove(dag_id);
        self.set_due(dag_id, None);
    }

    pub fn dag(&self, dag_id: &DagId) -> Option<&DagFacts> {
        self.dags.get(dag_id)
    }

    pub fn dags(&self) -> impl Iterator<Item = &DagFacts> {
        self.dags.values()
    }

    /// Replaces all pools.
    pub fn set_pools(&mut self, pools: impl IntoIterator<Item = (String, PoolFacts)>) {
        self.pools = pools.into_iter().collect();
    }

    /// Replaces what is known of all active backfills.
    pub fn set_backfills(&mut self, backfills: impl IntoIterator<Item = (i64, BackfillFacts)>) {
        self.backfills = backfills.into_iter().collect();
        let groups = self.groups.keys().filter(|(_, backfill)| backfill.is_some()).cloned();
        self.dirty_groups.extend(groups);
    }

    /// Adds an active run, or replaces what is known of it. A finished run is kept only while one of its tries runs.
    pub fn put_run(&mut self, snapshot: RunSnapshot) {
        let back = self.runs.get(&snapshot.facts.run_key).map(RunView::came_back).unwrap_or_default();
        self.remove_run(snapshot.facts.run_key);
        let mut run = RunView::new(snapshot);
        self.past_changed(&run.dag_id, run.facts.logical_date);
        if run.state.is_finished() && run.is_still() {
            return;
        }
        run.is_held = self.is_held(&run);
        let key = run.key();
        for (place, instance) in run.instances.iter().enumerate() {
            self.places.insert(instance.key, (key, place));
            note_state(
                &mut self.used,
                &mut self.deferred,
                &mut self.lines,
                (&run.dag_id, instance.held_lane()),
                (TaskState::None, instance.holding()),
            );
            if matches!(instance.state, TaskState::UpForRetry | TaskState::UpForReschedule)
                && let Some(at) = instance.next_try_at
            {
                self.retries.insert((at, instance.key));
            }
        }
        self.note_departed(&run, true);
        let group = group_key(&run);
        let members = self.groups.entry(group.clone()).or_default();
        if run.holds_place {
            members.running += 1;
            self.take_key(&run.key_held);
        } else {
            members.queued.insert(start_order(&run));
        }
        if run.state == RunState::Running {
            self.dirty_runs.insert(key);
        }
        self.dirty_groups.insert(group);
        self.add_to_pasts(&run);
        self.runs.insert(key, run);
        self.watch(key);
        self.note_timeout(key);
        for (instance, token) in back {
            self.came_back(instance, token);
        }
    }

    /// Adds a run that was just created, with the keys that the store gave it; its version must be the DAG's newest one
    /// known here. Returns false when it is not: then the run must be read from the store.
    pub fn put_created(&mut self, new: &NewRun, run_key: RunKey, keys: &[InstanceKey], now: DateTime<Utc>) -> bool {
        let Some(version) = self.dags.get(&new.dag_id).map(|facts| facts.version.clone()) else { return false };
        if version.key != new.version_key || keys.len() != new.tasks.len() {
            return false;
        }
        self.put_run(RunSnapshot {
            dag_id: new.dag_id.clone(),
            facts: Arc::new(RunFacts {
                run_key,
                run_id: new.run_id.clone(),
                run_type: new.run_type,
                logical_date: new.logical_date,
                data_interval: new.data_interval,
                run_after: new.run_after,
                created_at: now,
                start_date: (new.state == RunState::Running).then_some(now),
                conf: new.conf.clone(),
                asset_events: new.asset_events.clone(),
            }),
            state: new.state,
            version,
            backfill_key: new.backfill_key,
            backfill_ordinal: None,
            ending: None,
            was_cleared: false,
            failed_outside: None,
            instances: new
                .tasks
                .iter()
                .zip(keys)
                .map(|(task, key)| InstanceSnapshot::new(*key, task, task.map_index))
                .collect(),
            list_lengths: Vec::new(),
        });
        true
    }

    /// Forgets a run: it was deleted, or is about to be read again.
    pub fn remove_run(&mut self, key: RunKey) {
        self.take_out(key, false);
    }

    /// A run has ended. One of whose tasks a marked one still runs is kept for that.
    pub(crate) fn end_run(&mut self, key: RunKey, to: RunState) {
        let is_left = self.runs.get(&key).is_some_and(|run| !run.is_still());
        let rest = self.runs.get(&key).filter(|_| is_left).map(|run| RunSnapshot { state: to, ..run.snapshot() });
        self.take_out(key, true);
        if let Some(rest) = rest {
            self.put_run(rest);
        }
    }

    fn take_out(&mut self, key: RunKey, has_ended: bool) {
        self.hide(key);
        let Some(run) = self.runs.remove(&key) else { return };
        self.remove_from_pasts(&run, has_ended);
        for instance in &run.instances {
            self.places.remove(&instance.key);
            note_state(
                &mut self.used,
                &mut self.deferred,
                &mut self.lines,
                (&run.dag_id, instance.held_lane()),
                (instance.holding(), TaskState::None),
            );
            if let Some(at) = instance.next_try_at {
                self.retries.remove(&(at, instance.key));
            }
        }
        self.note_departed(&run, false);
        let group = group_key(&run);
        if let Some(members) = self.groups.get_mut(&group) {
            if run.holds_place {
                members.running -= 1;
            } else {
                members.queued.remove(&start_order(&run));
            }
            if members.active() == 0 {
                self.groups.remove(&group);
            }
        }
        if run.holds_place {
            self.free_key(&run.key_held);
        }
        self.dirty_runs.remove(&key);
        self.unwatch(key);
        if let Some(at) = times_out_at(&run) {
            self.timeouts.remove(&(at, key));
        }
        self.dirty_groups.insert(group);
    }

    /// The store had a run with this logical date already: the DAG's next one may be due at once. What had happened to its
    /// assets must be set again.
    pub fn creation_refused(&mut self, new: &NewRun) {
        self.dirty_groups.insert((new.dag_id.clone(), None));
        if new.run_type == RunType::AssetTriggered {
            self.refused_dates.insert(new.dag_id.clone(), new.logical_date);
        }
    }

    /// Plans nothing for a run, whatever becomes of it, until [`View::thaw_run`]: what it would need cannot be written.
    /// What it holds counts.
    pub fn freeze_run(&mut self, key: RunKey) {
        self.hide(key);
        self.frozen.insert(key);
    }

    /// The run must be put again afterwards.
    pub fn thaw_run(&mut self, key: RunKey) {
        self.frozen.remove(&key);
    }

    /// Creates no run of a DAG and says nothing of when its next one is due: it cannot be written.
    pub fn freeze_dag(&mut self, dag_id: DagId) {
        self.set_due(&dag_id, None);
        self.frozen_dags.insert(dag_id);
    }

    /// The DAG must be put again afterwards.
    pub fn thaw_dag(&mut self, dag_id: &DagId) {
        self.frozen_dags.remove(dag_id);
    }

    /// How many tries this view has claimed.
    pub fn claims_made(&self) -> u64 {
        self.claims_made
    }

    /// A view that takes the place of another goes on with its numbers: no token is ever given twice.
    pub fn number_claims_after(&mut self, claims_made: u64) {
        self.claims_made = claims_made;
    }

    /// A try has ended; the next plan takes it into account.
    pub fn complete(&mut self, completion: Completion) {
        self.completions.push(completion);
    }

    pub fn run_keys(&self) -> impl Iterator<Item = RunKey> + '_ {
        self.runs.keys().copied()
    }

    /// The active runs of these DAGs that belong to a backfill.
    pub fn backfill_runs<'a>(&'a self, dags: &'a BTreeSet<DagId>) -> impl Iterator<Item = RunKey> + 'a {
        let is_one = |run: &&RunView| run.backfill_key.is_some() && dags.contains(&run.dag_id);
        self.runs.values().filter(is_one).map(RunView::key)
    }

    /// The run that an instance belongs to, if it is active.
    pub fn run_of(&self, instance: InstanceKey) -> Option<RunKey> {
        self.places.get(&instance).map(|(run, _)| *run).or_else(|| self.departed.get(&instance).copied())
    }

    pub fn run_state(&self, run: RunKey) -> Option<RunState> {
        self.runs.get(&run).map(|run| run.state)
    }

    /// How many tries are queued or running.
    pub fn occupied_slots(&self) -> u32 {
        self.runs.values().map(RunView::occupying).sum()
    }

    /// The token of the try that holds an instance.
    pub fn token_of(&self, instance: InstanceKey) -> Option<&str> {
        let (run, place) = self.places.get(&instance)?;
        self.runs.get(run)?.instances[*place].token.as_deref()
    }

    /// The state of an instance of an active run.
    pub fn instance_state(&self, instance: InstanceKey) -> Option<TaskState> {
        let (run, place) = self.places.get(&instance)?;
        Some(self.runs.get(run)?.instances[*place].state)
    }

    /// The state of a task's first instance in an active run.
    pub fn task_state(&self, run: RunKey, task_id: &str) -> Option<TaskState> {
        let run = self.runs.get(&run)?;
        let task = run.version.dag.task_index(task_id)?;
        run.instances_of(task).next().map(|instance| run.instances[instance].state)
    }

    pub(crate) fn max_active_runs(&self, group: &GroupKey) -> u32 {
        let of_backfill = group.1.and_then(|backfill| self.backfills.get(&backfill));
        let of_backfill = of_backfill.map(|facts| if facts.is_paused { 0 } else { facts.max_active_runs });
        let of_dag = || {
            let dag = &self.dags.get(&group.0)?.version.dag;
            Some(if dag.timetable.schedule == Schedule::Continuous { 1 } else { dag.max_active_runs })
        };
        // A DAG that is not stored any more has no limit to keep; its runs are only those that were there.
        of_backfill.or_else(of_dag).unwrap_or(u32::MAX)
    }

    pub(crate) fn is_held(&self, run: &RunView) -> bool {
        self.windows.open.contains(&run.dag_id) || self.is_held_by_pause(run)
    }

    /// Its DAG is paused, which holds back nothing of a backfill.
    pub(crate) fn is_held_by_pause(&self, run: &RunView) -> bool {
        run.backfill_key.is_none() && self.dags.get(&run.dag_id).is_some_and(|facts| facts.is_paused)
    }

    /// Running, or queued and free to start by now.
    pub(crate) fn active_normal_runs(&self, dag_id: &DagId, now: DateTime<Utc>) -> u32 {
        self.groups.get(&(dag_id.clone(), None)).map_or(0, |group| group.active() - group.later(now))
    }

    pub(crate) fn set_due(&mut self, dag_id: &DagId, at: Option<DateTime<Utc>>) {
        let before = match at {
            Some(at) => self.due_at.insert(dag_id.clone(), at),
            None => self.due_at.remove(dag_id),
        };
        if let Some(before) = before {
            self.due.remove(&(before, dag_id.clone()));
        }
        if let Some(at) = at {
            self.due.insert((at, dag_id.clone()));
        }
    }

    /// Takes the run's ready instances out of sight of the claims.
    pub(crate) fn hide(&mut self, key: RunKey) {
        let Some(run) = self.runs.get(&key) else { return };
        for (lane, line) in &run.ready {
            if let Some(head) = line.first() {
                self.lines.remove(&run.dag_id, lane, head);
            }
        }
    }

    /// Shows the first ready instance of each lane to the claims, unless the run may start nothing.
    pub(crate) fn show(&mut self, key: RunKey) {
        let Some(run) = self.runs.get(&key) else { return };
        if !run.has_room() || self.frozen.contains(&key) {
            return;
        }
        let starts = !run.is_held && run.state == RunState::Running;
        for (lane, line) in run.ready.iter().filter(|(lane, _)| starts || lane.is_way_back) {
            if let Some(head) = line.first() {
                self.lines.insert(&run.dag_id, lane, *head);
            }
        }
    }

    /// Sets an instance's state, here and in the pool's count.
    pub(crate) fn set_state(&mut self, run: RunKey, instance: usize, state: TaskState) {
        let Some(run) = self.runs.get_mut(&run) else { return };
        let view = &run.instances[instance];
        let before = if view.state.is_finished() { view.state } else { view.holding() };
        let place = (&run.dag_id, view.held_lane());
        note_state(&mut self.used, &mut self.deferred, &mut self.lines, place, (before, state));
        run.set_state(instance, state);
    }

    /// The try of an instance that was marked or removed has stopped.
    pub(crate) fn let_go(&mut self, key: RunKey, instance: usize) {
        self.hide(key);
        let Some(run) = self.runs.get_mut(&key) else { return };
        let view = &run.instances[instance];
        let change = (view.holding(), TaskState::None);
        let place = (&run.dag_id, view.held_lane());
        note_state(&mut self.used, &mut self.deferred, &mut self.lines, place, change);
        run.let_go(instance);
        self.try_has_stopped(key);
    }

    /// What a run was kept for may be over: a finished one is forgotten then, a queued one takes its place in the queue.
    pub(crate) fn try_has_stopped(&mut self, key: RunKey) {
        match self.runs.get(&key) {
            Some(run) if run.is_still() && run.state.is_finished() => self.remove_run(key),
            Some(run) if run.is_still() && run.state == RunState::Queued => self.put_run(run.snapshot()),
            _ => {
                self.show(key);
                self.offer_way(key);
            }
        }
    }

    /// Slots of a pool that are held.
    pub(crate) fn pool_use(&self, pool: &str) -> i64 {
        let of = |slots: &BTreeMap<Arc<str>, i64>| slots.get(pool).copied().unwrap_or(0);
        let counts_deferred = self.pools.get(pool).is_some_and(|facts| facts.include_deferred);
        of(&self.used) + if counts_deferred { of(&self.deferred) } else { 0 }
    }

    /// Free slots of a pool: none when it does not exist, `i64::MAX` without a limit.
    pub(crate) fn free_slots(&self, pool: &str) -> i64 {
        match self.pools.get(pool) {
            None => 0,
            Some(facts) if facts.slots < 0 => i64::MAX,
            Some(facts) => facts.slots - self.pool_use(pool),
        }
    }

    pub(crate) fn hold_runs(&mut self, dag_id: &DagId) {
        let of_dag: Vec<RunKey> = self.runs.values().filter(|run| run.dag_id == *dag_id).map(RunView::key).collect();
        for key in of_dag {
            self.hide(key);
            let is_held = self.runs.get(&key).is_some_and(|run| self.is_held(run));
            if let Some(run) = self.runs.get_mut(&key) {
                run.is_held = is_held;
                run.look_at_everything();
                if run.state == RunState::Running {
                    self.dirty_runs.insert(key);
                }
            }
            self.show(key);
        }
    }

    pub(crate) fn mark_groups(&mut self, dag_id: &DagId) {
        let from = (dag_id.clone(), None);
        let of_dag = self.groups.range(from..).map(|(key, _)| key).take_while(|key| key.0 == *dag_id).cloned();
        self.dirty_groups.extend(of_dag);
    }
}

/// What an instance holds follows from its state.
pub(crate) fn note_state(
    used: &mut BTreeMap<Arc<str>, i64>,
    deferred: &mut BTreeMap<Arc<str>, i64>,
    lines: &mut Lines,
    (dag_id, lane): (&DagId, &Lane),
    (before, after): (TaskState, TaskState),
) {
    let change = |holds: fn(TaskState) -> bool| i64::from(holds(after)) - i64::from(holds(before));
    let slots = i64::from(lane.slots);
    let (occupies, waits, limits) = (
        change(TaskState::occupies_slot),
        change(|state| state == TaskState::Deferred),
        change(TaskState::holds_limits),
    );
    if occupies != 0 {
        *used.entry(lane.pool.clone()).or_default() += occupies * slots;
        lines.note_running(dag_id, occupies > 0);
    }
    if waits != 0 {
        *deferred.entry(lane.pool.clone()).or_default() += waits * slots;
    }
    if limits != 0 {
        lines.note_limits(lane, limits > 0);
    }
}

pub(crate) fn group_key(run: &RunView) -> GroupKey {
    (run.dag_id.clone(), run.backfill_key)
}

pub(crate) fn start_order(run: &RunView) -> StartOrder {
    let (from, place) = match run.backfill_ordinal {
        Some(place) => (DateTime::<Utc>::MIN_UTC, place),
        None => (run.facts.run_after, 0),
    };
    (from, place, run.facts.logical_date, run.key())
}
