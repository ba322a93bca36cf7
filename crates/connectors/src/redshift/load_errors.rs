//! Which rows a COPY refused, as Redshift's system tables say afterwards.

use millrace_operator_api::ports::{RejectedRow, SmallResult};

use crate::parts::rows::{RawRow, shown};
use crate::parts::session::{Session, ask};
use crate::parts::sql::scalar_number;

/// Rows that are asked for: a quarantine holds no more of one load.
const MOST: usize = 400;

/// The refused rows of a COPY.
#[derive(Default)]
pub struct LoadErrors {
    /// `None` when the system tables are not ours to read.
    pub count: Option<u64>,
    pub rows: Vec<RejectedRow>,
    /// Values and lines as they are, where Redshift tells them.
    pub raw: Vec<RawRow>,
}

/// Of the COPY with this query id. Best effort: a load that has succeeded does not fail because of what cannot be read.
pub async fn read(session: &dyn Session, query_id: &str, show_values: bool) -> LoadErrors {
    if !query_id.bytes().all(|byte| byte.is_ascii_digit()) || query_id.is_empty() {
        return LoadErrors::default();
    }
    let counted = format!("SELECT COUNT(*) FROM sys_load_error_detail WHERE query_id = {query_id}");
    let count = match ask(session, "load-errors", counted).await {
        Ok(answer) => scalar_number(&answer),
        Err(error) => {
            tracing::warn!(error = error.message, "how many rows were refused is not known");
            None
        }
    };
    if count.is_none_or(|count| count == 0) {
        return LoadErrors { count, ..LoadErrors::default() };
    }
    // Raw values and lines are in the older table only, which Serverless has not.
    let joined = format!(
        "SELECT d.file_name, d.line_number, d.column_name, d.error_message, s.raw_field_value, s.raw_line FROM sys_load_error_detail d \
         LEFT JOIN stl_load_errors s ON s.query = d.query_id AND s.line_number = d.line_number AND s.filename = d.file_name \
         WHERE d.query_id = {query_id} ORDER BY 1, 2 LIMIT {MOST}"
    );
    let plain = format!(
        "SELECT file_name, line_number, column_name, error_message, NULL, NULL FROM sys_load_error_detail WHERE query_id = {query_id} \
         ORDER BY 1, 2 LIMIT {MOST}"
    );
    let answer = match ask(session, "load-errors", joined).await {
        Ok(answer) => answer,
        Err(_) => ask(session, "load-errors", plain).await.unwrap_or_default(),
    };
    let (rows, raw) = rows_of(answer, show_values);
    LoadErrors { count, rows, raw }
}

fn rows_of(answer: SmallResult, show_values: bool) -> (Vec<RejectedRow>, Vec<RawRow>) {
    answer
        .rows
        .into_iter()
        .map(|row| {
            let mut cells = row.into_iter().map(|cell| cell.map(|cell| cell.trim_end().to_owned()));
            let mut next = || cells.next().flatten();
            let (file, line, column, reason) = (next(), next(), next(), next());
            let raw = RawRow { value: next(), row: next() };
            let rejected = RejectedRow {
                file: file.unwrap_or_default(),
                line: line.and_then(|line| line.parse().ok()),
                column: column.filter(|column| !column.is_empty()),
                value: raw.value.as_deref().map(|raw| shown(raw.as_bytes(), show_values)),
                reason: reason.unwrap_or_default(),
            };
            (rejected, raw)
        })
        .unzip()
}
