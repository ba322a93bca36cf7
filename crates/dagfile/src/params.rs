//! `params`: values, or JSON Schemas with a default, which must suit themselves before a run has to suit them.

use millrace_model::param::{FORMATS, KEYWORDS, Param, TYPES, pattern_problem};
use millrace_model::schedule::Schedule;
use serde_json::{Map, Value};

use crate::fields::Reader;
use crate::tree::{Entry, Node, NodeKind};

/// Whole numbers, not below zero.
const COUNTS: &[&str] = &["minLength", "maxLength", "minItems", "maxItems"];
const BOUNDS: &[&str] = &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const TEXTS: &[&str] = &["title", "description", "pattern", "format"];

pub(crate) fn read(reader: &mut Reader<'_>, entry: Option<&Entry>, schedule: &Schedule) -> Map<String, Value> {
    let Some(entry) = entry else { return Map::new() };
    let params = match entry.value.to_value() {
        Value::Object(params) => params,
        Value::Null => return Map::new(),
        _ => {
            reader.wrong_type(entry, "a map of names and values");
            return Map::new();
        }
    };
    for entry in entry.value.entries() {
        let Some(value) = params.get(&entry.key) else { continue };
        if Param::of(value).schema().is_some() {
            let before = reader.errors();
            check_keywords(reader, &entry.value);
            // Nothing is held against a schema that is wrong itself.
            if reader.errors() > before {
                continue;
            }
            check_default(reader, entry, Param::of(value), schedule);
        }
    }
    params
}

/// The names as they stand there; none when that is by the alphabet.
pub(crate) fn order(entry: Option<&Entry>) -> Vec<String> {
    let names: Vec<String> =
        entry.map(|entry| entry.value.entries().iter().map(|entry| entry.key.clone()).collect()).unwrap_or_default();
    if names.is_sorted() { Vec::new() } else { names }
}

fn check_keywords(reader: &mut Reader<'_>, schema: &Node) {
    reader.unknown_keys(schema.entries(), KEYWORDS, "in a param's schema");
    for entry in schema.entries() {
        let key = entry.key.as_str();
        let number = match &entry.value.kind {
            NodeKind::Number(number) => number.as_f64(),
            _ => None,
        };
        match &entry.value.kind {
            _ if key == "type" => check_type(reader, entry),
            NodeKind::List(items) if key == "enum" && items.is_empty() => {
                reader.error("bad-value", entry.value.span, "'enum' lists nothing that could be chosen");
            }
            NodeKind::List(_) if key == "enum" || key == "examples" => {}
            _ if key == "enum" => reader.wrong_type(entry, "a list of values"),
            _ if COUNTS.contains(&key) => {
                reader.integer(entry, 0, i64::MAX);
            }
            _ if BOUNDS.contains(&key) && number.is_none() => reader.wrong_type(entry, "a number"),
            _ if key == "multipleOf" && number.is_some_and(|step| step <= 0.0) => {
                reader.error("out-of-range", entry.value.span, "'multipleOf' must be more than zero");
            }
            NodeKind::Text(text) if key == "format" && !FORMATS.contains(&text.as_str()) => {
                let message = format!("'format' must be {}, not '{text}'", FORMATS.join(", "));
                let hint = "leave it out, or write what the text looks like as a 'pattern'".to_owned();
                reader.error_with_hint("bad-value", entry.value.span, message, hint);
            }
            NodeKind::Text(text) if key == "pattern" => {
                if let Some(why) = pattern_problem(text) {
                    reader.error("bad-value", entry.value.span, format!("'pattern' is no regular expression: {why}"));
                }
            }
            _ if TEXTS.contains(&key) => {
                reader.text(entry);
            }
            _ if key == "uniqueItems" => {
                reader.flag(entry);
            }
            NodeKind::Map(_) if key == "items" => check_keywords(reader, &entry.value),
            _ if key == "items" => reader.wrong_type(entry, "the schema of an item"),
            _ => {}
        }
    }
}

fn check_type(reader: &mut Reader<'_>, entry: &Entry) {
    let names: Vec<&Node> = match &entry.value.kind {
        NodeKind::List(items) => items.iter().collect(),
        _ => vec![&entry.value],
    };
    for name in names.into_iter().filter(|name| !name.as_text().is_some_and(|name| TYPES.contains(&name))) {
        let hint = "'null' in quotation marks: without them it is nothing, not the word";
        let hint = name.is_null().then(|| hint.to_owned());
        reader.error_with_hint("bad-value", name.span, format!("'type' must be one of {}", TYPES.join(", ")), hint);
    }
}

/// Nobody is there to be asked when the schedule makes a run.
fn check_default(reader: &mut Reader<'_>, entry: &Entry, param: Param<'_>, schedule: &Schedule) {
    let name = &entry.key;
    match param.default() {
        None if !matches!(schedule, Schedule::None) => {
            let message =
                format!("the param '{name}' has no default, and the schedule makes runs without asking for it");
            let hint = "give it a 'default', let its type be [string, \"null\"], or write 'schedule: none'".to_owned();
            reader.error_with_hint("missing-key", entry.key_span, message, hint);
        }
        None => {}
        Some(default) => {
            let span = entry.value.get("default").map_or(entry.key_span, |entry| entry.value.span);
            for fault in param.faults("default", default) {
                reader.error("bad-value", span, format!("the default of the param '{name}' {}", fault.breach));
            }
        }
    }
}
