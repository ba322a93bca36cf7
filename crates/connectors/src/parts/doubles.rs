//! Incoming rows with a key that was to name one of them.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::SmallResult;

use crate::parts::failure::data;
use crate::parts::rows::shown;
use crate::parts::sql::{keys_not_null, list};

/// Asks for one key that several rows of `rows`, a quoted table, have together, the rows that have it, and how many such keys
/// and rows there are. Nothing comes where each key names one row; those with a NULL in them name none. `told_apart` is what
/// tells keys apart, as SQL.
pub fn find(rows: &str, keys: &[String], told_apart: &str) -> String {
    let (keys, complete) = (list(keys), keys_not_null("s", keys));
    format!(
        "SELECT {keys}, millrace_rows, COUNT(*) OVER (), SUM(millrace_rows) OVER () FROM (SELECT {keys}, COUNT(*) AS millrace_rows \
         FROM {rows} AS s WHERE {complete} GROUP BY {told_apart} HAVING COUNT(*) > 1) AS d ORDER BY {keys} LIMIT 1"
    )
}

/// Refuses what [`find`] found.
pub fn refuse(keys: &[String], found: &SmallResult, show_values: bool) -> Result<(), PortError> {
    let Some(row) = found.rows.first() else { return Ok(()) };
    let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let pair = |(at, key): (usize, &String)| {
        let value = cell(at);
        let is_plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        format!("{key} {}", shown(value.as_bytes(), show_values || is_plain))
    };
    let example: Vec<String> = keys.iter().enumerate().map(pair).collect();
    let (rows, values, all) = (cell(keys.len()), cell(keys.len() + 1), cell(keys.len() + 2));
    Err(data(format!(
        "the key is to name one row of the source, but {values} values of {} come in {all} rows ({} in {rows} rows); nothing was \
         loaded; {REMEDY}",
        keys.join(", "),
        example.join(", "),
    )))
}

/// What a unique index of the target says of such rows.
pub fn explain(error: PortError, keys: &[String]) -> PortError {
    let message = format!(
        "{}; the key {} is to name one row of the source; nothing was loaded; {REMEDY}",
        error.message,
        keys.join(", ")
    );
    PortError { message, ..error }
}

const REMEDY: &str = "name all columns that tell rows apart as the key, or let the query give one row for each";
