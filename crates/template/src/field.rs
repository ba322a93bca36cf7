//! The type of a parameter that is rendered before its operator runs.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The key in a JSON Schema that marks a field whose strings are rendered.
pub const TEMPLATE_MARKER: &str = "x-template";

/// The `pattern` of the text that may stand for a value of another type: it holds Jinja.
pub const TEMPLATE_PATTERN: &str = r"\{\{|\{%";

/// A parameter that may hold Jinja. When the file is read it keeps what is written; before the operator runs, the
/// worker renders every string inside and reads the operator's struct again from the result, so that [`get`](Self::get)
/// sees final values. A `Template<u32>` takes `5` as well as `"{{ params.limit }}"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Template<T> {
    value: Value,
    kind: PhantomData<fn() -> T>,
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("'{text}' is not right here: {reason}")]
pub struct TemplateValueError {
    pub text: String,
    /// The name of the Rust type.
    pub expected: &'static str,
    pub reason: String,
}

impl<T> Template<T> {
    pub fn from_value(value: Value) -> Self {
        Self { value, kind: PhantomData }
    }

    /// What is written in the file, or what it was rendered to.
    pub fn raw(&self) -> &Value {
        &self.value
    }

    /// True when some string inside holds Jinja.
    pub fn is_dynamic(&self) -> bool {
        fn dynamic(value: &Value) -> bool {
            match value {
                Value::String(text) => text.contains("{{") || text.contains("{%"),
                Value::Array(items) => items.iter().any(dynamic),
                Value::Object(map) => map.values().any(dynamic),
                _ => false,
            }
        }
        dynamic(&self.value)
    }
}

fn as_json(text: &str) -> &str {
    match text {
        "True" => "true",
        "False" => "false",
        "None" => "null",
        other => other,
    }
}

impl<T: DeserializeOwned> Template<T> {
    /// The final value. A string that a template gave is also read as JSON, so that `"5"` can be a number, and `True`,
    /// `False` and `None` as Jinja prints them.
    pub fn get(&self) -> Result<T, TemplateValueError> {
        let direct = serde_json::from_value::<T>(self.value.clone());
        let Err(error) = direct else { return direct.map_err(|e| self.error(&e)) };
        if let Value::String(text) = &self.value
            && let Ok(value) = serde_json::from_str::<T>(as_json(text.trim()))
        {
            return Ok(value);
        }
        Err(self.error(&error))
    }

    fn error(&self, reason: &serde_json::Error) -> TemplateValueError {
        let text = match &self.value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        TemplateValueError { text, expected: std::any::type_name::<T>(), reason: reason.to_string() }
    }
}

impl<T> From<&str> for Template<T> {
    fn from(text: &str) -> Self {
        Self::from_value(Value::String(text.to_owned()))
    }
}

impl<T> From<String> for Template<T> {
    fn from(text: String) -> Self {
        Self::from_value(Value::String(text))
    }
}

impl<T: Default + Serialize> Default for Template<T> {
    fn default() -> Self {
        Self::from_value(serde_json::to_value(T::default()).unwrap_or(Value::Null))
    }
}

impl<T> Serialize for Template<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Template<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let field = Self::from_value(Value::deserialize(deserializer)?);
        // Jinja may give anything; a plain value must already be right.
        if !field.is_dynamic() {
            field.get().map_err(serde::de::Error::custom)?;
        }
        Ok(field)
    }
}

impl<T: JsonSchema> JsonSchema for Template<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Template_of_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inner = T::json_schema(generator);
        let is_text = inner.get("type").and_then(Value::as_str) == Some("string");
        let mut schema = if is_text {
            inner
        } else {
            schemars::json_schema!({ "anyOf": [inner, { "type": "string", "pattern": TEMPLATE_PATTERN, "description": "a template that renders to it" }] })
        };
        schema.insert(TEMPLATE_MARKER.to_owned(), Value::Bool(true));
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_is_written_and_what_was_rendered() {
        let numbers = [(json!(5), Ok(5)), (json!("5"), Ok(5)), (json!(" 7 "), Ok(7)), (json!("five"), Err(()))];
        for (value, expected) in numbers {
            assert_eq!(Template::<u32>::from_value(value.clone()).get().map_err(|_| ()), expected, "{value}");
        }
        assert_eq!(Template::<bool>::from_value(json!("True")).get(), Ok(true));
        assert_eq!(Template::<Vec<String>>::from_value(json!(r#"["a","b"]"#)).get().unwrap(), ["a", "b"]);
        assert_eq!(Template::<String>::from("5").get().unwrap(), "5");
    }

    #[test]
    fn a_plain_value_must_be_right_at_once_and_a_template_later() {
        assert!(serde_json::from_value::<Template<u32>>(json!("{{ params.n }}")).is_ok());
        let error = serde_json::from_value::<Template<u32>>(json!("many")).unwrap_err().to_string();
        assert!(error.contains("'many' is not"), "{error}");
    }
}
