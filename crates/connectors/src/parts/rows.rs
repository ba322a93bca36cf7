//! Rows on their way into a table, wherever they are read from: NULL and '' told apart, values in the form that the
//! column takes, and the rows that cannot be taken.

use memchr::memchr;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{CsvFormat, LoadMethod, LoadRequest, RejectedRow, RowBatch};

use crate::parts::exact::Keeps;
use crate::parts::failure::{data, excerpt};
use crate::parts::places::Places;
use crate::parts::said::Said;

/// What a column is, as far as an empty field and a number's form are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Text, of at most so many characters or bytes when the load may cut values.
    Text(Option<Longest>),
    Integer,
    /// Bytes, as hex.
    Bytes,
    /// Truth: `t`, `true`, `1`, … as 1 and the contrary as 0, for engines without such a type.
    Truth,
    /// Numbers, dates, times: '' is none of them.
    Other,
    /// Anything else, of which '' may be a value.
    Free,
    /// The table has no such column: the value is passed over.
    Ignored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Longest {
    Characters(usize),
    /// As Redshift counts.
    Bytes(usize),
}

/// A column that the rows have a value for.
#[derive(Debug, Clone)]
pub struct LoadColumn {
    pub name: String,
    pub type_name: String,
    pub kind: CellKind,
    pub keeps: Keeps,
    pub said: Said,
}

impl LoadColumn {
    /// Of the rows, not of the table.
    pub fn ignored(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            type_name: String::new(),
            kind: CellKind::Ignored,
            keeps: Keeps::All,
            said: Said::Anything,
        }
    }

    /// What the column would change in the value without a word.
    fn change(&self, value: &[u8], may_round: bool) -> Option<String> {
        self.keeps.change(value, may_round).or_else(|| self.said.refusal(value, &self.type_name))
    }
}

/// Those of the rows' columns that the table takes.
pub fn taken(fields: &[LoadColumn]) -> Vec<LoadColumn> {
    fields.iter().filter(|column| column.kind != CellKind::Ignored).cloned().collect()
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    is_rewritten: bool,
}

/// A row: for each column its bytes, or NULL.
pub struct Row<'a> {
    cells: &'a [Option<Span>],
    bytes: &'a [u8],
    rewritten: &'a [u8],
    /// Line of the file that the row begins on, or number of the row, from 1.
    pub line: u64,
}

/// So much of a refused row is kept, in bytes.
const LONGEST_ROW: usize = 30_000;
/// Where a row is longer, so much of each of its values.
const LONGEST_OF_LONG: usize = 512;

/// A row as people read it, whatever it was written in: JSON by column.
pub fn row_text<'a>(names: &[String], cells: impl Iterator<Item = Option<&'a [u8]>> + Clone) -> String {
    let written = |longest: usize| {
        let mut text = String::from("{");
        for (name, cell) in names.iter().zip(cells.clone()) {
            let value = cell.map(|cell| {
                let cell = String::from_utf8_lossy(cell).replace('\0', "\u{fffd}");
                if cell.len() <= longest { cell } else { cell.chars().take(longest).chain(['…']).collect() }
            });
            let comma = if text.len() > 1 { ", " } else { "" };
            text.push_str(&format!("{comma}{}: {}", serde_json::json!(name), serde_json::json!(value)));
        }
        text.push('}');
        text
    };
    let is_long = cells.clone().flatten().map(<[u8]>::len).sum::<usize>() > LONGEST_ROW / 2;
    let text = written(if is_long { LONGEST_OF_LONG } else { usize::MAX });
    cut(&text, LONGEST_ROW).to_owned()
}

/// The beginning, of so many bytes at most.
pub fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

impl Row<'_> {
    pub fn text(&self, columns: &[LoadColumn]) -> String {
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        row_text(&names, self.cells())
    }

    pub fn cells(&self) -> impl Iterator<Item = Option<&[u8]>> + Clone {
        self.cells.iter().map(|cell| {
            cell.map(|span| {
                let bytes = if span.is_rewritten { self.rewritten } else { self.bytes };
                &bytes[span.start..span.end]
            })
        })
    }
}

/// Why a row was not taken.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    /// Looked up for a row that was numbered.
    pub line: u64,
    pub column: Option<String>,
    pub value: Option<Vec<u8>>,
    /// All of the row, where it is known.
    pub row: Option<String>,
    pub reason: String,
}

