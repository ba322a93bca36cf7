//! A value against a JSON Schema, every problem at its place and in a user's words. Knows what schemars makes of Rust
//! types; a keyword that it does not know it passes over, because the operator reads the value itself afterwards.

use millrace_template::{TEMPLATE_MARKER, TEMPLATE_PATTERN, is_template};
use serde_json::Value;

use crate::fields::Reader;
use crate::schema_walk::{properties, spread};
use crate::source::Span;
use crate::suggest;
use crate::tree::{Entry, Node, NodeKind};

pub(crate) struct Problem {
    pub code: &'static str,
    pub span: Span,
    pub message: String,
    pub hint: Option<String>,
}

/// Checks `node`, which the user knows as `name` (`keys[0]`).
pub(crate) fn check(reader: &Reader<'_>, schema: &Value, node: &Node, name: &str) -> Vec<Problem> {
    let mut check = Check { reader, problems: Vec::new() };
    check.value(schema, node, name, false);
    check.problems
}

struct Check<'r, 'a> {
    reader: &'r Reader<'a>,
    problems: Vec<Problem>,
}

impl Check<'_, '_> {
    fn problem(&mut self, code: &'static str, span: Span, message: String, hint: Option<String>) {
        self.problems.push(Problem { code, span, message, hint });
    }

    fn is_right(&self, schema: &Value, node: &Node, in_template: bool) -> bool {
        self.problems_of(schema, node, "", in_template).is_empty()
    }

    fn problems_of(&self, schema: &Value, node: &Node, name: &str, in_template: bool) -> Vec<Problem> {
        let mut check = Check { reader: self.reader, problems: Vec::new() };
        check.value(schema, node, name, in_template);
        check.problems
    }

