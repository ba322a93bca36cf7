//! Which rows a COPY refused, as Redshift's system tables say afterwards.

use millrace_operator_api::ports::{RejectedRow, SmallResult};

use crate::parts::exact::{CUT, WIDER};
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

/// What helps where COPY refused a value, by the code of its error.
pub fn way_out(code: &str) -> Option<String> {
    let found_early = "for_table at the task that writes the file finds such values before the load";
    Some(match code {
        "1204" => format!("{WIDER}; {CUT}; {found_early}"),
        "1205" => {
            "a day that is written in another way is read by dateformat in copy_options ('auto' knows many)".to_owned()
        }
        "1206" => {
            "a time that is written in another way is read by timeformat in copy_options ('auto' knows many)".to_owned()
        }
        "1207" | "1208" | "1209" | "1210" => {
            format!("cast it in the query that writes the file, or give the column a type that holds it; {found_early}")
        }
        "1213" => {
            "the column takes no NULL: put another value in its place in the query (COALESCE), or take NOT NULL away"
                .to_owned()
        }
        "1220" => "a VARCHAR holds it, and acceptinvchars in copy_options puts a ? in its place where it is not UTF-8"
            .to_owned(),
        _ => return None,
    })
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
