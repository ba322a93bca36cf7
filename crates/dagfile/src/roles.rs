//! What a task is to the others beyond `depends_on`: a setup, a teardown, a branch, a task that looks at the run before.

use millrace_model::choice::children_named;
use millrace_model::dag::Task;
use millrace_model::ids::TaskId;
use millrace_model::trigger_rule::TriggerRule;
use millrace_operator_api::entry::find;

use crate::fields::Reader;
use crate::source::Span;
use crate::suggest;
use crate::tree::Entry;
use crate::written::{Written, WrittenTask};

/// What a task alone can be; `default_args` can't make all tasks so.
pub(crate) const KEYS: &[&str] = &["setup", "teardown", "teardown_of", "on_failure_fail_dagrun"];

/// Puts into the task what its role asks for.
pub(crate) fn read<'n>(
    reader: &mut Reader<'_>,
    written: &WrittenTask<'_>,
    get: &dyn Fn(&str) -> Option<&'n Entry>,
    task: &mut Task,
) {
    let own = |key: &str| written.node.get(key);
    task.depends_on_past = get("depends_on_past").and_then(|entry| reader.flag(entry)).unwrap_or(false);
    task.wait_for_downstream = get("wait_for_downstream").and_then(|entry| reader.flag(entry)).unwrap_or(false);
    if let Some(entry) = get("wait_for_past_depends_before_skipping") {
        task.wait_for_past_depends_before_skipping = reader.flag(entry).unwrap_or(false);
    }
    task.is_setup = own("setup").and_then(|entry| reader.flag(entry)).unwrap_or(false);
    let teardown = own("teardown").and_then(|entry| reader.flag(entry));
    task.is_teardown = teardown.unwrap_or(own("teardown_of").is_some());
    if let (Some(entry), Some(false)) = (own("teardown_of"), teardown) {
        reader.error("conflict", entry.key_span, "'teardown_of' makes a teardown of a task with 'teardown: false'");
    }
    if let Some(entry) = own("on_failure_fail_dagrun") {
        task.on_failure_fail_dagrun = reader.flag(entry).unwrap_or(false);
        if !task.is_teardown {
            let message = "'on_failure_fail_dagrun' is for teardowns; the failure of any other last task fails the run";
            reader.error("conflict", entry.key_span, message);
        }
    }
    if let Some(entry) = own("teardown").or_else(|| own("teardown_of")).filter(|_| task.is_setup && task.is_teardown) {
        reader.error("conflict", entry.key_span, format!("task '{}' can't be both a setup and a teardown", written.id));
    }
    if task.is_teardown {
        if let Some(entry) = own("trigger_rule").filter(|_| task.trigger_rule != TriggerRule::AllDoneSetupSuccess) {
            let message = "a teardown runs once a setup before it succeeded; its trigger rule can't be another";
            reader.error_with_hint("conflict", entry.value.span, message, "leave trigger_rule out".to_owned());
        }
        task.trigger_rule = TriggerRule::AllDoneSetupSuccess;
    } else if task.trigger_rule == TriggerRule::AllDoneSetupSuccess {
        let span = own("trigger_rule").map_or(written.span, |entry| entry.value.span);
        let hint = "add teardown: true, or write all_done".to_owned();
        reader.error_with_hint("conflict", span, "only a teardown can have the rule all_done_setup_success", hint);
    }
}

/// The setups that a teardown names: it depends on them.
pub(crate) fn setups_of(reader: &mut Reader<'_>, written: &WrittenTask<'_>) -> Vec<(String, Span)> {
    written.node.get("teardown_of").map(|entry| reader.texts(entry)).unwrap_or_default()
}

