//! What is drawn: each task, or, of a DAG that has too many, each outermost group of them.

use std::collections::{BTreeSet, HashMap};

use millrace_model::dag::Dag;
use millrace_model::graph::Graph;

use crate::words::fill;

/// One box.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub name: String,
    /// The operator, or how many tasks it stands for.
    pub what: String,
    /// By their places in the DAG.
    pub tasks: Vec<usize>,
}

pub(super) struct Boxes {
    pub members: Vec<Member>,
    /// What each waits for, by place. Groups may wait for each other.
    pub upstream: Vec<Vec<usize>>,
    pub is_folded: bool,
}

fn alone(dag: &Dag, place: usize) -> Member {
    let task = &dag.tasks[place];
    Member { name: task.task_id.to_string(), what: task.operator.clone(), tasks: vec![place] }
}

impl Boxes {
    pub fn of_tasks(dag: &Dag, graph: Graph) -> Self {
        let members = (0..dag.tasks.len()).map(|place| alone(dag, place)).collect();
        Self { members, upstream: graph.upstream, is_folded: false }
    }
}

/// A box for each outermost group, and for each task that stands in none.
pub(super) fn fold(dag: &Dag, upstream: &[Vec<usize>]) -> Boxes {
    // Each group comes before the groups within it.
    let mut outermost: HashMap<&str, &str> = HashMap::new();
    for group in &dag.groups {
        let id = group.group_id.as_str();
        let around = group.parent.as_ref().and_then(|parent| outermost.get(parent.as_str()).copied());
        outermost.insert(id, around.unwrap_or(id));
    }
    let mut members: Vec<Member> = Vec::new();
    let mut of_groups: HashMap<&str, usize> = HashMap::new();
    let mut boxes = Vec::with_capacity(dag.tasks.len());
    for (place, task) in dag.tasks.iter().enumerate() {
        let group = task.group.as_ref().and_then(|group| outermost.get(group.as_str()).copied());
        let known = group.and_then(|group| of_groups.get(group).copied());
        if let Some(known) = known {
            members[known].tasks.push(place);
            boxes.push(known);
            continue;
        }
        let mut member = alone(dag, place);
        if let Some(group) = group {
            group.clone_into(&mut member.name);
            of_groups.insert(group, members.len());
        }
        boxes.push(members.len());
        members.push(member);
    }
    for place in of_groups.into_values() {
        members[place].what = fill("{n} tasks", &[("n", &members[place].tasks.len().to_string())]);
    }
    let mut before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); members.len()];
    for (task, waits_for) in upstream.iter().enumerate() {
        let here = boxes[task];
        before[here].extend(waits_for.iter().map(|one| boxes[*one]).filter(|one| *one != here));
    }
    let upstream = before.into_iter().map(|before| before.into_iter().collect()).collect();
    Boxes { members, upstream, is_folded: true }
}

#[cfg(test)]
mod tests {
    use millrace_model::ids::DagId;

    use super::*;
    use crate::pages::grouped::{group, task};

    #[test]
    fn a_box_stands_for_each_outermost_group() {
        let dag = Dag {
            groups: vec![group("load", None), group("load.inner", Some("load")), group("check", None)],
            tasks: vec![
                task("begin", None, &[]),
                task("load.a", Some("load"), &["begin"]),
                task("load.inner.b", Some("load.inner"), &["load.a", "begin"]),
                task("check.c", Some("check"), &["load.inner.b"]),
            ],
            ..Dag::new(DagId::new_unchecked("d"))
        };
        let boxes = fold(&dag, &Graph::of(&dag).unwrap().upstream);
        let names: Vec<(&str, &[usize])> =
            boxes.members.iter().map(|member| (member.name.as_str(), member.tasks.as_slice())).collect();
        assert_eq!(names, [("begin", &[0][..]), ("load", &[1, 2]), ("check", &[3])]);
        assert_eq!(boxes.upstream, [vec![], vec![0], vec![1]]);
        assert_eq!((boxes.members[0].what.as_str(), boxes.members[1].what.as_str()), ("bash", "2 tasks"));
    }
}