/// Takes rows one by one.
pub trait RowSink {
    /// An error ends the load.
    fn take(&mut self, row: &Row<'_>) -> Result<(), PortError>;
    /// Takes note of a row that was not taken; an error when there are too many.
    fn refuse(&mut self, refusal: Refusal) -> Result<(), PortError>;
}

/// A refused row as it is, for the quarantine alone.
#[derive(Debug, Default, Clone)]
pub struct RawRow {
    /// Cut.
    pub value: Option<String>,
    pub row: Option<String>,
}

/// The refused rows of a load.
#[derive(Clone)]
pub struct Rejects {
    file: String,
    /// Of the rows that were taken.
    places: Places,
    most: u64,
    show_values: bool,
    /// Columns of whole numbers and of days that name a row in messages: a key of text may be a person's.
    keys: Vec<String>,
    /// For the quarantine all are kept, otherwise the first few.
    keeps_all: bool,
    pub count: u64,
    pub kept: Vec<RejectedRow>,
    /// The kept rows as they are.
    pub raw: Vec<RawRow>,
    /// Bytes of them.
    held: usize,
}

/// Refused rows in reports and messages.
const SHOWN: usize = 20;
/// Characters of a value that goes to the quarantine.
const LONGEST_RAW: usize = 512;
/// Bytes of refused rows that wait in memory for the quarantine; what comes then is counted only.
const MOST_HELD: usize = 8 << 20;

impl Rejects {
    pub fn new(max_error: u32, show_values: bool, keeps_all: bool) -> Self {
        Self {
            file: String::new(),
            places: Places::default(),
            most: u64::from(max_error),
            show_values,
            keys: Vec::new(),
            keeps_all,
            count: 0,
            kept: Vec::new(),
            raw: Vec::new(),
            held: 0,
        }
    }

    /// As a load wants it whose rows come with these columns.
    pub fn of(request: &LoadRequest, fields: &[LoadColumn]) -> Self {
        let names_rows = |column: &&LoadColumn| {
            let is_key = matches!(&request.method, LoadMethod::Upsert { keys, .. } if keys.contains(&column.name));
            (is_key || request.known_by.contains(&column.name))
                && (column.kind == CellKind::Integer || column.keeps.is_day())
        };
        let keys = fields.iter().filter(names_rows).map(|column| column.name.clone()).collect();
        Self { keys, ..Self::new(request.format.max_error, request.show_values, request.quarantine.is_some()) }
    }

    /// From now on rows come from here.
    pub fn enter(&mut self, file: &str) {
        file.clone_into(&mut self.file);
        self.places.enter(file);
    }

    /// The number of a row that is taken, by which it can be refused after all: from 1, over all files.
    pub fn number(&mut self, line: u64) -> u64 {
        self.places.add(line)
    }

    /// How many were numbered.
    pub fn numbered(&self) -> u64 {
        self.places.rows()
    }

    pub fn are_allowed(&self) -> bool {
        self.most > 0
    }

    /// How many more are allowed.
    pub fn left(&self) -> u64 {
        self.most.saturating_sub(self.count)
    }

    pub fn add(&mut self, refusal: Refusal) -> Result<(), PortError> {
        self.put(self.file.clone(), Some(refusal.line), refusal)
    }

    /// As [`add`](Self::add), of a row that was numbered, whose line is looked up.
    pub fn add_numbered(&mut self, number: u64, refusal: Refusal) -> Result<(), PortError> {
        let (file, line) = self.places.of(number);
        self.put(file.to_owned(), line, refusal)
    }

    fn put(&mut self, file: String, line: Option<u64>, refusal: Refusal) -> Result<(), PortError> {
        let row = RejectedRow {
            file,
            line,
            column: refusal.column,
            value: refusal.value.as_deref().map(|value| shown(value, self.show_values)),
            reason: refusal.reason,
        };
        self.count += 1;
        if self.count > self.most {
            let before = if self.most == 0 {
                String::new()
            } else {
                format!(
                    "; {} rows were refused, and {} may be (maxerror, max_error of table_copy)",
                    self.count, self.most
                )
            };
            let sample = refusal.row.and_then(|row| sample(&row, &self.keys, self.show_values)).unwrap_or_default();
            return Err(data(format!("{row}{before}{sample}")));
        }
        if self.kept.len() < SHOWN || (self.keeps_all && self.held < MOST_HELD) {
            let value = refusal.value.map(|value| String::from_utf8_lossy(&value).replace('\0', "\u{fffd}"));
            let value: Option<String> = value.map(|text| text.chars().take(LONGEST_RAW).collect());
            self.held += row.file.len() + row.reason.len() + refusal.row.as_ref().map_or(0, String::len);
            self.kept.push(row);
            self.raw.push(RawRow { value, row: refusal.row.filter(|_| self.keeps_all) });
        }
        Ok(())
    }

