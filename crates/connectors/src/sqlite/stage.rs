//! Rows into the temporary table of a load.
//!
//! SQLite would keep a text in a column of numbers: what does not fit its column is refused here.

use futures::TryStreamExt;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{CsvFormat, FileKind, LoadRows, ObjectInfo, ObjectRows, RejectedRow};
use rusqlite::Connection;
use rusqlite::types::Null;

use super::connect::SqliteFile;
use super::session::Session;
use crate::parts::batches::Batches;
use crate::parts::csv_rows::CsvRows;
use crate::parts::exact::Keeps;
use crate::parts::failure::while_doing;
use crate::parts::files::{changed, open_unchanged};
use crate::parts::parquet_rows;
use crate::parts::rows::{
    CellKind, DirectRows, LoadColumn, Longest, Refusal, Rejects, Row, RowSink, Shaper, declared_length,
};
use crate::parts::sql::list;

pub const STAGING: &str = "temp.\"millrace_staging\"";
/// Cells that wait to be inserted together.
const CELLS_AT_ONCE: usize = 4_000;
/// Of texts and bytes, where they are long.
const BYTES_AT_ONCE: usize = 1 << 20;
const PIECE: usize = 64 * 1024;

/// SQLite's own rules for the affinity of a declared type, as far as empty fields and hex are concerned.
pub fn kind_of(type_name: &str) -> CellKind {
    let upper = type_name.to_ascii_uppercase();
    if upper.contains("INT") {
        CellKind::Integer
    } else if ["CHAR", "CLOB", "TEXT"].iter().any(|name| upper.contains(name)) {
        CellKind::Text(declared_length(&upper).map(Longest::Characters))
    } else if upper.contains("BLOB") || upper.contains("BYTEA") || upper.contains("BINARY") {
        CellKind::Bytes
    } else if upper.starts_with("BOOL") {
        CellKind::Truth
    } else if ["REAL", "FLOA", "DOUB", "NUM", "DEC", "MONEY", "DATE", "TIME"].iter().any(|name| upper.contains(name)) {
        CellKind::Other
    } else {
        CellKind::Free
    }
}

/// What has come out of the staging.
#[derive(Debug, Default, Clone, Copy)]
pub struct Staged {
    /// Refused rows included.
    pub rows: u64,
    pub bytes: Option<u64>,
}

enum Cell {
    Null,
    Text(String),
    Real(f64),
    Bytes(Vec<u8>),
}

impl Cell {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::Null | Self::Real(_) => 0,
        }
    }
}

/// What is loaded, and how.
pub struct Staging<'a> {
    pub file: &'a SqliteFile,
    /// Of the rows, in their order.
    pub fields: &'a [LoadColumn],
    /// Those that the table takes.
    pub columns: &'a [LoadColumn],
    pub format: &'a CsvFormat,
}

impl Staging<'_> {
    pub async fn fill(
        &self,
        connection: &mut Session,
        rows: &LoadRows,
        rejects: &mut Rejects,
    ) -> Result<Staged, PortError> {
        self.file.run(connection, "BEGIN").await?;
        let staged = match rows {
            LoadRows::Objects(files) => {
                let mut staged = Staged::default();
                for object in &files.objects {
                    let url = object.url();
                    rejects.enter(&url);
                    staged.rows += self
                        .object(connection, files, object, rejects)
                        .await
                        .map_err(|error| while_doing(&format!("loading {url}"), error))?;
                }
                staged
            }
            LoadRows::Direct(stream) => {
                rejects.enter(RejectedRow::OF_SOURCE);
                self.batches(connection, &mut stream.take()?.batches, rejects).await?
            }
        };
        self.file.run(connection, "COMMIT").await?;
        Ok(staged)
    }

    async fn object(
        &self,
        connection: &mut Session,
        files: &ObjectRows,
        object: &ObjectInfo,
        rejects: &mut Rejects,
    ) -> Result<u64, PortError> {
        if self.format.kind == FileKind::Parquet {
            let mut batches = parquet_rows::open(files, object, self.fields.len()).await?;
            return Ok(self.batches(connection, &mut batches, rejects).await?.rows);
        }
        let url = object.url();
        let mut rows = CsvRows::new(self.format, self.fields, &url)?;
        let mut waiting = Waiting::new(self.columns, rejects);
        let mut body = open_unchanged(files, object).await?;
        let mut seen = 0;
        while let Some(chunk) = body.try_next().await? {
            seen += chunk.len() as u64;
            for piece in chunk.chunks(PIECE) {
                rows.feed(piece, &mut waiting)?;
                self.insert_waiting(connection, &mut waiting, false).await?;
            }
        }
        if seen != object.size {
            return Err(changed(&url));
        }
        rows.finish(&mut waiting)?;
        self.insert_waiting(connection, &mut waiting, true).await?;
        Ok(rows.rows)
    }

    async fn batches(
        &self,
        connection: &mut Session,
        batches: &mut Batches,
        rejects: &mut Rejects,
    ) -> Result<Staged, PortError> {
        let mut rows = DirectRows::new(Shaper::of_stream(self.format, self.fields));
        let mut waiting = Waiting::new(self.columns, rejects);
        while let Some(batch) = batches.try_next().await? {
            rows.feed(&batch, &mut waiting)?;
            drop(batch);
            self.insert_waiting(connection, &mut waiting, false).await?;
        }
        self.insert_waiting(connection, &mut waiting, true).await?;
        Ok(Staged { rows: rows.rows, bytes: Some(rows.bytes) })
    }

    async fn insert_waiting(
        &self,
        connection: &mut Session,
        waiting: &mut Waiting<'_>,
        is_last: bool,
    ) -> Result<(), PortError> {
        let is_enough = waiting.cells.len() >= CELLS_AT_ONCE || waiting.bytes >= BYTES_AT_ONCE;
        if waiting.cells.is_empty() || !(is_enough || is_last) {
            return Ok(());
        }
        waiting.bytes = 0;
        let cells = std::mem::take(&mut waiting.cells);
        let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        let values = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT INTO {STAGING} ({}) VALUES ({values})", list(&names));
        let insert = move |connection: &Connection| insert(connection, &sql, names.len(), cells);
        self.file.with(connection, "a row was refused", insert).await
    }
}

