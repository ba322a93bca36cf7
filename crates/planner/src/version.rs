//! A stored version of a DAG with everything that is derived from it once.

use std::sync::Arc;

use millrace_model::change::{NewInstance, RunFacts};
use millrace_model::dag::{Dag, Task};
use millrace_model::execution::WeightRule;
use millrace_model::graph::{CycleError, Graph};
use millrace_model::mapping::Expand;
use millrace_model::state::RunState;

use crate::mapping::Mapping;
use crate::roles::Roles;

/// What the key of a `concurrency`, a task's or a whole run's, is made from.
#[derive(Debug, Clone, Copy)]
pub struct KeyFacts<'a> {
    pub template: &'a str,
    pub dag: &'a Dag,
    /// None: for the run as a whole.
    pub task: Option<&'a Task>,
    pub run: &'a RunFacts,
    pub map_index: i32,
}

/// Renders the key of a `concurrency`, or says why it can't. Must be pure: the key is not stored, but made again
/// from the same facts.
pub type KeyRenderer = fn(&KeyFacts<'_>) -> Result<String, String>;

/// A DAG version, its graph and the effective weight of each task. Shared by all runs that are pinned to it.
#[derive(Debug)]
pub struct DagVersion {
    /// The row id of the version.
    pub key: i64,
    pub dag: Arc<Dag>,
    pub graph: Graph,
    /// By task index: the task's own weight and, by its `weight_rule`, that of every distinct task after or before it.
    pub weights: Vec<i32>,
    /// By task index: the highest `priority_weight`, as it was written, among the task and those that its `weight_rule` looks
    /// at. However many they are, it does not grow.
    pub urgencies: Vec<i32>,
    /// By task index: its place in the topological order.
    pub position: Vec<u32>,
    pub(crate) render_key: KeyRenderer,
    /// Which tasks are mapped, and over what.
    pub mapping: Mapping,
    /// Setups, teardowns, and which tasks decide how a run ends.
    pub roles: Roles,
}

impl DagVersion {
    /// Fails when the tasks depend on each other in a circle, which the DAG file reader never lets through.
    pub fn new(key: i64, dag: Arc<Dag>) -> Result<Self, CycleError> {
        let graph = Graph::of(&dag)?;
        let weights = effective_weights(&graph, &dag);
        let urgencies = urgencies(&graph, &dag);
        let mut position = vec![0; dag.tasks.len()];
        for (place, task) in graph.order.iter().enumerate() {
            position[*task] = place as u32;
        }
        let mapping = Mapping::of(&dag);
        let roles = Roles::of(&dag, &graph);
        // Without a renderer a key is the text that it is.
        let render_key: KeyRenderer = |facts| Ok(facts.template.to_owned());
        Ok(Self { key, dag, graph, weights, urgencies, position, render_key, mapping, roles })
    }

    #[must_use]
    pub fn with_key_renderer(mut self, render_key: KeyRenderer) -> Self {
        self.render_key = render_key;
        self
    }

    /// Of a run for which there is room: one that needs a key is queued until it gets it.
    pub(crate) fn first_state(&self) -> RunState {
        if self.dag.concurrency.is_some() { RunState::Queued } else { RunState::Running }
    }

    /// How the task ends decides about its run.
    pub fn decides(&self, task_id: &str) -> bool {
        self.dag.task_index(task_id).is_some_and(|task| self.roles.leaves.contains(&task))
    }

    /// Some task depends on how the run before went.
    pub fn looks_back(&self) -> bool {
        self.past_tasks().next().is_some()
    }

    pub(crate) fn past_tasks(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.dag.tasks.len()).filter(|task| self.looks_back_at(*task))
    }

    pub(crate) fn looks_back_at(&self, task: usize) -> bool {
        let task = &self.dag.tasks[task];
        task.depends_on_past || task.wait_for_downstream
    }

    /// The instances of a new run, in the order of the file, with their effective weights. A task that is mapped over a
    /// list in the file has one for each item; one that waits for its list has one that stands for all.
    pub fn new_instances(&self) -> Vec<NewInstance> {
        let instances = |(task, weight)| {
            let one = NewInstance { priority_weight: weight, ..NewInstance::of(task) };
            match self.dag.expand_of(task).and_then(Expand::literal_count).and_then(|count| i32::try_from(count).ok()) {
                None | Some(0) => vec![one],
                Some(count) => (0..count).map(|map_index| NewInstance { map_index, ..one.clone() }).collect(),
            }
        };
        self.dag.tasks.iter().zip(self.weights.iter().copied()).flat_map(instances).collect()
    }

    /// As [`DagVersion::new_instances`], for one task.
    pub(crate) fn new_instance(&self, task: usize) -> NewInstance {
        NewInstance { priority_weight: self.weights[task], ..NewInstance::of(&self.dag.tasks[task]) }
    }
}

fn effective_weights(graph: &Graph, dag: &Dag) -> Vec<i32> {
    let own: Vec<i32> = dag.tasks.iter().map(|task| task.priority_weight).collect();
    let uses = |rule| dag.tasks.iter().any(|task| task.weight_rule == rule);
    let downstream =
        uses(WeightRule::Downstream).then(|| reachable_weights(graph.order.iter().rev(), &graph.downstream, &own));
    let upstream = uses(WeightRule::Upstream).then(|| reachable_weights(graph.order.iter(), &graph.upstream, &own));
    let weigh = |(index, task): (usize, &Task)| {
        let sums = match task.weight_rule {
            WeightRule::Downstream => &downstream,
            WeightRule::Upstream => &upstream,
            WeightRule::Absolute => &None,
        };
        sums.as_ref().map_or(own[index], |sums| sums[index])
    };
    dag.tasks.iter().enumerate().map(weigh).collect()
}