    /// How many there are for the quarantine; `None` where there is none.
    pub fn quarantined(&self) -> Option<u64> {
        self.keeps_all.then_some(self.kept.len() as u64)
    }

    /// The first of them, for the report.
    pub fn first(&self) -> Vec<RejectedRow> {
        self.kept.iter().take(SHOWN).cloned().collect()
    }
}

/// So much of a row stands in a message: columns, and bytes where values are shown.
const SAMPLED: (usize, usize) = (40, 4_000);

/// A refused row, as [`row_text`] writes it, behind a message. `None` for one that was too wide to be kept whole.
fn sample(row: &str, keys: &[String], show_values: bool) -> Option<String> {
    let cells: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row).ok()?;
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let cell = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
        None => format!("{name} is NULL"),
        Some(text) if show_values => format!("{name} is {}", excerpt(text.as_bytes())),
        Some(text) if keys.contains(name) && is_plain(text) => format!("{name} is {text}"),
        Some(text) => format!("{name} has {}", characters(text)),
    };
    let (columns, bytes) = SAMPLED;
    let more = cells.len().saturating_sub(columns);
    let more = if more > 0 { format!(" and {more} more columns") } else { String::new() };
    let said = cells.iter().take(columns).map(cell).collect::<Vec<_>>().join(", ");
    Some(format!("; the row: {}{more}", cut(&said, bytes)))
}

fn characters(text: &str) -> String {
    match text.chars().count() {
        1 => "1 character".to_owned(),
        count => format!("{count} characters"),
    }
}

/// A value in a message: itself when that is allowed, otherwise how long it is.
pub fn shown(value: &[u8], show_values: bool) -> String {
    if show_values {
        return excerpt(value);
    }
    match std::str::from_utf8(value) {
        Ok("") => "of no characters".to_owned(),
        Ok(text) => format!("of {}, not shown", characters(text)),
        Err(_) => format!("of {} bytes, not shown", value.len()),
    }
}

/// Brings raw values into the form that the columns take.
pub struct Shaper<'a> {
    format: &'a CsvFormat,
    columns: &'a [LoadColumn],
    /// The text that stands for NULL, where NULL is not known otherwise.
    marker: Option<&'a [u8]>,
    /// NULL is known by other means than an empty field.
    knows_null: bool,
    /// NULL is no text at all: '' is '' whatever the column is.
    is_stream: bool,
    /// Digits that a column does not hold may go.
    may_round: bool,
    /// PostgreSQL and Redshift cannot hold NUL in text.
    pub refuses_nul: bool,
    cells: Vec<Option<Span>>,
    rewritten: Vec<u8>,
}

impl<'a> Shaper<'a> {
    pub fn of_file(format: &'a CsvFormat, columns: &'a [LoadColumn]) -> Self {
        // An empty one is told by the quotes that are not there, which the reader of the file looks at.
        let marker = format.null_as.as_deref().filter(|marker| !marker.is_empty()).map(str::as_bytes);
        let knows_null = format.null_as.is_some();
        Self { marker, knows_null, is_stream: false, ..Self::of_stream(format, columns) }
    }

    pub fn of_stream(format: &'a CsvFormat, columns: &'a [LoadColumn]) -> Self {
        Self {
            format,
            columns,
            marker: None,
            knows_null: true,
            is_stream: true,
            may_round: format.may_round(),
            refuses_nul: false,
            cells: Vec::with_capacity(columns.len()),
            rewritten: Vec::new(),
        }
    }