/// Cells of whole rows that wait for an INSERT.
struct Waiting<'a> {
    columns: &'a [LoadColumn],
    rejects: &'a mut Rejects,
    cells: Vec<Cell>,
    /// Of texts and bytes since there was no cell.
    bytes: usize,
}

impl<'a> Waiting<'a> {
    fn new(columns: &'a [LoadColumn], rejects: &'a mut Rejects) -> Self {
        Self { columns, rejects, cells: Vec::new(), bytes: 0 }
    }
}

impl RowSink for Waiting<'_> {
    fn take(&mut self, row: &Row<'_>) -> Result<(), PortError> {
        let before = self.cells.len();
        for (cell, column) in row.cells().zip(self.columns) {
            match bound(cell, column) {
                Ok(cell) => {
                    self.bytes += cell.len();
                    self.cells.push(cell);
                }
                Err(why) => {
                    self.cells.truncate(before);
                    return self.rejects.add(Refusal {
                        line: row.line,
                        column: Some(column.name.clone()),
                        value: cell.map(<[u8]>::to_vec),
                        row: Some(row.text(self.columns)),
                        reason: format!("{why} ({})", column.type_name),
                    });
                }
            }
        }
        // As SQLite numbers the rows of staging itself.
        self.rejects.number(row.line);
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), PortError> {
        self.rejects.add(refusal)
    }
}

fn bound(cell: Option<&[u8]>, column: &LoadColumn) -> Result<Cell, &'static str> {
    let Some(cell) = cell else { return Ok(Cell::Null) };
    if column.kind == CellKind::Bytes {
        let digits = cell.strip_prefix(b"\\x").unwrap_or(cell);
        return hex::decode(digits).map(Cell::Bytes).map_err(|_| "not hexadecimal");
    }
    let text = std::str::from_utf8(cell).map_err(|_| "not UTF-8")?;
    if column.kind == CellKind::Integer && text.trim().parse::<i64>().is_err() {
        return Err("not an integer of 64 bits");
    }
    if is_number(column) && text.trim().parse::<f64>().is_err() {
        return Err("not a number");
    }
    // SQLite's own reading of a text may be off by the last bit; it has no NaN.
    if matches!(column.keeps, Keeps::Float { .. })
        && let Ok(number) = text.trim().parse::<f64>()
        && !number.is_nan()
    {
        return Ok(Cell::Real(number));
    }
    Ok(Cell::Text(text.to_owned()))
}

fn is_number(column: &LoadColumn) -> bool {
    let upper = column.type_name.to_ascii_uppercase();
    column.kind == CellKind::Other
        && ["REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL"].iter().any(|name| upper.contains(name))
}

fn insert(connection: &Connection, sql: &str, columns: usize, cells: Vec<Cell>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut bound = 0;
    for cell in cells {
        bound += 1;
        // SQLite makes a copy, and another one when it writes: a long value is held here until it is bound.
        match cell {
            Cell::Null => statement.raw_bind_parameter(bound, Null)?,
            Cell::Text(text) => statement.raw_bind_parameter(bound, text)?,
            Cell::Real(number) => statement.raw_bind_parameter(bound, number)?,
            Cell::Bytes(bytes) => statement.raw_bind_parameter(bound, bytes)?,
        }
        if bound == columns {
            statement.raw_execute()?;
            bound = 0;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_have_their_kinds() {
        assert_eq!(kind_of("bigint"), CellKind::Integer);
        assert_eq!(kind_of("VARCHAR(10)"), CellKind::Text(Some(Longest::Characters(10))));
        assert_eq!(kind_of("timestamp"), CellKind::Other);
        assert_eq!(kind_of("blob"), CellKind::Bytes);
        assert_eq!(kind_of("json"), CellKind::Free);
    }
}
