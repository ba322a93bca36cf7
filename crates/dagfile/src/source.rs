//! The text of a file, and places in it.

use std::ops::Range;

use crate::diagnostic::Diagnostic;

/// Bytes that a DAG file may have.
pub const MAX_FILE_SIZE: usize = 1024 * 1024;

/// Line and column count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    pub line: usize,
    pub column: usize,
    /// In bytes.
    pub offset: usize,
}

/// Half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    pub start: Position,
    pub end: Position,
}

impl Span {
    pub fn bytes(&self) -> Range<usize> {
        self.start.offset..self.end.offset.max(self.start.offset)
    }
}

/// The text, without a byte order mark, and where its lines begin.
#[derive(Debug)]
pub struct Source<'a> {
    pub text: &'a str,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, line_starts }
    }

    pub fn slice(&self, span: Span) -> &'a str {
        self.text.get(span.bytes()).unwrap_or_default()
    }

    /// The line without its end; lines count from 1.
    pub fn line(&self, number: usize) -> &'a str {
        let Some(start) = number.checked_sub(1).and_then(|index| self.line_starts.get(index)) else { return "" };
        let rest = &self.text[*start..];
        rest.split('\n').next().unwrap_or_default().trim_end_matches('\r')
    }

    pub fn position(&self, offset: usize) -> Position {
        let index = self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.line_starts[index];
        let before = self.text.get(start..offset).unwrap_or_default();
        Position { line: index + 1, column: before.chars().count() + 1, offset }
    }

    /// The span of `length` bytes from `offset`.
    pub fn span(&self, offset: usize, length: usize) -> Span {
        Span { start: self.position(offset), end: self.position(offset + length) }
    }
}

/// The text of the bytes of a file, if they are text and not too many.
pub fn decode(bytes: &[u8]) -> Result<&str, Box<Diagnostic>> {
    if bytes.len() > MAX_FILE_SIZE {
        return Err(Box::new(too_large(bytes.len())));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        Box::new(Diagnostic::at_line("not-text", line, column, "the file is not text in UTF-8".to_owned()))
    })
}

pub fn too_large(size: usize) -> Diagnostic {
    let limit = MAX_FILE_SIZE / 1024;
    Diagnostic::at_line("too-large", 1, 1, format!("the file has {size} bytes; at most {limit} KiB are read"))
}
