//! What a version says of mapped tasks: over what they are mapped, and which of them see each other.

use std::collections::BTreeMap;

use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::mapping::ResultDigests;

/// What a version says of mapping, by task index. Empty for a DAG that does not use it.
#[derive(Debug, Default)]
pub struct Mapping {
    /// The mapped tasks: those whose results they are mapped over, and the number of the mapped group they stand in.
    pub(crate) mapped: BTreeMap<usize, (Vec<usize>, Option<usize>)>,
    /// The tasks whose results others are mapped over: those others.
    pub(crate) producers: BTreeMap<usize, Vec<usize>>,
}

impl Mapping {
    pub(crate) fn of(dag: &Dag) -> Self {
        let mut mapping = Self::default();
        let index: BTreeMap<&str, usize> =
            dag.tasks.iter().enumerate().map(|(place, task)| (task.task_id.as_str(), place)).collect();
        for (place, task) in dag.tasks.iter().enumerate() {
            let Some(expand) = dag.expand_of(task) else { continue };
            let producers: Vec<usize> = expand.producers().filter_map(|id| index.get(id.as_str()).copied()).collect();
            for producer in &producers {
                mapping.producers.entry(*producer).or_default().push(place);
            }
            let group = dag.mapped_group_of(task).map(|group| &group.group_id);
            let group = group.and_then(|id| dag.groups.iter().position(|group| group.group_id == *id));
            mapping.mapped.insert(place, (producers, group));
        }
        mapping
    }

    pub(crate) fn is_mapped(&self, task: usize) -> bool {
        self.mapped.contains_key(&task)
    }

    /// Whether an instance of one sees only that of the other which has its own map index.
    pub(crate) fn is_together(&self, one: usize, other: usize) -> bool {
        let group = |task: &usize| self.mapped.get(task).and_then(|(_, group)| *group);
        group(&one).is_some_and(|of_one| group(&other) == Some(of_one))
    }

    /// The tasks whose results others are mapped over: how long those are must be known.
    pub fn producers<'a>(&'a self, dag: &'a Dag) -> impl Iterator<Item = &'a TaskId> {
        self.producers.keys().map(|task| &dag.tasks[*task].task_id)
    }
}

/// The length of a result that a task is mapped over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultLength {
    pub task_id: TaskId,
    pub map_index: i32,
    /// `None`: it is not a list.
    pub length: Option<u32>,
    pub digests: ResultDigests,
}
