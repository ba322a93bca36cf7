//! What a rendered text means as a condition.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// True or false. A text is false when it is empty or, in any case and with blanks around it, `false`, `no`, `off`,
/// `none`, `null`, `[]`, `{}` or a number that is 0. Every other text is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truth(pub bool);

impl Truth {
    fn of_text(text: &str) -> Self {
        let text = text.trim().to_ascii_lowercase();
        let is_word = matches!(text.as_str(), "" | "false" | "no" | "off" | "none" | "null" | "[]" | "{}");
        let is_zero = text.parse::<f64>().is_ok_and(|number| number == 0.0);
        Self(!is_word && !is_zero)
    }
}

impl<'de> Deserialize<'de> for Truth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl Visitor<'_> for Words {
            type Value = Truth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true or false, or a template that renders to it")
            }

            fn visit_bool<E: Error>(self, truth: bool) -> Result<Truth, E> {
                Ok(Truth(truth))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Truth, E> {
                Ok(Truth(number != 0))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Truth, E> {
                Ok(Truth(number != 0))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Truth, E> {
                Ok(Truth(number != 0.0))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Truth, E> {
                Ok(Truth::of_text(text))
            }
        }
        deserializer.deserialize_any(Words)
    }
}

impl JsonSchema for Truth {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Truth".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["boolean", "string", "number"] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_true_unless_they_say_no() {
        for text in ["", "  ", "false", "False", "NO", " off ", "none", "None", "null", "0", "0.0", "-0", "[]", "{}"] {
            assert_eq!(Truth::of_text(text), Truth(false), "{text:?}");
        }
        for text in ["true", "True", "yes", "on", "1", "-1", "0.5", "nope", "2024-01-01", "[0]", "NaN"] {
            assert_eq!(Truth::of_text(text), Truth(true), "{text:?}");
        }
    }
}
