//! A value against a param's schema.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use regex::{Regex, RegexBuilder};
use serde_json::{Map, Number, Value};

use super::ParamFault;
use crate::json_text::Flaw;

/// Bytes that a compiled pattern may take.
const LARGEST_PATTERN: usize = 1 << 20;
/// Of one value no more are told: a long list may have as many as it has items.
const MOST_FAULTS: usize = 20;

/// Which rule of its schema a value breaks.
#[derive(Debug, Clone, PartialEq)]
pub enum Breach {
    /// Nothing was given, and there is no default.
    Missing,
    /// The types that it may have, and what it has.
    Type(Vec<String>, &'static str),
    NotWhole,
    /// Further from zero than whole numbers are kept.
    OutOfRange,
    Enum(Vec<String>),
    Minimum(Number),
    Maximum(Number),
    Above(Number),
    Below(Number),
    MultipleOf(Number),
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
    /// What was typed would be kept as something else.
    Flawed(Flaw),
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
            Self::OutOfRange => write!(f, "must be a whole number from {} to {}", i64::MIN, u64::MAX),
            Self::Enum(choices) => write!(f, "must be one of: {}", choices.join(", ")),
            Self::Minimum(bound) => write!(f, "must be at least {}", shown(bound)),
            Self::Maximum(bound) => write!(f, "must be at most {}", shown(bound)),
            Self::Above(bound) => write!(f, "must be more than {}", shown(bound)),
            Self::Below(bound) => write!(f, "must be less than {}", shown(bound)),
            Self::MultipleOf(step) => write!(f, "must be a multiple of {}", shown(step)),
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
            Self::Flawed(flaw) => flaw.fmt(f),
        }
    }
}

/// 1.0 is shown as 1.
fn shown(number: &Number) -> String {
    whole(number).map_or_else(|| number.to_string(), |whole| whole.to_string())
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
    Rules::of(schema).check(name, value, faults);
}

/// A schema that many items are held against: a long list of choices is searched through for none of them.
struct Rules<'s> {
    schema: &'s Map<String, Value>,
    choices: Option<HashSet<&'s Value>>,
    of_items: Option<Box<Self>>,
}

impl<'s> Rules<'s> {
    fn of(schema: &'s Map<String, Value>) -> Self {
        let choices = schema.get("enum").and_then(Value::as_array).map(|choices| choices.iter().collect());
        let of_items = schema.get("items").and_then(Value::as_object).map(|items| Box::new(Rules::of(items)));
        Self { schema, choices, of_items }
    }

    fn check(&self, name: &str, value: &Value, faults: &mut Vec<ParamFault>) {
        let breach = type_breach(self.schema, value).or_else(|| self.enum_breach(value)).or_else(|| match value {
            Value::Number(number) => number_breach(self.schema, number),
            Value::String(text) => text_breach(self.schema, text),
            Value::Array(items) => list_breach(self.schema, items),
            _ => None,
        });
        if let Some(breach) = breach {
            faults.push(ParamFault { name: name.to_owned(), breach });
            return;
        }
        if let (Value::Array(items), Some(of_items)) = (value, &self.of_items) {
            for (place, item) in items.iter().enumerate() {
                if faults.len() >= MOST_FAULTS {
                    return;
                }
                of_items.check(&format!("{name}[{place}]"), item, faults);
            }
        }
    }

    fn enum_breach(&self, value: &Value) -> Option<Breach> {
        if self.choices.as_ref()?.contains(value) {
            return None;
        }
        let shown = |choice: &Value| choice.as_str().map_or_else(|| choice.to_string(), str::to_owned);
        Some(Breach::Enum(self.schema.get("enum")?.as_array()?.iter().map(shown).collect()))
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
        ("integer", Value::Number(number)) => is_whole(number) && is_kept(number),
        _ => false,
    };
    if wanted.iter().any(fits) {
        return None;
    }
    Some(match value {
        Value::Null => Breach::Missing,
        Value::Number(number) if wanted.contains(&"integer") && is_whole(number) => Breach::OutOfRange,
        Value::Number(_) if wanted.contains(&"integer") => Breach::NotWhole,
        _ => {
            let shown = wanted.iter().filter(|name| **name != "null" || wanted.len() == 1);
            Breach::Type(shown.map(|name| (*name).to_owned()).collect(), noun_of(value))
        }
    })
}

/// 5.0 is one, too.
fn is_whole(number: &Number) -> bool {
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(|float| float.fract() == 0.0)
}

/// Whole numbers beyond 64 bits have become the nearest float by now: another number.
fn is_kept(number: &Number) -> bool {
    let is_near = |float: f64| float > -9_223_372_036_854_775_808.0 && float < 18_446_744_073_709_551_616.0;
    number.is_i64() || number.is_u64() || number.as_f64().is_some_and(is_near)
}

fn number_breach(schema: &Map<String, Value>, number: &Number) -> Option<Breach> {
    let broken = |key: &str, is_broken: fn(&Number, &Number) -> bool, breach: fn(Number) -> Breach| {
        let bound = schema.get(key).and_then(Value::as_number)?;
        is_broken(number, bound).then(|| breach(bound.clone()))
    };
    broken("minimum", |number, least| compare(number, least).is_none_or(Ordering::is_lt), Breach::Minimum)
        .or_else(|| {
            broken("maximum", |number, most| compare(number, most).is_none_or(Ordering::is_gt), Breach::Maximum)
        })
        .or_else(|| {
            broken(
                "exclusiveMinimum",
                |number, bound| compare(number, bound).is_none_or(Ordering::is_le),
                Breach::Above,
            )
        })
        .or_else(|| {
            broken(
                "exclusiveMaximum",
                |number, bound| compare(number, bound).is_none_or(Ordering::is_ge),
                Breach::Below,
            )
        })
        .or_else(|| broken("multipleOf", is_no_multiple, Breach::MultipleOf))
}

/// Exact where both are whole: as floats, 9007199254740993 and 9007199254740992 are one number.
fn compare(one: &Number, other: &Number) -> Option<Ordering> {
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

fn whole(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from)).or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e30)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and far smaller than an i128")]
        Some(float as i128)
    })
}

/// 0.3 is a multiple of 0.1, although their quotient is not quite whole.
fn is_no_multiple(number: &Number, step: &Number) -> bool {
    if let (Some(number), Some(step)) = (whole(number), whole(step))
        && step != 0
    {
        return number % step != 0;
    }
    let times = number.as_f64().unwrap_or(f64::NAN) / step.as_f64().unwrap_or(f64::NAN);
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

thread_local! {
    /// The pattern that was last asked for: each item of a long list asks for the same one, and to compile it takes
    /// longer than to match.
    static LAST: RefCell<Option<(String, Regex)>> = const { RefCell::new(None) };
}

/// A pattern that is none lets nothing pass; a DAG file with one is refused.
fn matches(pattern: &str, text: &str) -> bool {
    LAST.with_borrow_mut(|last| {
        if last.as_ref().is_none_or(|(known, _)| known != pattern) {
            *last = compiled(pattern).ok().map(|compiled| (pattern.to_owned(), compiled));
        }
        last.as_ref().is_some_and(|(_, pattern)| pattern.is_match(text))
    })
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
            let mut seen = HashSet::new();
            (wants_unique && !items.iter().all(|item| seen.insert(item))).then_some(Breach::Twice)
        })
}