    /// Under a template mark, text with Jinja may stand for a value of any type.
    fn value(&mut self, schema: &Value, node: &Node, name: &str, in_template: bool) {
        let in_template = in_template || schema.get(TEMPLATE_MARKER).and_then(Value::as_bool) == Some(true);
        if in_template && node.as_text().is_some_and(is_template) {
            return;
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(part, node, name, in_template);
        }
        let branches = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array);
        if let Some(branches) = branches {
            return self.branches(branches, node, name, in_template);
        }
        let is_bad_word = |words: &Vec<Value>| !words.contains(&node.to_value());
        if let Some(words) = schema.get("enum").and_then(Value::as_array).filter(|words| is_bad_word(words)) {
            return self.wrong_word(words, node, name);
        }
        if let Some(word) = schema.get("const").filter(|word| **word != node.to_value()) {
            return self.wrong_word(std::slice::from_ref(word), node, name);
        }
        if !has_type(schema, node) {
            return self.wrong_type(&[schema], node, name);
        }
        match &node.kind {
            NodeKind::Text(text) => self.text(schema, text, node, name),
            NodeKind::Number(number) => self.number(schema, number, node, name),
            NodeKind::List(items) => self.list(schema, items, node, name, in_template),
            NodeKind::Map(entries) => self.map(schema, entries, node, name, in_template),
            NodeKind::Null | NodeKind::Bool(_) => {}
        }
    }

    /// One branch must fit. When none does, the problems of the one that was most likely meant are told.
    fn branches(&mut self, branches: &[Value], node: &Node, name: &str, in_template: bool) {
        // Text with Jinja was let through before; nothing else is meant by the branch for it.
        let branches: Vec<&Value> = branches.iter().filter(|branch| !is_for_templates(branch)).collect();
        if branches.iter().any(|branch| self.is_right(branch, node, in_template)) {
            return;
        }
        let is_leaf =
            |leaf: &&Value| leaf.get("anyOf").is_none() && leaf.get("oneOf").is_none() && !is_for_templates(leaf);
        let leaves: Vec<&Value> = spread(&branches).into_iter().filter(is_leaf).collect();
        let words: Vec<Value> = leaves
            .iter()
            .flat_map(|leaf| leaf.get("enum").and_then(Value::as_array).into_iter().flatten().chain(leaf.get("const")))
            .filter(|word| !word.is_null())
            .cloned()
            .collect();
        if !words.is_empty()
            && node.as_text().is_some()
            && leaves.iter().all(|leaf| is_words(leaf) || !has_type(leaf, node))
        {
            return self.wrong_word(&words, node, name);
        }
        let fitting: Vec<&Value> =
            leaves.iter().copied().filter(|leaf| !is_words(leaf) && has_type(leaf, node)).collect();
        let before = self.problems.len();
        match fitting.as_slice() {
            [] => self.wrong_type(&leaves, node, name),
            [only] => self.value(only, node, name, in_template),
            several => {
                let likeliest = several.iter().max_by_key(|leaf| likeness(leaf, node));
                match likeliest {
                    Some(leaf) if likeness(leaf, node) > 0 || node.entries().is_empty() => {
                        self.value(leaf, node, name, in_template);
                    }
                    _ => self.no_branch(several, node, name),
                }
            }
        }
        // Whatever the branches are, a value that fits none of them is never let through in silence.
        if self.problems.len() == before {
            self.wrong_type(&leaves, node, name);
        }
    }

    /// A map none of whose keys any branch knows.
    fn no_branch(&mut self, branches: &[&Value], node: &Node, name: &str) {
        let known: Vec<&str> = branches.iter().flat_map(|branch| properties(branch)).map(|(name, _)| name).collect();
        for entry in node.entries() {
            self.unknown_key(entry, &known, name);
        }
    }

    fn unknown_key(&mut self, entry: &Entry, known: &[&str], name: &str) {
        let message = format!("unknown key '{}' in '{name}'", entry.key);
        self.problem("unknown-key", entry.key_span, message, suggest::hint(&entry.key, known));
    }

    fn wrong_type(&mut self, schemas: &[&Value], node: &Node, name: &str) {
        let mut nouns: Vec<String> = Vec::new();
        for schema in schemas {
            for noun in nouns_of(schema) {
                if !nouns.contains(&noun) {
                    nouns.push(noun);
                }
            }
        }
        let expected = if nouns.is_empty() { "something else".to_owned() } else { nouns.join(" or ") };
        let message = format!("'{name}' must be {expected}, not {}", node.kind.noun());
        let hint = self.reader.type_hint(node, &expected);
        self.problem("wrong-type", node.span, message, hint);
    }

    fn wrong_word(&mut self, words: &[Value], node: &Node, name: &str) {
        let words: Vec<&Value> = words.iter().filter(|word| !word.is_null()).collect();
        let texts: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
        let list = words
            .iter()
            .map(|word| word.as_str().map_or_else(|| word.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", ");
        let expected = if words.len() == 1 { list } else { format!("one of {list}") };
        let near = node.as_text().and_then(|text| suggest::nearest(text, texts));
        let found = node.as_text().map_or_else(|| node.kind.noun().to_owned(), |text| format!("'{text}'"));
        let hint = near.map(|near| format!("did you mean '{near}'?"));
        self.problem("bad-value", node.span, format!("'{name}' must be {expected}, not {found}"), hint);
    }

    fn text(&mut self, schema: &Value, text: &str, node: &Node, name: &str) {
        let length = text.chars().count() as u64;
        if schema.get("minLength").and_then(Value::as_u64).is_some_and(|least| length < least) {
            let message =
                if length == 0 { format!("'{name}' must not be empty") } else { format!("'{name}' is too short") };
            self.problem("out-of-range", node.span, message, None);
        }
        if let Some(most) = schema.get("maxLength").and_then(Value::as_u64).filter(|most| length > *most) {
            let message = format!("'{name}' has {length} characters; at most {most} are allowed");
            self.problem("out-of-range", node.span, message, None);
        }
    }

    fn number(&mut self, schema: &Value, number: &serde_json::Number, node: &Node, name: &str) {
        let Some(value) = number.as_f64() else { return };
        let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
        let complaint = if let Some(least) = bound("minimum").filter(|least| value < *least) {
            format!("at least {least}")
        } else if let Some(most) = bound("maximum").filter(|most| value > *most) {
            format!("at most {most}")
        } else if let Some(least) = bound("exclusiveMinimum").filter(|least| value <= *least) {
            format!("more than {least}")
        } else {
            return;
        };
        self.problem("out-of-range", node.span, format!("'{name}' must be {complaint}, not {number}"), None);
    }

    fn list(&mut self, schema: &Value, items: &[Node], node: &Node, name: &str, in_template: bool) {
        if schema.get("minItems").and_then(Value::as_u64).is_some_and(|least| (items.len() as u64) < least) {
            self.problem("out-of-range", node.span, format!("'{name}' must not be empty"), None);
        }
        if let Some(of_items) = schema.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.value(of_items, item, &format!("{name}[{index}]"), in_template);
            }
        }
    }

    fn map(&mut self, schema: &Value, entries: &[Entry], node: &Node, name: &str, in_template: bool) {
        let own = schema.get("properties").and_then(Value::as_object);
        let rest = schema.get("additionalProperties");
        let is_closed = rest == Some(&Value::Bool(false));
        let known: Vec<&str> = own.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        for entry in entries {
            let path = format!("{name}.{}", entry.key);
            match (own.and_then(|own| own.get(&entry.key)), rest) {
                (Some(property), _) => self.value(property, &entry.value, &path, in_template),
                (None, _) if is_closed => self.unknown_key(entry, &known, name),
                (None, Some(rest @ Value::Object(_))) => self.value(rest, &entry.value, &path, in_template),
                (None, _) => {}
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if node.get(key).is_none() {
                let span = entries.first().map_or(node.span, |entry| entry.key_span);
                self.problem("missing-key", span, format!("'{name}' has no '{key}'"), None);
            }
        }
    }
}

