//! Rows as CSV: RFC 4180 quoting, UTF-8, LF, straight from row batches into bytes.
//!
//! NULL is a marker, unquoted, and '' is `""`. The quotes alone don't keep the two apart, because some readers (Redshift
//! among them) compare the NULL text with quoted fields too; so the marker is proved absent from the data while it is
//! written, and a row that holds it stops the writing.

use millrace_operator_api::ports::{RowBatch, SourceColumn, append_part};

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
            let has_special = Texts::new(name.as_bytes(), self.options.delimiter).has_special(0, name.len());
            append_field(out, name.as_bytes(), (0, name.len()), has_special);
        }
        out.push(b'\n');
    }

    /// Appends the batch. On an error `out` may end in the middle of a row and must not be published.
    pub fn encode(&mut self, batch: &RowBatch, out: &mut Vec<u8>) -> Result<(), CsvError> {
        let delimiter = self.options.delimiter;
        let marker = self.options.null_marker.as_bytes();
        let is_lone = batch.columns() == 1 && marker.is_empty();
        out.reserve(batch.byte_len() + batch.len() * batch.columns() * 3);
        let mut texts = Texts::new(batch.bytes(), delimiter);
        for row in 0..batch.len() {
            let number = self.rows + 1;
            for index in 0..batch.columns() {
                if index > 0 {
                    out.push(delimiter);
                }
                let Some((start, end)) = batch.span(row, index) else {
                    if is_lone {
                        return Err(CsvError::LoneNull { row: self.before + number });
                    }
                    out.extend_from_slice(marker);
                    continue;
                };
                let cell = &batch.bytes()[start..end];
                if cell.is_empty() {
                    out.extend_from_slice(b"\"\"");
                } else if cell == marker {
                    return Err(CsvError::MarkerInData {
                        row: self.before + number,
                        column: self.column(index),
                        marker: self.options.null_marker.clone(),
                    });
                } else if !texts.is_utf8(start, end) {
                    return Err(CsvError::NotUtf8 { row: self.before + number, column: self.column(index) });
                } else {
                    append_field(out, batch.bytes(), (start, end), texts.has_special(start, end));
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

/// Cells that lie one behind the other, looked at together: most are short, and each by itself would cost as much as many.
struct Texts<'a> {
    bytes: &'a [u8],
    delimiter: u8,
    /// All together are; each is then when it begins and ends between characters.
    is_utf8: bool,
    /// Where the next quote, newline or delimiter is, and the next carriage return.
    special: usize,
    carriage_return: usize,
}

impl<'a> Texts<'a> {
    fn new(bytes: &'a [u8], delimiter: u8) -> Self {
        let is_utf8 = std::str::from_utf8(bytes).is_ok();
        let mut texts = Self { bytes, delimiter, is_utf8, special: 0, carriage_return: 0 };
        (texts.special, texts.carriage_return) = (texts.special_from(0), texts.carriage_return_from(0));
        texts
    }

    fn special_from(&self, start: usize) -> usize {
        let found = memchr::memchr3(b'"', b'\n', self.delimiter, &self.bytes[start..]);
        found.map_or(self.bytes.len(), |at| start + at)
    }

    fn carriage_return_from(&self, start: usize) -> usize {
        memchr::memchr(b'\r', &self.bytes[start..]).map_or(self.bytes.len(), |at| start + at)
    }

    fn is_utf8(&self, start: usize, end: usize) -> bool {
        let is_between = |at: usize| self.bytes.get(at).is_none_or(|byte| byte & 0xC0 != 0x80);
        (self.is_utf8 && is_between(start) && is_between(end)) || std::str::from_utf8(&self.bytes[start..end]).is_ok()
    }

    /// Cells are asked about in their order.
    fn has_special(&mut self, start: usize, end: usize) -> bool {
        if self.special < start {
            self.special = self.special_from(start);
        }
        if self.carriage_return < start {
            self.carriage_return = self.carriage_return_from(start);
        }
        self.special < end || self.carriage_return < end
    }
}

fn append_field(out: &mut Vec<u8>, bytes: &[u8], (start, end): (usize, usize), has_special: bool) {
    let cell = &bytes[start..end];
    let is_edged = cell.first().is_none_or(|byte| *byte <= b' ') || cell.last().is_none_or(|byte| *byte <= b' ');
    // The first of a file would be taken for its byte order mark.
    let is_marked = cell.starts_with(b"\xef\xbb\xbf");
    // A lone `\.` ends the data for PostgreSQL's reader.
    if has_special || is_edged || is_marked || cell == b"\\." {
        append_quoted(out, cell);
    } else {
        append_part(out, bytes, (start, end));
    }
}

fn append_quoted(out: &mut Vec<u8>, cell: &[u8]) {
    out.push(b'"');
    let mut start = 0;
    for at in memchr::memchr_iter(b'"', cell) {
        out.extend_from_slice(&cell[start..=at]);
        out.push(b'"');
        start = at + 1;
    }
    out.extend_from_slice(&cell[start..]);
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
            ("\u{feff}abc".as_bytes(), "\"\u{feff}abc\""),
            ("a\u{feff}".as_bytes(), "a\u{feff}"),
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

    #[test]
    fn a_character_that_is_cut_by_two_cells_is_no_text() {
        let error = encode(CsvOptions::default(), &["a", "b"], &[&[Some(b"x\xed\x95"), Some(b"\x9c")]]).unwrap_err();
        assert_eq!(error, CsvError::NotUtf8 { row: 1, column: "1 (a)".to_owned() });
        let whole: &[&[Option<&[u8]>]] =
            &[&[Some("\u{d55c}".as_bytes()), Some("\u{ae00}\r".as_bytes())], &[Some(b"\xff"), None]];
        assert_eq!(encode(CsvOptions::default(), &["a", "b"], &whole[..1]).unwrap(), "\u{d55c},\"\u{ae00}\r\"\n");
        let error = encode(CsvOptions::default(), &["a", "b"], whole).unwrap_err();
        assert_eq!(error, CsvError::NotUtf8 { row: 2, column: "1 (a)".to_owned() });
    }
}
