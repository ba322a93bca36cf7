//! Mapped tasks: how many instances they have.

use millrace_model::change::{Completion, Expansion, InstanceKey, RunKey, TryOutcome};
use millrace_model::mapping::{MAX_MAP_LENGTH, ResultDigests};
use millrace_model::state::TaskState;
use millrace_model::trigger_rule::{Decision, UpstreamCounts};
use serde_json::Value;

use crate::instance::InstanceSnapshot;
use crate::run::RunView;
use crate::turn::Turn;
use crate::view::View;

/// The key under which a task's own result is kept.
const RESULT: &str = "return_value";

/// How many instances a task should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A result that it is mapped over is not there yet.
    Unknown,
    Count(usize),
    /// A result that it is mapped over will not come: the state that follows, and why.
    Never(TaskState, String),
}

impl RunView {
    pub(crate) fn wanted(&self, task: usize, limit: usize) -> Wanted {
        let dag = &self.version.dag;
        let Some(expand) = dag.expand_of(&dag.tasks[task]) else { return Wanted::Count(1) };
        match expand.count(|id| self.list_length(dag.task_index(id.as_str())?)) {
            Some(count) if count > limit => {
                Wanted::Never(TaskState::Failed, format!("it has {count} items; max_map_length is {limit}"))
            }
            Some(count) => Wanted::Count(count),
            None => self.missing_list(task),
        }
    }

    /// What a mapped task's list says, for those who ask why it does not run.
    pub(crate) fn list_answer(&self, task: usize, limit: usize) -> Option<(bool, String)> {
        let (producers, _) = self.version.mapping.mapped.get(&task)?;
        let names: Vec<&str> = producers.iter().map(|it| self.version.dag.tasks[*it].task_id.as_str()).collect();
        Some(match self.wanted(task, limit) {
            Wanted::Count(1) => (true, "it is mapped over 1 item".to_owned()),
            Wanted::Count(count) => (true, format!("it is mapped over {count} items")),
            Wanted::Unknown => {
                (false, format!("it is mapped over the result of {}, which is not there yet", names.join(", ")))
            }
            Wanted::Never(_, reason) => (false, reason),
        })
    }

    /// How long the list is that a task left: its result, or the results of its instances.
    fn list_length(&self, producer: usize) -> Option<usize> {
        let length = |place: usize| {
            let instance = &self.instances[place];
            self.list_lengths
                .get(&(producer, instance.map_index))
                .map(|(length, _)| *length)
                .filter(|_| instance.state == TaskState::Success)
        };
        if !self.version.mapping.is_mapped(producer) {
            return self.instances_of(producer).find_map(length)?.map(|length| length as usize);
        }
        let mut places = self.instances_of(producer);
        let has_ended = places.clone().all(|place| self.instances[place].state.is_finished());
        has_ended.then(|| places.by_ref().filter(|place| length(*place).is_some()).count())
    }

    fn missing_list(&self, task: usize) -> Wanted {
        let producers = self.version.mapping.mapped.get(&task).map(|(producers, _)| producers.as_slice());
        let mut missing = producers.unwrap_or_default().iter().copied().filter(|p| self.list_length(*p).is_none());
        let Some(producer) = missing.next() else { return Wanted::Unknown };
        let mut instances = self.instances_of(producer).map(|place| &self.instances[place]);
        if !instances.clone().all(|instance| instance.state.is_finished()) {
            return Wanted::Unknown;
        }
        let id = &self.version.dag.tasks[producer].task_id;
        let (state, standing) = instances
            .next()
            .map_or((TaskState::Removed, TaskState::Removed.to_string()), |it| (it.counts_as(), it.standing()));
        let follows = if state == TaskState::Skipped { TaskState::Skipped } else { TaskState::UpstreamFailed };
        Wanted::Never(follows, format!("{id} is {standing} and left no list"))
    }

    /// Whether the instances of a task are those of `count` items.
    pub(crate) fn has_instances(&self, task: usize, count: usize) -> bool {
        let places = self.instances_of(task).filter(|place| self.instances[*place].state != TaskState::Removed);
        let mut indexes = places.map(|place| i64::from(self.instances[place].map_index));
        match count {
            0 => indexes.next().is_some() && indexes.next().is_none(),
            _ => indexes.eq(0..count as i64),
        }
    }

    /// As [`RunView::upstream_counts`], for one instance of a task in a mapped group.
    fn upstream_counts_of(&self, place: usize) -> UpstreamCounts {
        self.counts_of(self.upstream_of_instance(place))
    }
}

