//! The graph of a DAG's tasks, by index into [`Dag::tasks`](crate::dag::Dag::tasks).

use std::collections::{BTreeSet, HashMap};

use crate::dag::Dag;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// Every index once, each after all of its upstreams; ties in the order of the file.
    pub order: Vec<usize>,
    pub upstream: Vec<Vec<usize>>,
    pub downstream: Vec<Vec<usize>>,
}

/// The tasks of one cycle, in order, the first one repeated at the end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tasks depend on each other in a circle: {}", .0.join(" -> "))]
pub struct CycleError(pub Vec<String>);

impl Graph {
    /// Edges to unknown tasks are left out; the DAG file reader reports them.
    pub fn of(dag: &Dag) -> Result<Self, CycleError> {
        let index: HashMap<&str, usize> =
            dag.tasks.iter().enumerate().map(|(i, task)| (task.task_id.as_str(), i)).collect();
        let edges = dag
            .tasks
            .iter()
            .map(|task| task.depends_on.iter().filter_map(|id| index.get(id.as_str()).copied()).collect())
            .collect();
        Self::from_upstream(edges)
            .map_err(|cycle| CycleError(cycle.into_iter().map(|i| dag.tasks[i].task_id.to_string()).collect()))
    }

    /// From the direct upstreams of each node. The error lists the nodes of one cycle.
    pub fn from_upstream(mut upstream: Vec<Vec<usize>>) -> Result<Self, Vec<usize>> {
        let count = upstream.len();
        let mut downstream = vec![Vec::new(); count];
        for (node, parents) in upstream.iter_mut().enumerate() {
            parents.sort_unstable();
            parents.dedup();
            for parent in parents.iter() {
                downstream[*parent].push(node);
            }
        }
        let mut waiting: Vec<usize> = upstream.iter().map(Vec::len).collect();
        let mut ready: BTreeSet<usize> = (0..count).filter(|node| waiting[*node] == 0).collect();
        let mut order = Vec::with_capacity(count);
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for child in &downstream[node] {
                waiting[*child] -= 1;
                if waiting[*child] == 0 {
                    ready.insert(*child);
                }
            }
        }
        if order.len() == count {
            Ok(Self { order, upstream, downstream })
        } else {
            Err(find_cycle(&upstream, &waiting))
        }
    }

    /// All tasks before (`upstream = true`) or after `start`, without it, in topological order.
    pub fn reachable(&self, start: usize, upstream: bool) -> Vec<usize> {
        let edges = if upstream { &self.upstream } else { &self.downstream };
        let mut seen = vec![false; edges.len()];
        let mut stack = vec![start];
        while let Some(node) = stack.pop() {
            for next in &edges[node] {
                if !std::mem::replace(&mut seen[*next], true) {
                    stack.push(*next);
                }
            }
        }
        self.order.iter().copied().filter(|node| seen[*node]).collect()
    }

    pub fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        self.order.iter().copied().filter(|node| self.downstream[*node].is_empty())
    }
}

/// Walks upstream among the nodes that never became ready until one comes again.
fn find_cycle(upstream: &[Vec<usize>], waiting: &[usize]) -> Vec<usize> {
    let Some(start) = waiting.iter().position(|count| *count > 0) else { return Vec::new() };
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let Some(next) = upstream[last].iter().copied().find(|node| waiting[*node] > 0) else { return path };
        if let Some(first) = path.iter().position(|node| *node == next) {
            let mut cycle = path.split_off(first);
            cycle.push(next);
            cycle.reverse();
            return cycle;
        }
        path.push(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_a_diamond_and_finds_what_is_reachable() {
        let graph = Graph::from_upstream(vec![vec![1, 2], vec![3], vec![3], vec![]]).unwrap();
        assert_eq!(graph.order, [3, 1, 2, 0]);
        assert_eq!(graph.reachable(3, false), [1, 2, 0]);
        assert_eq!(graph.reachable(0, true), [3, 1, 2]);
        assert_eq!(graph.leaves().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn names_the_cycle() {
        let cycle = Graph::from_upstream(vec![vec![], vec![0, 3], vec![1], vec![2]]).unwrap_err();
        assert_eq!(cycle.len(), 4);
        assert_eq!(cycle.first(), cycle.last());
        assert!(!cycle.contains(&0));
    }
}
