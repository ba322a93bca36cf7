//! An active run in memory.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use millrace_model::change::{InstanceKey, RunFacts, RunKey};
use millrace_model::dag::Task;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::mapping::ResultDigests;
use millrace_model::state::{RunState, TaskState};
use millrace_model::trigger_rule::UpstreamCounts;

use crate::departed::Departed;
use crate::instance::{InstanceSnapshot, InstanceView};
use crate::lines::{Lane, Rank};
use crate::mapping::ResultLength;
use crate::past::Past;
use crate::run_keys::HeldKey;
use crate::version::DagVersion;

/// A run as it was read from the store.
#[derive(Debug, Clone)]
pub struct RunSnapshot {
    pub dag_id: DagId,
    pub facts: Arc<RunFacts>,
    pub state: RunState,
    /// The version that the run is pinned to.
    pub version: Arc<DagVersion>,
    pub backfill_key: Option<i64>,
    /// Its place in the order of its backfill; of the first: 0.
    pub backfill_ordinal: Option<i64>,
    /// Why the run winds down, if it does.
    pub ending: Option<String>,
    /// It had ended, and runs once more.
    pub was_cleared: bool,
    pub instances: Vec<InstanceSnapshot>,
    /// A task that decides about the run and has failed, but that the version does not have: it is of some tasks only.
    pub failed_outside: Option<TaskId>,
    /// Of the results that tasks of the version are mapped over, as far as they are there.
    pub list_lengths: Vec<ResultLength>,
}

#[derive(Debug)]
pub(crate) struct RunView {
    pub dag_id: DagId,
    pub facts: Arc<RunFacts>,
    pub state: RunState,
    pub version: Arc<DagVersion>,
    pub backfill_key: Option<i64>,
    pub backfill_ordinal: Option<i64>,
    /// Why it winds down, if it does: only teardowns start, and then it fails.
    pub ending: Option<String>,
    pub was_cleared: bool,
    pub failed_outside: Option<TaskId>,
    /// By task index, then map index.
    pub instances: Vec<InstanceView>,
    /// By task index: its instances.
    ranges: Vec<Range<usize>>,
    /// Instances in each state; indexed by the state.
    counts: [u32; TaskState::ALL.len()],
    /// Finished ones whose try has not stopped yet.
    leaving: u32,
    /// Cleared or finished ones whose try waits outside and has not stopped yet: they hold no slot.
    parked: u32,
    /// Those of tasks that the version does not have.
    pub departed: BTreeMap<InstanceKey, Departed>,
    pub ready: BTreeMap<Lane, BTreeSet<Rank>>,
    pub ready_count: u32,
    /// It counts among the runs of its DAG or backfill, and holds its key: it runs, or a try of it has not stopped yet.
    pub holds_place: bool,
    /// Places in the topological order whose tasks must be looked at.
    pub pending: BTreeSet<u32>,
    /// Tasks that come after one which let nothing after it run.
    pub cut_off: BTreeMap<usize, BTreeSet<usize>>,
    /// Of the run before, for tasks that look back.
    pub past: Past,
    /// Tasks whose past holds them back.
    pub held_by_past: BTreeSet<usize>,
    /// Nothing new starts: its DAG is paused.
    pub is_held: bool,
    /// By task and map index, of the results that tasks are mapped over; `None`: that one is no list.
    pub list_lengths: BTreeMap<(usize, i32), (Option<u32>, ResultDigests)>,
    /// By what the items of mapped tasks are known, as far as that was asked.
    pub items: BTreeMap<usize, Arc<[i64]>>,
    /// Mapped tasks whose instances are being added: nothing is decided about them before that is committed.
    pub expanding: BTreeSet<usize>,
    /// What it holds of the runs with its key while it runs.
    pub key_held: HeldKey,
}

