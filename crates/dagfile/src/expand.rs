//! `expand`: a task or group that has an instance for each item.
//!
//! - `expand: {table: [a, b], region: {results_of: list_regions}}`: every combination;
//! - `expand_zip: {…}`: by place;
//! - `expand: [{table: a, key: id}, …]` or `expand: {results_of: list_tables}`: item by item.

use std::collections::BTreeSet;

use millrace_model::ids::TaskId;
use millrace_model::mapping::{Expand, Items, NamedItems};
use millrace_template::referenced_names;

use crate::fields::Reader;
use crate::source::Span;
use crate::tree::{Entry, Node, NodeKind};

pub(crate) const KEYS: &[&str] = &["expand", "expand_zip", "map_index_template"];

/// What refers to another task's result.
const RESULTS_OF: &str = "results_of";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Product,
    Zip,
    Each,
}

/// As it stands in the file.
#[derive(Debug, Clone)]
pub(crate) struct DraftExpand {
    how: How,
    /// `expand` or `expand_zip`.
    span: Span,
    /// With [`How::Each`] one without a name.
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
struct Part {
    name: String,
    span: Span,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    List(Vec<Node>),
    /// The name as it is written.
    ResultsOf(String, Span),
}

/// A name that items give a value to.
pub(crate) struct Given {
    pub name: String,
    pub span: Span,
    /// The values that stand in the file, one for each item.
    pub values: Vec<Node>,
    /// Every item has it.
    pub is_in_every_item: bool,
}

/// Reads `expand` or `expand_zip` of a task or group.
pub(crate) fn read(reader: &mut Reader<'_>, expand: Option<&Entry>, zip: Option<&Entry>) -> Option<DraftExpand> {
    if let (Some(_), Some(zip)) = (expand, zip) {
        reader.error("conflict", zip.key_span, "only one of 'expand' and 'expand_zip' may be given");
        return None;
    }
    let entry = expand.or(zip)?;
    let errors_before = reader.errors();
    let draft = match (&entry.value.kind, expand.is_some()) {
        (NodeKind::List(items), true) => each(entry, Source::List(items.clone())),
        (NodeKind::Map(entries), true) if entries.iter().any(|inner| inner.key == RESULTS_OF) => {
            each(entry, results_of(reader, &entry.value)?)
        }
        (NodeKind::Map(entries), is_product) if !entries.is_empty() => {
            let parts = entries.iter().filter_map(|inner| part(reader, inner)).collect();
            DraftExpand { how: if is_product { How::Product } else { How::Zip }, span: entry.key_span, parts }
        }
        (_, is_product) => {
            let expected =
                if is_product { "a list, a map of lists, or {results_of: a_task}" } else { "a map of lists" };
            reader.wrong_type(entry, expected);
            return None;
        }
    };
    check_length(reader, &draft);
    (reader.errors() == errors_before).then_some(draft)
}

fn each(entry: &Entry, source: Source) -> DraftExpand {
    let part = Part { name: String::new(), span: entry.key_span, source };
    DraftExpand { how: How::Each, span: entry.key_span, parts: vec![part] }
}

fn part(reader: &mut Reader<'_>, entry: &Entry) -> Option<Part> {
    let source = match &entry.value.kind {
        NodeKind::List(items) => Source::List(items.clone()),
        NodeKind::Map(_) => results_of(reader, &entry.value)?,
        NodeKind::Text(text) if text.contains("{{") => {
            let message = format!("'{}' must be a list or {{results_of: a_task}}, not a template", entry.key);
            let hint = format!("write {}: {{results_of: the_task_that_makes_the_list}}", entry.key);
            reader.error_with_hint("wrong-type", entry.value.span, message, hint);
            return None;
        }
        _ => {
            reader.wrong_type(entry, "a list or {results_of: a_task}");
            return None;
        }
    };
    Some(Part { name: entry.key.clone(), span: entry.key_span, source })
}

fn results_of(reader: &mut Reader<'_>, node: &Node) -> Option<Source> {
    reader.unknown_keys(node.entries(), &[RESULTS_OF], "beside 'results_of'");
    let Some(entry) = node.get(RESULTS_OF) else {
        if node.entries().is_empty() {
            reader.error("missing-key", node.span, "this map has no 'results_of'");
        }
        return None;
    };
    let name = reader.name(entry)?;
    Some(Source::ResultsOf(name, entry.value.span))
}

fn check_length(reader: &mut Reader<'_>, draft: &DraftExpand) {
    let lengths: Vec<usize> = draft.parts.iter().filter_map(Part::length).collect();
    let count = match draft.how {
        How::Zip => {
            if let [first, rest @ ..] = lengths.as_slice()
                && rest.iter().any(|length| length != first)
            {
                let lengths: Vec<String> = lengths.iter().map(ToString::to_string).collect();
                let message = format!("the lists of 'expand_zip' must be equally long, not {}", lengths.join(" and "));
                reader.error("conflict", draft.span, message);
            }
            lengths.iter().copied().min().unwrap_or(0)
        }
        How::Product | How::Each => lengths.iter().copied().fold(1, usize::saturating_mul),
    };
    let limit = reader.options.defaults.max_map_length;
    let longest = lengths.iter().copied().max().unwrap_or(0);
    // A list beside an empty one or one that is not known is measured by itself.
    let count = count.max(longest);
    if count > limit {
        let message = format!("these are {count} items; a mapped task has at most {limit} (max_map_length)");
        reader.error("out-of-range", draft.span, message);
    }
}

impl Part {
    fn length(&self) -> Option<usize> {
        match &self.source {
            Source::List(items) => Some(items.len()),
            Source::ResultsOf(..) => None,
        }
    }
}

impl DraftExpand {
    pub fn span(&self) -> Span {
        self.span
    }

