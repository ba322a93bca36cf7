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
    } else if says(&[
        "load into table",
        "stl_load_errors",
        "sys_load_error_detail",
        "invalid input",
        "invalid digit",
        "value too long",
    ]) || says(&["out of range", "overflow", "violates", "null value in column", "cannot insert a null"])
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

/// The words of Redshift about data, which has no codes for them, without values; what it did not take stands behind
/// `context:` once more.
pub fn redshift_without_values(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    if kind_of_redshift_text(message) != PortErrorKind::Data
        || !(lower.contains("invalid") || lower.contains("out of range"))
    {
        return message.to_owned();
    }
    without_values(&message[..lower.find("context:").unwrap_or(message.len())])
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

/// The words of a database engine with nothing in the place of what they quote: values of rows are told to nobody.
pub fn without_values(message: &str) -> String {
    // A value may hold quotes itself.
    let quoted = ['"', '\''].into_iter().filter_map(|quote| {
        let (first, last) = (message.find(quote)?, message.rfind(quote)?);
        (first < last).then_some((first, last))
    });
    match quoted.min() {
        Some((first, last)) => format!("{}***{}", &message[..=first], &message[last..]),
        None => message.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::{redshift_without_values, without_values};

    #[test]
    fn what_is_quoted_is_not_told() {
        for (message, expected) in [
            (
                r#"invalid input syntax for type integer: "kim@x.com""#,
                r#"invalid input syntax for type integer: "***""#,
            ),
            (r#"value "9 "of" 9" is out of range for type integer"#, r#"value "***" is out of range for type integer"#),
            (r#"invalid input syntax for type date: "it's ""#, r#"invalid input syntax for type date: "***""#),
            ("Truncated incorrect INTEGER value: 'it\"s'", "Truncated incorrect INTEGER value: '***'"),
            (
                "Incorrect integer value: 'x' for column `d`.`t`.`c` at row 1",
                "Incorrect integer value: '***' for column `d`.`t`.`c` at row 1",
            ),
            ("division by zero", "division by zero"),
        ] {
            assert_eq!(without_values(message), expected);
        }
        for (message, expected) in [
            ("ERROR: invalid input syntax for integer: \"kim\"", "ERROR: invalid input syntax for integer: \"***\""),
            (
                "ERROR: Invalid digit, Value 'k', Pos 0, invalid input; context: kim@x.com",
                "ERROR: Invalid digit, Value '***', Pos 0, invalid input; ",
            ),
            ("Cannot insert a NULL value into column \"id\"", "Cannot insert a NULL value into column \"id\""),
            (
                "Load into table 'nps' failed.  Check 'sys_load_error_detail'",
                "Load into table 'nps' failed.  Check 'sys_load_error_detail'",
            ),
        ] {
            assert_eq!(redshift_without_values(message), expected);
        }
    }
}
