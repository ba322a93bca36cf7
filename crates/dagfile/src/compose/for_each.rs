//! `for_each`: a DAG, a group or a task for each item of a list.

use std::collections::HashSet;

use millrace_template::{has_substitution, substitute};
use serde_json::{Map, Value};

use super::{Composer, taken};
use crate::source::Span;
use crate::tree::{Entry, MAX_NODES, Node, NodeKind};

/// Copies that one `for_each` makes.
const MAX_ITEMS: usize = 2_000;
/// Characters of an item's name in messages.
const SHOWN: usize = 60;

type Names = Map<String, Value>;

/// Entries of a map that is being made; no key twice.
#[derive(Default)]
struct Entries {
    entries: Vec<Entry>,
    keys: HashSet<String>,
}

impl Composer<'_, '_> {
    /// The DAGs that a file makes.
    pub(super) fn expand_dags(&mut self, root: Node, names: &Names) -> Vec<Node> {
        let (root, for_each) = taken(root, "for_each");
        let Some(for_each) = for_each else {
            return vec![self.complete_map(root, names, 0)];
        };
        let items = self.items(&for_each, names);
        if items.len() > 1 && !root.get("dag_id").and_then(|it| it.value.as_text()).is_some_and(has_substitution) {
            let message = "this for_each makes several DAGs, which all would have one dag_id";
            self.error(
                "conflict",
                for_each.key_span,
                message,
                Some("write the item into it: dag_id: \"load_${{ table }}\""),
            );
            return Vec::new();
        }
        items
            .into_iter()
            .filter_map(|(names, item)| {
                let copy = self.copy(&root, item)?;
                Some(self.complete_map(copy, &names, item))
            })
            .collect()
    }

    /// Puts values into a DAG or a group; its tasks and groups may have a `for_each` of their own.
    fn complete_map(&mut self, node: Node, names: &Names, item: u16) -> Node {
        let NodeKind::Map(entries) = node.kind else { return self.complete(node, names) };
        let completed = entries.into_iter().map(|mut entry| {
            entry.value = match entry.key.as_str() {
                "tasks" | "groups" => self.expand_children(entry.value, names, item, entry.key == "groups"),
                _ => self.complete(entry.value, names),
            };
            entry
        });
        let kind = NodeKind::Map(completed.collect());
        Node { span: node.span, kind, file: node.file }
    }

    fn expand_children(&mut self, node: Node, names: &Names, item: u16, are_groups: bool) -> Node {
        let Node { span, kind, file } = node;
        let kind = match kind {
            NodeKind::Map(entries) => {
                let mut expanded = Entries::default();
                for entry in entries {
                    for (key, names, value) in
                        self.expand_child(entry.value, Some((&entry.key, entry.key_span)), names, item, are_groups)
                    {
                        let key_span = Span { item: value.span.item, ..entry.key_span };
                        let Some(key) = key else { continue };
                        let key = self.text(&key, key_span, &names);
                        self.put(&mut expanded, Entry { key, key_span, value });
                    }
                }
                NodeKind::Map(expanded.entries)
            }
            NodeKind::List(items) => {
                let mut expanded = Vec::with_capacity(items.len());
                for value in items {
                    let made = self.expand_child(value, None, names, item, are_groups);
                    expanded.extend(made.into_iter().map(|(_, _, value)| value));
                }
                NodeKind::List(expanded)
            }
            other => return self.complete(Node { span, kind: other, file }, names),
        };
        Node { span, kind, file }
    }

    /// The copies of a task or group with the names that each knows.
    fn expand_child(
        &mut self,
        node: Node,
        key: Option<(&str, Span)>,
        names: &Names,
        item: u16,
        is_group: bool,
    ) -> Vec<(Option<String>, Names, Node)> {
        let (node, for_each) = taken(node, "for_each");
        let key_text = key.map(|(key, _)| key.to_owned());
        let Some(for_each) = for_each else {
            let node = if is_group { self.complete_map(node, names, item) } else { self.complete(node, names) };
            return vec![(key_text, names.clone(), node)];
        };
        let items = self.items(&for_each, names);
        let mut made = Vec::with_capacity(items.len());
        for (names, item) in items {
            let Some(copy) = self.copy(&node, item) else { break };
            let copy = if is_group { self.complete_map(copy, &names, item) } else { self.complete(copy, &names) };
            made.push((key_text.clone(), names, copy));
        }
        made
    }

    fn put(&mut self, expanded: &mut Entries, entry: Entry) {
        if !expanded.keys.insert(entry.key.clone()) {
            let message = format!("there are two '{}'", entry.key);
            let hint = "write what tells the items apart into the name: \"copy_${{ table }}\"";
            self.error("duplicate-key", entry.key_span, message, Some(hint));
            return;
        }
        expanded.entries.push(entry);
    }

    /// Every combination of the lists under `for_each`, with the names that it defines and the number of the item.
    fn items(&mut self, for_each: &Entry, outer: &Names) -> Vec<(Names, u16)> {
        let Some(combined) = self.combinations(for_each, outer) else {
            self.is_whole = false;
            return Vec::new();
        };
        combined.into_iter().map(|(names, called)| (names, self.sources.add_item(called))).collect()
    }

