//! Identifiers. Each is a newtype, so that a run id can't be passed where a task id is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest id that the metadata database stores, in bytes.
pub const MAX_ID_LENGTH: usize = 250;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("{kind} must not be empty")]
    Empty { kind: &'static str },
    #[error("{kind} '{text}' is {length} bytes long; at most {MAX_ID_LENGTH} are allowed")]
    TooLong { kind: &'static str, text: String, length: usize },
    #[error("{kind} '{text}' contains '{found}'; allowed are letters, digits and {allowed}")]
    BadCharacter { kind: &'static str, text: String, found: char, allowed: &'static str },
    #[error(
        "run id '{text}' looks like a {prefix} run's; ids beginning with '{prefix}__' are given by the scheduler only"
    )]
    ReservedPrefix { text: String, prefix: &'static str },
    #[error("{kind} must not be '{text}': in an address that means something else")]
    Reserved { kind: &'static str, text: String },
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes the text as it is: for values that were checked before (read from the database, say).
            pub fn new_unchecked(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

id!(
    /// The name of a DAG: letters of any script, digits, `_`, `-`, `.`; at most 250 bytes.
    DagId
);
id!(
    /// The name of a task within its DAG: as a DAG id.
    TaskId
);
id!(
    /// The name of a run within its DAG: `scheduled__2024-01-01T00:00:00+00:00`, or what a person chose.
    RunId
);

fn check(kind: &'static str, text: &str, allowed: &'static str, is_allowed: fn(char) -> bool) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty { kind });
    }
    if text.len() > MAX_ID_LENGTH {
        return Err(IdError::TooLong { kind, text: text.chars().take(40).collect(), length: text.len() });
    }
    // An address with `.` or `..` is another address, and `~` stands for all of them.
    if matches!(text, "." | ".." | "~") {
        return Err(IdError::Reserved { kind, text: text.to_owned() });
    }
    match text.chars().find(|c| !is_allowed(*c)) {
        Some(found) => Err(IdError::BadCharacter { kind, text: text.to_owned(), found, allowed }),
        None => Ok(()),
    }
}

fn is_name_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

impl DagId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check("dag_id", text, "'_', '-', '.'", is_name_character)?;
        Ok(Self(text.to_owned()))
    }
}

impl TaskId {
    pub fn parse(text: &str) -> Result<Self, IdError> {
        check("task_id", text, "'_', '-', '.'", is_name_character)?;
        Ok(Self(text.to_owned()))
    }
}

impl RunId {
    /// A run id that a person gave: `^[A-Za-z0-9_.~:+-]+$`, and not one that the scheduler might make itself.
    pub fn parse_given(text: &str) -> Result<Self, IdError> {
        check("run_id", text, "'_', '.', '~', ':', '+', '-'", |c| {
            c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '~' | ':' | '+' | '-')
        })?;
        for prefix in ["scheduled", "backfill"] {
            if text.strip_prefix(prefix).is_some_and(|rest| rest.starts_with("__")) {
                return Err(IdError::ReservedPrefix { text: text.to_owned(), prefix });
            }
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_take_letters_of_any_script() {
        assert!(DagId::parse("매출_일별").is_ok());
        assert!(TaskId::parse("a.b-c_d9").is_ok());
        for bad in ["", "a b", "a/b", "../x", "a\n", "a'b", "<x>", ".", ".."] {
            assert!(DagId::parse(bad).is_err(), "{bad:?} must be refused");
        }
        assert!(DagId::parse(&"x".repeat(251)).is_err());
    }

    #[test]
    fn given_run_ids_cannot_pose_as_the_schedulers() {
        assert!(RunId::parse_given("manual__2024-01-01T00:00:00+00:00").is_ok());
        assert!(RunId::parse_given("rerun-7").is_ok());
        assert!(matches!(RunId::parse_given("scheduled__x"), Err(IdError::ReservedPrefix { .. })));
        assert!(matches!(RunId::parse_given("backfill__x"), Err(IdError::ReservedPrefix { .. })));
        assert!(RunId::parse_given("a b").is_err());
        for bad in ["~", ".", ".."] {
            assert!(matches!(RunId::parse_given(bad), Err(IdError::Reserved { .. })), "{bad}");
        }
        assert!(RunId::parse_given("~1").is_ok() && RunId::parse_given("...").is_ok());
    }
}
