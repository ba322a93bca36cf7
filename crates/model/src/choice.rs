//! What a task decided about the tasks after it.

use serde::{Deserialize, Serialize};

use crate::dag::Task;
use crate::ids::TaskId;

/// Stored with the end of the try that decided, and forgotten when the task is cleared. Teardowns are never concerned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// Of the tasks directly after it only these go on, named as in the task's parameters: tasks or groups.
    Follow(Vec<String>),
    /// None of the tasks directly after it runs; what comes after those is decided by their trigger rules.
    SkipChildren,
    /// Nothing after it runs, whatever the trigger rules say.
    SkipDescendants,
}

/// Whether `name` means this task, which comes directly after the one that names it: the task itself, with or without
/// the groups around both, or a group that it stands in.
pub fn is_named(task: &Task, name: &str) -> bool {
    let ends_so = |id: &TaskId| {
        let id = id.as_str();
        id == name || id.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
    };
    let mut group = task.group.as_ref().map(TaskId::as_str);
    while let Some(id) = group {
        if ends_so(&TaskId::new_unchecked(id)) {
            return true;
        }
        group = id.rsplit_once('.').map(|(outer, _)| outer);
    }
    ends_so(&task.task_id)
}

/// The tasks among `children` that `name` means. One that has exactly this name goes before others that end so.
pub fn children_named<'t>(children: &[&'t Task], name: &str) -> Vec<&'t Task> {
    match children.iter().find(|task| task.task_id.as_str() == name) {
        Some(exact) => vec![*exact],
        None => children.iter().copied().filter(|task| is_named(task, name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_child_with_or_without_its_groups_or_a_group_of_children() {
        let task = |id: &str, group: Option<&str>| Task {
            group: group.map(TaskId::new_unchecked),
            ..Task::new(TaskId::new_unchecked(id), "noop")
        };
        let tasks = [
            task("load", None),
            task("g.load", Some("g")),
            task("g.rows.a", Some("g.rows")),
            task("g.rows.b", Some("g.rows")),
        ];
        let children: Vec<&Task> = tasks.iter().collect();
        let named = |name| children_named(&children, name).iter().map(|task| task.task_id.as_str()).collect::<Vec<_>>();
        assert_eq!(named("load"), ["load"]);
        assert_eq!(named("g.load"), ["g.load"]);
        assert_eq!(named("rows.a"), ["g.rows.a"]);
        assert_eq!(named("rows"), ["g.rows.a", "g.rows.b"]);
        assert_eq!(named("g"), ["g.load", "g.rows.a", "g.rows.b"]);
        assert!(named("ad").is_empty(), "not a part of a word");
    }

    #[test]
    fn reads_back_what_was_stored() {
        for (choice, text) in [
            (Choice::Follow(vec!["a".into()]), r#"{"follow":["a"]}"#),
            (Choice::SkipChildren, r#""skip_children""#),
            (Choice::SkipDescendants, r#""skip_descendants""#),
        ] {
            assert_eq!(serde_json::to_string(&choice).unwrap(), text);
            assert_eq!(serde_json::from_str::<Choice>(text).unwrap(), choice);
        }
    }
}
