//! Renders an operator's parameters: the strings under what its schema marks as a template, and nothing else.

use serde_json::{Map, Value};

use crate::context::RenderContext;
use crate::error::RenderError;
use crate::field::TEMPLATE_MARKER;
use crate::renderer::Renderer;

/// `parameters` with its templates rendered, or every parameter that could not be. `schema` is the operator's.
pub fn render_parameters(
    schema: &Value,
    parameters: &Value,
    context: &RenderContext,
) -> Result<Value, Vec<RenderError>> {
    let mut walk = Walk { renderer: Renderer::new(context.clone()), errors: Vec::new() };
    let rendered = walk.value(&[schema], parameters, "");
    if walk.errors.is_empty() { Ok(rendered) } else { Err(walk.errors) }
}

/// Whether strings at this place of the schema (or below it) are rendered. Sees through anyOf, oneOf and allOf.
pub fn is_marked(schema: &Value) -> bool {
    schema.get(TEMPLATE_MARKER).and_then(Value::as_bool) == Some(true) || branches(schema).any(is_marked)
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten()
}

struct Walk {
    renderer: Renderer,
    errors: Vec<RenderError>,
}

impl Walk {
    fn value(&mut self, schemas: &[&Value], value: &Value, path: &str) -> Value {
        if schemas.iter().any(|schema| is_marked(schema)) {
            return self.everything(value, path);
        }
        let schemas = spread(schemas);
        match value {
            Value::Object(map) => {
                let child = |key: &str| schemas.iter().filter_map(|schema| of_key(schema, key)).collect::<Vec<_>>();
                Value::Object(
                    map.iter()
                        .map(|(key, value)| (key.clone(), self.value(&child(key), value, &join(path, key))))
                        .collect(),
                )
            }
            Value::Array(items) => {
                let of_items: Vec<&Value> = schemas.iter().filter_map(|schema| schema.get("items")).collect();
                items.iter().enumerate().map(|(i, item)| self.value(&of_items, item, &format!("{path}[{i}]"))).collect()
            }
            other => other.clone(),
        }
    }

    fn everything(&mut self, value: &Value, path: &str) -> Value {
        match value {
            Value::String(text) => match self.renderer.render_text(text) {
                Ok(rendered) => Value::String(rendered),
                Err(error) => {
                    self.errors.push(RenderError { field: path.to_owned(), message: error.message, line: error.line });
                    Value::Null
                }
            },
            Value::Array(items) => {
                items.iter().enumerate().map(|(i, item)| self.everything(item, &format!("{path}[{i}]"))).collect()
            }
            Value::Object(map) => {
                let entries = map.iter().map(|(key, value)| (key.clone(), self.everything(value, &join(path, key))));
                Value::Object(entries.collect::<Map<_, _>>())
            }
            other => other.clone(),
        }
    }
}

/// The schemas with all their branches beside them.
fn spread<'a>(schemas: &[&'a Value]) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = schemas.to_vec();
    let mut next = 0;
    while next < all.len() {
        all.extend(branches(all[next]));
        next += 1;
    }
    all
}

fn of_key<'a>(schema: &'a Value, key: &str) -> Option<&'a Value> {
    schema.get("properties").and_then(|properties| properties.get(key)).or_else(|| schema.get("additionalProperties"))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}
