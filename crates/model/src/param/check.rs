//! A value against a param's schema.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use super::ParamFault;

/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 1 << 20;

/// Which rule of its schema a value breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Breach {
    /// Nothing was given, and there is no default.
    Missing,
    /// The types that it may have, and what it has.
    Type(Vec<String>, &'static str),
    NotWhole,
    Enum(Vec<String>),
    Minimum(f64),
    Maximum(f64),
    Above(f64),
    Below(f64),
    MultipleOf(f64),
    MinLength(u64),
    MaxLength(u64),
    Pattern(String),
    /// One of `FORMATS`.
    Format(String),
    MinItems(u64),
    MaxItems(u64),
    Twice,
    /// What was typed is no JSON: the parser's words.
    Json(String),
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("must be given"),
            Self::Type(wanted, found) => {
                let wanted: Vec<&str> = wanted.iter().map(|name| noun(name)).collect();
                write!(f, "must be {}, not {found}", wanted.join(" or "))
            }
            Self::NotWhole => f.write_str("must be a whole number"),
            Self::Enum(choices) => write!(f, "must be one of: {}", choices.join(", ")),
            Self::Minimum(bound) => write!(f, "must be at least {bound}"),
            Self::Maximum(bound) => write!(f, "must be at most {bound}"),
            Self::Above(bound) => write!(f, "must be more than {bound}"),
            Self::Below(bound) => write!(f, "must be less than {bound}"),
            Self::MultipleOf(step) => write!(f, "must be a multiple of {step}"),
            Self::MinLength(1) => f.write_str("must not be empty"),
            Self::MinLength(least) => write!(f, "must have {least} characters or more"),
            Self::MaxLength(most) => write!(f, "must have no more than {most} character{}", plural(*most)),
            Self::Pattern(pattern) => write!(f, "must match {pattern}"),
            Self::Format(name) => match name.as_str() {
                "date" => f.write_str("must be a date like 2024-01-31"),
                "time" => f.write_str("must be a time like 02:30"),
                _ => f.write_str("must be a date and time like 2024-01-31T02:00:00+09:00"),
            },
            Self::MinItems(least) => write!(f, "must have {least} item{} or more", plural(*least)),
            Self::MaxItems(most) => write!(f, "must have no more than {most} item{}", plural(*most)),
            Self::Twice => f.write_str("must not have an item twice"),
            Self::Json(error) => write!(f, "is not JSON: {error}"),
        }
    }
}

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

/// What a user would call a type of JSON Schema.
fn noun(name: &str) -> &str {
    match name {
        "string" => "a text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map of names and values",
        "null" => "nothing",
        other => other,
    }
}

fn noun_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map of names and values",
    }
}

/// At most one fault of a value itself: the first says enough. Items of a list are looked at one by one.
pub(super) fn check(schema: &Map<String, Value>, name: &str, value: &Value, faults: &mut Vec<ParamFault>) {
    let breach = type_breach(schema, value).or_else(|| enum_breach(schema, value)).or_else(|| match value {
        Value::Number(number) => number_breach(schema, number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => text_breach(schema, text),
        Value::Array(items) => list_breach(schema, items),
        _ => None,
    });
    if let Some(breach) = breach {
        faults.push(ParamFault { name: name.to_owned(), breach });
        return;
    }
    if let (Value::Array(items), Some(Value::Object(of_items))) = (value, schema.get("items")) {
        for (place, item) in items.iter().enumerate() {
            check(of_items, &format!("{name}[{place}]"), item, faults);
        }
    }
}

fn type_breach(schema: &Map<String, Value>, value: &Value) -> Option<Breach> {
    let wanted: Vec<&str> = match schema.get("type")? {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let fits = |name: &&str| match (*name, value) {
        ("string", Value::String(_))
        | ("number", Value::Number(_))
        | ("boolean", Value::Bool(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_))
        | ("null", Value::Null) => true,
        ("integer", Value::Number(number)) => is_whole(number),
        _ => false,
    };
    if wanted.iter().any(fits) {
        return None;
    }
    Some(match value {
        Value::Null => Breach::Missing,
        Value::Number(_) if wanted.contains(&"integer") => Breach::NotWhole,
        _ => {
            let shown = wanted.iter().filter(|name| **name != "null" || wanted.len() == 1);
            Breach::Type(shown.map(|name| (*name).to_owned()).collect(), noun_of(value))
        }
    })
}

/// 5.0 is one, too.
fn is_whole(number: &serde_json::Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

fn enum_breach(schema: &Map<String, Value>, value: &Value) -> Option<Breach> {
    let choices = schema.get("enum")?.as_array()?;
    let shown = |choice: &Value| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned);
    (!choices.contains(value)).then(|| Breach::Enum(choices.iter().map(shown).collect()))
}

fn number_breach(schema: &Map<String, Value>, number: f64) -> Option<Breach> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_f64);
    let broken = |key: &str, is_broken: fn(f64, f64) -> bool, breach: fn(f64) -> Breach| {
        bound(key).filter(|bound| is_broken(number, *bound)).map(breach)
    };
    broken("minimum", |number, least| number < least, Breach::Minimum)
        .or_else(|| broken("maximum", |number, most| number > most, Breach::Maximum))
        .or_else(|| broken("exclusiveMinimum", |number, bound| number <= bound, Breach::Above))
        .or_else(|| broken("exclusiveMaximum", |number, bound| number >= bound, Breach::Below))
        .or_else(|| broken("multipleOf", is_no_multiple, Breach::MultipleOf))
}

