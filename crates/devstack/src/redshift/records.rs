//! Bytes of a file into records, without ever holding more than one record.
//!
//! `csv-core` is too lenient for this: it takes a quote in the middle of a field, which COPY refuses, and it keeps
//! neither the raw line nor its number, which the load errors show.

use super::copy_options::Format;

/// COPY takes no longer row than this.
const LONGEST_RECORD: usize = 4 * 1024 * 1024;

/// One record of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    /// The line that it starts on, from 1.
    pub(super) line: u64,
    pub(super) fields: Vec<Vec<u8>>,
    /// As it stands in the file, without the line end.
    pub(super) raw: Vec<u8>,
    pub(super) malformed: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote inside a quoted field: its end, or the first half of a doubled quote.
    QuoteSeen,
}

/// Cuts a file into records as its bytes arrive.
#[derive(Debug)]
pub(super) struct RecordReader {
    delimiter: u8,
    quote: Option<u8>,
    skip: u64,
    line: u64,
    state: State,
    field: Vec<u8>,
    record: Record,
    /// Something of the current record was seen.
    started: bool,
}

impl RecordReader {
    pub(super) fn new(format: Format, delimiter: u8, skip_lines: u64) -> Self {
        let quote = match format {
            Format::Csv { quote } => Some(quote),
            Format::Delimited | Format::Parquet => None,
        };
        Self {
            delimiter,
            quote,
            skip: skip_lines,
            line: 1,
            state: State::FieldStart,
            field: Vec::new(),
            record: Record { line: 1, ..Record::default() },
            started: false,
        }
    }

    /// Takes the next bytes and hands over every record that they end.
    pub(super) fn feed(&mut self, bytes: &[u8], records: &mut Vec<Record>) {
        for &byte in bytes {
            if self.skip > 0 {
                if byte == b'\n' {
                    self.skip -= 1;
                    self.line += 1;
                    self.record.line = self.line;
                }
                continue;
            }
            self.take(byte, records);
        }
    }

    /// The file is over: the last line needs no line end.
    pub(super) fn finish(&mut self, records: &mut Vec<Record>) {
        if self.state == State::Quoted {
            self.record.malformed = Some("Invalid quote formatting for CSV: the quote is not closed");
        }
        if self.started {
            self.end_record(records);
        }
    }

    fn take(&mut self, byte: u8, records: &mut Vec<Record>) {
        if byte == b'\n' {
            self.line += 1;
            if self.state != State::Quoted {
                self.end_record(records);
                return;
            }
        }
        self.started = true;
        if self.record.raw.len() >= LONGEST_RECORD {
            self.record.malformed = Some("Input line exceeds the maximum row size of 4 MB");
            self.field.clear();
        } else {
            self.record.raw.push(byte);
        }
        let is_quote = self.quote == Some(byte);
        match self.state {
            State::FieldStart if is_quote => self.state = State::Quoted,
            State::FieldStart | State::Plain if byte == self.delimiter => self.end_field(),
            State::Plain if is_quote => {
                self.record.malformed = Some("Invalid quote formatting for CSV");
                self.field.push(byte);
            }
            State::FieldStart | State::Plain => {
                self.state = State::Plain;
                self.field.push(byte);
            }
            State::Quoted if is_quote => self.state = State::QuoteSeen,
            State::Quoted => self.field.push(byte),
            State::QuoteSeen if is_quote => {
                self.field.push(byte);
                self.state = State::Quoted;
            }
            State::QuoteSeen if byte == self.delimiter => self.end_field(),
            // The carriage return of the line end.
            State::QuoteSeen if byte == b'\r' => {}
            State::QuoteSeen => {
                self.record.malformed = Some("Invalid quote formatting for CSV");
                self.state = State::Plain;
            }
        }
    }

    fn end_field(&mut self) {
        self.record.fields.push(std::mem::take(&mut self.field));
        self.state = State::FieldStart;
    }

    fn end_record(&mut self, records: &mut Vec<Record>) {
        if self.state == State::Plain && self.field.last() == Some(&b'\r') {
            self.field.pop();
        }
        if self.record.raw.last() == Some(&b'\r') {
            self.record.raw.pop();
        }
        self.end_field();
        self.started = false;
        let next = Record { line: self.line, ..Record::default() };
        records.push(std::mem::replace(&mut self.record, next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, chunk: usize, format: Format, delimiter: u8, skip: u64) -> Vec<Record> {
        let mut reader = RecordReader::new(format, delimiter, skip);
        let mut records = Vec::new();
        for part in text.as_bytes().chunks(chunk) {
            reader.feed(part, &mut records);
        }
        reader.finish(&mut records);
        records
    }

    fn check(text: &str, expected: &[(u64, &[&str])]) {
        // However the bytes arrive.
        for chunk in [1, 3, 1000] {
            let records = read(text, chunk, Format::Csv { quote: b'"' }, b',', 0);
            let found: Vec<(u64, Vec<String>)> = records
                .iter()
                .map(|record| {
                    assert_eq!(record.malformed, None);
                    let fields = record.fields.iter().map(|field| String::from_utf8_lossy(field).into_owned());
                    (record.line, fields.collect())
                })
                .collect();
            let expected: Vec<(u64, Vec<String>)> = expected
                .iter()
                .map(|(line, fields)| (*line, fields.iter().map(|field| (*field).to_owned()).collect()))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn quotes_line_ends_and_empty_fields() {
        check("a,b\n1,\"x\"\"y,\nz\"\r\n,\n", &[(1, &["a", "b"]), (2, &["1", "x\"y,\nz"]), (4, &["", ""])]);
        check("a\r\nb", &[(1, &["a"]), (2, &["b"])]);
        check("", &[]);
        check("\n", &[(1, &[""])]);
    }

    #[test]
    fn bad_quotes_are_found_and_the_next_line_is_read() {
        let records = read("a\"b,c\n\"x\"y,z\n1,2\n\"open", 2, Format::Csv { quote: b'"' }, b',', 0);
        let malformed: Vec<bool> = records.iter().map(|record| record.malformed.is_some()).collect();
        assert_eq!(malformed, [true, true, false, true]);
        assert_eq!(records[0].raw, b"a\"b,c");
    }

    #[test]
    fn delimited_text_knows_no_quotes_and_headers_are_skipped_by_line() {
        let records = read("h1|h2\n\"a|b\"\n", 1000, Format::Delimited, b'|', 1);
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].fields, [b"\"a".to_vec(), b"b\"".to_vec()]);
        assert_eq!(records[0].line, 2);
    }
}
