//! Finds one's way in an operator's JSON Schema: properties, branches, what is a template.

use millrace_template::is_marked;
use serde_json::Value;

use crate::tree::{Node, NodeKind};

/// The schema and everything under its anyOf, oneOf and allOf.
pub(crate) fn spread<'s>(schemas: &[&'s Value]) -> Vec<&'s Value> {
    let mut all: Vec<&Value> = schemas.to_vec();
    let mut next = 0;
    while next < all.len() {
        let schema = all[next];
        all.extend(["anyOf", "oneOf", "allOf"].iter().filter_map(|key| schema.get(key)?.as_array()).flatten());
        next += 1;
    }
    all
}

/// Name and schema of every property, whichever branch has it; each name once.
pub(crate) fn properties(schema: &Value) -> Vec<(&str, &Value)> {
    let mut found: Vec<(&str, &Value)> = Vec::new();
    for part in spread(&[schema]) {
        for (name, property) in part.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if !found.iter().any(|(known, _)| known == name) {
                found.push((name, property));
            }
        }
    }
    found
}

/// The properties that must be there whichever branch is taken.
pub(crate) fn required(schema: &Value) -> Vec<&str> {
    let own = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let parts = schema.get("allOf").and_then(Value::as_array).into_iter().flatten().flat_map(required);
    own.chain(parts).collect()
}

/// Calls `each` with every text of `node` that is rendered before the operator runs.
pub(crate) fn for_each_template<'n>(schemas: &[&Value], node: &'n Node, each: &mut dyn FnMut(&'n Node)) {
    if schemas.iter().any(|schema| is_marked(schema)) {
        return for_each_text(node, each);
    }
    let schemas = spread(schemas);
    for entry in node.entries() {
        for_each_template(&children(&schemas, &entry.key), &entry.value, each);
    }
    let items: Vec<&Value> = schemas.iter().filter_map(|schema| schema.get("items")).collect();
    for item in node.items() {
        for_each_template(&items, item, each);
    }
}

/// As [`for_each_template`], to change the texts.
pub(crate) fn change_templates(schemas: &[&Value], node: &mut Node, change: &mut dyn FnMut(&mut Node)) {
    let is_template = schemas.iter().any(|schema| is_marked(schema));
    let schemas = spread(schemas);
    match &mut node.kind {
        NodeKind::Text(_) if is_template => change(node),
        NodeKind::Map(entries) => {
            for entry in entries {
                let below = if is_template { schemas.clone() } else { children(&schemas, &entry.key) };
                change_templates(&below, &mut entry.value, change);
            }
        }
        NodeKind::List(items) => {
            let of_items: Vec<&Value> = schemas.iter().filter_map(|schema| schema.get("items")).collect();
            for item in items {
                change_templates(if is_template { &schemas } else { &of_items }, item, change);
            }
        }
        _ => {}
    }
}

fn children<'s>(schemas: &[&'s Value], key: &str) -> Vec<&'s Value> {
    let of_key = |schema: &&'s Value| {
        let property = schema.get("properties").and_then(|properties| properties.get(key));
        property.or_else(|| schema.get("additionalProperties"))
    };
    schemas.iter().filter_map(of_key).collect()
}

fn for_each_text<'n>(node: &'n Node, each: &mut dyn FnMut(&'n Node)) {
    match &node.kind {
        NodeKind::Text(_) => each(node),
        NodeKind::List(items) => items.iter().for_each(|item| for_each_text(item, each)),
        NodeKind::Map(entries) => entries.iter().for_each(|entry| for_each_text(&entry.value, each)),
        _ => {}
    }
}
