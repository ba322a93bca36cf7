//! Rows as CSV: RFC 4180 quoting, UTF-8, LF, straight from row batches into bytes.
//!
//! NULL is a marker, unquoted, and '' is `""`. The quotes alone don't keep the two apart, because some readers (Redshift
//! among them) compare the NULL text with quoted fields too; so the marker is proved absent from the data while it is
//! written, and a row that holds it stops the writing.

use millrace_operator_api::ports::{RowBatch, SourceColumn};

/// Also what Redshift and PostgreSQL take for NULL unless told otherwise.
pub const DEFAULT_NULL_MARKER: &str = "\\N";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CsvOptions {
    /// One ASCII character.
    pub delimiter: u8,
    /// A first line with the columns' names.
    pub header: bool,
    /// Empty: NULL is an empty unquoted field, which only readers that look at the quotes tell from ''.
    pub null_marker: String,
}

impl Default for CsvOptions {
    fn default() -> Self {
        Self { delimiter: b',', header: false, null_marker: DEFAULT_NULL_MARKER.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CsvError {
    #[error(
        "row {row}, column {column}: the text is exactly '{marker}', which stands for NULL in this file, so the two could \
         not be told apart; set null_marker to a text that the data does not hold"
    )]
    MarkerInData { row: u64, column: String, marker: String },
    #[error("row {row}, column {column}: the value is not UTF-8 text; encode it in the query (hex, base64)")]
    NotUtf8 { row: u64, column: String },
    #[error(
        "row {row}: a single NULL with an empty null_marker would be an empty line, which readers pass over; set \
         null_marker to a text"
    )]
    LoneNull { row: u64 },
}

/// Encodes batch after batch; rows are numbered from 1 in errors.
pub struct CsvEncoder {
    options: CsvOptions,
    columns: Vec<String>,
    rows: u64,
    /// Rows that other files of the same answer hold before.
    before: u64,
}

impl CsvEncoder {
    pub fn new(options: CsvOptions, columns: &[SourceColumn]) -> Self {
        Self { options, columns: columns.iter().map(|column| column.name.clone()).collect(), rows: 0, before: 0 }
    }

    /// Errors count the rows of the files before too.
    #[must_use]
    pub fn after(mut self, rows: u64) -> Self {
        self.before = rows;
        self
    }

    /// Rows encoded so far, without the header.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends the header line when there should be one.
    pub fn begin(&self, out: &mut Vec<u8>) {
        if !self.options.header {
            return;
        }
        for (index, name) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(self.options.delimiter);
            }
            append_field(out, name.as_bytes(), self.options.delimiter);
        }
        out.push(b'\n');
    }

    /// Appends the batch. On an error `out` may end in the middle of a row and must not be published.
    pub fn encode(&mut self, batch: &RowBatch, out: &mut Vec<u8>) -> Result<(), CsvError> {
        let delimiter = self.options.delimiter;
        let marker = self.options.null_marker.as_bytes();
        let is_lone = batch.columns() == 1 && marker.is_empty();
        out.reserve(batch.byte_len() + batch.len() * batch.columns() * 3);
        for row in batch.rows() {
            let number = self.rows + 1;
            for (index, cell) in row.enumerate() {
                if index > 0 {
                    out.push(delimiter);
                }
                match cell {
                    None if is_lone => return Err(CsvError::LoneNull { row: self.before + number }),
                    None => out.extend_from_slice(marker),
                    Some([]) => out.extend_from_slice(b"\"\""),
                    Some(cell) if cell == marker => {
                        return Err(CsvError::MarkerInData {
                            row: self.before + number,
                            column: self.column(index),
                            marker: self.options.null_marker.clone(),
                        });
                    }
                    Some(cell) => append_cell(out, cell, delimiter)
                        .map_err(|()| CsvError::NotUtf8 { row: self.before + number, column: self.column(index) })?,
                }
            }
            out.push(b'\n');
            self.rows = number;
        }
        Ok(())
    }

    fn column(&self, index: usize) -> String {
        match self.columns.get(index) {
            Some(name) => format!("{} ({name})", index + 1),
            None => (index + 1).to_string(),
        }
    }
}

fn append_cell(out: &mut Vec<u8>, cell: &[u8], delimiter: u8) -> Result<(), ()> {
    // Without branches, so that the compiler can look at many bytes at once.
    let high = cell.iter().fold(0_u8, |high, byte| high | byte);
    if high >= 0x80 && std::str::from_utf8(cell).is_err() {
        return Err(());
    }
    append_field(out, cell, delimiter);
    Ok(())
}

