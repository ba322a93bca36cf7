//! Where rows go that a table does not take: a table that people look at and mend from.

use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{Column, TableName};
use millrace_operator_api::{PortError, PortErrorKind};

use crate::parts::rows::Rejects;
use crate::parts::session::marker_of;
use crate::parts::sql::quote;

/// Names and types, as every engine here understands them.
const COLUMNS: [(&str, &str); 9] = [
    ("target_table", "varchar(256)"),
    ("work", "varchar(512)"),
    ("file", "varchar(1200)"),
    ("line", "bigint"),
    ("column_name", "varchar(256)"),
    ("value", "varchar(4096)"),
    ("reason", "varchar(1024)"),
    ("rejected_at", "timestamp"),
    (SOURCE_ROW, "varchar(65535)"),
];
/// All of a row. Came later than the others: a table of before gets it.
const SOURCE_ROW: &str = "source_row";
/// Rows in one INSERT, and its bytes: the Data API takes 100 KB.
const ROWS_AT_ONCE: usize = 50;
const LONGEST_STATEMENT: usize = 90_000;

/// Whether these columns are those of a quarantine of today.
pub fn is_of_today<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| name == SOURCE_ROW)
}

/// As [`is_of_today`], of what an engine says of the table; `None` when it is not there.
pub fn known(described: Result<Vec<Column>, PortError>) -> Result<Option<bool>, PortError> {
    match described {
        Ok(columns) => Ok(Some(is_of_today(columns.iter().map(|column| column.name.as_str())))),
        Err(error) if error.kind == PortErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A statement that makes the table, or brings one of before up to date.
pub fn make(quarantine: &str, known: Option<bool>) -> Option<String> {
    let columns: Vec<String> = COLUMNS.iter().map(|(name, kind)| format!("{} {kind}", quote(name))).collect();
    match known {
        None => Some(format!("CREATE TABLE IF NOT EXISTS {quarantine} ({})", columns.join(", "))),
        Some(false) => columns.last().map(|column| format!("ALTER TABLE {quarantine} ADD COLUMN {column}")),
        Some(true) => None,
    }
}

/// Statements that put the refused rows into `quarantine`, which is quoted, each with the number of its rows. `now` is SQL.
pub fn insert(
    quarantine: &str,
    target: &TableName,
    work: &WorkId,
    rejects: &Rejects,
    now: &str,
    literal: fn(&str) -> String,
) -> Vec<(usize, String)> {
    let optional = |text: Option<&str>| text.map_or_else(|| "NULL".to_owned(), literal);
    let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let names: Vec<String> = COLUMNS.iter().map(|(name, _)| quote(name)).collect();
    let rows: Vec<String> = rejects
        .kept
        .iter()
        .zip(&rejects.raw)
        .map(|(row, raw)| {
            let line = row.line.map_or_else(|| "NULL".to_owned(), |line| line.to_string());
            let column = row.column.as_deref().map(|column| cut(column, 60));
            format!(
                "({}, {}, {}, {line}, {}, {}, {}, {now}, {})",
                literal(&cut(&target.to_string(), 60)),
                literal(&marker_of(work)),
                literal(&cut(&row.file, 290)),
                optional(column.as_deref()),
                optional(raw.value.as_deref()),
                literal(&cut(&row.reason, 250)),
                optional(raw.row.as_deref()),
            )
        })
        .collect();
    let head = format!("INSERT INTO {quarantine} ({}) VALUES ", names.join(", "));
    let mut statements: Vec<(usize, String)> = Vec::new();
    for row in rows {
        match statements.last_mut() {
            Some((count, text)) if *count < ROWS_AT_ONCE && text.len() + row.len() < LONGEST_STATEMENT => {
                *count += 1;
                text.push_str(", ");
                text.push_str(&row);
            }
            _ => statements.push((1, format!("{head}{row}"))),
        }
    }
    statements
}
