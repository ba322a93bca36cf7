//! A SQL database that rows are read from.

use std::sync::Arc;

use chrono::TimeDelta;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::{RowHashing, TableName, ValueType};
use crate::error::PortError;

/// What a column is, as far as encoders and loaders must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceColumn {
    pub name: String,
    /// The engine's own name of the type, lower case: `bigint unsigned`, `timestamptz`.
    pub type_name: String,
    /// What the values are, whatever the engine calls it.
    pub value: ValueType,
}

impl SourceColumn {
    /// A column of text without limits.
    pub fn text(name: impl Into<String>) -> Self {
        Self { name: name.into(), type_name: "text".to_owned(), value: ValueType::TEXT }
    }
}

/// Rows as text in the engine's exact, canonical form (decimals and big integers never pass through floats, timestamps
/// in UTC), stored one after another. NULL and '' are different.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowBatch {
    columns: usize,
    bytes: Vec<u8>,
    /// For each cell the end of its bytes; the top bit says NULL.
    ends: Vec<u64>,
}

const NULL_BIT: u64 = 1 << 63;

impl RowBatch {
    pub fn new(columns: usize) -> Self {
        Self { columns, bytes: Vec::new(), ends: Vec::new() }
    }

    /// An empty batch with room for as much as `other` holds: batches of one query are nearly of one size, and one that
    /// grows from nothing copies itself a dozen times.
    pub fn like(other: &Self) -> Self {
        Self {
            columns: other.columns,
            bytes: Vec::with_capacity(other.bytes.len() + other.bytes.len() / 16),
            ends: Vec::with_capacity(other.ends.len() + other.ends.len() / 16),
        }
    }

    #[inline]
    pub fn push(&mut self, cell: Option<&[u8]>) {
        if let Some(cell) = cell {
            self.bytes.extend_from_slice(cell);
        }
        let null = if cell.is_none() { NULL_BIT } else { 0 };
        self.ends.push(self.bytes.len() as u64 | null);
    }

    /// Adds the cell that is `bytes[start..end]`, sooner than [`RowBatch::push`] where more bytes follow it.
    #[inline]
    pub fn push_part(&mut self, bytes: &[u8], (start, end): (usize, usize)) {
        append_part(&mut self.bytes, bytes, (start, end));
        self.ends.push(self.bytes.len() as u64);
    }

    /// Adds the cell that is appended to the bytes: a long one needs no memory of its own on its way here.
    #[inline]
    pub fn push_written(&mut self, append: impl FnOnce(&mut Vec<u8>)) {
        append(&mut self.bytes);
        self.ends.push(self.bytes.len() as u64);
    }

    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whole rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.ends.len().checked_div(self.columns).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Size of the cells, for keeping batches small.
    #[inline]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    pub fn rows(&self) -> impl Iterator<Item = impl Iterator<Item = Option<&[u8]>>> {
        (0..self.len()).map(move |row| (0..self.columns).map(move |column| self.cell(row, column)))
    }

    #[inline]
    pub fn cell(&self, row: usize, column: usize) -> Option<&[u8]> {
        self.span(row, column).map(|(start, end)| &self.bytes[start..end])
    }

    /// Where the cell begins and ends in [`RowBatch::bytes`]; `None` for NULL.
    #[inline]
    pub fn span(&self, row: usize, column: usize) -> Option<(usize, usize)> {
        let index = row * self.columns + column;
        let end = self.ends[index];
        if end & NULL_BIT != 0 {
            return None;
        }
        let start = if index == 0 { 0 } else { self.ends[index - 1] & !NULL_BIT };
        Some((start as usize, end as usize))
    }

    /// All cells, one after another.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Takes the cells' bytes away: what is left still says where each cell was in them.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Cuts the batch behind its first rows and gives what follows.
    #[must_use]
    pub fn split_off(&mut self, rows: usize) -> Self {
        let at = (rows * self.columns).min(self.ends.len());
        let start = at.checked_sub(1).map_or(0, |last| self.ends[last] & !NULL_BIT);
        let ends = self.ends.split_off(at).into_iter().map(|end| ((end & !NULL_BIT) - start) | (end & NULL_BIT));
        Self { columns: self.columns, ends: ends.collect(), bytes: self.bytes.split_off(start as usize) }
    }
}

/// Appends `bytes[start..end]`. Most cells are short, and there are many: a short one is copied with what follows it, by two
/// instructions where a copy of just its length is a call.
#[inline(always)]
pub fn append_part(out: &mut Vec<u8>, bytes: &[u8], (start, end): (usize, usize)) {
    const SHORT: usize = 32;
    let length = end - start;
    match bytes[start..].first_chunk::<SHORT>().filter(|_| length <= SHORT) {
        Some(text) => {
            out.extend_from_slice(text);
            out.truncate(out.len() - SHORT + length);
        }
        None => out.extend_from_slice(&bytes[start..end]),
    }
}