fn is_for_templates(schema: &Value) -> bool {
    schema.get("pattern").and_then(Value::as_str) == Some(TEMPLATE_PATTERN)
}

fn is_words(schema: &Value) -> bool {
    schema.get("enum").is_some() || schema.get("const").is_some()
}

fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// A schema without a type takes all.
fn has_type(schema: &Value, node: &Node) -> bool {
    let types = types_of(schema);
    let fits = |name: &&str| match (*name, &node.kind) {
        ("null", NodeKind::Null) | ("boolean", NodeKind::Bool(_)) | ("number", NodeKind::Number(_)) => true,
        ("integer", NodeKind::Number(number)) => !number.is_f64(),
        ("string", NodeKind::Text(_)) | ("array", NodeKind::List(_)) | ("object", NodeKind::Map(_)) => true,
        _ => false,
    };
    schema != &Value::Bool(false) && (types.is_empty() || types.iter().any(fits))
}

/// What a schema asks for, without "nothing": who is told to write something wants to know what.
fn nouns_of(schema: &Value) -> Vec<String> {
    let of_items = |schema: &Value| {
        let items = schema.get("items").map(|items| spread(&[items])).unwrap_or_default();
        let nouns: Vec<String> =
            items.iter().flat_map(|items| types_of(items)).filter_map(plural).map(str::to_owned).collect();
        match nouns.as_slice() {
            [only] => format!("a list of {only}"),
            _ => "a list".to_owned(),
        }
    };
    let noun = |name: &str| match name {
        "boolean" => Some("true or false".to_owned()),
        "integer" => Some("a whole number".to_owned()),
        "number" => Some("a number".to_owned()),
        "string" => Some("text".to_owned()),
        "array" => Some(of_items(schema)),
        "object" => Some("a map".to_owned()),
        _ => None,
    };
    types_of(schema).into_iter().filter_map(noun).collect()
}

fn plural(name: &str) -> Option<&'static str> {
    Some(match name {
        "string" => "text",
        "integer" => "whole numbers",
        "number" => "numbers",
        "object" => "maps",
        _ => return None,
    })
}

/// How many keys of the map the branch knows; a matching tag (`kind: x`) counts most.
fn likeness(schema: &Value, node: &Node) -> usize {
    let Some(own) = schema.get("properties").and_then(Value::as_object) else { return 0 };
    let score = |entry: &Entry| match own.get(&entry.key) {
        Some(property) if property.get("const") == Some(&entry.value.to_value()) => 100,
        Some(_) => 1,
        None => 0,
    };
    node.entries().iter().map(score).sum()
}
