//! A DAG's params: plain values, or a JSON Schema with a default. What a run is given is held against it.
//!
//! An entry that is a map with a `type` or an `enum` of JSON Schema is a schema; everything else is the value itself.

mod check;

use serde_json::{Map, Value};

pub use check::{Breach, pattern_problem};

/// The keywords that are understood; a DAG file that writes another is refused, so that nothing is believed to hold that does not.
pub const KEYWORDS: &[&str] = &[
    "type",
    "enum",
    "default",
    "title",
    "description",
    "examples",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
    "items",
];

/// The words for `type`.
pub const TYPES: &[&str] = &["string", "integer", "number", "boolean", "array", "object", "null"];

/// The words for `format` that are checked.
pub const FORMATS: &[&str] = &["date", "date-time", "time"];

/// One entry of a DAG's `params`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param<'a> {
    Plain(&'a Value),
    Schema(&'a Map<String, Value>),
}

/// What a run was given for a param that does not fit, or that it was not given.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: {breach}")]
pub struct ParamFault {
    /// `dates[2]` for an item of a list.
    pub name: String,
    pub breach: Breach,
}

impl ParamFault {
    /// The param's own name.
    pub fn param(&self) -> &str {
        self.name.split('[').next().unwrap_or(&self.name)
    }
}

impl<'a> Param<'a> {
    pub fn of(value: &'a Value) -> Self {
        let schema = value
            .as_object()
            .filter(|map| map.get("type").is_some_and(is_type) || map.get("enum").is_some_and(Value::is_array));
        schema.map_or(Self::Plain(value), Self::Schema)
    }

    pub fn schema(self) -> Option<&'a Map<String, Value>> {
        match self {
            Self::Plain(_) => None,
            Self::Schema(schema) => Some(schema),
        }
    }

    /// What it is when a run says nothing; none when a run must say it.
    pub fn default(self) -> Option<&'a Value> {
        match self {
            Self::Plain(value) => Some(value),
            Self::Schema(schema) => schema.get("default").or_else(|| self.takes_null().then_some(&Value::Null)),
        }
    }

    /// Whether it may be left empty.
    pub fn takes_null(self) -> bool {
        match self {
            Self::Plain(value) => value.is_null(),
            Self::Schema(schema) => {
                let names = |name: &Value| name.as_str() == Some("null");
                schema
                    .get("type")
                    .is_some_and(|kind| names(kind) || kind.as_array().is_some_and(|all| all.iter().any(names)))
                    || schema.get("enum").and_then(Value::as_array).is_some_and(|all| all.contains(&Value::Null))
            }
        }
    }

    /// `["string", "null"]` is a text that may be left out.
    pub fn main_type(self) -> Option<&'a str> {
        match self.schema()?.get("type")? {
            Value::String(name) => Some(name),
            Value::Array(names) => names.iter().filter_map(Value::as_str).find(|name| *name != "null"),
            _ => None,
        }
    }

    /// What of `value` does not fit.
    pub fn faults(self, name: &str, value: &Value) -> Vec<ParamFault> {
        let mut faults = Vec::new();
        if let Self::Schema(schema) = self {
            check::check(schema, name, value, &mut faults);
        }
        faults
    }
}

fn is_type(value: &Value) -> bool {
    let known = |name: &Value| name.as_str().is_some_and(|name| TYPES.contains(&name));
    known(value) || value.as_array().is_some_and(|names| !names.is_empty() && names.iter().all(known))
}