    pub fn columns(&self) -> &'a [LoadColumn] {
        self.columns
    }

    /// Shapes the row whose values stand at `spans` of `bytes`, one for each column, and hands it on.
    pub fn shape(
        &mut self,
        bytes: &[u8],
        spans: impl Iterator<Item = Option<(usize, usize)>> + Clone,
        line: u64,
        sink: &mut impl RowSink,
    ) -> Result<(), PortError> {
        self.cells.clear();
        self.rewritten.clear();
        for (column, span) in self.columns.iter().zip(spans.clone()) {
            if column.kind == CellKind::Ignored {
                continue;
            }
            let raw = span.map(|(start, end)| (start, end, &bytes[start..end]));
            let refused = |raw: &[u8], reason: String| Refusal {
                line,
                column: Some(column.name.clone()),
                value: Some(raw.to_vec()),
                row: None,
                reason,
            };
            let cell = match raw {
                None => None,
                Some((_, _, raw)) if self.is_null(raw, column.kind) => None,
                Some((start, end, raw)) => match self.shaped(raw, column.kind) {
                    Shaped::AsItIs => Some(Span { start, end, is_rewritten: false }),
                    Shaped::Shorter(length) => Some(Span { start, end: start + length, is_rewritten: false }),
                    Shaped::Rewritten(text) => {
                        let from = self.rewritten.len();
                        self.rewritten.extend_from_slice(&text);
                        Some(Span { start: from, end: from + text.len(), is_rewritten: true })
                    }
                    Shaped::Refused(reason) => {
                        let row = Some(self.text(bytes, spans));
                        return sink.refuse(Refusal { row, ..refused(raw, reason.to_owned()) });
                    }
                },
            };
            if let Some(span) = cell {
                let value = &if span.is_rewritten { &self.rewritten[..] } else { bytes }[span.start..span.end];
                if let Some(reason) = column.change(value, self.may_round) {
                    let row = Some(self.text(bytes, spans));
                    return sink.refuse(Refusal { row, ..refused(value, reason) });
                }
            }
            self.cells.push(cell);
        }
        sink.take(&Row { cells: &self.cells, bytes, rewritten: &self.rewritten, line })
    }

    /// The row as it came, those of its values left out that nobody takes.
    fn text(&self, bytes: &[u8], spans: impl Iterator<Item = Option<(usize, usize)>> + Clone) -> String {
        let is_taken = |column: &&LoadColumn| column.kind != CellKind::Ignored;
        let names: Vec<String> = self.columns.iter().filter(is_taken).map(|column| column.name.clone()).collect();
        let taken = self.columns.iter().zip(spans).filter(|(column, _)| is_taken(column));
        let cells = taken.map(|(column, span)| {
            let raw = span.map(|(start, end)| &bytes[start..end]);
            raw.filter(|raw| !self.is_null(raw, column.kind))
        });
        row_text(&names, cells)
    }

    fn is_null(&self, raw: &[u8], kind: CellKind) -> bool {
        if self.marker == Some(raw) {
            return true;
        }
        let is_text = matches!(kind, CellKind::Text(_));
        // '' is a value, too, where NULL is told otherwise: no bytes, no bits, an empty list of pairs.
        let may_be_empty =
            is_text || self.is_stream || (matches!(kind, CellKind::Bytes | CellKind::Free) && self.knows_null);
        (raw.is_empty() && (self.format.empty_as_null || !may_be_empty))
            || (self.format.blanks_as_null && is_text && !raw.is_empty() && raw.iter().all(u8::is_ascii_whitespace))
    }

    fn shaped(&self, raw: &[u8], kind: CellKind) -> Shaped {
        if (self.refuses_nul || self.format.remove_nul) && memchr(0, raw).is_some() {
            if !self.format.remove_nul {
                return Shaped::Refused(
                    "holds a NUL byte, which text cannot hold there; nul_bytes: remove takes it out",
                );
            }
            let without: Vec<u8> = raw.iter().copied().filter(|byte| *byte != 0).collect();
            return match shaped(self.format, &without, kind) {
                Shaped::AsItIs => Shaped::Rewritten(without),
                Shaped::Shorter(length) => Shaped::Rewritten(without[..length].to_vec()),
                other => other,
            };
        }
        shaped(self.format, raw, kind)
    }
}

