//! `depends_on`, from names of tasks and groups to edges between tasks.

use std::collections::{HashMap, HashSet};

use millrace_model::graph::Graph;
use millrace_model::ids::TaskId;

use crate::fields::Reader;
use crate::source::Span;
use crate::written::Written;

/// A task or a group, by its place among those of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Task(usize),
    Group(usize),
}

struct Reference {
    owner: Target,
    target: Target,
    span: Span,
    /// The innermost group (or the DAG) that both stand in: so deep.
    depth: usize,
}

/// For each task, those that it depends on and where that is written, each once and in the order of the file. `None`
/// when a name is unknown or there is a circle; all of that is reported.
pub(crate) fn resolve(reader: &mut Reader<'_>, written: &Written<'_>) -> Option<Vec<Vec<(usize, Span)>>> {
    let errors_before = reader.errors();
    let names = Names::of(written);
    let mut references = Vec::new();
    for (place, task) in written.tasks.iter().enumerate() {
        for (name, span) in &task.depends_on {
            references.extend(names.reference(reader, Target::Task(place), name, *span));
        }
    }
    for (place, group) in written.groups.iter().enumerate() {
        for (name, span) in &group.depends_on {
            references.extend(names.reference(reader, Target::Group(place), name, *span));
        }
    }
    check_producers(reader, &names);
    check_handed_over(reader, &names);
    let holds = reader.errors() == errors_before;
    let edges = edges(written, references);
    let upstream = edges.iter().map(|parents| parents.iter().map(|(parent, _)| *parent).collect()).collect();
    let Err(cycle) = Graph::from_upstream(upstream) else { return holds.then_some(edges) };
    report_cycle(reader, written, &edges, &cycle);
    None
}

/// The full name of the task that a name within a group means.
pub(crate) fn task_named(written: &Written<'_>, name: &str, within: Option<usize>) -> Option<TaskId> {
    match Names::of(written).find(name, within)? {
        Target::Task(task) => Some(TaskId::new_unchecked(written.tasks[task].id.clone())),
        Target::Group(_) => None,
    }
}

/// Results are those of tasks.
fn check_producers(reader: &mut Reader<'_>, names: &Names<'_>) {
    let written = names.written;
    let of_tasks = written.tasks.iter().filter_map(|task| Some((task.expand.as_ref()?, task.group)));
    let of_groups = written.groups.iter().filter_map(|group| Some((group.expand.as_ref()?, group.parent)));
    for (expand, within) in of_tasks.chain(of_groups) {
        for (name, span) in expand.producers() {
            if let Some(Target::Group(_)) = names.find(&name, within) {
                let message = format!("'{name}' is a group; only a task leaves a result");
                reader.error("unknown-task", span, message);
            }
        }
    }
}

/// What a task takes is what another one left: by the full name, and a name that a template gives is known in the run.
fn check_handed_over(reader: &mut Reader<'_>, names: &Names<'_>) {
    for task in &names.written.tasks {
        let Some(entry) = task.node.get("from_task") else { continue };
        let Some(name) = entry.value.as_text().filter(|name| !name.contains('{')) else { continue };
        if matches!(names.places.get(name), Some(Target::Task(_))) {
            continue;
        }
        let message = format!("task '{}' takes what '{name}' hands over, but there is no such task", task.id);
        let ids: Vec<&str> = names.written.tasks.iter().map(|task| task.id.as_str()).collect();
        let hint = match (names.find(name, task.group), reader.nearest(name, &ids)) {
            (Some(Target::Task(meant)), _) => Some(format!("write its full name: '{}'", ids[meant])),
            (_, Some(near)) => Some(format!("did you mean '{near}'?")),
            _ if ids.len() <= 12 => Some(format!("the tasks are {}", ids.join(", "))),
            _ => None,
        };
        reader.error_with_hint("unknown-task", entry.value.span, message, hint);
    }
}

struct Names<'w> {
    written: &'w Written<'w>,
    places: HashMap<&'w str, Target>,
}

impl<'w> Names<'w> {
    fn of(written: &'w Written<'w>) -> Self {
        let tasks = written.tasks.iter().enumerate().map(|(place, task)| (task.id.as_str(), Target::Task(place)));
        let groups = written.groups.iter().enumerate().map(|(place, group)| (group.id.as_str(), Target::Group(place)));
        Self { written, places: groups.chain(tasks).collect() }
    }

    fn around(&self, target: Target) -> Option<usize> {
        match target {
            Target::Task(task) => self.written.tasks[task].group,
            Target::Group(group) => self.written.groups[group].parent,
        }
    }

