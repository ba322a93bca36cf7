//! What a version says of setups and teardowns, and of the tasks that decide about a run.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::dag::Dag;
use millrace_model::graph::Graph;

/// What a version says of setups and teardowns, by task index. Only the leaves for a DAG without them.
#[derive(Debug, Default)]
pub struct Roles {
    /// The setups whose success a task waits for: those before it that no teardown before it has cleaned up after.
    pub(crate) setups: BTreeMap<usize, Vec<usize>>,
    /// For each teardown the tasks that must have ended: what lies between it and its setups.
    pub(crate) scopes: BTreeMap<usize, Vec<usize>>,
    /// Tasks to look at when another one ends though they do not come directly after it.
    watchers: BTreeMap<usize, Vec<usize>>,
    /// The tasks whose ends decide how the run has ended.
    pub(crate) leaves: Vec<usize>,
}

impl Roles {
    pub(crate) fn of(dag: &Dag, graph: &Graph) -> Self {
        let tasks = &dag.tasks;
        let is_teardown = |task: usize| tasks[task].is_teardown;
        let is_leaf = |task: &usize| {
            graph.downstream[*task].iter().all(|child| is_teardown(*child))
                && (!is_teardown(*task) || tasks[*task].on_failure_fail_dagrun)
        };
        let mut roles = Self { leaves: graph.order.iter().copied().filter(is_leaf).collect(), ..Self::default() };
        let after = |task: usize| graph.reachable(task, false).into_iter().collect::<BTreeSet<usize>>();
        let setups: BTreeMap<usize, BTreeSet<usize>> =
            (0..tasks.len()).filter(|task| tasks[*task].is_setup).map(|task| (task, after(task))).collect();
        let teardowns: BTreeMap<usize, BTreeSet<usize>> =
            (0..tasks.len()).filter(|task| is_teardown(*task)).map(|task| (task, after(task))).collect();
        for (setup, reached) in &setups {
            let own: Vec<usize> =
                graph.downstream[*setup].iter().copied().filter(|child| is_teardown(*child)).collect();
            for task in reached.iter().copied().filter(|task| !is_teardown(*task)) {
                if own.is_empty() || own.iter().any(|teardown| !teardowns[teardown].contains(&task)) {
                    roles.setups.entry(task).or_default().push(*setup);
                }
            }
        }
        for teardown in teardowns.keys() {
            let before: BTreeSet<usize> = graph.reachable(*teardown, true).into_iter().collect();
            let own = graph.upstream[*teardown].iter().filter_map(|parent| setups.get(parent));
            let scope: BTreeSet<usize> = own.flat_map(|reached| reached.intersection(&before).copied()).collect();
            if !scope.is_empty() {
                roles.scopes.insert(*teardown, scope.into_iter().collect());
            }
        }
        for (task, seen) in roles.setups.iter().chain(&roles.scopes) {
            for other in seen {
                roles.watchers.entry(*other).or_default().push(*task);
            }
        }
        roles
    }

    /// Tasks to look at when this one has ended, besides those directly after it.
    pub(crate) fn watchers(&self, task: usize) -> &[usize] {
        self.watchers.get(&task).map_or(&[], Vec::as_slice)
    }
}