/// The values that templates see when a run says nothing of its own.
pub fn defaults(params: &Map<String, Value>) -> Map<String, Value> {
    let default = |(name, value): (&String, &'_ Value)| Some((name.clone(), Param::of(value).default()?.clone()));
    params.iter().filter_map(default).collect()
}

/// Holds a run's conf against the params. Names that are no param are the run's own.
pub fn faults(params: &Map<String, Value>, conf: &Map<String, Value>) -> Vec<ParamFault> {
    let of_one = |(name, value): (&String, &Value)| {
        let param = Param::of(value);
        match conf.get(name) {
            Some(given) => param.faults(name, given),
            None if param.default().is_none() => vec![ParamFault { name: name.clone(), breach: Breach::Missing }],
            None => Vec::new(),
        }
    };
    params.iter().flat_map(of_one).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn a_value_is_itself_and_a_schema_has_a_default() {
        let params = map(json!({
            "region": "eu",
            "limits": {"rows": 5},
            "kind": {"type": "orders"},
            "days": {"type": "integer", "default": 3},
            "until": {"type": ["string", "null"], "format": "date"},
            "table": {"type": "string"},
        }));
        let expected =
            json!({"region": "eu", "limits": {"rows": 5}, "kind": {"type": "orders"}, "days": 3, "until": null});
        assert_eq!(Value::Object(defaults(&params)), expected);
    }

    fn said(schema: Value, given: Value) -> String {
        let params = map(json!({"x": schema}));
        let faults = faults(&params, &map(json!({"x": given})));
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let cases = [
            (json!({"type": "integer"}), json!("5"), "x: must be a whole number, not a text"),
            (json!({"type": "integer"}), json!(5.5), "x: must be a whole number"),
            (json!({"type": "integer"}), json!(5.0), ""),
            (json!({"type": "number", "minimum": 1, "maximum": 9}), json!(0.5), "x: must be at least 1"),
            (json!({"type": "number", "minimum": 1, "maximum": 9}), json!(10), "x: must be at most 9"),
            (json!({"type": "number", "exclusiveMinimum": 0}), json!(0), "x: must be more than 0"),
            (json!({"type": "number", "exclusiveMaximum": 1}), json!(1), "x: must be less than 1"),
            (json!({"type": "integer", "multipleOf": 15}), json!(40), "x: must be a multiple of 15"),
            (json!({"type": "integer", "multipleOf": 15}), json!(45), ""),
            (json!({"type": "number", "multipleOf": 0.1}), json!(0.3), ""),
            (json!({"type": "boolean"}), json!("yes"), "x: must be true or false, not a text"),
            (json!({"type": "string"}), json!(null), "x: must be given"),
            (json!({"type": ["string", "null"]}), json!(null), ""),
            (json!({"type": "string", "minLength": 2}), json!("ü"), "x: must have 2 characters or more"),
            (json!({"type": "string", "maxLength": 2}), json!("üöä"), "x: must have no more than 2 characters"),
            (json!({"type": "string", "pattern": "^[a-z_]+$"}), json!("Orders"), "x: must match ^[a-z_]+$"),
            (json!({"type": "string", "format": "date"}), json!("2024-02-30"), "x: must be a date like 2024-01-31"),
            (json!({"type": "string", "format": "date"}), json!("2024-02-29"), ""),
            (json!({"type": "string", "format": "time"}), json!("25:00"), "x: must be a time like 02:30"),
            (json!({"type": "string", "format": "time"}), json!("02:30"), ""),
            (
                json!({"type": "string", "format": "date-time"}),
                json!("2024-01-31"),
                "x: must be a date and time like 2024-01-31T02:00:00+09:00",
            ),
            (json!({"type": "string", "format": "date-time"}), json!("2024-01-31T02:00:00Z"), ""),
            (json!({"enum": ["eu", 3]}), json!("us"), "x: must be one of: eu, 3"),
            (json!({"enum": ["eu", 3]}), json!(3), ""),
            (
                json!({"type": "array", "items": {"type": "integer"}}),
                json!([1, "b"]),
                "x[1]: must be a whole number, not a text",
            ),
            (json!({"type": "array", "minItems": 1}), json!([]), "x: must have 1 item or more"),
            (json!({"type": "array", "maxItems": 1}), json!([1, 2]), "x: must have no more than 1 item"),
            (json!({"type": "array", "uniqueItems": true}), json!([1, 2, 1]), "x: must not have an item twice"),
            (
                json!({"type": "array", "uniqueItems": true}),
                json!([{"a": 1, "b": [0.5]}, {"a": 1}, {"b": [0.5], "a": 1}]),
                "x: must not have an item twice",
            ),
            (json!({"type": "array", "uniqueItems": true}), json!([1, "1", null, false, [1], {}]), ""),
            (
                json!({"type": "integer", "maximum": 9_007_199_254_740_992_i64}),
                json!(9_007_199_254_740_993_i64),
                "x: must be at most 9007199254740992",
            ),
            (json!({"type": "integer", "minimum": 9_007_199_254_740_993_i64}), json!(9_007_199_254_740_993_i64), ""),
            (
                json!({"type": "integer", "exclusiveMinimum": u64::MAX - 1}),
                json!(u64::MAX - 1),
                "x: must be more than 18446744073709551614",
            ),
            (json!({"type": "integer", "exclusiveMinimum": u64::MAX - 1}), json!(u64::MAX), ""),
            (json!({"type": "number", "maximum": 1.5}), json!(2), "x: must be at most 1.5"),
            (json!({"type": "number", "maximum": 2.0}), json!(3), "x: must be at most 2"),
            (
                json!({"type": "integer", "multipleOf": 10}),
                json!(9_007_199_254_740_993_i64),
                "x: must be a multiple of 10",
            ),
            (
                json!({"type": "integer"}),
                json!(18_446_744_073_709_551_616.0),
                "x: must be a whole number from -9223372036854775808 to 18446744073709551615",
            ),
            (json!({"type": "object"}), json!([]), "x: must be a map of names and values, not a list"),
        ];
        for (schema, given, expected) in cases {
            assert_eq!(said(schema.clone(), given.clone()), expected, "{schema} {given}");
        }
    }

    #[test]
    fn of_a_long_list_only_some_faults_are_told() {
        let params = map(json!({"x": {"type": "array", "items": {"type": "string", "pattern": "^a$"}}}));
        let found = faults(&params, &map(json!({"x": vec!["b"; 300_000]})));
        assert_eq!(found.len(), 20);
        assert!(faults(&params, &map(json!({"x": vec!["a"; 300_000]}))).is_empty());
    }

    /// Not searched through for each of them.
    #[test]
    fn a_long_list_is_held_against_many_choices() {
        let choices: Vec<String> = (0..100_000).map(|number| format!("table_{number}")).collect();
        let params = map(json!({"x": {"type": "array", "items": {"enum": choices}}}));
        let last = vec!["table_99999"; 100_000];
        assert!(faults(&params, &map(json!({ "x": last }))).is_empty());
        let found = faults(&params, &map(json!({"x": ["table_1", "table"]})));
        assert!(found.len() == 1 && found[0].name == "x[1]", "{}", found.len());
    }

    #[test]
    fn what_is_missing_is_said_and_other_names_are_the_run_s_own() {
        let params = map(json!({"table": {"type": "string"}, "region": "eu"}));
        let said: Vec<String> =
            faults(&params, &map(json!({"other": 1, "region": 5}))).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["table: must be given"]);
        assert!(faults(&params, &map(json!({"table": "orders"}))).is_empty());
    }
}