impl RunView {
    /// Instances of tasks that the version does not have are left out, but for what their tries hold until they have stopped.
    pub fn new(snapshot: RunSnapshot) -> Self {
        let RunSnapshot {
            dag_id,
            facts,
            state,
            version,
            backfill_key,
            backfill_ordinal,
            ending,
            was_cleared,
            instances,
            failed_outside,
            list_lengths,
        } = snapshot;
        let index: BTreeMap<&str, usize> =
            version.dag.tasks.iter().enumerate().map(|(place, task)| (task.task_id.as_str(), place)).collect();
        let list_lengths = list_lengths
            .into_iter()
            .filter_map(|it| Some(((*index.get(it.task_id.as_str())?, it.map_index), (it.length, it.digests))))
            .collect();
        let (known, gone): (Vec<_>, Vec<_>) =
            instances.into_iter().partition(|instance| index.contains_key(instance.task_id.as_str()));
        let departed = gone.into_iter().filter_map(|it| Some((it.key, Departed::of(it, &dag_id)?))).collect();
        let mut views: Vec<InstanceView> = known
            .into_iter()
            .map(|instance| (index[instance.task_id.as_str()], instance))
            .map(|(task, instance)| InstanceView::new(instance, task, &version, &facts))
            .collect();
        views.sort_by_key(|instance| (instance.task, instance.map_index));
        let mut ranges = vec![0..0; version.dag.tasks.len()];
        let mut counts = [0; TaskState::ALL.len()];
        for (place, instance) in views.iter().enumerate() {
            let range = &mut ranges[instance.task];
            *range = if range.start == range.end { place..place + 1 } else { range.start..place + 1 };
            counts[instance.state as usize] += 1;
        }
        let leaving = views.iter().filter(|instance| instance.is_leaving()).count() as u32;
        let is_parked = |it: &&InstanceView| it.is_outside && (it.is_leaving() || it.state == TaskState::Restarting);
        let parked = views.iter().filter(is_parked).count() as u32;
        let key_held = HeldKey::of(&version, &facts);
        let mut run = Self {
            key_held,
            dag_id,
            facts,
            state,
            version,
            backfill_key,
            backfill_ordinal,
            ending,
            was_cleared,
            failed_outside,
            instances: views,
            ranges,
            counts,
            leaving,
            parked,
            departed,
            ready: BTreeMap::new(),
            ready_count: 0,
            holds_place: false,
            pending: BTreeSet::new(),
            cut_off: BTreeMap::new(),
            past: Past::default(),
            held_by_past: BTreeSet::new(),
            is_held: false,
            list_lengths,
            items: BTreeMap::new(),
            expanding: BTreeSet::new(),
        };
        for place in 0..run.instances.len() {
            if let Some(choice) = run.instances[place].choice.take() {
                run.note_choice(place, Some(choice));
            }
        }
        run.holds_place = state == RunState::Running || !run.is_still();
        run.look_at_everything();
        run
    }

    pub fn key(&self) -> RunKey {
        self.facts.run_key
    }

    /// Of its instances that are there: a removed one says nothing of the work.
    pub fn states_of(&self, task_id: &TaskId) -> Vec<TaskState> {
        let Some(task) = self.version.dag.task_index(task_id.as_str()) else { return Vec::new() };
        let states = self.instances_of(task).map(|place| self.instances[place].state);
        states.filter(|state| *state != TaskState::Removed).collect()
    }

    pub fn states_by_task(&self) -> BTreeMap<TaskId, Vec<TaskState>> {
        let tasks = self.version.dag.tasks.iter().map(|task| &task.task_id);
        let states = tasks.map(|task_id| (task_id.clone(), self.states_of(task_id)));
        states.filter(|(_, states)| !states.is_empty()).collect()
    }

    pub fn was_given_up(&self, task_id: &TaskId) -> bool {
        let task = self.version.dag.task_index(task_id.as_str());
        task.is_some_and(|task| self.instances_of(task).any(|place| self.instances[place].given_up))
    }

    /// Tasks with an instance that was given up with the run.
    pub fn given_up_tasks(&self) -> BTreeSet<TaskId> {
        let given_up = self.instances.iter().filter(|instance| instance.given_up);
        given_up.map(|instance| self.version.dag.tasks[instance.task].task_id.clone()).collect()
    }