fn urgencies(graph: &Graph, dag: &Dag) -> Vec<i32> {
    let own: Vec<i32> = dag.tasks.iter().map(|task| task.priority_weight).collect();
    // `order` names a task after all that `next` leads to.
    let highest = |order: &mut dyn Iterator<Item = &usize>, next: &[Vec<usize>]| {
        let mut highest = own.clone();
        for node in order {
            highest[*node] = next[*node].iter().map(|it| highest[*it]).fold(own[*node], i32::max);
        }
        highest
    };
    let downstream = highest(&mut graph.order.iter().rev(), &graph.downstream);
    let upstream = highest(&mut graph.order.iter(), &graph.upstream);
    let of = |(index, task): (usize, &Task)| match task.weight_rule {
        WeightRule::Downstream => downstream[index],
        WeightRule::Upstream => upstream[index],
        WeightRule::Absolute => own[index],
    };
    dag.tasks.iter().enumerate().map(of).collect()
}

/// Own weight plus that of every distinct task that `next` leads to: one counts once however many ways lead to it.
/// `order` names a task after all that it leads to.
///
/// The tasks found are kept as bit sets; sums that leave `i32` stop at its ends.
fn reachable_weights<'a>(order: impl Iterator<Item = &'a usize>, next: &[Vec<usize>], own: &[i32]) -> Vec<i32> {
    let words = own.len().div_ceil(64);
    let mut reached = vec![Vec::new(); own.len()];
    let mut weights = vec![0; own.len()];
    for node in order.copied() {
        let mut set = vec![0u64; if next[node].is_empty() { 0 } else { words }];
        for child in next[node].iter().copied() {
            set[child / 64] |= 1 << (child % 64);
            for (word, of_child) in set.iter_mut().zip::<&Vec<u64>>(&reached[child]) {
                *word |= *of_child;
            }
        }
        let sum = members(&set).map(|index| i64::from(own[index])).sum::<i64>() + i64::from(own[node]);
        weights[node] = sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        reached[node] = set;
    }
    weights
}

fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(place, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            if rest == 0 {
                return None;
            }
            let bit = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            Some(place * 64 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn downstream_weights(graph: &Graph, own: &[i32]) -> Vec<i32> {
        reachable_weights(graph.order.iter().rev(), &graph.downstream, own)
    }

    #[test]
    fn case_72_a_task_weighs_what_waits_for_it() {
        let chain = Graph::from_upstream(vec![vec![], vec![0], vec![1]]).unwrap();
        assert_eq!(downstream_weights(&chain, &[1, 1, 1]), [3, 2, 1]);
        let diamond = Graph::from_upstream(vec![vec![], vec![0], vec![0], vec![1, 2]]).unwrap();
        assert_eq!(downstream_weights(&diamond, &[1, 1, 1, 1]), [4, 2, 2, 1]);
    }

    #[test]
    fn weights_beyond_one_word_and_beyond_i32() {
        let chain =
            Graph::from_upstream((0..200).map(|node: usize| node.checked_sub(1).into_iter().collect()).collect());
        let weights = downstream_weights(&chain.unwrap(), &[1; 200]);
        assert_eq!((weights[0], weights[199]), (200, 1));
        let pair = Graph::from_upstream(vec![vec![], vec![0]]).unwrap();
        assert_eq!(downstream_weights(&pair, &[i32::MAX, i32::MAX]), [i32::MAX, i32::MAX]);
    }

    #[test]
    fn each_task_is_weighed_by_its_own_rule() {
        use millrace_model::ids::{DagId, TaskId};
        let named = |id: &str, after: Option<&str>, weight_rule| Task {
            depends_on: after.map(TaskId::new_unchecked).into_iter().collect(),
            priority_weight: 2,
            weight_rule,
            ..Task::new(TaskId::new_unchecked(id), "noop")
        };
        let dag = Dag {
            tasks: vec![
                named("a", None, WeightRule::Downstream),
                named("b", Some("a"), WeightRule::Absolute),
                named("c", Some("b"), WeightRule::Upstream),
            ],
            ..Dag::new(DagId::new_unchecked("d"))
        };
        assert_eq!(DagVersion::new(1, Arc::new(dag)).unwrap().weights, [6, 2, 6]);
    }

    #[test]
    fn a_task_is_as_urgent_as_the_most_urgent_that_waits_for_it() {
        use millrace_model::ids::{DagId, TaskId};
        let named = |id: &str, after: Option<&str>, priority_weight, weight_rule| Task {
            depends_on: after.map(TaskId::new_unchecked).into_iter().collect(),
            priority_weight,
            weight_rule,
            ..Task::new(TaskId::new_unchecked(id), "noop")
        };
        let tasks = vec![
            named("a", None, 1, WeightRule::Downstream),
            named("b", Some("a"), 1, WeightRule::Absolute),
            named("c", Some("b"), 7, WeightRule::Downstream),
            named("d", Some("c"), 1, WeightRule::Upstream),
            named("e", Some("b"), -2, WeightRule::Downstream),
        ];
        let dag = Dag { tasks, ..Dag::new(DagId::new_unchecked("d")) };
        assert_eq!(DagVersion::new(1, Arc::new(dag)).unwrap().urgencies, [7, 1, 7, 7, -2]);
    }
}
