//! Task groups: `groups` beside `tasks`, and within each of them again.

use std::collections::HashMap;

use millrace_model::ids::TaskId;
use millrace_model::mapping::TaskGroup;

use crate::dependencies;
use crate::expand::{self, DraftExpand};
use crate::fields::Reader;
use crate::tree::{Entry, Node, NodeKind};
use crate::written::{self, DraftGroup, Written};

/// The keys of a group.
pub(crate) const KEYS: &[&str] =
    &["description", "depends_on", "prefix_ids", "default_args", "expand", "expand_zip", "tasks", "groups"];

/// Airflow's names of the keys above.
const ALIASES: &[(&str, &str)] =
    &[("tooltip", "description"), ("prefix_group_id", "prefix_ids"), ("task_groups", "groups")];

/// Reads what stands at one level, and then below it.
pub(crate) fn collect<'n>(
    reader: &mut Reader<'_>,
    tasks: Option<&'n Entry>,
    groups: Option<&'n Entry>,
    within: Option<usize>,
    written: &mut Written<'n>,
) {
    let prefix = written.prefix(within).to_owned();
    for mut task in tasks.map(|tasks| written::list(reader, tasks)).unwrap_or_default() {
        task.id.insert_str(0, &prefix);
        task.group = within;
        written.tasks.push(task);
    }
    let Some(entry) = groups else { return };
    if !matches!(entry.value.kind, NodeKind::Map(_) | NodeKind::Null) {
        reader.wrong_type(entry, "a map of groups");
        return;
    }
    for entry in entry.value.entries() {
        if !matches!(entry.value.kind, NodeKind::Map(_)) {
            let message = format!("group '{}' must be a map, not {}", entry.key, entry.value.kind.noun());
            reader.error_with_hint("wrong-type", entry.key_span, message, "write 'tasks:' under it".to_owned());
            continue;
        }
        one(reader, entry, &prefix, within, written);
    }
}

fn one<'n>(
    reader: &mut Reader<'_>,
    entry: &'n Entry,
    outer_prefix: &str,
    parent: Option<usize>,
    written: &mut Written<'n>,
) {
    let id = format!("{outer_prefix}{}", entry.key);
    if let Err(error) = TaskId::parse(&id) {
        reader.error("bad-id", entry.key_span, error.to_string().replacen("task_id", "group", 1));
    }
    let keys = own_keys(reader, &entry.value, &id);
    let get = |name: &str| keys.iter().find(|(key, _)| *key == name).map(|(_, entry)| *entry);
    let is_prefix = get("prefix_ids").and_then(|entry| reader.flag(entry)).unwrap_or(true);
    let shared = get("default_args").map(|entry| written::shared_entries(reader, entry).to_vec()).unwrap_or_default();
    let place = written.groups.len();
    let tasks_before = written.tasks.len();
    let expand = expand::read(reader, get("expand"), get("expand_zip"));
    if let Some(expand) = &expand
        && let Some(outer) = parent.filter(|parent| written.is_mapped(Some(*parent)))
    {
        let message = format!("group '{id}' stands in group '{}', which is mapped already", written.groups[outer].id);
        reader.error("nested-expand", expand.span(), message);
    }
    let mut depends_on = get("depends_on").map(|entry| reader.texts(entry)).unwrap_or_default();
    depends_on.extend(expand.iter().flat_map(DraftExpand::producers));
    written.groups.push(DraftGroup {
        prefix: if is_prefix { format!("{id}.") } else { outer_prefix.to_owned() },
        id: id.clone(),
        span: entry.key_span,
        parent,
        description: get("description").and_then(|entry| reader.text(entry)),
        depends_on,
        shared,
        expand,
    });
    let errors_before = reader.errors();
    collect(reader, get("tasks"), get("groups"), Some(place), written);
    if written.tasks.len() == tasks_before && reader.errors() == errors_before {
        let hint = "add tasks: and under it at least one task".to_owned();
        reader.error_with_hint("empty", entry.key_span, format!("group '{id}' has no task"), hint);
    }
}

/// The entries of a group under their own names.
fn own_keys<'n>(reader: &mut Reader<'_>, node: &'n Node, id: &str) -> Vec<(&'static str, &'n Entry)> {
    let mut keys: Vec<(&'static str, &Entry)> = Vec::new();
    for entry in node.entries() {
        let alias = ALIASES.iter().find(|(alias, _)| *alias == entry.key).map(|(_, own)| *own);
        let Some(name) = alias.or_else(|| KEYS.iter().copied().find(|key| *key == entry.key)) else {
            reader.unknown_key(entry, KEYS, &format!("in group '{id}'"));
            continue;
        };
        if alias.is_some() {
            let message = format!("'{}' is called '{name}' here", entry.key);
            reader.warning("old-name", entry.key_span, message, format!("write '{name}'"));
        }
        if keys.iter().any(|(known, _)| *known == name) {
            let message = format!("'{name}' is given twice in group '{id}'");
            reader.error("conflict", entry.key_span, message);
            continue;
        }
        keys.push((name, entry));
    }
    keys
}

/// Tasks and groups that have the same name as another. Those that come later are taken out of the names.
pub(crate) fn check_names(reader: &mut Reader<'_>, written: &Written<'_>) {
    let mut tasks: HashMap<&str, usize> = HashMap::new();
    for task in &written.tasks {
        tasks.entry(&task.id).or_insert(task.span.start.line);
    }
    let mut groups: HashMap<&str, usize> = HashMap::new();
    for group in &written.groups {
        let line = group.span.start.line;
        if let Some(first) = groups.insert(&group.id, line) {
            let message = format!("there are two groups '{}'; the first is in line {first}", group.id);
            reader.error("duplicate-group", group.span, message);
        } else if let Some(task) = tasks.get(group.id.as_str()) {
            let message = format!("a group and a task are both called '{}'; the task is in line {task}", group.id);
            reader.error("duplicate-task", group.span, message);
        }
    }
}

/// The groups as the DAG keeps them.
pub(crate) fn finished(written: &Written<'_>) -> Vec<TaskGroup> {
    let id = |group: usize| TaskId::new_unchecked(written.groups[group].id.clone());
    let finish = |(place, group): (usize, &DraftGroup)| TaskGroup {
        group_id: id(place),
        parent: group.parent.map(id),
        description: group.description.clone(),
        expand: group
            .expand
            .as_ref()
            .and_then(|expand| expand.finish(|name| dependencies::task_named(written, name, group.parent))),
    };
    written.groups.iter().enumerate().map(finish).collect()
}
