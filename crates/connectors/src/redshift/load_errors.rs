//! Which rows a COPY refused, as Redshift's system tables say afterwards.

use std::collections::BTreeSet;

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{ObjectInfo, ObjectRows, RejectedRow, SmallResult};

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

/// The error of a COPY with the row that it names: by wire it says no more than where to look.
pub async fn explained(
    session: &dyn Session,
    files: &ObjectRows,
    mut error: PortError,
    show_values: bool,
) -> PortError {
    let files: BTreeSet<String> = files.objects.iter().map(ObjectInfo::url).collect();
    let is_told = || files.iter().any(|file| error.message.contains(file));
    if error.message.contains("load_error")
        && !is_told()
        && let Some(said) = newest(session, &files, show_values).await
    {
        error.message.push_str(&format!("; {said}"));
    }
    error
}

/// The newest refusal of one of these files by a COPY. Best effort.
async fn newest(session: &dyn Session, files: &BTreeSet<String>, show_values: bool) -> Option<String> {
    let newest = "SELECT * FROM sys_load_error_detail WHERE start_time > DATEADD(hour, -1, GETDATE()) \
                  ORDER BY start_time DESC, line_number LIMIT 100";
    let detail = ask(session, "load-error", newest.to_owned()).await.ok()?;
    let is_ours = |row: &usize| cell(&detail, *row, "file_name").is_some_and(|name| files.contains(&name));
    let row = (0..detail.rows.len()).find(is_ours)?;
    let query_id = cell(&detail, row, "query_id").filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()))?;
    let raw = ask(session, "load-error-line", select_raw(&query_id)).await.ok();
    said(&detail, row, raw.as_ref(), show_values)
}

/// Raw values are in the older table only, which Serverless has not.
pub fn select_raw(query_id: &str) -> String {
    format!("SELECT raw_field_value, raw_line FROM stl_load_errors WHERE query = {query_id} ORDER BY starttime LIMIT 1")
}

fn cell(result: &SmallResult, row: usize, name: &str) -> Option<String> {
    let index = result.columns.iter().position(|column| column.eq_ignore_ascii_case(name))?;
    Some(result.rows.get(row)?.get(index)?.as_deref()?.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A row of `sys_load_error_detail` in words, and what helps.
pub fn said(detail: &SmallResult, row: usize, raw: Option<&SmallResult>, show_values: bool) -> Option<String> {
    let known = |name: &str| cell(detail, row, name);
    let mut said = format!("{}: line {}", known("file_name")?, known("line_number").unwrap_or_default());
    if let Some(column) = known("column_name") {
        said.push_str(&format!(", column {column}"));
        if let Some(kind) = known("column_type") {
            let length = known("column_length").filter(|length| length != "0");
            said.push_str(&format!(" ({kind}{})", length.map(|length| format!("({length})")).unwrap_or_default()));
        }
    }
    let raw = |name: &str| raw.and_then(|raw| cell(raw, 0, name));
    if let Some(value) = raw("raw_field_value") {
        said.push_str(&format!(", value {}", shown(value.as_bytes(), show_values)));
    }
    if let Some(reason) = known("error_message") {
        said.push_str(&format!(": {reason}"));
    }
    if let Some(way) = known("error_code").as_deref().and_then(way_out) {
        said.push_str(&format!("; {way}"));
    }
    if let Some(line) = raw("raw_line").filter(|_| show_values) {
        said.push_str(&format!("; the row: {line}"));
    }
    Some(said)
}

/// What helps where COPY refused a value, by the code of its error.
fn way_out(code: &str) -> Option<String> {
    let found_early = "for_table at the task that writes the file finds such values before the load";
    Some(match code {
        "1204" => format!("{WIDER}; {CUT}; {found_early}"),
        "1205" => {
            "a day that is written in another way is read by dateformat in copy_options of copy and upsert ('auto' knows \
             many), and by timestamp_formats of table_copy"
                .to_owned()
        }
        "1206" => {
            "a time that is written in another way is read by timeformat in copy_options of copy and upsert ('auto' knows \
             many), and by timestamp_formats of table_copy"
                .to_owned()
        }
        "1207" | "1208" | "1209" | "1210" => {
            format!("cast it in the query that writes the file, or give the column a type that holds it; {found_early}")
        }
        "1213" => {
            "the column takes no NULL: put another value in its place in the query (COALESCE), or take NOT NULL away"
                .to_owned()
        }
        "1220" => "a VARCHAR holds it, and acceptinvchars in copy_options of copy and upsert puts a ? in its place where it is \
                   not UTF-8"
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