impl Turn<'_> {
    /// Notes how long a list is that others are mapped over. One that cannot be mapped over is a failure of its try.
    pub(crate) fn note_list(&mut self, run: RunKey, place: usize, completion: &mut Completion) {
        let limit = self.view.max_map_length();
        let Some(run) = self.view.runs.get_mut(&run) else { return };
        let (task, map_index) = (run.instances[place].task, run.instances[place].map_index);
        let Some(mapped) = run.version.mapping.producers.get(&task) else { return };
        for over_it in mapped {
            run.items.remove(over_it);
        }
        if completion.outcome != TryOutcome::Success {
            return;
        }
        if let Some((_, value)) = completion.results.iter_mut().find(|(key, _)| key == RESULT) {
            read_list(value);
        }
        let result = completion.results.iter().find(|(key, _)| key == RESULT).map(|(_, value)| value);
        let result = result.filter(|value| !value.is_null());
        if !run.version.mapping.is_mapped(task)
            && let Err(problem) = mappable(result, limit)
        {
            let name = &run.version.dag.tasks[mapped[0]].task_id;
            let error = format!("{name} is mapped over the result of this task, but {problem}");
            completion.outcome = TryOutcome::Failed { reason: format!("{name}: {problem}"), retry: true };
            completion.error = Some(error);
            completion.results.clear();
            return;
        }
        let length = result.and_then(Value::as_array).and_then(|list| u32::try_from(list.len()).ok());
        match result {
            Some(value) => run.list_lengths.insert((task, map_index), (length, ResultDigests::of(value))),
            None => run.list_lengths.remove(&(task, map_index)),
        };
        let positions = mapped.iter().map(|task| run.version.position[*task]);
        run.pending.extend(positions);
    }

    /// A mapped task: gives it the instances that its list calls for, and decides about each.
    pub(crate) fn evaluate_mapped(&mut self, key: RunKey, task: usize) {
        let limit = self.view.max_map_length();
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        let places = run.instances_of(task);
        let has_ended = places.clone().all(|place| run.instances[place].state.is_finished());
        if run.expanding.contains(&task) || (has_ended && !run.has_other_items(task, limit)) {
            return;
        }
        let whole = run.version.dag.tasks[task].trigger_rule.decide(&run.upstream_counts(task));
        let (whole, why) = self.decide(key, (task, -1), whole);
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        let wanted = run.wanted(task, limit);
        if let Wanted::Count(count) = wanted
            && !matches!(whole, Decision::Mark(_))
            && (!run.has_instances(task, count) | self.renew(key, task))
        {
            let Some(run) = self.view.runs.get_mut(&key) else { return };
            run.expanding.insert(task);
            let like = run.version.new_instance(task);
            for place in places {
                run.take_ready(place);
            }
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            self.plan.batch.expansions.push(Expansion { run: key, count, like });
            return;
        }
        let Some(run) = self.view.runs.get(&key) else { return };
        let sees_its_own =
            run.version.graph.upstream[task].iter().any(|parent| run.version.mapping.is_together(task, *parent));
        for place in places {
            let Some(run) = self.view.runs.get(&key) else { return };
            let (decision, why) = if sees_its_own && run.instances[place].map_index >= 0 {
                let own = run.version.dag.tasks[task].trigger_rule.decide(&run.upstream_counts_of(place));
                let map_index = run.instances[place].map_index;
                self.decide(key, (task, map_index), own)
            } else {
                (whole, why.clone())
            };
            let (decision, reason) = match (&wanted, decision) {
                (Wanted::Count(0), Decision::Run) => {
                    (Decision::Mark(TaskState::Skipped), Some("its list is empty".to_owned()))
                }
                (Wanted::Never(state, reason), Decision::Run) => (Decision::Mark(*state), Some(reason.clone())),
                (Wanted::Unknown, Decision::Run) => (Decision::Wait, None),
                (_, decision) => (decision, why),
            };
            self.settle_instance(key, place, decision, reason);
        }
    }
}

/// A text that is a JSON list, as a command prints it, is the list.
fn read_list(value: &mut Value) {
    let Value::String(text) = value else { return };
    if text.trim_start().starts_with('[')
        && let Ok(list @ Value::Array(_)) = serde_json::from_str(text)
    {
        *value = list;
    }
}

/// Whether a result can be mapped over; or what is wrong with it.
fn mappable(result: Option<&Value>, limit: usize) -> Result<(), String> {
    match result {
        None => Err("it left none".to_owned()),
        Some(Value::Array(list)) if list.len() > limit => {
            Err(format!("it has {} items, and max_map_length is {limit}", list.len()))
        }
        Some(Value::Array(_)) => Ok(()),
        Some(Value::Object(_)) => Err("it is a map, not a list".to_owned()),
        Some(_) => Err("it is a single value, not a list".to_owned()),
    }
}

impl View {
    /// The largest number of instances of a mapped task; the default is
    /// [`MAX_MAP_LENGTH`](millrace_model::mapping::MAX_MAP_LENGTH).
    pub fn set_max_map_length(&mut self, limit: usize) {
        self.max_map_length = Some(limit);
    }

    pub(crate) fn max_map_length(&self) -> usize {
        self.max_map_length.unwrap_or(MAX_MAP_LENGTH)
    }

    /// Adds the instances that an expansion made, under the keys that the store gave them, in the order of their map
    /// indexes. Only for one that had a single instance before; any other run is read again.
    pub fn put_expanded(&mut self, expansion: &Expansion, keys: &[InstanceKey]) {
        let Some(run) = self.runs.remove(&expansion.run) else { return };
        let mut snapshot = run.snapshot();
        self.runs.insert(expansion.run, run);
        let task_id = &expansion.like.task_id;
        let Some(first) = snapshot.instances.iter().find(|instance| instance.task_id == *task_id).cloned() else {
            return;
        };
        snapshot.instances.retain(|instance| instance.task_id != *task_id);
        let indexed = (0..).zip(keys).map(|(map_index, key)| {
            if *key == first.key {
                InstanceSnapshot { map_index, ..first.clone() }
            } else {
                InstanceSnapshot::new(*key, &expansion.like, map_index)
            }
        });
        snapshot.instances.extend(indexed);
        self.put_run(snapshot);
    }
}
