//! Members that everybody may read: they hold no secrets, and are short.

use serde_json::{Map, Value};

use super::{collect, is_secret};

/// In bytes, as JSON.
const LONGEST: usize = 2_000;

/// Why members cannot be shown to everybody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotOpen {
    #[error(
        "whoever may see assets reads it, so that it may hold no secrets: the name of a connection or variable does"
    )]
    Secret,
    #[error("it may have {LONGEST} bytes as JSON, not {0}")]
    TooLong(usize),
}

/// Refuses what is too long, and what is secret by its name or as an address has it.
pub fn check_open(members: &Map<String, Value>) -> Result<(), NotOpen> {
    let length = Value::Object(members.clone()).to_string().len();
    if length > LONGEST {
        return Err(NotOpen::TooLong(length));
    }
    let mut found = Vec::new();
    for (key, value) in members {
        collect(value, key, is_secret(key, value), &mut found);
    }
    if found.is_empty() { Ok(()) } else { Err(NotOpen::Secret) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_and_long_ones_are_refused() {
        let check = |members: Value| check_open(members.as_object().unwrap());
        assert_eq!(check(json!({"rows": 5, "files": ["s3://lake/a.csv"], "customer_key": "id"})), Ok(()));
        assert_eq!(check(json!({"password": "x"})), Err(NotOpen::Secret));
        assert_eq!(check(json!({"source": {"api_token": ["hunter22"]}})), Err(NotOpen::Secret));
        assert_eq!(check(json!({"from": "postgres://ada:hunter22@db/x"})), Err(NotOpen::Secret));
        assert_eq!(check(json!({"rows": "x".repeat(3_000)})), Err(NotOpen::TooLong(3_011)));
    }
}