fn append_field(out: &mut Vec<u8>, cell: &[u8], delimiter: u8) {
    let is_special = cell.iter().fold(0_u8, |special, &byte| {
        special
            | u8::from(byte == b'"')
            | u8::from(byte == b'\n')
            | u8::from(byte == b'\r')
            | u8::from(byte == delimiter)
    }) != 0;
    let is_edged = cell.first().is_none_or(|byte| *byte <= b' ') || cell.last().is_none_or(|byte| *byte <= b' ');
    // A lone `\.` ends the data for PostgreSQL's reader.
    if is_special || is_edged || cell == b"\\." {
        append_quoted(out, cell);
    } else {
        out.extend_from_slice(cell);
    }
}

fn append_quoted(out: &mut Vec<u8>, cell: &[u8]) {
    out.push(b'"');
    for (index, piece) in cell.split(|byte| *byte == b'"').enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(piece);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(options: CsvOptions, names: &[&str], rows: &[&[Option<&[u8]>]]) -> Result<String, CsvError> {
        let columns: Vec<SourceColumn> = names.iter().copied().map(SourceColumn::text).collect();
        let mut batch = RowBatch::new(names.len());
        rows.iter().flat_map(|row| row.iter()).for_each(|cell| batch.push(*cell));
        let mut encoder = CsvEncoder::new(options, &columns);
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.encode(&batch, &mut out)?;
        assert_eq!(encoder.rows(), rows.len() as u64);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn quotes_what_must_be_quoted_and_nothing_else() {
        let cases: &[(&[u8], &str)] = &[
            (b"plain", "plain"),
            (b"12.50", "12.50"),
            ("\u{d55c}\u{ae00} \u{1f600}".as_bytes(), "\u{d55c}\u{ae00} \u{1f600}"),
            (b"a,b", "\"a,b\""),
            (b"say \"hi\"", "\"say \"\"hi\"\"\""),
            (b"\"", "\"\"\"\""),
            (b"two\nlines", "\"two\nlines\""),
            (b"cr\r", "\"cr\r\""),
            (b" edge", "\" edge\""),
            (b"edge ", "\"edge \""),
            (b"\\.", "\"\\.\""),
            (b"", "\"\""),
            (b"NULL", "NULL"),
            (b"a;b\tc|d", "a;b\tc|d"),
        ];
        for (cell, expected) in cases {
            let text = encode(CsvOptions::default(), &["a"], &[&[Some(cell)]]).unwrap();
            assert_eq!(text, format!("{expected}\n"), "{cell:?}");
        }
    }

    #[test]
    fn null_and_empty_stay_different() {
        let rows: &[&[Option<&[u8]>]] = &[&[None, Some(b"")], &[Some(b"x"), None]];
        assert_eq!(encode(CsvOptions::default(), &["a", "b"], rows).unwrap(), "\\N,\"\"\nx,\\N\n");
        let empty = CsvOptions { null_marker: String::new(), ..CsvOptions::default() };
        assert_eq!(encode(empty.clone(), &["a", "b"], rows).unwrap(), ",\"\"\nx,\n");
        assert_eq!(encode(empty, &["a"], &[&[None]]), Err(CsvError::LoneNull { row: 1 }));
    }

    #[test]
    fn a_text_that_equals_the_marker_stops_the_writing() {
        let rows: &[&[Option<&[u8]>]] = &[&[Some(b"1"), Some(b"x")], &[Some(b"2"), Some(b"\\N")]];
        let error = encode(CsvOptions::default(), &["id", "note"], rows).unwrap_err();
        assert!(error.to_string().starts_with("row 2, column 2 (note): the text is exactly '\\N'"), "{error}");
        assert!(error.to_string().contains("null_marker"));
        let other = CsvOptions { null_marker: "<null>".to_owned(), ..CsvOptions::default() };
        assert_eq!(encode(other, &["id", "note"], rows).unwrap(), "1,x\n2,\\N\n");
    }

    #[test]
    fn header_and_delimiter_are_options() {
        let options = CsvOptions { delimiter: b'|', header: true, ..CsvOptions::default() };
        let text = encode(options, &["id", "a\"b"], &[&[Some(b"1|2"), Some(b"a,b")]]).unwrap();
        assert_eq!(text, "id|\"a\"\"b\"\n\"1|2\"|a,b\n");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_with_their_place() {
        let error = encode(CsvOptions::default(), &["id"], &[&[Some(b"ok")], &[Some(b"\xff\xfe")]]).unwrap_err();
        assert_eq!(error, CsvError::NotUtf8 { row: 2, column: "1 (id)".to_owned() });
    }
}
