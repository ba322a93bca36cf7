//! CSV files out of the object store, row by row, for warehouses that cannot read them there themselves.

use std::io::Write;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use flate2::write::MultiGzDecoder;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{CsvFormat, FileKind};
use zstd::stream::raw::Operation;

use crate::parts::csv_quotes::{Quotes, Stray};
use crate::parts::failure::{data, invalid};
use crate::parts::rows::{LoadColumn, Refusal, RowSink, Shaper, row_text};

/// Options that only Redshift has a use for, and whose absence changes no row. The first are known everywhere: lines without a
/// character are passed over in any case.
const WITHOUT_EFFECT: [&str; 12] = [
    "ROUNDEC",
    "FILLRECORD",
    "IGNOREBLANKLINES",
    "IAM_ROLE",
    "CREDENTIALS",
    "REGION",
    "STATUPDATE",
    "COMPUPDATE",
    "COMPROWS",
    "MANIFEST",
    "CSV",
    "FORMAT",
];

/// Refuses what this reader can't do, rather than load something else.
pub fn check_format(format: &CsvFormat, engine: &str) -> Result<(), PortError> {
    let mut refused = Vec::new();
    match &format.kind {
        FileKind::Csv | FileKind::Parquet => {}
        FileKind::Delimited => refused.push("text that is not CSV".to_owned()),
        FileKind::Other(name) => refused.push(name.split_whitespace().next().unwrap_or_default().to_owned()),
    }
    for (name, value) in [("DATEFORMAT", &format.date_format), ("TIMEFORMAT", &format.time_format)] {
        if value.as_deref().is_some_and(|value| !value.eq_ignore_ascii_case("auto")) {
            refused.push(name.to_owned());
        }
    }
    for option in &format.other {
        let name = option.split_whitespace().next().unwrap_or_default();
        if !WITHOUT_EFFECT.contains(&name.to_ascii_uppercase().as_str()) {
            refused.push(name.to_owned());
        }
    }
    if refused.is_empty() {
        Ok(())
    } else {
        Err(invalid(format!("{engine} cannot load with {}; only Redshift can", refused.join(", "))))
    }
}

fn unreadable(file: &str, error: &std::io::Error) -> PortError {
    data(format!("{file}: the file cannot be unpacked: {error}"))
}

/// Takes compressed bytes in and gives plain ones out.
enum Unpacker {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::raw::Decoder<'static>>, ZstdState),
}

/// Whether the bytes so far end with a whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ZstdState {
    Whole,
    Within,
}

/// Plain bytes taken out of a zstd stream at once.
const PLAIN: usize = 128 * 1024;

impl Unpacker {
    fn of(format: &CsvFormat) -> std::io::Result<Option<Self>> {
        Ok(if format.gzip {
            Some(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))))
        } else if format.zstd {
            Some(Self::Zstd(Box::new(zstd::stream::raw::Decoder::new()?), ZstdState::Whole))
        } else {
            None
        })
    }

    fn feed(&mut self, piece: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(gunzip) => {
                gunzip.write_all(piece)?;
                Ok(std::mem::take(gunzip.get_mut()))
            }
            Self::Zstd(decoder, state) => {
                let (mut plain, mut read, mut out) = (Vec::new(), 0, vec![0; PLAIN]);
                loop {
                    let status = decoder.run_on_buffers(&piece[read..], &mut out)?;
                    read += status.bytes_read;
                    plain.extend_from_slice(&out[..status.bytes_written]);
                    // Nothing more to expect: the end of a frame, behind which another one may begin.
                    let is_end = status.remaining == 0;
                    *state = if is_end { ZstdState::Whole } else { ZstdState::Within };
                    let is_drained = status.bytes_written < out.len();
                    if is_end {
                        decoder.reinit()?;
                    }
                    if read == piece.len() && (is_end || is_drained) {
                        return Ok(plain);
                    }
                }
            }
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(gunzip) => gunzip.finish(),
            Self::Zstd(_, ZstdState::Whole) => Ok(Vec::new()),
            Self::Zstd(_, ZstdState::Within) => {
                Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, "the last frame is cut"))
            }
        }
    }
}