enum Shaped {
    AsItIs,
    Shorter(usize),
    Rewritten(Vec<u8>),
    Refused(&'static str),
}

fn shaped(format: &CsvFormat, raw: &[u8], kind: CellKind) -> Shaped {
    match kind {
        CellKind::Integer => match memchr(b'.', raw) {
            // 12.0 is the integer 12; 12.5 is left for the engine to refuse.
            Some(dot) if dot > 0 && raw[dot + 1..].iter().all(|byte| *byte == b'0') => Shaped::Shorter(dot),
            _ => Shaped::AsItIs,
        },
        CellKind::Text(limit) => {
            let limit = limit.filter(|_| format.truncate_columns);
            if raw.is_ascii() {
                return match limit {
                    Some(Longest::Characters(limit) | Longest::Bytes(limit)) if raw.len() > limit => {
                        Shaped::Shorter(limit)
                    }
                    _ => Shaped::AsItIs,
                };
            }
            match (std::str::from_utf8(raw), limit) {
                (Ok(text), Some(Longest::Characters(limit))) => {
                    text.char_indices().nth(limit).map_or(Shaped::AsItIs, |(cut, _)| Shaped::Shorter(cut))
                }
                (Ok(text), Some(Longest::Bytes(limit))) if text.len() > limit => {
                    Shaped::Shorter((0..=limit).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0))
                }
                (Ok(_), _) => Shaped::AsItIs,
                (Err(_), _) if format.accept_inv_chars => {
                    Shaped::Rewritten(String::from_utf8_lossy(raw).replace('\u{fffd}', "?").into_bytes())
                }
                (Err(_), _) => Shaped::Refused(
                    "is not UTF-8; copy and upsert would put ? in its place (copy_options: acceptinvchars), table_copy leaves \
                     that to custom_select",
                ),
            }
        }
        CellKind::Truth => match raw.to_ascii_lowercase().as_slice() {
            b"t" | b"true" | b"y" | b"yes" | b"on" => Shaped::Rewritten(b"1".to_vec()),
            b"f" | b"false" | b"n" | b"no" | b"off" => Shaped::Rewritten(b"0".to_vec()),
            _ => Shaped::AsItIs,
        },
        CellKind::Bytes | CellKind::Other | CellKind::Free | CellKind::Ignored => Shaped::AsItIs,
    }
}

/// Hands the rows of batches on.
pub struct DirectRows<'a> {
    shaper: Shaper<'a>,
    pub rows: u64,
    pub bytes: u64,
}

impl<'a> DirectRows<'a> {
    pub fn new(shaper: Shaper<'a>) -> Self {
        Self { shaper, rows: 0, bytes: 0 }
    }

    pub fn feed(&mut self, batch: &RowBatch, sink: &mut impl RowSink) -> Result<(), PortError> {
        let expected = self.shaper.columns().len();
        if batch.columns() != expected {
            return Err(data(format!("a row has {} values where {expected} columns are loaded", batch.columns())));
        }
        self.bytes += batch.byte_len() as u64;
        for row in 0..batch.len() {
            self.rows += 1;
            let spans = (0..expected).map(|column| batch.span(row, column));
            self.shaper.shape(batch.bytes(), spans, self.rows, sink)?;
        }
        Ok(())
    }
}

/// The length of `varchar(12)` and `character varying(12)`.
pub fn declared_length(type_name: &str) -> Option<usize> {
    let (_, rest) = type_name.split_once('(')?;
    rest.split(')').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_row_is_told_whole_and_within_bounds() {
        let names = ["id".to_owned(), "이름".to_owned(), "none".to_owned()];
        let row: [Option<&[u8]>; 3] = [Some(b"1"), Some(b"a \"b\"\0\xff"), None];
        let text = row_text(&names, row.iter().copied());
        assert_eq!(text, "{\"id\": \"1\", \"이름\": \"a \\\"b\\\"\u{fffd}\u{fffd}\", \"none\": null}");
        let long = "주".repeat(100_000);
        let row: [Option<&[u8]>; 3] = [Some(b"1"), Some(long.as_bytes()), None];
        let text = row_text(&names, row.iter().copied());
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok() && text.contains('…'), "{text}");
        let wide = vec!["주문".to_owned(); 10_000];
        let text = row_text(&wide, std::iter::repeat_n(Some(&b"1"[..]), 10_000));
        assert!(text.len() <= LONGEST_ROW && text.len() > LONGEST_ROW - 4, "{}", text.len());
    }

    #[test]
    fn rows_without_end_do_not_fill_the_memory() {
        let mut rejects = Rejects::new(100_000, false, true);
        for line in 0..2_000 {
            let row = Some("x".repeat(LONGEST_ROW));
            rejects.add(Refusal { line, row, ..Refusal::default() }).unwrap();
        }
        let held: usize = rejects.raw.iter().filter_map(|raw| raw.row.as_ref()).map(String::len).sum();
        assert!(held <= MOST_HELD + LONGEST_ROW && rejects.kept.len() < 2_000, "{held}");
        assert_eq!((rejects.count, rejects.kept.len()), (2_000, rejects.raw.len()));
    }
}