    /// Nothing of it runs or can run before the run that it waits for goes on.
    pub fn only_waits_for_past(&self) -> bool {
        if self.held_by_past.is_empty() || self.ready_count > 0 || !self.is_still() {
            return false;
        }
        let waits_again = |it: &&InstanceView| {
            matches!(it.state, TaskState::UpForRetry | TaskState::UpForReschedule)
                && self.held_by_past.contains(&it.task)
        };
        let waits_again = self.instances.iter().filter(waits_again).count() as u32;
        self.count(TaskState::None) + self.count(TaskState::Scheduled) + waits_again == self.unfinished()
    }

    pub fn task(&self, instance: usize) -> &Task {
        &self.version.dag.tasks[self.instances[instance].task]
    }

    pub fn instances_of(&self, task: usize) -> Range<usize> {
        self.ranges[task].clone()
    }

    pub fn count(&self, state: TaskState) -> u32 {
        self.counts[state as usize]
    }

    pub fn unfinished(&self) -> u32 {
        self.instances.len() as u32
            - TaskState::ALL.iter().filter(|s| s.is_finished()).map(|s| self.count(*s)).sum::<u32>()
    }

    /// Instances that count against `max_active_tasks`.
    pub fn occupying(&self) -> u32 {
        let departed = self.departed.values().filter(|it| it.snapshot.is_outside).count() as u32;
        self.under_way() - self.parked - departed
    }

    /// None of its tries must be waited for.
    pub fn is_still(&self) -> bool {
        self.under_way() == 0
    }

    fn under_way(&self) -> u32 {
        let by_state: u32 = TaskState::ALL.iter().filter(|s| s.occupies_slot()).map(|s| self.count(*s)).sum();
        by_state + self.leaving + self.departed.len() as u32
    }

    /// The try of one that is leaving has stopped.
    pub fn let_go(&mut self, instance: usize) {
        let view = &mut self.instances[instance];
        view.token = None;
        view.held = None;
        self.leaving -= 1;
        self.parked -= u32::from(std::mem::replace(&mut view.is_outside, false));
    }

    pub fn has_room(&self) -> bool {
        self.occupying() < self.version.dag.max_active_tasks
    }

    /// Sets the state and notes which tasks to look at because of it.
    pub fn set_state(&mut self, instance: usize, state: TaskState) {
        let task = self.instances[instance].task;
        let view = &mut self.instances[instance];
        let before = std::mem::replace(&mut view.state, state);
        view.given_up = false;
        if !view.is_leaving() {
            let was_outside = std::mem::replace(&mut view.is_outside, state == TaskState::Deferred);
            self.parked -= u32::from(was_outside && before == TaskState::Restarting);
            if !state.holds_limits() {
                view.held = None;
            }
        }
        self.counts[before as usize] -= 1;
        self.counts[state as usize] += 1;
        if state.is_finished() {
            for other in self.version.graph.downstream[task].iter().chain(self.version.roles.watchers(task)) {
                self.pending.insert(self.version.position[*other]);
            }
        }
    }

    pub fn look_at(&mut self, instance: usize) {
        self.pending.insert(self.version.position[self.instances[instance].task]);
    }

    pub fn look_at_everything(&mut self) {
        for instance in &self.instances {
            if !instance.state.is_finished() {
                self.pending.insert(self.version.position[instance.task]);
            }
        }
    }

    pub fn upstream_counts(&self, task: usize) -> UpstreamCounts {
        self.counts_of(self.upstream_instances(task))
    }

