//! Which tasks of a DAG a person means: some by name or pattern, with those before and after them.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use crate::dag::Dag;
use crate::graph::Graph;
use crate::ids::TaskId;

/// A regular expression that is looked for anywhere in a task's id.
#[derive(Debug, Clone)]
pub struct TaskPattern(Regex);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{pattern}' is not a regular expression for task ids: {problem}")]
pub struct PatternError {
    pub pattern: String,
    pub problem: String,
}

impl TaskPattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let problem = |error: regex::Error| match error {
            // The last line says what is wrong; those before it draw an arrow.
            regex::Error::Syntax(text) => text.lines().last().unwrap_or_default().replace("error: ", ""),
            other => other.to_string(),
        };
        let fail = |error| PatternError { pattern: text.to_owned(), problem: problem(error) };
        Regex::new(text).map(Self).map_err(fail)
    }

    pub fn matches(&self, task_id: &TaskId) -> bool {
        self.0.is_match(task_id.as_str())
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for TaskPattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// The tasks that are named; relatives come from [`TaskSelection`].
#[derive(Debug, Clone, PartialEq)]
pub enum TaskChoice {
    All,
    /// With a map index: that instance alone.
    Named(Vec<(TaskId, Option<i32>)>),
    Pattern(TaskPattern),
}

impl TaskChoice {
    /// Whole tasks by their names.
    pub fn tasks(names: impl IntoIterator<Item = TaskId>) -> Self {
        Self::Named(names.into_iter().map(|name| (name, None)).collect())
    }

    fn names(&self, task_id: &TaskId) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|(name, _)| name == task_id),
            Self::Pattern(pattern) => pattern.matches(task_id),
        }
    }

    /// The instances of a named task that are meant; none listed: all of them.
    fn indexes(&self, task_id: &TaskId) -> BTreeSet<i32> {
        let Self::Named(names) = self else { return BTreeSet::new() };
        let of_task: Vec<Option<i32>> = names.iter().filter(|it| it.0 == *task_id).map(|it| it.1).collect();
        if of_task.contains(&None) { BTreeSet::new() } else { of_task.into_iter().flatten().collect() }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct TaskSelection {
    pub tasks: TaskChoice,
    /// Also every task that these wait for.
    pub upstream: bool,
    /// Also every task that waits for these.
    pub downstream: bool,
}

impl From<TaskChoice> for TaskSelection {
    fn from(tasks: TaskChoice) -> Self {
        Self { tasks, upstream: false, downstream: false }
    }
}

impl TaskSelection {
    pub fn all() -> Self {
        TaskChoice::All.into()
    }

    /// For people: `load`, `^load_ and what they wait for`.
    pub fn describe(&self) -> String {
        let mut text = match &self.tasks {
            TaskChoice::All => "all".to_owned(),
            TaskChoice::Pattern(pattern) => pattern.as_str().to_owned(),
            TaskChoice::Named(names) => names.iter().map(|it| it.0.as_str()).collect::<Vec<_>>().join(", "),
        };
        let more = match (self.upstream, self.downstream) {
            (false, false) => "",
            (true, false) => " and what they wait for",
            (false, true) => " and what waits for them",
            (true, true) => ", what they wait for and what waits for them",
        };
        text.push_str(more);
        text
    }

    /// What is selected of one DAG.
    pub fn of(&self, dag: &Dag) -> SelectedTasks {
        let mut tasks: BTreeMap<TaskId, BTreeSet<i32>> = BTreeMap::new();
        let named: Vec<usize> =
            (0..dag.tasks.len()).filter(|place| self.tasks.names(&dag.tasks[*place].task_id)).collect();
        for place in &named {
            let task_id = &dag.tasks[*place].task_id;
            tasks.insert(task_id.clone(), self.tasks.indexes(task_id));
        }
        for (wanted, is_upstream) in [(self.upstream, true), (self.downstream, false)] {
            if wanted {
                let (whole, some): (Vec<usize>, Vec<usize>) =
                    named.iter().partition(|place| self.tasks.indexes(&dag.tasks[**place].task_id).is_empty());
                for place in some {
                    self.add_relatives(dag, place, is_upstream, &mut tasks);
                }
                for place in reached(dag, &whole, is_upstream) {
                    tasks.insert(dag.tasks[place].task_id.clone(), BTreeSet::new());
                }
            }
        }
        SelectedTasks { tasks }
    }

    /// Of a task of which some instances are meant: within its mapped group only what has the same items, all of the others.
    fn add_relatives(&self, dag: &Dag, place: usize, is_upstream: bool, tasks: &mut BTreeMap<TaskId, BTreeSet<i32>>) {
        let task = &dag.tasks[place];
        for relative in reached(dag, &[place], is_upstream).into_iter().map(|it| &dag.tasks[it]) {
            let is_together = dag.is_mapped_together(task, relative);
            match tasks.get_mut(&relative.task_id) {
                Some(meant) if meant.is_empty() => {}
                Some(meant) if is_together => meant.extend(self.tasks.indexes(&task.task_id)),
                _ if is_together => {
                    tasks.insert(relative.task_id.clone(), self.tasks.indexes(&task.task_id));
                }
                _ => {
                    tasks.insert(relative.task_id.clone(), BTreeSet::new());
                }
            }
        }
    }

    /// Whether a task that the DAG does not have any more is meant.
    pub fn names_gone(&self, task_id: &TaskId) -> bool {
        self.tasks.names(task_id)
    }
}

/// Tasks of one DAG, each with the map indexes that are meant; none listed: all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SelectedTasks {
    tasks: BTreeMap<TaskId, BTreeSet<i32>>,
}