    fn id(&self, target: Target) -> &'w str {
        match target {
            Target::Task(task) => &self.written.tasks[task].id,
            Target::Group(group) => &self.written.groups[group].id,
        }
    }

    /// A name means what is nearest: in the own group, then in the one around it, at last in the DAG.
    fn find(&self, name: &str, within: Option<usize>) -> Option<Target> {
        let mut scope = within;
        loop {
            let full = format!("{}{name}", self.written.prefix(scope));
            if let Some(target) = self.places.get(full.as_str()) {
                return Some(*target);
            }
            scope = self.written.groups[scope?].parent;
        }
    }

    fn reference(&self, reader: &mut Reader<'_>, owner: Target, name: &str, span: Span) -> Option<Reference> {
        let around = self.around(owner);
        let kind = if matches!(owner, Target::Task(_)) { "task" } else { "group" };
        let Some(target) = self.find(name, around) else {
            self.unknown(reader, owner, name, span);
            return None;
        };
        if let Target::Group(group) = target
            && self.written.is_within(around, Some(group))
        {
            let message = format!("{kind} '{}' stands in group '{}' and can't depend on it", self.id(owner), name);
            reader.error("cycle", span, message);
            return None;
        }
        if let Target::Group(group) = owner
            && (target == owner || self.written.is_within(self.around(target), Some(group)))
        {
            let what = if target == owner { "itself" } else { "what stands in it" };
            reader.error("cycle", span, format!("group '{}' depends on {what}", self.id(owner)));
            return None;
        }
        let of_target = self.around(target);
        let shared = std::iter::successors(Some(around), |at| at.map(|group| self.written.groups[group].parent))
            .find(|scope| self.written.is_within(of_target, *scope))
            .flatten();
        Some(Reference { owner, target, span, depth: self.written.depth(shared) })
    }

    fn unknown(&self, reader: &mut Reader<'_>, owner: Target, name: &str, span: Span) {
        let written = self.written;
        let (kind, nothing) = match owner {
            Target::Task(_) if written.groups.is_empty() => ("task", "task"),
            Target::Task(_) => ("task", "task or group"),
            Target::Group(_) => ("group", "task or group"),
        };
        let message = format!("{kind} '{}' depends on '{name}', but there is no such {nothing}", self.id(owner));
        let prefix = written.prefix(self.around(owner));
        let mut ids: Vec<&str> = Vec::new();
        for id in written.tasks.iter().map(|task| task.id.as_str()).chain(written.groups.iter().map(|g| g.id.as_str()))
        {
            let short = id.strip_prefix(prefix).filter(|short| !short.contains('.')).unwrap_or(id);
            if !ids.contains(&short) {
                ids.push(short);
            }
            if ids.len() > 2_000 {
                break;
            }
        }
        let hint = match reader.nearest(name, &ids) {
            Some(near) => Some(format!("did you mean '{near}'?")),
            None if ids.len() <= 12 && written.groups.is_empty() => Some(format!("the tasks are {}", ids.join(", "))),
            None if ids.len() <= 12 => Some(format!("there are {}", ids.join(", "))),
            None => None,
        };
        reader.error_with_hint("unknown-task", span, message, hint);
    }
}

/// The deepest come first: which tasks of a group come first and last is known before anybody outside asks.
fn edges(written: &Written<'_>, mut references: Vec<Reference>) -> Vec<Vec<(usize, Span)>> {
    references.sort_by_key(|reference| std::cmp::Reverse(reference.depth));
    let mut edges: Vec<Vec<(usize, Span)>> = vec![Vec::new(); written.tasks.len()];
    let mut known = HashSet::new();
    for Reference { owner, target, span, .. } in references {
        let parents = match target {
            Target::Task(task) => vec![task],
            Target::Group(group) => last_of(written, &edges, group),
        };
        let children = match owner {
            Target::Task(task) => vec![task],
            Target::Group(group) => first_of(written, &edges, group),
        };
        for child in children {
            for parent in &parents {
                if known.insert((child, *parent)) {
                    edges[child].push((*parent, span));
                }
            }
        }
    }
    edges
}

fn members(written: &Written<'_>, group: usize) -> Vec<usize> {
    (0..written.tasks.len()).filter(|task| written.is_within(written.tasks[*task].group, Some(group))).collect()
}

/// The tasks of a group that depend on no other task of it.
fn first_of(written: &Written<'_>, edges: &[Vec<(usize, Span)>], group: usize) -> Vec<usize> {
    let members = members(written, group);
    let is_first = |task: &usize| !edges[*task].iter().any(|(parent, _)| members.binary_search(parent).is_ok());
    members.iter().copied().filter(is_first).collect()
}

/// The tasks of a group that no other task of it depends on.
fn last_of(written: &Written<'_>, edges: &[Vec<(usize, Span)>], group: usize) -> Vec<usize> {
    let mut last = members(written, group);
    let inner: Vec<usize> = last.iter().flat_map(|task| edges[*task].iter().map(|(parent, _)| *parent)).collect();
    last.retain(|task| !inner.contains(task));
    last
}

fn report_cycle(reader: &mut Reader<'_>, written: &Written<'_>, edges: &[Vec<(usize, Span)>], cycle: &[usize]) {
    let names: Vec<&str> = cycle.iter().map(|task| written.tasks[*task].id.as_str()).collect();
    // The circle runs downstream; its second task is the one that depends on the first.
    let (Some(first), Some(second)) = (cycle.first(), cycle.get(1)) else { return };
    let place = edges[*second].iter().find(|(parent, _)| parent == first);
    let span = place.map_or(written.tasks[*second].span, |(_, span)| *span);
    let message = match names.len() {
        2 => format!("task '{}' depends on itself", names[0]),
        _ => format!("tasks depend on each other in a circle: {}", names.join(" -> ")),
    };
    reader.error_with_hint("cycle", span, message, "take one of these dependencies out".to_owned());
}
