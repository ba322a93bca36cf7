//! For which item an instance of a mapped task ran. A list that is made again may have other items, and what has ended for
//! one has not done the work of another. Where they have only changed places, all of their work is done.

use std::collections::BTreeMap;
use std::sync::Arc;

use millrace_model::change::{Renewal, RunKey};
use millrace_model::mapping::have_only_moved;
use millrace_model::state::TaskState;

use crate::expand::Wanted;
use crate::run::RunView;
use crate::turn::Turn;

impl RunView {
    /// By what the items of a mapped task are known, while all of its lists are there.
    pub(crate) fn items(&mut self, task: usize) -> Option<Arc<[i64]>> {
        if let Some(items) = self.items.get(&task) {
            return Some(items.clone());
        }
        let dag = &self.version.dag;
        let expand = dag.expand_of(&dag.tasks[task])?;
        let mut results = BTreeMap::new();
        for producer in expand.producers() {
            results.insert(producer.clone(), self.items_of(dag.task_index(producer.as_str())?)?);
        }
        let items: Arc<[i64]> = expand.digests(&results)?.into();
        self.items.insert(task, items.clone());
        Some(items)
    }

    /// Of the list that a task left: its result, or the results of its instances.
    fn items_of(&self, producer: usize) -> Option<Vec<i64>> {
        let places = self.instances_of(producer).map(|place| &self.instances[place]);
        let mut successful = places.filter(|it| it.state == TaskState::Success);
        if self.version.mapping.is_mapped(producer) {
            let results = successful.filter_map(|it| self.list_lengths.get(&(producer, it.map_index)));
            return Some(results.map(|(_, digests)| digests.whole).collect());
        }
        let (_, digests) = self.list_lengths.get(&(producer, successful.next()?.map_index))?;
        Some(digests.items.clone())
    }

    /// Those that have ended for another item. Of what ended without a try, or before that was kept, nobody knows.
    fn ended_for_others(&mut self, task: usize) -> Vec<usize> {
        let has_ended = |place: &usize| {
            let it = &self.instances[*place];
            it.item.is_some() && it.state.is_finished() && it.state != TaskState::Removed && !it.is_leaving()
        };
        let ended: Vec<usize> = self.instances_of(task).filter(has_ended).collect();
        if ended.is_empty() {
            return ended;
        }
        let Some(items) = self.items(task) else { return Vec::new() };
        let other = |place: usize| {
            let it = &self.instances[place];
            let now = usize::try_from(it.map_index).ok().and_then(|place| items.get(place))?;
            it.item.filter(|item| item != now).map(|item| (place, (item, *now)))
        };
        let (others, items): (Vec<usize>, Vec<(i64, i64)>) = ended.into_iter().filter_map(other).unzip();
        if have_only_moved(items) { Vec::new() } else { others }
    }

    /// All instances of a task have ended, but its list has other items, or more or less of them.
    pub(crate) fn has_other_items(&mut self, task: usize, limit: usize) -> bool {
        let Wanted::Count(count) = self.wanted(task, limit) else { return false };
        let is_expanded = self.instances_of(task).any(|place| self.instances[place].map_index >= 0);
        is_expanded && count > 0 && (!self.has_instances(task, count) || !self.ended_for_others(task).is_empty())
    }
}

impl Turn<'_> {
    /// What has ended for another item waits again. Returns whether there was any; until the store has it, nothing of the
    /// task is decided.
    pub(crate) fn renew(&mut self, key: RunKey, task: usize) -> bool {
        let Some(run) = self.view.runs.get_mut(&key) else { return false };
        let others = run.ended_for_others(task);
        let version = run.version.clone();
        for place in &others {
            let Some(run) = self.view.runs.get_mut(&key) else { return false };
            let it = &mut run.instances[*place];
            it.item = None;
            let (instance, from) = (it.key, it.state);
            let retries = version.dag.tasks[task].retries;
            self.plan.batch.renewals.push(Renewal { run: key, instance, from, retries });
            self.view.set_state(key, *place, TaskState::None);
        }
        if let Some(run) = self.view.runs.get_mut(&key).filter(|_| !others.is_empty()) {
            run.pending.extend(version.graph.downstream[task].iter().map(|after| version.position[*after]));
        }
        !others.is_empty()
    }
}