impl FromIterator<TaskId> for SelectedTasks {
    /// All instances of these.
    fn from_iter<I: IntoIterator<Item = TaskId>>(tasks: I) -> Self {
        Self { tasks: tasks.into_iter().map(|task_id| (task_id, BTreeSet::new())).collect() }
    }
}

impl SelectedTasks {
    pub fn contains(&self, task_id: &TaskId, map_index: i32) -> bool {
        self.tasks.get(task_id).is_some_and(|indexes| indexes.is_empty() || indexes.contains(&map_index))
    }

    pub fn has_task(&self, task_id: &TaskId) -> bool {
        self.tasks.contains_key(task_id)
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub fn names(&self) -> impl Iterator<Item = &TaskId> {
        self.tasks.keys()
    }

    /// And what a task needs to run again: the setups that it stands behind, and the teardowns that go with them.
    #[must_use]
    pub fn with_setups_and_teardowns(mut self, dag: &Dag) -> Self {
        for task_id in self.setups_and_teardowns(dag).tasks.into_keys() {
            self.tasks.entry(task_id).or_default();
        }
        self
    }

    /// What [`Self::with_setups_and_teardowns`] adds; some of it may be among these.
    #[must_use]
    pub fn setups_and_teardowns(&self, dag: &Dag) -> Self {
        let Ok(graph) = Graph::of(dag) else { return Self::default() };
        if dag.tasks.iter().all(|task| !task.is_setup && !task.is_teardown) {
            return Self::default();
        }
        let mut added = BTreeSet::new();
        for place in (0..dag.tasks.len()).filter(|place| self.has_task(&dag.tasks[*place].task_id)) {
            let after: BTreeSet<usize> = graph.reachable(place, false).into_iter().collect();
            let setups = graph.reachable(place, true).into_iter().chain([place]).filter(|it| dag.tasks[*it].is_setup);
            for setup in setups {
                let teardowns = graph.reachable(setup, false).into_iter().filter(|it| dag.tasks[*it].is_teardown);
                let teardowns: Vec<usize> = teardowns.collect();
                // A setup whose teardown came before the task is no business of it.
                let is_in_scope = teardowns.is_empty() || teardowns.iter().any(|it| after.contains(it));
                if is_in_scope {
                    added.insert(setup);
                    added.extend(teardowns.into_iter().filter(|it| after.contains(it)));
                }
            }
        }
        added.into_iter().map(|place| dag.tasks[place].task_id.clone()).collect()
    }

    /// Teardowns clean up whatever becomes of the others: only those that were named themselves.
    #[must_use]
    pub fn without_teardowns(mut self, dag: &Dag, named: &TaskChoice) -> Self {
        self.tasks.retain(|task_id, _| {
            named.names(task_id) || !dag.task(task_id.as_str()).is_some_and(|task| task.is_teardown)
        });
        self
    }

    /// The DAG with these tasks only; what they waited for outside of them is forgotten.
    pub fn part_of(&self, dag: &Dag) -> Dag {
        let mut part = dag.clone();
        part.tasks.retain(|task| self.has_task(&task.task_id));
        for task in &mut part.tasks {
            task.depends_on.retain(|before| self.has_task(before));
        }
        part
    }

    /// Every task after these, without these.
    pub fn after(&self, dag: &Dag) -> BTreeSet<TaskId> {
        let named: Vec<usize> = (0..dag.tasks.len()).filter(|it| self.has_task(&dag.tasks[*it].task_id)).collect();
        let after = reached(dag, &named, false);
        after.into_iter().map(|place| dag.tasks[place].task_id.clone()).filter(|id| !self.has_task(id)).collect()
    }
}

fn reached(dag: &Dag, from: &[usize], upstream: bool) -> BTreeSet<usize> {
    // A stored DAG has no circle; one that had would have no relatives.
    let Ok(graph) = Graph::of(dag) else { return BTreeSet::new() };
    from.iter().flat_map(|place| graph.reachable(*place, upstream)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dag::Task;
    use crate::ids::DagId;
    use crate::mapping::{Expand, Items, TaskGroup};

    fn id(text: &str) -> TaskId {
        TaskId::new_unchecked(text)
    }

    /// extract -> load_a, load_b; load_a -> check
    fn dag() -> Dag {
        let task = |name: &str, after: &[&str]| Task {
            depends_on: after.iter().map(|name| id(name)).collect(),
            ..Task::new(id(name), "noop")
        };
        let tasks = vec![
            task("extract", &[]),
            task("load_a", &["extract"]),
            task("load_b", &["extract"]),
            task("check", &["load_a"]),
        ];
        Dag { tasks, ..Dag::new(DagId::new_unchecked("d")) }
    }

    fn names(selection: &TaskSelection) -> Vec<String> {
        selection.of(&dag()).names().map(ToString::to_string).collect()
    }

    #[test]
    fn relatives_are_those_of_the_graph() {
        let load =
            |upstream, downstream| TaskSelection { tasks: TaskChoice::tasks([id("load_a")]), upstream, downstream };
        assert_eq!(names(&load(false, false)), ["load_a"]);
        assert_eq!(names(&load(true, false)), ["extract", "load_a"]);
        assert_eq!(names(&load(false, true)), ["check", "load_a"]);
        assert_eq!(names(&load(true, true)), ["check", "extract", "load_a"], "not its sibling");
    }

    #[test]
    fn a_pattern_is_looked_for_anywhere() {
        let of = |text: &str| names(&TaskChoice::Pattern(TaskPattern::parse(text).unwrap()).into());
        assert_eq!(of("load"), ["load_a", "load_b"]);
        assert_eq!(of("^(extract|check)$"), ["check", "extract"]);
        let error = TaskPattern::parse("load(").unwrap_err();
        assert_eq!(error.to_string(), "'load(' is not a regular expression for task ids: unclosed group");
    }

    #[test]
    fn setups_and_teardowns_come_along() {
        let task = |name: &str, after: &[&str]| Task {
            depends_on: after.iter().map(|name| id(name)).collect(),
            is_setup: name.starts_with("make"),
            is_teardown: name.starts_with("drop"),
            ..Task::new(id(name), "noop")
        };
        let tasks = vec![
            task("make", &[]),
            task("work", &["make"]),
            task("more", &["work"]),
            task("drop", &["more", "make"]),
            task("after", &["more", "drop"]),
        ];
        let dag = Dag { tasks, ..Dag::new(DagId::new_unchecked("d")) };
        let of =
            |name: &str| TaskSelection::from(TaskChoice::tasks([id(name)])).of(&dag).with_setups_and_teardowns(&dag);
        let names = |name: &str| of(name).names().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("work"), ["drop", "make", "work"]);
        assert_eq!(names("make"), ["drop", "make"]);
        assert_eq!(names("after"), ["after"], "the teardown came before it");
        assert_eq!(names("drop"), ["drop"]);
        let below = TaskSelection { tasks: TaskChoice::tasks([id("work")]), upstream: false, downstream: true };
        let left = below.of(&dag).without_teardowns(&dag, &below.tasks);
        assert_eq!(left.names().map(TaskId::as_str).collect::<Vec<_>>(), ["after", "more", "work"]);
    }

    #[test]
    fn within_a_mapped_group_a_map_index_means_the_same_item() {
        let group = TaskGroup {
            group_id: id("g"),
            parent: None,
            description: None,
            expand: Some(Expand::Each(Items::List(vec![1.into(), 2.into()]))),
        };
        let in_group = |name: &str, after: &[&str]| Task {
            depends_on: after.iter().map(|name| id(name)).collect(),
            group: Some(id("g")),
            ..Task::new(id(name), "noop")
        };
        let end = Task { depends_on: vec![id("b")], ..Task::new(id("end"), "noop") };
        let tasks = vec![in_group("a", &[]), in_group("b", &["a"]), end];
        let dag = Dag { tasks, groups: vec![group], ..Dag::new(DagId::new_unchecked("d")) };
        let tasks = TaskChoice::Named(vec![(id("a"), Some(1))]);
        let chosen = TaskSelection { tasks, upstream: false, downstream: true }.of(&dag);
        assert!(chosen.contains(&id("b"), 1) && !chosen.contains(&id("b"), 0));
        assert!(chosen.contains(&id("end"), -1));
        let tasks = TaskChoice::Named(vec![(id("a"), Some(1)), (id("b"), None)]);
        let chosen = TaskSelection { tasks, upstream: true, downstream: true }.of(&dag);
        assert!(
            chosen.contains(&id("b"), 0) && chosen.contains(&id("a"), 0),
            "b was named whole, and all of a comes before it"
        );
    }

    #[test]
    fn a_map_index_means_that_instance_but_its_relatives_whole() {
        let tasks = TaskChoice::Named(vec![(id("load_a"), Some(2))]);
        let chosen = TaskSelection { tasks, upstream: false, downstream: true }.of(&dag());
        assert!(chosen.contains(&id("load_a"), 2) && !chosen.contains(&id("load_a"), 1));
        assert!(chosen.contains(&id("check"), -1));
        assert_eq!(chosen.after(&dag()), BTreeSet::new(), "what comes after is selected already");
    }
}
