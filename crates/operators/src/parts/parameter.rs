//! Reading parameters: before they are rendered (to check them) and after.

use std::fmt;

use millrace_operator_api::TaskError;
use millrace_template::Template;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A text or a list of texts. A text that is a JSON list of texts, as a template gives it, is read as that list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<OneOrMany, E> {
                if text.trim_start().starts_with('[')
                    && let Ok(items) = serde_json::from_str::<Vec<String>>(text)
                {
                    return Ok(OneOrMany(items));
                }
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OneOrMany, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = items.next_element()? {
                    texts.push(text);
                }
                Ok(OneOrMany(texts))
            }
        }
        deserializer.deserialize_any(Texts)
    }
}

impl JsonSchema for OneOrMany {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OneOrMany".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

/// Of a parameter that holds unless it is said not to.
pub const fn yes() -> bool {
    true
}

/// The value as it is written in the file; `None` when it is a template, of which nothing can be said yet.
pub fn written<T: DeserializeOwned>(field: &Template<T>) -> Option<T> {
    if field.is_dynamic() { None } else { field.get().ok() }
}

/// The rendered value. The error names the parameter.
pub fn rendered<T: DeserializeOwned>(name: &str, field: &Template<T>) -> Result<T, TaskError> {
    field.get().map_err(|error| TaskError::Fail(format!("parameter {name}: {error}")))
}

pub fn rendered_option<T: DeserializeOwned>(name: &str, field: Option<&Template<T>>) -> Result<Option<T>, TaskError> {
    field.map(|field| rendered(name, field)).transpose()
}

/// A rendered text that must hold something.
pub fn rendered_text(name: &str, field: &Template<String>) -> Result<String, TaskError> {
    let text = rendered(name, field)?;
    if text.trim().is_empty() {
        return Err(TaskError::Fail(format!("parameter {name} is empty after rendering '{}'", shown(field))));
    }
    Ok(text)
}

/// True when it is written plainly and holds nothing.
pub fn is_blank(field: &Template<String>) -> bool {
    written(field).is_some_and(|text| text.trim().is_empty())
}

fn shown(field: &Template<String>) -> String {
    field.raw().as_str().unwrap_or_default().chars().take(80).collect()
}

/// `aws_default`, as everywhere in the field.
pub fn aws_default() -> Template<String> {
    "aws_default".into()
}