    pub fn counts_of<'a>(&self, upstream: impl Iterator<Item = &'a InstanceView>) -> UpstreamCounts {
        UpstreamCounts::of(
            upstream.map(|instance| (instance.counts_as(), self.version.dag.tasks[instance.task].is_setup)),
        )
    }

    pub fn upstream_instances(&self, task: usize) -> impl Iterator<Item = &InstanceView> {
        let parents = self.version.graph.upstream[task].iter();
        parents.flat_map(|parent| self.kept(*parent, &self.instances[self.ranges[*parent].clone()]))
    }

    /// Without those of a mapped task for which there is no item any more.
    fn kept<'a>(&self, task: usize, instances: &'a [InstanceView]) -> impl Iterator<Item = &'a InstanceView> + use<'a> {
        let is_mapped = self.version.mapping.is_mapped(task);
        instances.iter().filter(move |instance| !is_mapped || instance.state != TaskState::Removed)
    }

    /// What an instance depends on: within a mapped group, only what has its own map index.
    pub fn upstream_of_instance(&self, place: usize) -> impl Iterator<Item = &InstanceView> {
        let InstanceView { task, map_index, .. } = self.instances[place];
        self.version.graph.upstream[task].iter().flat_map(move |parent| {
            let range = self.instances_of(*parent);
            let all = &self.instances[range];
            let own =
                if self.version.mapping.is_together(task, *parent) && all.first().is_some_and(|it| it.map_index >= 0) {
                    let from = all.partition_point(|it| it.map_index < map_index);
                    &all[from..all.partition_point(|it| it.map_index <= map_index)]
                } else {
                    all
                };
            self.kept(*parent, own)
        })
    }

    /// The run as it could be read from the store.
    pub fn snapshot(&self) -> RunSnapshot {
        let task_id = |task: usize| self.version.dag.tasks[task].task_id.clone();
        let length = |((task, map_index), (length, digests)): (&(usize, i32), &(Option<u32>, ResultDigests))| {
            ResultLength { task_id: task_id(*task), map_index: *map_index, length: *length, digests: digests.clone() }
        };
        RunSnapshot {
            dag_id: self.dag_id.clone(),
            facts: self.facts.clone(),
            state: self.state,
            version: self.version.clone(),
            backfill_key: self.backfill_key,
            backfill_ordinal: self.backfill_ordinal,
            ending: self.ending.clone(),
            was_cleared: self.was_cleared,
            failed_outside: self.failed_outside.clone(),
            instances: self
                .instances
                .iter()
                .map(|view| view.snapshot(task_id(view.task)))
                .chain(self.departed.values().map(|it| it.snapshot.clone()))
                .collect(),
            list_lengths: self.list_lengths.iter().map(length).collect(),
        }
    }

    pub fn rank(&self, instance: usize) -> Rank {
        let view = &self.instances[instance];
        Rank {
            is_backfill: self.backfill_key.is_some(),
            weight: Reverse(view.priority_weight),
            place: self.backfill_ordinal.unwrap_or(0),
            logical_date: self.facts.logical_date,
            run: self.key(),
            position: self.version.position[view.task],
            instance,
            urgency: Reverse(self.version.urgencies[view.task]),
        }
    }

    /// Puts an instance among the ready. Returns whether it was not there before.
    pub fn make_ready(&mut self, instance: usize) -> bool {
        self.make_ready_in(instance, self.instances[instance].lane.clone())
    }

    /// As [`Self::make_ready`], in a line that is not its own.
    pub fn make_ready_in(&mut self, instance: usize, lane: Lane) -> bool {
        if self.is_ready(instance) {
            return false;
        }
        let rank = self.rank(instance);
        self.ready.entry(lane.clone()).or_default().insert(rank);
        self.instances[instance].stands_in = Some(lane);
        self.ready_count += 1;
        true
    }

    /// Deferred ones that stand in line for a slot.
    pub fn came_back(&self) -> Vec<(InstanceKey, String)> {
        let stands = self.instances.iter().filter(|it| it.state == TaskState::Deferred && it.stands_in.is_some());
        stands.filter_map(|it| Some((it.key, it.token.clone()?))).collect()
    }

    pub fn is_ready(&self, instance: usize) -> bool {
        self.instances[instance].stands_in.is_some()
    }

    pub fn take_ready(&mut self, instance: usize) {
        let Some(lane) = self.instances[instance].stands_in.take() else { return };
        let rank = self.rank(instance);
        if let Some(line) = self.ready.get_mut(&lane) {
            line.remove(&rank);
            if line.is_empty() {
                self.ready.remove(&lane);
            }
        }
        self.ready_count -= 1;
    }
}
