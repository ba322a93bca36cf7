//! `${{ … }}`: values that a DAG file puts into itself while it is read, long before a task renders its `{{ … }}`.

use minijinja::value::{Serde, ValueKind};
use serde_json::{Map, Value};

use crate::depth;
use crate::renderer::environment;

const OPENING: &str = "${{";
const CLOSING: &str = "}}";

/// Why a text cannot be completed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SubstitutionError {
    /// Where it begins, in bytes of the text.
    pub offset: usize,
    pub message: String,
}

/// Whether there is something to put in.
pub fn has_substitution(text: &str) -> bool {
    text.contains(OPENING)
}

/// The text with each `${{ expression }}` replaced by its value. One that makes up the whole text keeps the value's type.
pub fn substitute(text: &str, names: &Map<String, Value>) -> Result<Value, SubstitutionError> {
    let whole = text.trim();
    if let Some(inner) = whole.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(CLOSING))
        && !inner.contains(CLOSING)
    {
        return evaluate(inner, names).map_err(|message| SubstitutionError { offset: 0, message });
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(OPENING) {
        let offset = text.len() - rest.len() + at;
        let inner = &rest[at + OPENING.len()..];
        let Some(end) = inner.find(CLOSING) else {
            let message = "'${{' has no '}}' after it".to_owned();
            return Err(SubstitutionError { offset, message });
        };
        out.push_str(&rest[..at]);
        match evaluate(&inner[..end], names).map_err(|message| SubstitutionError { offset, message })? {
            Value::String(value) => out.push_str(&value),
            Value::Null => {}
            other => out.push_str(&other.to_string()),
        }
        rest = &inner[end + CLOSING.len()..];
    }
    out.push_str(rest);
    Ok(Value::String(out))
}

fn evaluate(expression: &str, names: &Map<String, Value>) -> Result<Value, String> {
    let expression = expression.trim();
    let undefined = || {
        if names.is_empty() {
            return format!("'{expression}' is not defined: there is no for_each around it");
        }
        format!("'{expression}' is not defined here; there is {}", names.keys().cloned().collect::<Vec<_>>().join(", "))
    };
    let explain = |error: minijinja::Error| match error.kind() {
        minijinja::ErrorKind::UndefinedError => undefined(),
        _ => format!("'{expression}' cannot be worked out: {}", error.detail().unwrap_or("it cannot be read")),
    };
    let compiled = depth::check_expression(expression)
        .and_then(|()| environment().compile_expression(expression))
        .map_err(explain)?;
    let value = compiled.eval(minijinja::Value::from(Serde(names.clone()))).map_err(explain)?;
    if value.kind() == ValueKind::Undefined {
        return Err(undefined());
    }
    serde_json::to_value(&value).map_err(|error| format!("'{expression}' gives no plain value: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names() -> Map<String, Value> {
        json!({"table": {"name": "orders", "keys": ["id"], "size": 3}, "n": 2}).as_object().cloned().unwrap()
    }

    #[test]
    fn values_go_into_text_and_keep_their_type_alone() {
        let cases = [
            ("copy_${{ table.name }}", json!("copy_orders")),
            ("${{ table.keys }}", json!(["id"])),
            (" ${{ table.size }} ", json!(3)),
            ("${{ table.name | upper }}-${{ n }}", json!("ORDERS-2")),
            ("SELECT {{ ds }} FROM ${{ table.name }}", json!("SELECT {{ ds }} FROM orders")),
            ("echo ${HOME}", json!("echo ${HOME}")),
        ];
        for (text, expected) in cases {
            assert_eq!(substitute(text, &names()).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_there_is_named() {
        let error = substitute("a ${{ tabel.name }}", &names()).unwrap_err();
        assert_eq!((error.offset, error.message.as_str()), (2, "'tabel.name' is not defined here; there is n, table"));
        let error = substitute("${{ table.nam }}", &names()).unwrap_err();
        assert!(error.message.starts_with("'table.nam' is not defined here"), "{error}");
        assert!(substitute("${{ x }}", &Map::new()).unwrap_err().message.contains("no for_each"));
        assert!(substitute("${{ x", &names()).unwrap_err().message.contains("no '}}'"));
        assert!(substitute("${{ 1 + }}", &names()).unwrap_err().message.contains("cannot be"));
    }
}
