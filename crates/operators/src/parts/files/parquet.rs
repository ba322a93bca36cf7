//! Rows as Parquet: one row group after another, so that a file of any size needs the memory of one row group.
//!
//! What a column becomes follows from its type in the source's catalogue alone. A value that does not fit stops the
//! writing with its place; nothing is rounded, cut or replaced.

mod columns;
mod values;

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use millrace_operator_api::ports::{RowBatch, SPELLINGS, SourceColumn, Spelling, Spellings, ValueType};
use parquet::basic::{Compression as Codec, GzipLevel, ZstdLevel};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, DataType, FixedLenByteArray};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use crate::parts::files::mark::Compression;
use columns::Form;
pub use columns::parquet_type;
pub use values::looks;

/// Bytes of values in one row group: enough for readers, little enough for memory. Of all files of a task that are
/// written at a time, together.
const ROW_GROUP: usize = 12 << 20;
/// However many are written at a time, a row group is worth its while.
const LEAST_ROW_GROUP: usize = 256 << 10;
/// Cells that are turned into values at once.
const CELLS_AT_ONCE: usize = 8 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    #[error("row {row}, column {column} ({value}): {reason}; the value looks like {looks}")]
    Value { row: u64, column: String, value: String, reason: String, looks: String },
    #[error("writing Parquet: {0}")]
    Parquet(#[from] ParquetError),
}

/// Writes what it is given into `W`, which may block.
pub struct ParquetEncoder<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<SourceColumn>,
    forms: Vec<Form>,
    /// How the values of each column were spelled so far; `None` where the file keeps that, or there is no value yet.
    spellings: Vec<Option<Spelling>>,
    /// Of the row group that is being filled.
    batches: Vec<RowBatch>,
    held: usize,
    /// Bytes that it may have.
    row_group: usize,
    /// Rows before the row group, those of earlier files included.
    rows_before: u64,
}

impl<W: Write + Send> ParquetEncoder<W> {
    /// `beside` is how many files are written at a time, this one among them.
    pub fn new(
        sink: W,
        columns: &[SourceColumn],
        compression: Compression,
        rows_before: u64,
        beside: usize,
    ) -> Result<Self, EncodeError> {
        let row_group = (ROW_GROUP / beside.max(1)).max(LEAST_ROW_GROUP);
        let (schema, forms) = columns::schema(columns)?;
        let codec = match compression {
            Compression::None => Codec::UNCOMPRESSED,
            Compression::Gzip => Codec::GZIP(GzipLevel::try_new(1)?),
            Compression::Zstd => Codec::ZSTD(ZstdLevel::try_new(3)?),
        };
        let properties = WriterProperties::builder()
            .set_compression(codec)
            .set_created_by("millrace".to_owned())
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_statistics_truncate_length(Some(64))
            .build();
        let writer = SerializedFileWriter::new(sink, Arc::new(schema), Arc::new(properties))?;
        Ok(Self {
            writer,
            columns: columns.to_vec(),
            forms,
            spellings: vec![None; columns.len()],
            batches: Vec::new(),
            held: 0,
            row_group,
            rows_before,
        })
    }

    pub fn encode(&mut self, batch: RowBatch) -> Result<(), EncodeError> {
        // A cell costs memory even when it is empty.
        self.held += batch.byte_len() + batch.len() * batch.columns() * size_of::<u64>();
        self.batches.push(batch);
        if self.held >= self.row_group { self.write_row_group() } else { Ok(()) }
    }

    /// What it was given, with all that could leave by now.
    pub fn sink(&mut self) -> Result<&W, EncodeError> {
        self.writer.flush().map_err(ParquetError::from)?;
        Ok(self.writer.inner())
    }

    /// With the rest of the file.
    pub fn finish(mut self) -> Result<W, EncodeError> {
        self.write_row_group()?;
        self.note_spellings();
        Ok(self.writer.into_inner()?)
    }

    /// A load that writes texts spells them so again.
    fn note_spellings(&mut self) {
        let spelled = self.columns.iter().zip(&self.spellings);
        let found: Spellings =
            spelled.filter_map(|(column, spelling)| Some((column.name.clone(), spelling.clone()?))).collect();
        if !found.is_empty()
            && let Ok(text) = serde_json::to_string(&found)
        {
            self.writer.append_key_value_metadata(KeyValue::new(SPELLINGS.to_owned(), text));
        }
    }

