//! From the drivers' errors to [`PortError`]: the kind decides whether a retry may help.

use std::error::Error;

use millrace_operator_api::{PortError, PortErrorKind};

/// The error and its causes in one line, each said once.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = inner.source();
    }
    text
}

/// What a SQLSTATE of PostgreSQL or Redshift means for us.
pub fn kind_of_sqlstate(code: &str) -> PortErrorKind {
    match code {
        "42501" => PortErrorKind::Denied,
        "42P01" | "3F000" | "3D000" => PortErrorKind::NotFound,
        "42P07" | "42P06" => PortErrorKind::AlreadyExists,
        "55P03" | "57014" | "25006" => PortErrorKind::Unavailable,
        _ => match code.get(..2) {
            Some("08" | "40" | "53" | "57" | "58") => PortErrorKind::Unavailable,
            Some("28") => PortErrorKind::Denied,
            Some("22" | "23" | "21") => PortErrorKind::Data,
            Some("42" | "0A" | "25") => PortErrorKind::Invalid,
            _ => PortErrorKind::Other,
        },
    }
}

/// Like [`kind_of_sqlstate`], with what Redshift says in words only: serialization failures come as XX000 with the
/// number 1023, failed loads with the name of a system table.
pub fn kind_of_redshift_text(message: &str) -> PortErrorKind {
    let lower = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["1023", "serializable isolation violation", "could not serialize", "deadlock", "aborted by", "timeout"]) {
        PortErrorKind::Unavailable
    } else if says(&["load into table", "stl_load_errors", "sys_load_error_detail", "invalid input", "value too long"])
        || says(&["out of range", "overflow", "violates", "null value in column", "cannot insert a null"])
    {
        PortErrorKind::Data
    } else if says(&["permission denied", "not authorized", "access denied", "accessdenied", "must be owner"]) {
        PortErrorKind::Denied
    } else if says(&["relation \"", "schema \"", "database \"", "table \""]) && says(&["does not exist"]) {
        PortErrorKind::NotFound
    } else if says(&["already exists"]) {
        PortErrorKind::AlreadyExists
    } else if says(&["syntax error", "does not exist", "is ambiguous", "not supported"]) {
        PortErrorKind::Invalid
    } else {
        PortErrorKind::Other
    }
}

pub fn invalid(message: impl Into<String>) -> PortError {
    PortError::new(PortErrorKind::Invalid, message)
}

pub fn data(message: impl Into<String>) -> PortError {
    PortError::new(PortErrorKind::Data, message)
}

/// Puts what was attempted before what went wrong.
pub fn while_doing(what: &str, mut error: PortError) -> PortError {
    error.message = format!("{what}: {}", error.message);
    error
}

/// A value from outside, short enough for a message and on one line.
pub fn excerpt(value: &[u8]) -> String {
    const LONGEST: usize = 120;
    let text = String::from_utf8_lossy(value);
    let mut short: String = text.chars().take(LONGEST).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}