/// The answer to a query, streamed. Batches hold up to about 256 KiB, or one row where a row is larger.
pub struct RowStream {
    pub columns: Vec<SourceColumn>,
    pub batches: BoxStream<'static, Result<RowBatch, PortError>>,
}

pub trait SqlSource: Send + Sync {
    /// A name as this engine's SQL writes it, in quotes.
    fn quote(&self, name: &str) -> String;

    /// A text as this engine's SQL writes it.
    fn literal(&self, text: &str) -> String;

    /// A table's name as this engine's SQL writes it, in quotes.
    fn table_sql(&self, table: &TableName) -> String;

    /// The zone of the clock behind values that have none, if the connection says it (extra: `source_timezone`).
    fn source_timezone(&self) -> Option<&str> {
        None
    }

    /// Whether its SQL has types of dates and times; false where they are texts.
    fn has_dates(&self) -> bool {
        true
    }

    /// How far the source is behind the server that it copies, of several the one that it is furthest behind; `None` when it
    /// copies none. An error when it copies one and cannot tell.
    fn replica_lag(&self) -> BoxFuture<'_, Result<Option<TimeDelta>, PortError>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Reads in one read-only transaction, in constant memory. Dropping the stream cancels the query on the server.
    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>>;

    /// Answers arrive whole instead of row by row, so that a large one is asked for in parts.
    fn answers_whole(&self) -> bool {
        false
    }

    /// About how many rows the query will give, as the server's planner thinks; `None` where nobody knows. Never by reading
    /// them.
    fn expected_rows<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        let _ = sql;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Columns of a table that `SELECT *` leaves out, by name.
    fn invisible_columns<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<String>, PortError>> {
        let _ = table;
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// What the columns of a table are.
    fn table_columns<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<SourceColumn>, PortError>> {
        Box::pin(async move {
            let sql = format!("SELECT * FROM {} WHERE 1 = 0", self.table_sql(table));
            Ok(self.query(&sql).await?.columns)
        })
    }

    /// A query for the names of the columns of a table's primary key, in order.
    fn key_query(&self, _: &TableName) -> Option<String> {
        None
    }

    /// How its SQL hashes rows; `None` where only the rows themselves can tell.
    fn row_hashing(&self) -> Option<&dyn RowHashing> {
        None
    }

    /// Readers that all see the rows of one moment; each answers one query. `None` where a source has one reader only.
    fn snapshot(&self, readers: usize) -> BoxFuture<'_, Result<Option<Snapshot>, PortError>> {
        let _ = readers;
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Several readers of one moment.
pub struct Snapshot {
    /// As many as were asked for, or fewer, but at least one.
    pub readers: Vec<Arc<dyn SqlSource>>,
    /// Why there are fewer.
    pub note: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::RowBatch;

    #[test]
    fn null_and_empty_stay_different() {
        let mut batch = RowBatch::new(3);
        for cell in [None, Some(&b""[..]), Some(b"a"), Some(b"bc"), None, None] {
            batch.push(cell);
        }
        let rows: Vec<Vec<Option<&[u8]>>> = batch.rows().map(Iterator::collect).collect();
        assert_eq!(rows, [[None, Some(&b""[..]), Some(&b"a"[..])], [Some(&b"bc"[..]), None, None]]);
    }

    #[test]
    fn a_part_is_what_it_is_whatever_follows() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut batch = RowBatch::new(1);
        let parts: Vec<(usize, usize)> =
            (0..=70).flat_map(|length| [(0, length), (100, 100 + length), (256 - length, 256)]).collect();
        for part in &parts {
            batch.push_part(&bytes, *part);
        }
        for (row, (start, end)) in parts.into_iter().enumerate() {
            assert_eq!(batch.cell(row, 0), Some(&bytes[start..end]));
        }
    }

    #[test]
    fn a_batch_is_cut_between_rows() {
        for at in 0..4 {
            let mut batch = RowBatch::new(2);
            let cells = [Some(&b"a"[..]), None, Some(b"bc"), Some(b""), None, Some(b"def")];
            for cell in cells {
                batch.push(cell);
            }
            let rest = batch.split_off(at);
            assert_eq!((batch.len(), rest.len()), (at.min(3), 3 - at.min(3)));
            let joined: Vec<Option<&[u8]>> = batch.rows().flatten().chain(rest.rows().flatten()).collect();
            assert_eq!(joined, cells);
        }
    }
}