    /// As [`Self::items`], each with what it is called; none, with the reason told, when they can't be made.
    fn combinations(&mut self, for_each: &Entry, outer: &Names) -> Option<Vec<(Names, String)>> {
        let lists = match &for_each.value.kind {
            NodeKind::Map(lists) if !lists.is_empty() => lists,
            _ => {
                let message = "'for_each' must be a map of one or more names, each with a list";
                self.error(
                    "wrong-type",
                    for_each.value.span,
                    message,
                    Some("write for_each: {table: [orders, customers]}"),
                );
                return None;
            }
        };
        let mut combined: Vec<(Names, String)> = vec![(outer.clone(), String::new())];
        for list in lists {
            let values = self.list(list, outer)?;
            if combined.len().saturating_mul(values.len()) > MAX_ITEMS {
                let message = format!("this for_each has more than {MAX_ITEMS} items");
                self.error("too-large", for_each.key_span, message, None);
                return None;
            }
            combined = combined
                .iter()
                .flat_map(|(names, called)| {
                    values.iter().map(move |value| {
                        let mut names = names.clone();
                        names.insert(list.key.clone(), value.clone());
                        let separator = if called.is_empty() { "" } else { ", " };
                        (names, format!("{called}{separator}{} = {}", list.key, name_of(value)))
                    })
                })
                .collect();
        }
        Some(combined)
    }

    /// A list as it stands, or read from a file: `{file: tables.yaml}`.
    fn list(&mut self, entry: &Entry, names: &Names) -> Option<Vec<Value>> {
        let value = match entry.value.get("file").filter(|_| entry.value.entries().len() == 1) {
            Some(file) => self.list_file(file)?,
            None => self.complete(entry.value.clone(), names),
        };
        if let NodeKind::List(items) = &value.kind {
            return Some(items.iter().map(Node::to_value).collect());
        }
        let message = format!(
            "'{}' must be a list, or {{file: a.yaml}} with a file that holds one, not {}",
            entry.key,
            value.kind.noun()
        );
        self.error("wrong-type", entry.value.span, message, None);
        None
    }

    fn list_file(&mut self, entry: &Entry) -> Option<Node> {
        let Some(path) = entry.value.as_text().map(|path| path.trim().trim_start_matches("./").to_owned()) else {
            self.error("wrong-type", entry.value.span, "'file' must be the path of a file in the dags folder", None);
            return None;
        };
        if let Err(error) = crate::files::check_path(&path) {
            self.error("bad-file", entry.value.span, format!("'{path}' can't be read: {error}"), None);
            return None;
        }
        self.files.insert(path.clone());
        match (self.options.files)(&path) {
            Some(text) => self.load(&path, text),
            None => {
                let hint = "its path counts from the dags folder";
                self.error("bad-file", entry.value.span, format!("there is no file '{path}'"), Some(hint));
                None
            }
        }
    }

    /// A copy whose places belong to the item; none when there are too many.
    fn copy(&mut self, node: &Node, item: u16) -> Option<Node> {
        let mut copy = node.clone();
        let before = self.copied;
        self.copied += mark(&mut copy, item);
        if self.copied <= MAX_NODES {
            return Some(copy);
        }
        self.is_whole = false;
        if before <= MAX_NODES {
            let message = format!("for_each makes more than {MAX_NODES} values of this file");
            self.error("too-large", node.span, message, Some("make fewer items, or several files"));
        }
        None
    }

    /// Puts values into every text of a tree.
    fn complete(&mut self, node: Node, names: &Names) -> Node {
        let Node { span, kind, file } = node;
        let kind = match kind {
            NodeKind::Text(text) if has_substitution(&text) => match substitute(&text, names) {
                Ok(value) => node_of(value, span),
                Err(problem) => {
                    self.error("substitution", span, problem.message, None);
                    NodeKind::Text(text)
                }
            },
            NodeKind::List(items) => NodeKind::List(items.into_iter().map(|item| self.complete(item, names)).collect()),
            NodeKind::Map(entries) => {
                let mut completed = Entries::default();
                for entry in entries {
                    let key = self.text(&entry.key, entry.key_span, names);
                    let value = self.complete(entry.value, names);
                    self.put(&mut completed, Entry { key, value, ..entry });
                }
                NodeKind::Map(completed.entries)
            }
            other => other,
        };
        Node { span, kind, file }
    }

    fn text(&mut self, text: &str, span: Span, names: &Names) -> String {
        if !has_substitution(text) {
            return text.to_owned();
        }
        match substitute(text, names) {
            Ok(Value::String(text)) => text,
            Ok(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
            Ok(_) => {
                self.error("substitution", span, "a name can't be a list, a map or nothing", None);
                text.to_owned()
            }
            Err(problem) => {
                self.error("substitution", span, problem.message, None);
                text.to_owned()
            }
        }
    }
}

/// Returns how many values there are.
fn mark(node: &mut Node, item: u16) -> usize {
    node.span.item = item;
    match &mut node.kind {
        NodeKind::List(items) => 1 + items.iter_mut().map(|inner| mark(inner, item)).sum::<usize>(),
        NodeKind::Map(entries) => {
            let inner = entries.iter_mut().map(|entry| {
                entry.key_span.item = item;
                mark(&mut entry.value, item)
            });
            1 + inner.sum::<usize>()
        }
        _ => 1,
    }
}

fn node_of(value: Value, span: Span) -> NodeKind {
    match value {
        Value::Null => NodeKind::Null,
        Value::Bool(flag) => NodeKind::Bool(flag),
        Value::Number(number) => NodeKind::Number(number),
        Value::String(text) => NodeKind::Text(text),
        Value::Array(items) => {
            NodeKind::List(items.into_iter().map(|item| Node::new(span, node_of(item, span))).collect())
        }
        Value::Object(map) => NodeKind::Map(
            map.into_iter()
                .map(|(key, value)| Entry { key, key_span: span, value: Node::new(span, node_of(value, span)) })
                .collect(),
        ),
    }
}

/// What a person calls an item: itself, or its name.
fn name_of(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(map) => ["name", "id", "table", "source"]
            .iter()
            .find_map(|key| map.get(*key)?.as_str())
            .map_or_else(|| value.to_string(), str::to_owned),
        other => other.to_string(),
    };
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
