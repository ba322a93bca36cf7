//! Where rows go that a table does not take: a table that people look at and mend from.

use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::TableName;

use crate::rows::Rejects;
use crate::session::marker_of;
use crate::sql::quote;

/// Names and types, as every engine here understands them.
const COLUMNS: [(&str, &str); 8] = [
    ("target_table", "varchar(256)"),
    ("work", "varchar(512)"),
    ("file", "varchar(1200)"),
    ("line", "bigint"),
    ("column_name", "varchar(256)"),
    ("value", "varchar(4096)"),
    ("reason", "varchar(1024)"),
    ("rejected_at", "timestamp"),
];
/// Rows in one INSERT.
const ROWS_AT_ONCE: usize = 50;

pub fn create(quarantine: &str) -> String {
    let columns: Vec<String> = COLUMNS.iter().map(|(name, kind)| format!("{} {kind}", quote(name))).collect();
    format!("CREATE TABLE IF NOT EXISTS {quarantine} ({})", columns.join(", "))
}

/// Statements that put the refused rows into `quarantine`, which is quoted. `now` is SQL.
pub fn insert(
    quarantine: &str,
    target: &TableName,
    work: &WorkId,
    rejects: &Rejects,
    now: &str,
    literal: fn(&str) -> String,
) -> Vec<String> {
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
                "({}, {}, {}, {line}, {}, {}, {}, {now})",
                literal(&cut(&target.to_string(), 60)),
                literal(&marker_of(work)),
                literal(&cut(&row.file, 290)),
                optional(column.as_deref()),
                optional(raw.as_deref()),
                literal(&cut(&row.reason, 250)),
            )
        })
        .collect();
    rows.chunks(ROWS_AT_ONCE)
        .map(|rows| format!("INSERT INTO {quarantine} ({}) VALUES {}", names.join(", "), rows.join(", ")))
        .collect()
}