/// Reads one file. Blank lines are passed over, as Redshift's COPY and CSV readers in general do.
pub struct CsvRows<'a> {
    shaper: Shaper<'a>,
    /// `s3://bucket/key`, for messages.
    file: &'a str,
    reader: Reader,
    delimiter: u8,
    /// Where an empty field without quotes is NULL, and one with them is ''.
    quotes: Option<Quotes>,
    stray: Stray,
    /// Fields that are missing at the end of a row are empty ones.
    fills: bool,
    /// The first bytes, until there are as many as a byte order mark has: the reader would look for one in its first input
    /// only, and a quote behind it would not be taken for the first of its field.
    head: Option<Vec<u8>>,
    unpacker: Option<Unpacker>,
    fields: Vec<u8>,
    ends: Vec<usize>,
    field_bytes: usize,
    field_count: usize,
    header_left: u32,
    line: u64,
    is_in_record: bool,
    /// The last row ended in a carriage return: the newline behind it is not counted yet.
    after_return: bool,
    /// Records read, refused ones included.
    pub rows: u64,
}

/// Room for the fields of a row, which grows with it, at last by so much at a time, and is given back when it was a long one.
const FIRST: usize = 16 * 1024;
const MOST_MORE: usize = 16 << 20;
const KEPT: usize = 1 << 20;

/// Compressed bytes taken at once: what comes out of them is at most about a thousand times as much.
const PIECE: usize = 8 * 1024;

/// Says that a file is UTF-8, and is none of its text.
const MARK: &[u8] = b"\xef\xbb\xbf";

impl<'a> CsvRows<'a> {
    pub fn new(format: &'a CsvFormat, columns: &'a [LoadColumn], file: &'a str) -> Result<Self, PortError> {
        let byte = |name: &str, character: Option<char>, default: u8| match character {
            None => Ok(default),
            Some(character) if character.is_ascii() => Ok(character as u8),
            Some(character) => Err(invalid(format!("{name} {character:?} is not an ASCII character"))),
        };
        let delimiter = byte("the delimiter", format.delimiter, b',')?;
        let quote = byte("the quote", format.quote, b'"')?;
        let reader = ReaderBuilder::new().delimiter(delimiter).quote(quote).build();
        let tells_by_quotes = format.null_as.as_deref() == Some("");
        Ok(Self {
            shaper: Shaper::of_file(format, columns),
            file,
            reader,
            delimiter,
            quotes: tells_by_quotes.then(|| Quotes::new(delimiter, quote)),
            stray: Stray::new(delimiter, quote),
            fills: format.other.iter().any(|option| option == "FILLRECORD"),
            head: Some(Vec::new()),
            unpacker: Unpacker::of(format).map_err(|error| unreadable(file, &error))?,
            fields: vec![0; FIRST],
            ends: vec![0; columns.len() + 2],
            field_bytes: 0,
            field_count: 0,
            header_left: format.ignore_header,
            line: 1,
            is_in_record: false,
            after_return: false,
            rows: 0,
        })
    }

    /// NUL bytes in text are refused from now on.
    #[must_use]
    pub fn without_nul(mut self) -> Self {
        self.shaper.refuses_nul = true;
        self
    }

    /// Takes the next bytes of the file and hands every row that they complete to `sink`.
    pub fn feed(&mut self, bytes: &[u8], sink: &mut impl RowSink) -> Result<(), PortError> {
        let Some(mut unpacker) = self.unpacker.take() else { return self.parse(bytes, sink) };
        for piece in bytes.chunks(PIECE) {
            let plain = unpacker.feed(piece).map_err(|error| unreadable(self.file, &error))?;
            if !plain.is_empty() {
                self.parse(&plain, sink)?;
            }
        }
        self.unpacker = Some(unpacker);
        Ok(())
    }

    /// The file has ended: its last row may lack a newline.
    pub fn finish(&mut self, sink: &mut impl RowSink) -> Result<(), PortError> {
        if let Some(unpacker) = self.unpacker.take() {
            let plain = unpacker.finish().map_err(|error| unreadable(self.file, &error))?;
            if !plain.is_empty() {
                self.parse(&plain, sink)?;
            }
        }
        // An empty input tells the reader of the end.
        self.parse(&[], sink)
    }