/// 0.3 is a multiple of 0.1, although their quotient is not quite whole.
fn is_no_multiple(number: f64, step: f64) -> bool {
    let times = number / step;
    (times - times.round()).abs() > 1e-9 * times.abs().max(1.0)
}

fn text_breach(schema: &Map<String, Value>, text: &str) -> Option<Breach> {
    let length = || text.chars().count() as u64;
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    let word = |key: &str| schema.get(key).and_then(Value::as_str);
    bound("minLength")
        .filter(|least| length() < *least)
        .map(Breach::MinLength)
        .or_else(|| bound("maxLength").filter(|most| length() > *most).map(Breach::MaxLength))
        .or_else(|| {
            word("pattern").filter(|pattern| !matches(pattern, text)).map(|pattern| Breach::Pattern(pattern.to_owned()))
        })
        .or_else(|| {
            word("format").filter(|format| !has_format(format, text)).map(|format| Breach::Format(format.to_owned()))
        })
}

fn compiled(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(LARGEST_PATTERN).build()
}

/// Why a text cannot be a `pattern`.
pub fn pattern_problem(pattern: &str) -> Option<String> {
    let error = compiled(pattern).err()?.to_string();
    Some(error.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned())
}

/// A pattern that is none lets nothing pass; a DAG file with one is refused.
fn matches(pattern: &str, text: &str) -> bool {
    compiled(pattern).is_ok_and(|pattern| pattern.is_match(text))
}

/// As JSON Schema wants them, and without the zone, which is then the DAG's.
fn has_format(format: &str, text: &str) -> bool {
    let is_time = || ["%H:%M", "%H:%M:%S%.f"].iter().any(|format| NaiveTime::parse_from_str(text, format).is_ok());
    match format {
        "date" => text.len() == 10 && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok(),
        "time" => is_time(),
        "date-time" => {
            DateTime::parse_from_rfc3339(text).is_ok()
                || ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f"]
                    .iter()
                    .any(|format| NaiveDateTime::parse_from_str(text, format).is_ok())
        }
        _ => true,
    }
}

fn list_breach(schema: &Map<String, Value>, items: &[Value]) -> Option<Breach> {
    let bound = |key: &str| schema.get(key).and_then(Value::as_u64);
    let count = items.len() as u64;
    bound("minItems")
        .filter(|least| count < *least)
        .map(Breach::MinItems)
        .or_else(|| bound("maxItems").filter(|most| count > *most).map(Breach::MaxItems))
        .or_else(|| {
            let wants_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
            let has_twin = |(place, item): (usize, &Value)| items[..place].contains(item);
            (wants_unique && items.iter().enumerate().any(has_twin)).then_some(Breach::Twice)
        })
}
