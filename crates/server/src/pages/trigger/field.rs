//! One param as a field of a form: how it is shown, and what was typed into it.

use chrono_tz::Tz;
use millrace_model::instant::parse_instant;
use millrace_model::json_text::flaw;
use millrace_model::param::{Breach, Param, ParamFault};
use serde::Serialize;
use serde_json::{Number, Value};

/// A longer text gets several lines.
const ONE_LINE: usize = 80;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Text,
    /// Several lines.
    Long,
    Integer,
    Number,
    Flag,
    Choice,
    Date,
    /// On the clock of the DAG's zone.
    Moment,
    Time,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Field {
    pub name: String,
    pub kind: Kind,
    /// As it stands in the field; of a flag, `true` or nothing.
    pub value: String,
    pub title: Option<String>,
    pub description: Option<String>,
    choices: Vec<String>,
    examples: Vec<String>,
    minimum: Option<String>,
    maximum: Option<String>,
    min_length: Option<String>,
    max_length: Option<String>,
    pattern: Option<String>,
    step: Option<String>,
    pub is_required: bool,
    pub takes_nothing: bool,
    pub error: Option<String>,
}

/// One that is a schema says what it is, of any other its value does. `default` is shown, secrets masked.
pub(super) fn field(name: &str, param: Param<'_>, default: &Value, zone: Tz) -> Field {
    let said = |key: &str| param.schema().and_then(|schema| schema.get(key));
    let text = |key: &str| said(key).and_then(Value::as_str).map(str::to_owned);
    let plain = |key: &str| said(key).map(shown);
    let list = |key: &str| said(key).and_then(Value::as_array).into_iter().flatten().map(shown).collect::<Vec<_>>();
    let choices = list("enum");
    let kind = kind(param, default, !choices.is_empty());
    let value = match kind {
        Kind::Moment => on_the_clock(&shown(default), zone),
        _ => shown(default),
    };
    Field {
        name: name.to_owned(),
        kind,
        value,
        title: text("title"),
        description: text("description"),
        choices,
        examples: list("examples"),
        minimum: plain("minimum"),
        maximum: plain("maximum"),
        min_length: plain("minLength"),
        max_length: plain("maxLength"),
        // A browser wants the whole text to match, JSON Schema any part of it: that is left to the server.
        pattern: text("pattern"),
        step: plain("multipleOf"),
        is_required: param.default().is_none() && kind != Kind::Flag,
        takes_nothing: param.takes_null(),
        error: None,
    }
}

fn kind(param: Param<'_>, default: &Value, has_choices: bool) -> Kind {
    let is_long = |text: &str| text.len() > ONE_LINE || text.contains('\n');
    let format = param.schema().and_then(|schema| schema.get("format")).and_then(Value::as_str);
    match param.main_type() {
        _ if has_choices => Kind::Choice,
        Some("boolean") => Kind::Flag,
        Some("integer") => Kind::Integer,
        Some("number") => Kind::Number,
        Some("string") => match format {
            Some("date") => Kind::Date,
            Some("date-time") => Kind::Moment,
            Some("time") => Kind::Time,
            _ if is_long(&shown(default)) => Kind::Long,
            _ => Kind::Text,
        },
        Some(_) => Kind::Json,
        None => match default {
            Value::Bool(_) => Kind::Flag,
            Value::Number(_) => Kind::Number,
            Value::String(text) if is_long(text) => Kind::Long,
            Value::String(_) => Kind::Text,
            Value::Null | Value::Array(_) | Value::Object(_) => Kind::Json,
        },
    }
}

impl Field {
    /// What the run gets; nothing when it is as it was, so that the DAG's own value stays in charge.
    pub fn read(&self, typed: Option<&str>, param: Param<'_>, zone: Tz) -> Result<Option<Value>, ParamFault> {
        let fault = |breach| Err(ParamFault { name: self.name.clone(), breach });
        if self.kind == Kind::Flag {
            let is_set = typed.is_some();
            return Ok((param.default() != Some(&Value::Bool(is_set))).then_some(Value::Bool(is_set)));
        }
        // Browsers end lines as telegraphs did.
        let typed = typed.unwrap_or_default().replace("\r\n", "\n");
        if typed == self.value && !self.is_required {
            return Ok(None);
        }
        let trimmed = typed.trim();
        if trimmed.is_empty() {
            let keeps_text = matches!(self.kind, Kind::Text | Kind::Long) && !self.is_required && !self.takes_nothing;
            return match (keeps_text, self.takes_nothing) {
                (true, _) => Ok(Some(Value::String(typed))),
                (_, true) => Ok(Some(Value::Null)),
                // Plain values may become nothing, as they may become anything.
                _ if param.schema().is_none() => Ok(Some(Value::Null)),
                _ => fault(Breach::Missing),
            };
        }
        if matches!(self.kind, Kind::Integer | Kind::Number | Kind::Json)
            && let Some(flaw) = flaw(trimmed.as_bytes())
        {
            return fault(Breach::Flawed(flaw));
        }
        let value = match self.kind {
            Kind::Integer | Kind::Number => match serde_json::from_str::<Number>(trimmed) {
                Ok(number) => Value::Number(number),
                Err(_) => {
                    let wanted = if self.kind == Kind::Integer { "integer" } else { "number" };
                    return fault(Breach::Type(vec![wanted.to_owned()], "a text"));
                }
            },
            Kind::Choice => choice(param, &typed),
            Kind::Json => match serde_json::from_str(trimmed) {
                Ok(value) => value,
                Err(error) => return fault(Breach::Json(error.to_string())),
            },
            Kind::Moment => Value::String(with_offset(trimmed, zone)),
            Kind::Date | Kind::Time => Value::String(trimmed.to_owned()),
            Kind::Text | Kind::Long | Kind::Flag => Value::String(typed),
        };
        match param.faults(&self.name, &value).into_iter().next() {
            Some(fault) => Err(fault),
            None => Ok(Some(value)),
        }
    }
}