    /// The names of the tasks whose results the items are, and where they stand.
    pub fn producers(&self) -> impl Iterator<Item = (String, Span)> + '_ {
        self.parts.iter().filter_map(|part| match &part.source {
            Source::ResultsOf(name, span) => Some((name.clone(), *span)),
            Source::List(_) => None,
        })
    }

    /// Whether the items, and with them what they give values to, are known only in a run.
    pub fn is_open(&self) -> bool {
        self.how == How::Each && self.parts.iter().any(|part| part.length().is_none())
    }

    /// The names that items give values to, as far as they stand in the file.
    pub fn given(&self) -> Vec<Given> {
        let mut given: Vec<Given> = Vec::new();
        for part in &self.parts {
            match (&part.source, self.how) {
                (Source::ResultsOf(..), How::Each) => {}
                (Source::ResultsOf(..), _) => given.push(Given {
                    name: part.name.clone(),
                    span: part.span,
                    values: Vec::new(),
                    is_in_every_item: true,
                }),
                (Source::List(items), How::Product | How::Zip) => given.push(Given {
                    name: part.name.clone(),
                    span: part.span,
                    values: items.clone(),
                    is_in_every_item: true,
                }),
                (Source::List(items), How::Each) => given_by_maps(items, &mut given),
            }
        }
        given
    }

    /// Puts back values of [`DraftExpand::given`] that a reader changed: texts that became the content of a file.
    pub fn put_back(&mut self, name: &str, values: &[Node]) {
        for part in &mut self.parts {
            let Source::List(items) = &mut part.source else { continue };
            if self.how != How::Each {
                if part.name == name {
                    *items = values.to_vec();
                }
                continue;
            }
            let mut values = values.iter();
            for item in items {
                let NodeKind::Map(entries) = &mut item.kind else { continue };
                for entry in entries.iter_mut().filter(|entry| entry.key == name) {
                    if let Some(value) = values.next() {
                        entry.value = value.clone();
                    }
                }
            }
        }
    }

    /// As the DAG keeps it. `named`: the full name of a task.
    pub fn finish(&self, named: impl Fn(&str) -> Option<TaskId>) -> Option<Expand> {
        let items = |source: &Source| match source {
            Source::List(items) => Some(Items::List(items.iter().map(Node::to_value).collect())),
            Source::ResultsOf(name, _) => named(name).map(Items::ResultsOf),
        };
        let parts = || -> Option<Vec<NamedItems>> {
            let part = |part: &Part| Some(NamedItems { name: part.name.clone(), items: items(&part.source)? });
            self.parts.iter().map(part).collect()
        };
        match self.how {
            How::Product => parts().map(Expand::Product),
            How::Zip => parts().map(Expand::Zip),
            How::Each => items(&self.parts.first()?.source).map(Expand::Each),
        }
    }
}

fn given_by_maps(items: &[Node], given: &mut Vec<Given>) {
    for entry in items.iter().flat_map(Node::entries) {
        match given.iter_mut().find(|known| known.name == entry.key) {
            Some(known) => known.values.push(entry.value.clone()),
            None => given.push(Given {
                name: entry.key.clone(),
                span: entry.key_span,
                values: vec![entry.value.clone()],
                is_in_every_item: false,
            }),
        }
    }
    for known in given {
        known.is_in_every_item = items.iter().all(|item| item.get(&known.name).is_some());
    }
}

/// Whether a template of the task speaks of `item.name`, or of the whole item.
pub(crate) fn is_used(node: &Node, name: &str) -> bool {
    let wanted = format!("item.{name}");
    let uses = |text: &str| {
        let names: BTreeSet<String> = referenced_names(text);
        names.iter().any(|found| found == "item" || *found == wanted || found.starts_with(&format!("{wanted}.")))
    };
    match &node.kind {
        NodeKind::Text(text) => uses(text),
        NodeKind::List(items) => items.iter().any(|item| is_used(item, name)),
        NodeKind::Map(entries) => {
            entries.iter().any(|entry| !KEYS[..2].contains(&entry.key.as_str()) && is_used(&entry.value, name))
        }
        _ => false,
    }
}