    fn parse(&mut self, input: &[u8], sink: &mut impl RowSink) -> Result<(), PortError> {
        let Some(mut head) = self.head.take() else {
            return if input.is_empty() { self.end(sink) } else { self.records(input, sink) };
        };
        head.extend_from_slice(input);
        if !input.is_empty() && head.len() < MARK.len() {
            self.head = Some(head);
            return Ok(());
        }
        let plain = head.strip_prefix(MARK).unwrap_or(&head);
        if !plain.is_empty() {
            self.records(plain, sink)?;
        }
        if input.is_empty() { self.end(sink) } else { Ok(()) }
    }

    /// The reader takes what is left for a record, also within quotes. A newline ends a record everywhere but there, where
    /// it is a part of the field: so it shows that rows may have been swallowed by a quote that nobody closed.
    fn end(&mut self, sink: &mut impl RowSink) -> Result<(), PortError> {
        let before = self.field_bytes;
        self.records(b"\n", sink)?;
        if self.is_in_record && self.field_bytes > before {
            return Err(data(format!("{} line {}: a quote of this row is not closed", self.file, self.line)));
        }
        self.records(&[], sink)
    }

    fn records(&mut self, mut input: &[u8], sink: &mut impl RowSink) -> Result<(), PortError> {
        let is_end = input.is_empty();
        loop {
            if !self.is_in_record {
                if input.is_empty() && !is_end {
                    return Ok(());
                }
                self.line = self.reader.line() + u64::from(self.after_return && input.first() == Some(&b'\n'));
                self.is_in_record = true;
            }
            let (result, read, written, ended) = self.reader.read_record(
                input,
                &mut self.fields[self.field_bytes..],
                &mut self.ends[self.field_count..],
            );
            let last = read.checked_sub(1).map(|at| input[at]);
            if let Some(quotes) = &mut self.quotes {
                quotes.see(&input[..read]);
            }
            self.stray.see(&input[..read]);
            input = &input[read..];
            self.field_bytes += written;
            self.field_count += ended;
            match result {
                ReadRecordResult::InputEmpty => {
                    if !is_end {
                        return Ok(());
                    }
                }
                ReadRecordResult::OutputFull => {
                    let more = self.fields.len().min(MOST_MORE);
                    self.fields.resize(self.fields.len() + more, 0);
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    let (count, bytes) = (self.field_count, self.field_bytes);
                    (self.field_count, self.field_bytes, self.is_in_record) = (0, 0, false);
                    self.after_return = last == Some(b'\r');
                    if let Some(quotes) = &mut self.quotes {
                        quotes.end_record();
                    }
                    if self.header_left > 0 {
                        self.header_left -= 1;
                    } else {
                        self.row(count, bytes, sink)?;
                    }
                    if self.fields.len() > KEPT {
                        self.fields = vec![0; FIRST];
                    }
                    if let Some(quotes) = &mut self.quotes {
                        quotes.begin_record();
                    }
                    self.stray.begin_record();
                }
                ReadRecordResult::End => return Ok(()),
            }
        }
    }