    fn write_row_group(&mut self) -> Result<(), EncodeError> {
        let batches: Vec<Shared> = std::mem::take(&mut self.batches).into_iter().map(Shared::of).collect();
        self.held = 0;
        if batches.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        let mut index = 0;
        while let Some(mut column) = group.next_column()? {
            let cells = Cells { batches: &batches, index, column: &self.columns[index], rows_before: self.rows_before };
            cells.write(column.untyped(), self.forms[index])?;
            if loses_spelling(&cells.column.value) {
                self.spellings[index] = cells.look_at_spelling(self.spellings[index].take());
            }
            column.close()?;
            index += 1;
        }
        group.close()?;
        self.rows_before += batches.iter().map(|batch| batch.places.len() as u64).sum::<u64>();
        Ok(())
    }
}

/// Whether Parquet keeps what a value is, and not how it was written.
fn loses_spelling(value: &ValueType) -> bool {
    matches!(value, ValueType::Timestamp { .. } | ValueType::Money)
}

/// A batch whose bytes can be handed out without copying them.
struct Shared {
    places: RowBatch,
    bytes: Bytes,
}

impl Shared {
    fn of(mut batch: RowBatch) -> Self {
        let bytes = Bytes::from(batch.take_bytes());
        Self { places: batch, bytes }
    }
}

/// One column of a row group.
struct Cells<'a> {
    batches: &'a [Shared],
    index: usize,
    column: &'a SourceColumn,
    rows_before: u64,
}

impl Cells<'_> {
    fn write(&self, writer: &mut ColumnWriter<'_>, form: Form) -> Result<(), EncodeError> {
        match writer {
            ColumnWriter::BoolColumnWriter(writer) => self.each(writer, values::bool),
            ColumnWriter::Int32ColumnWriter(writer) => self.each(writer, |cell| values::int32(cell, form)),
            ColumnWriter::Int64ColumnWriter(writer) => self.each(writer, |cell| values::int64(cell, form)),
            ColumnWriter::FloatColumnWriter(writer) => self.each(writer, values::float),
            ColumnWriter::DoubleColumnWriter(writer) => self.each(writer, values::float),
            ColumnWriter::ByteArrayColumnWriter(writer) => {
                self.each(writer, |cell| values::bytes(cell, form).map(ByteArray::from))
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(writer) => self.each(writer, |cell| {
                values::decimal_bytes(cell, form).map(|bytes| FixedLenByteArray::from(ByteArray::from(bytes)))
            }),
            ColumnWriter::Int96ColumnWriter(_) => {
                Err(ParquetError::General("no column is of 96 bits".to_owned()).into())
            }
        }
    }

    fn look_at_spelling(&self, known: Option<Spelling>) -> Option<Spelling> {
        let values = self.batches.iter().flat_map(|batch| {
            let spans = (0..batch.places.len()).filter_map(|row| batch.places.span(row, self.index));
            spans.map(|(start, end)| &batch.bytes[start..end])
        });
        values.fold(known, |known, value| Some(Spelling::look(known, value)))
    }

    fn each<T: DataType>(
        &self,
        writer: &mut ColumnWriterImpl<'_, T>,
        read: impl Fn(Bytes) -> Result<T::T, String>,
    ) -> Result<(), EncodeError> {
        let mut row = self.rows_before;
        let mut values: Vec<T::T> = Vec::new();
        let mut levels: Vec<i16> = Vec::new();
        for batch in self.batches {
            for in_batch in 0..batch.places.len() {
                row += 1;
                match batch.places.span(in_batch, self.index) {
                    None => levels.push(0),
                    Some((start, end)) => {
                        let cell = batch.bytes.slice(start..end);
                        values.push(read(cell.clone()).map_err(|reason| self.misfit(row, &cell, reason))?);
                        levels.push(1);
                    }
                }
                if levels.len() >= CELLS_AT_ONCE {
                    writer.write_batch(&values, Some(&levels), None)?;
                    values.clear();
                    levels.clear();
                }
            }
        }
        writer.write_batch(&values, Some(&levels), None)?;
        Ok(())
    }

    fn misfit(&self, row: u64, cell: &[u8], reason: String) -> EncodeError {
        EncodeError::Value {
            row,
            column: format!("{} ({})", self.index + 1, self.column.name),
            value: self.column.value.to_string(),
            reason,
            looks: values::looks(cell),
        }
    }
}

#[cfg(test)]
mod tests;