/// The choice itself, which need not be a text.
fn choice(param: Param<'_>, typed: &str) -> Value {
    let choices = param.schema().and_then(|schema| schema.get("enum")).and_then(Value::as_array);
    let found = choices.into_iter().flatten().find(|choice| shown(choice) == typed);
    found.cloned().unwrap_or_else(|| Value::String(typed.to_owned()))
}

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    }
}

/// As a browser's field for dates and times wants it; what is no instant stays what it is.
fn on_the_clock(text: &str, zone: Tz) -> String {
    let at = (!text.is_empty()).then(|| parse_instant(text, zone).ok()).flatten();
    at.map_or_else(|| text.to_owned(), |at| at.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S").to_string())
}

/// What was typed by the DAG's clock, so that it means the same everywhere.
fn with_offset(text: &str, zone: Tz) -> String {
    match parse_instant(text, zone) {
        Ok(at) if text.contains(['T', 't', ' ']) => at.with_timezone(&zone).to_rfc3339(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SEOUL: Tz = Tz::Asia__Seoul;

    fn made(value: &Value) -> Field {
        let param = Param::of(value);
        field("x", param, param.default().unwrap_or(&Value::Null), SEOUL)
    }

    #[test]
    fn a_field_is_what_its_value_is() {
        let kind = |value: Value| made(&value).kind;
        assert_eq!(
            [kind(json!("a")), kind(json!(1.5)), kind(json!(true)), kind(json!([1])), kind(json!(null))],
            [Kind::Text, Kind::Number, Kind::Flag, Kind::Json, Kind::Json]
        );
        assert_eq!(kind(json!("a\nb")), Kind::Long);
        assert_eq!(kind(json!({"region": "eu"})), Kind::Json);
    }

    #[test]
    fn a_schema_says_it_itself() {
        let schema = json!({"type": "integer", "default": 3, "minimum": 1, "maximum": 9, "description": "how many"});
        let field = made(&schema);
        assert_eq!((field.kind, field.value.as_str(), field.minimum.as_deref()), (Kind::Integer, "3", Some("1")));
        assert_eq!(field.description.as_deref(), Some("how many"));
        let choice = made(&json!({"enum": ["eu", "us"], "default": "us"}));
        assert_eq!((choice.kind, choice.choices), (Kind::Choice, vec!["eu".to_owned(), "us".to_owned()]));
        assert!(!made(&json!({"type": ["string", "null"]})).is_required);
        assert!(made(&json!({"type": "string"})).is_required);
        assert_eq!(made(&json!({"type": "orders", "n": 1})).kind, Kind::Json, "an object of its own");
        let moment = made(&json!({"type": "string", "format": "date-time", "default": "2024-01-31T00:00:00Z"}));
        assert_eq!((moment.kind, moment.value.as_str()), (Kind::Moment, "2024-01-31T09:00:00"));
    }

    #[test]
    fn what_is_typed_has_the_type_of_the_param() {
        let read = |schema: Value, typed: Option<&str>| match made(&schema).read(typed, Param::of(&schema), SEOUL) {
            Ok(value) => value.map_or("as it was".to_owned(), |value| value.to_string()),
            Err(fault) => fault.to_string(),
        };
        let days = || json!({"type": "integer", "default": 3, "minimum": 1});
        let cases = [
            (days(), Some("3"), "as it was"),
            (days(), Some("5"), "5"),
            (days(), Some("0"), "x: must be at least 1"),
            (days(), Some("many"), "x: must be a whole number, not a text"),
            (days(), Some(""), "x: must be given"),
            (json!(5), Some(""), "null"),
            (json!("a"), Some(""), "\"\""),
            (json!({"type": ["string", "null"]}), Some(""), "as it was"),
            (json!({"type": "string"}), Some(""), "x: must be given"),
            (json!({"type": "boolean", "default": true}), None, "false"),
            (json!({"type": "boolean", "default": true}), Some("true"), "as it was"),
            (json!({"type": "boolean"}), None, "false"),
            (json!({"enum": [1, 2], "default": 1}), Some("2"), "2"),
            (json!({"enum": [1, 2], "default": 1}), Some("3"), "x: must be one of: 1, 2"),
            (json!([1]), Some("[1, 2"), "x: is not JSON: EOF while parsing a list at line 1 column 5"),
            (json!({"type": "array", "default": []}), Some("[1]"), "[1]"),
            (json!("a\nb"), Some("a\r\nb"), "as it was"),
            (
                json!({"type": "string", "format": "date-time"}),
                Some("2024-01-31T02:00"),
                "\"2024-01-31T02:00:00+09:00\"",
            ),
            (json!({"type": "string", "format": "date"}), Some("31.1."), "x: must be a date like 2024-01-31"),
        ];
        for (schema, typed, expected) in cases {
            assert_eq!(read(schema.clone(), typed), expected, "{schema} {typed:?}");
        }
    }
}