/// What can only be checked among all tasks.
pub(crate) fn check(
    reader: &mut Reader<'_>,
    written: &Written<'_>,
    drafts: &[Option<Task>],
    edges: &[Vec<(usize, Span)>],
    fail_fast: bool,
) {
    for (place, task) in drafts.iter().enumerate() {
        let Some(task) = task else { continue };
        check_setups(reader, &written.tasks[place], drafts, &edges[place]);
        check_choice(reader, written, task, (place, edges));
        if fail_fast && !task.is_teardown && task.trigger_rule != TriggerRule::AllSuccess {
            let own = &written.tasks[place];
            let span = own.node.get("trigger_rule").map_or(own.span, |entry| entry.value.span);
            let message = format!(
                "a DAG with 'fail_fast' ends with its first failure; task '{}' has the rule {}, and only all_success makes sense there",
                own.id,
                task.trigger_rule.as_str()
            );
            let hint = "leave trigger_rule or fail_fast out; what must run at the end is a teardown".to_owned();
            reader.error_with_hint("conflict", span, message, hint);
        }
    }
}

fn check_setups(reader: &mut Reader<'_>, written: &WrittenTask<'_>, drafts: &[Option<Task>], edges: &[(usize, Span)]) {
    let Some(entry) = written.node.get("teardown_of") else { return };
    for (parent, span) in edges {
        let is_named =
            entry.value.span.start.offset <= span.start.offset && span.end.offset <= entry.value.span.end.offset;
        let Some(parent) = drafts[*parent].as_ref().filter(|_| is_named) else { continue };
        if !parent.is_setup {
            let message = format!("task '{}' is no setup", parent.task_id);
            reader.error_with_hint("conflict", *span, message, "add setup: true to it".to_owned());
        }
    }
}

/// The tasks directly after one, by their names and groups.
fn children(written: &Written<'_>, edges: &[Vec<(usize, Span)>], place: usize) -> Vec<Task> {
    let is_child = |(_, parents): &(usize, &Vec<(usize, Span)>)| parents.iter().any(|(parent, _)| *parent == place);
    let named = |child: usize| {
        let task = &written.tasks[child];
        let group = task.group.map(|group| TaskId::new_unchecked(written.groups[group].id.clone()));
        Task { group, ..Task::new(TaskId::new_unchecked(task.id.clone()), "") }
    };
    edges.iter().enumerate().filter(is_child).map(|(child, _)| named(child)).collect()
}

/// The tasks that a branch may follow must come directly after it.
fn check_choice(
    reader: &mut Reader<'_>,
    all: &Written<'_>,
    task: &Task,
    (place, edges): (usize, &[Vec<(usize, Span)>]),
) {
    let entry = find(reader.options.catalogue, &task.operator).filter(|entry| entry.chooses);
    let Some(operator) = entry.and_then(|entry| (entry.parse)(task.parameters.clone()).ok()) else { return };
    let written = &all.tasks[place];
    let children = children(all, edges, place);
    let children: Vec<&Task> = children.iter().collect();
    for (field, name) in operator.follows() {
        if !children_named(&children, &name).is_empty() {
            continue;
        }
        let parameter = field.split('.').next().unwrap_or(&field);
        let span = written
            .node
            .get(parameter)
            .map_or(written.span, |entry| place_of(&entry.value, &name).unwrap_or(entry.value.span));
        let ids: Vec<&str> = children.iter().map(|child| child.task_id.as_str()).collect();
        let message = format!("task '{}' can't follow '{name}', which does not come directly after it", written.id);
        let hint = match suggest::nearest(&name, ids.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None if ids.is_empty() => format!("add depends_on: {} to the tasks that it chooses among", written.id),
            None => format!("the tasks directly after it are {}", ids.join(", ")),
        };
        reader.error_with_hint("unknown-task", span, message, hint);
    }
}

/// Where a text stands in a value.
fn place_of(node: &crate::tree::Node, text: &str) -> Option<Span> {
    if node.as_text() == Some(text) {
        return Some(node.span);
    }
    let within = node.items().iter().chain(node.entries().iter().map(|entry| &entry.value));
    within
        .filter(|inner| inner.as_text() != Some(text) || inner.span != node.span)
        .find_map(|inner| place_of(inner, text))
}
