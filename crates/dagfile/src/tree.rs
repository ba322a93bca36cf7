//! YAML as a tree whose nodes know where they stand.

mod build;

use std::rc::Rc;

use serde_json::{Map, Number, Value};

use crate::source::Span;

pub(crate) use build::build;

/// Containers within containers.
pub const MAX_DEPTH: usize = 64;
/// Values in a file, with aliases counted as what they stand for.
pub const MAX_NODES: usize = 100_000;
/// Bytes of text in a file, likewise.
pub const MAX_TEXT: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Of what an alias stands for, the span is where that is written.
    pub span: Span,
    pub kind: NodeKind,
    /// The file that the text was read from, when it is not the DAG file itself.
    pub file: Option<Rc<str>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum NodeKind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Span,
    pub value: Node,
}

impl Node {
    pub fn new(span: Span, kind: NodeKind) -> Self {
        Self { span, kind, file: None }
    }

    pub fn is_null(&self) -> bool {
        self.kind == NodeKind::Null
    }

    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            NodeKind::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.kind {
            NodeKind::List(items) => items,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The node at `options.header`, `keys[0]` or `keys.0`; as deep as it can be followed.
    pub fn follow(&self, path: &str) -> &Self {
        let mut node = self;
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let next = match &node.kind {
                NodeKind::Map(_) => node.get(step).map(|entry| &entry.value),
                NodeKind::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node
    }

    pub fn to_value(&self) -> Value {
        self.kind.to_value()
    }
}

impl NodeKind {
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::String(text.clone()),
            Self::List(items) => items.iter().map(Node::to_value).collect(),
            Self::Map(entries) => {
                let pairs = entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value()));
                Value::Object(pairs.collect::<Map<_, _>>())
            }
        }
    }

    /// What a user would call it.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(number) if number.is_f64() => "a number with a fraction",
            Self::Number(_) => "a whole number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}