    fn row(&mut self, count: usize, bytes: usize, sink: &mut impl RowSink) -> Result<(), PortError> {
        self.rows += 1;
        let expected = self.shaper.columns().len();
        let missing = expected.saturating_sub(count);
        if count > expected || (missing > 0 && !self.fills) || self.stray.is_found {
            let names: Vec<&str> = self.shaper.columns().iter().map(|column| column.name.as_str()).collect();
            let reason = if self.stray.is_found {
                "text stands behind a closing quote, which would be lost; within quotes a quote is written twice"
                    .to_owned()
            } else {
                format!("{count} fields where {expected} are expected ({})", names.join(", "))
            };
            let starts = std::iter::once(0).chain(self.ends[..count].iter().copied());
            let fields: Vec<&[u8]> =
                starts.zip(&self.ends[..count]).map(|(start, end)| &self.fields[start..*end]).collect();
            let numbers: Vec<String> = (1..=count).map(|number| format!("field {number}")).collect();
            return sink.refuse(Refusal {
                line: self.line,
                column: None,
                value: Some(fields.join(&[self.delimiter][..])),
                row: Some(row_text(&numbers, fields.into_iter().map(Some))),
                reason,
            });
        }
        let starts = std::iter::once(0).chain(self.ends[..count].iter().copied());
        let quotes = self.quotes.as_ref();
        let is_null = |field: usize, length: usize| length == 0 && quotes.is_some_and(|quotes| !quotes.had(field));
        let fields = starts.zip(&self.ends[..count]).enumerate();
        let spans = fields.map(|(field, (start, end))| (!is_null(field, end - start)).then_some((start, *end)));
        let spans = spans.chain(std::iter::repeat_n(quotes.is_none().then_some((bytes, bytes)), missing));
        self.shaper.shape(&self.fields[..bytes], spans, self.line, sink)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::rows::{CellKind, Longest, Rejects, Row};

    struct Kept(Lines, Rejects);

    impl RowSink for Kept {
        fn take(&mut self, row: &Row<'_>) -> Result<(), PortError> {
            let cells = row.cells().map(|cell| cell.map(|cell| String::from_utf8_lossy(cell).into_owned())).collect();
            self.0.push((row.line, cells));
            Ok(())
        }

        fn refuse(&mut self, refusal: Refusal) -> Result<(), PortError> {
            self.1.add(refusal)
        }
    }

    fn columns() -> Vec<LoadColumn> {
        [("id", CellKind::Integer), ("name", CellKind::Text(Some(Longest::Characters(3)))), ("at", CellKind::Other)]
            .into_iter()
            .map(|(name, kind)| LoadColumn { kind, ..LoadColumn::ignored(name) })
            .collect()
    }

    type Lines = Vec<(u64, Vec<Option<String>>)>;

    fn read(text: &[u8], format: &CsvFormat, piece: usize) -> Result<Lines, PortError> {
        let columns = columns();
        let mut rejects = Rejects::new(format.max_error, true, false);
        rejects.enter("s3://b/k");
        let mut kept = Kept(Vec::new(), rejects);
        let mut reader = CsvRows::new(format, &columns, "s3://b/k")?;
        for chunk in text.chunks(piece) {
            reader.feed(chunk, &mut kept)?;
        }
        reader.finish(&mut kept)?;
        Ok(kept.0)
    }

    #[expect(clippy::unnecessary_wraps, reason = "stands where a cell is expected")]
    fn text(cell: &str) -> Option<String> {
        Some(cell.to_owned())
    }

    #[test]
    fn null_and_empty_stay_apart_in_any_pieces() {
        let file = b"h,h,h\n1,\"\",\n2.0,\"a\nb\"\"\",x\n\\N,\\N,\"\"\n";
        let format = CsvFormat { ignore_header: 1, null_as: Some("\\N".into()), ..CsvFormat::default() };
        for piece in 1..file.len() {
            let rows = read(file, &format, piece).expect("reads");
            assert_eq!(rows.len(), 3, "in pieces of {piece}");
            assert_eq!(rows[0], (2, vec![text("1"), text(""), None]));
            assert_eq!(rows[1], (3, vec![text("2"), text("a\nb\""), text("x")]));
            assert_eq!(rows[2], (5, vec![None, None, None]));
        }
    }

    #[test]
    fn an_empty_marker_tells_null_and_empty_by_their_quotes() {
        let file = b"1,\"\",x\r\n\n\"2\",,\"\"\n3,\"a,\"\"\nb\",y\n\"\",\"\"\"\",";
        let format = CsvFormat { null_as: Some(String::new()), ..CsvFormat::default() };
        for piece in 1..=file.len() {
            let rows = read(file, &format, piece).expect("reads");
            let cells: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
            assert_eq!(
                cells,
                [
                    vec![text("1"), text(""), text("x")],
                    // There is no empty number, and none in a column that is not free.
                    vec![text("2"), None, None],
                    vec![text("3"), text("a,\"\nb"), text("y")],
                    vec![None, text("\""), None],
                ],
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn text_behind_a_closing_quote_is_refused() {
        let format = CsvFormat { max_error: 9, ..CsvFormat::default() };
        let file = b"1,a\"b,\"c\"\r\n2,\"x\"y,d\r\n3,\"\"z\"\",e\n4,\"f\"\"\",\"\"\n5,g,\"h\" \n6,\"i,\n\"\"\",\"j\"";
        for piece in 1..=file.len() {
            let rows = read(file, &format, piece).expect("reads");
            let cells: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
            assert_eq!(
                cells,
                [
                    vec![text("1"), text("a\"b"), text("c")],
                    vec![text("4"), text("f\""), None],
                    vec![text("6"), text("i,\n\""), text("j")],
                ],
                "in pieces of {piece}"
            );
        }
        let error = read(file, &CsvFormat::default(), 5).expect_err("refused").message;
        assert!(error.contains("line 2") && error.contains("text stands behind a closing quote"), "{error}");
    }

    #[test]
    fn the_last_row_may_lack_its_newline_and_lines_may_end_in_crlf() {
        let rows = read(b"1,a,b\r\n2,c,d", &CsvFormat::default(), 4).expect("reads");
        assert_eq!(rows[1], (2, vec![text("2"), text("c"), text("d")]));
    }

    #[test]
    fn gzip_in_members_is_unpacked() {
        let mut packed = Vec::new();
        for part in [&b"1,a,b\n2,"[..], b"c,d\n"] {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(part).expect("packs");
            packed.extend(encoder.finish().expect("packs"));
        }
        let format = CsvFormat { gzip: true, ..CsvFormat::default() };
        assert_eq!(read(&packed, &format, 3).expect("reads").len(), 2);
        assert!(read(&packed[..packed.len() - 6], &format, 7).is_err(), "a cut file is an error");
    }

    #[test]
    fn zstd_in_frames_is_unpacked() {
        let mut packed = Vec::new();
        let long = format!("3,{},f\n", "e".repeat(400_000));
        for part in ["1,a,b\n2,", "c,d\n", long.as_str()] {
            packed.extend(zstd::encode_all(part.as_bytes(), 3).expect("packs"));
        }
        let format = CsvFormat { zstd: true, ..CsvFormat::default() };
        for piece in [1, 3, packed.len()] {
            let rows = read(&packed, &format, piece).expect("reads");
            assert_eq!(rows.len(), 3);
            assert_eq!(rows[2].1[1].as_ref().map(String::len), Some(400_000));
        }
        assert!(read(&packed[..packed.len() - 3], &format, 7).is_err(), "a cut file is an error");
        assert!(read(b"1,a,b\n", &format, 7).is_err(), "plain text is an error");
    }

    #[test]
    fn a_wrong_number_of_fields_names_file_and_line() {
        let error = read(b"1,a,b\n2,c\n", &CsvFormat::default(), 100).expect_err("two fields");
        assert!(
            error.message.contains("s3://b/k line 2, value \"2,c\": 2 fields where 3 are expected"),
            "{}",
            error.message
        );
    }

    #[test]
    fn fields_that_are_missing_at_the_end_are_empty_where_that_is_asked_for() {
        let other = vec!["FILLRECORD".to_owned()];
        let file = b"1,a,b\n2,c\n\n3\n";
        let rows = read(file, &CsvFormat { other: other.clone(), ..CsvFormat::default() }, 4).expect("reads");
        let cells: Vec<_> = rows.into_iter().map(|(_, cells)| cells).collect();
        assert_eq!(cells[1], [text("2"), text("c"), None]);
        assert_eq!(cells[2], [text("3"), text(""), None]);
        let by_quotes = CsvFormat { null_as: Some(String::new()), other: other.clone(), ..CsvFormat::default() };
        assert_eq!(read(file, &by_quotes, 4).expect("reads")[2].1, [text("3"), None, None]);
        let error = read(b"1,a,b,c\n", &CsvFormat { other, ..CsvFormat::default() }, 4).expect_err("too many");
        assert!(error.message.contains("4 fields where 3 are expected"), "{}", error.message);
    }

    #[test]
    fn a_quote_that_is_not_closed_swallows_no_rows() {
        let lenient = CsvFormat { max_error: 9, ..CsvFormat::default() };
        let by_quotes = CsvFormat { null_as: Some(String::new()), ..CsvFormat::default() };
        for format in [CsvFormat::default(), lenient, by_quotes] {
            for piece in [1, 5, 100] {
                for text in
                    [&b"1,a,b\n2,\"oops,c\n3,x,y\n"[..], b"1,a,b\n2,c,\"", b"1,a,b\n2,c,\"d\"\"", b"1,a,b\n2,\"\n"]
                {
                    let error = read(text, &format, piece).expect_err("not closed");
                    assert_eq!(error.message, "s3://b/k line 2: a quote of this row is not closed");
                }
                let closed = b"1,a,b\n2,\"c\n\",\"d\"";
                assert_eq!(read(closed, &format, piece).expect("reads").len(), 2);
            }
        }
        let long = format!("1,a,\"{}\"\n2,b,\"{0}", "e".repeat(100_000));
        let error = read(long.as_bytes(), &CsvFormat::default(), 999).expect_err("not closed");
        assert!(error.message.contains("line 2"), "{}", error.message);
    }

    #[test]
    fn long_and_broken_text_is_cut_or_refused_as_told() {
        let cut = CsvFormat { truncate_columns: true, accept_inv_chars: true, ..CsvFormat::default() };
        assert_eq!(read("1,주문내역,b\n".as_bytes(), &cut, 5).expect("reads")[0].1[1], text("주문내"));
        assert_eq!(read(b"1,a\xff,b\n", &cut, 5).expect("reads")[0].1[1], text("a?"));
        let error = read(b"1,a\xff,b\n", &CsvFormat::default(), 5).expect_err("not UTF-8");
        assert!(error.message.contains("column name"), "{}", error.message);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let format = CsvFormat { other: vec!["STATUPDATE OFF".into(), "TRIMBLANKS".into()], ..CsvFormat::default() };
        let error = check_format(&format, "PostgreSQL").expect_err("refused");
        assert!(error.message.contains("with TRIMBLANKS;"), "{}", error.message);
    }

    #[test]
    fn as_many_rows_may_be_refused_as_are_allowed() {
        let text = b"1,a,b\n2,c\n3,d\xff,e\n4,f,g\n";
        let allows = |max_error| CsvFormat { max_error, ..CsvFormat::default() };
        assert_eq!(read(text, &allows(2), 7).expect("two are allowed").len(), 2);
        let error = read(text, &allows(1), 7).expect_err("one too many");
        assert!(error.message.contains("line 3, column name"), "{}", error.message);
        assert!(error.message.contains("2 rows were refused, and 1 may be (maxerror"), "{}", error.message);
    }

    /// What is read does not depend on where a file happens to be cut in pieces, and nothing that a file holds breaks it.
    #[test]
    fn fuzz_csv() {
        let seeds: [&[u8]; 6] = [
            b"1,a,b\n2,c,d\n",
            b"id,name,at\r\n1,\"a\nb\"\"\",x\r\n\\N,\\N,\"\"\r\n",
            b"1|'x|y'|\n\n2|''|z",
            b"\xef\xbb\xbf1,\xed\x95\x9c,\xff\n",
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff3\xd4I\xd4I\xe2\x02\x00\x10\x9b\x8f\x1e\x06\x00\x00\x00",
            b"(\xb5/\xfd\x04X1\x00\x001,a,b\n",
        ];
        let formats = [
            CsvFormat { max_error: 100, ..CsvFormat::default() },
            CsvFormat { ignore_header: 1, null_as: Some("\\N".into()), max_error: 100, ..CsvFormat::default() },
            CsvFormat { delimiter: Some('|'), quote: Some('\''), max_error: 100, ..CsvFormat::default() },
            CsvFormat { gzip: true, max_error: 100, ..CsvFormat::default() },
            CsvFormat { zstd: true, max_error: 100, ..CsvFormat::default() },
        ];
        let words =
            ["\"", "\"\"", ",", "\r", "\n", "\r\n", "\\N", "|", "'", "\0", "1,a,b\n", "9223372036854775808", "1e5"];
        millrace_testkit::Fuzz::new("csv", 600).seeds(seeds).words(&words).run(|bytes| {
            let mut ways = Vec::new();
            for format in &formats {
                let whole = read(bytes, format, bytes.len().max(1));
                for piece in [1, 7] {
                    let parts = read(bytes, format, piece);
                    assert_eq!(whole.as_ref().ok(), parts.as_ref().ok(), "in pieces of {piece}");
                }
                if let Err(error) = &whole {
                    assert!(error.to_string().contains("s3://b/k"), "an error names the file: {error}");
                }
                ways.push(whole.map_or(9, |rows| rows.len().min(5)));
            }
            ways
        });
    }
}
