//! What SYS_LOAD_ERROR_DETAIL, STL_LOAD_ERRORS and SYS_LOAD_HISTORY say afterwards. Written by a connection of its own:
//! the transaction of a failed COPY is rolled back, its errors stay.

use chrono::NaiveDateTime;
use tokio_postgres::Client;

use super::convert::{Column, FieldError};
use super::records::Record;

/// Rows kept of one COPY; the count goes on.
const MOST_KEPT: usize = 1000;
/// As wide as the columns of the system tables.
const LONGEST_RAW: usize = 1024;

/// One row that COPY refused.
#[derive(Debug, Clone)]
pub(super) struct LoadError {
    pub(super) file: String,
    pub(super) line: u64,
    pub(super) column_name: String,
    pub(super) column_type: &'static str,
    pub(super) column_length: String,
    pub(super) position: usize,
    pub(super) code: i32,
    pub(super) message: String,
    pub(super) raw_line: String,
    pub(super) raw_value: String,
}

/// All refused rows of one COPY.
#[derive(Debug, Default)]
pub(super) struct LoadErrors {
    pub(super) kept: Vec<LoadError>,
    pub(super) count: u64,
}

impl LoadErrors {
    pub(super) fn add(&mut self, file: &str, record: &Record, column: Option<(&Column, &[u8])>, error: FieldError) {
        self.count += 1;
        if self.kept.len() == MOST_KEPT {
            return;
        }
        let (column_type, column_length) = column.map(|(column, _)| column.type_and_length()).unwrap_or_default();
        self.kept.push(LoadError {
            file: file.to_owned(),
            line: record.line,
            column_name: column.map(|(column, _)| column.name.clone()).unwrap_or_default(),
            column_type,
            column_length,
            position: error.position,
            code: error.code,
            message: error.message,
            raw_line: shown(&record.raw),
            raw_value: column.map(|(_, value)| shown(value)).unwrap_or_default(),
        });
    }
}

/// Cut, and without the NUL that PostgreSQL cannot hold.
fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(LONGEST_RAW)]).replace('\0', "\u{fffd}")
}

/// What one COPY was.
#[derive(Debug)]
pub(super) struct History {
    pub(super) query_id: i64,
    pub(super) session_id: i32,
    pub(super) table: String,
    pub(super) table_id: u32,
    pub(super) started: NaiveDateTime,
    pub(super) source: String,
    pub(super) format: &'static str,
    pub(super) loaded_rows: i64,
    pub(super) files: i32,
    pub(super) file_bytes: i64,
    pub(super) failed: bool,
}

/// Makes it visible.
pub(super) async fn write(
    client: &Client,
    history: &History,
    errors: &LoadErrors,
) -> Result<(), tokio_postgres::Error> {
    let ended = chrono::Utc::now().naive_utc();
    let duration = (ended - history.started).num_microseconds().unwrap_or(i64::MAX);
    // Dates travel as text: the driver is built without chrono.
    let (started, ended) = (history.started.to_string(), ended.to_string());
    let status = if history.failed { "aborted" } else { "completed" };
    let count = errors.count as i64;
    client
        .execute(
            "INSERT INTO redshift_stand_in.sys_load_history VALUES \
             (100, $1, 0, $2, current_database(), $3, $4, $5::text::timestamp, $6::text::timestamp, $7, $8, $9, $10, $11, $12, $13, $14)",
            &[
                &history.query_id,
                &history.session_id,
                &status,
                &history.table,
                &started,
                &ended,
                &duration,
                &history.source,
                &history.format,
                &history.loaded_rows,
                &history.file_bytes,
                &history.files,
                &history.file_bytes,
                &count,
            ],
        )
        .await?;
    for error in &errors.kept {
        let line = error.line as i64;
        let position = error.position as i32;
        client
            .execute(
                "INSERT INTO redshift_stand_in.sys_load_error_detail VALUES \
                 (100, $1, 0, $2, current_database(), $3::oid::int8::int4, $4::text::timestamp, $5, $6, $7, $8, $9, $10, $11, $12)",
                &[
                    &history.query_id,
                    &history.session_id,
                    &history.table_id,
                    &started,
                    &error.file,
                    &line,
                    &error.column_name,
                    &error.column_type,
                    &error.column_length,
                    &position,
                    &error.code,
                    &error.message.chars().take(512).collect::<String>(),
                ],
            )
            .await?;
        client
            .execute(
                "INSERT INTO redshift_stand_in.load_error_lines VALUES ($1, $2, $3, $4, $5)",
                &[&history.query_id, &error.file, &line, &error.raw_line, &error.raw_value],
            )
            .await?;
    }
    Ok(())
}
