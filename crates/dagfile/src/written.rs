//! Tasks and groups as they stand in the file, before anything is made of them.

use crate::expand::DraftExpand;
use crate::fields::Reader;
use crate::source::Span;
use crate::tree::{Entry, Node, NodeKind};

/// A task as it stands in the file.
pub(crate) struct WrittenTask<'n> {
    /// With the groups around it.
    pub id: String,
    /// Of its name.
    pub span: Span,
    pub node: &'n Node,
    /// The innermost group around it.
    pub group: Option<usize>,
    pub depends_on: Vec<(String, Span)>,
    pub expand: Option<DraftExpand>,
}

/// A group as far as it could be read.
pub(crate) struct DraftGroup {
    /// With the groups around it.
    pub id: String,
    /// Of its name.
    pub span: Span,
    /// A place in [`Written::groups`], before its own.
    pub parent: Option<usize>,
    /// Comes before the names of what stands in it: `load.`, or what comes before its own.
    pub prefix: String,
    pub description: Option<String>,
    pub depends_on: Vec<(String, Span)>,
    /// Its `default_args`.
    pub shared: Vec<Entry>,
    pub expand: Option<DraftExpand>,
}

/// Everything that stands under `tasks` and `groups`, at any depth.
#[derive(Default)]
pub(crate) struct Written<'n> {
    pub tasks: Vec<WrittenTask<'n>>,
    pub groups: Vec<DraftGroup>,
}

impl Written<'_> {
    /// The prefix of names that stand in a group.
    pub fn prefix(&self, group: Option<usize>) -> &str {
        group.map_or("", |group| self.groups[group].prefix.as_str())
    }

    /// Whether `group` is `outer` or stands in it; `None` is the DAG itself.
    pub fn is_within(&self, group: Option<usize>, outer: Option<usize>) -> bool {
        let mut around = std::iter::successors(Some(group), |at| at.map(|group| self.groups[group].parent));
        around.any(|at| at == outer)
    }

    /// What the tasks of a group share: its own `default_args` and, below them, those of the groups around it.
    pub fn shared(&self, group: Option<usize>, of_dag: &[Entry]) -> Vec<Entry> {
        let mut shared: Vec<Entry> = Vec::new();
        let around = std::iter::successors(group, |group| self.groups[*group].parent);
        for entry in around.flat_map(|group| &self.groups[group].shared).chain(of_dag) {
            if !shared.iter().any(|inner| inner.key == entry.key) {
                shared.push(entry.clone());
            }
        }
        shared
    }

    /// Whether the group, or one around it, is mapped.
    pub fn is_mapped(&self, group: Option<usize>) -> bool {
        let mut around = std::iter::successors(group, |group| self.groups[*group].parent);
        around.any(|group| self.groups[group].expand.is_some())
    }

    pub fn depth(&self, group: Option<usize>) -> usize {
        std::iter::successors(group, |group| self.groups[*group].parent).count()
    }
}

/// `tasks` as a map of ids or as a list with `task_id`.
pub(crate) fn list<'n>(reader: &mut Reader<'_>, entry: &'n Entry) -> Vec<WrittenTask<'n>> {
    match &entry.value.kind {
        NodeKind::Map(entries) => entries.iter().filter_map(|entry| of_map(reader, entry)).collect(),
        NodeKind::List(items) => items.iter().filter_map(|node| of_list(reader, node)).collect(),
        NodeKind::Null => Vec::new(),
        _ => {
            reader.wrong_type(entry, "a map of tasks, or a list of tasks with task_id");
            Vec::new()
        }
    }
}

fn of_map<'n>(reader: &mut Reader<'_>, entry: &'n Entry) -> Option<WrittenTask<'n>> {
    if !matches!(entry.value.kind, NodeKind::Map(_)) {
        let message = format!("task '{}' must be a map, not {}", entry.key, entry.value.kind.noun());
        reader.error_with_hint("wrong-type", entry.key_span, message, "write 'operator: …' under it".to_owned());
        return None;
    }
    if let Some(inner) = entry.value.get("task_id")
        && inner.value.as_text() != Some(&entry.key)
    {
        let message = format!("the 'task_id' differs from the name '{}' above it", entry.key);
        reader.error_with_hint("conflict", inner.value.span, message, "leave task_id out".to_owned());
    }
    Some(WrittenTask {
        id: entry.key.clone(),
        span: entry.key_span,
        node: &entry.value,
        group: None,
        depends_on: Vec::new(),
        expand: None,
    })
}

fn of_list<'n>(reader: &mut Reader<'_>, node: &'n Node) -> Option<WrittenTask<'n>> {
    if !matches!(node.kind, NodeKind::Map(_)) {
        reader.error("wrong-type", node.span, format!("a task must be a map, not {}", node.kind.noun()));
        return None;
    }
    let Some(entry) = node.get("task_id") else {
        let first = node.entries().first().map_or(node.span, |entry| entry.key_span);
        reader.error_with_hint("missing-key", first, "this task has no 'task_id'", "add task_id: a_name".to_owned());
        return None;
    };
    let id = reader.name(entry)?;
    Some(WrittenTask { id, span: entry.value.span, node, group: None, depends_on: Vec::new(), expand: None })
}

/// The entries of `default_args`.
pub(crate) fn shared_entries<'n>(reader: &mut Reader<'_>, entry: &'n Entry) -> &'n [Entry] {
    if !matches!(entry.value.kind, NodeKind::Map(_) | NodeKind::Null) {
        reader.wrong_type(entry, "a map");
    }
    entry.value.entries()
}
