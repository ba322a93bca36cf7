//! The text of a file, and places in it.

use std::borrow::Cow;
use std::ops::Range;

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
    /// Which of the [`Sources`]; 0 is the DAG file itself.
    pub file: u16,
    /// Which item of a `for_each` the value was made for; 0 is none. See [`Sources::item`].
    pub item: u16,
}

impl Span {
    pub fn bytes(&self) -> Range<usize> {
        self.start.offset..self.end.offset.max(self.start.offset)
    }
}

/// The text, without a byte order mark, and where its lines begin.
#[derive(Debug)]
pub struct Source<'a> {
    pub text: Cow<'a, str>,
    line_starts: Vec<usize>,
    file: u16,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str) -> Self {
        Self::of(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)), 0)
    }

    fn of(text: Cow<'a, str>, file: u16) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, line_starts, file }
    }

    pub fn slice(&self, span: Span) -> &str {
        self.text.get(span.bytes()).unwrap_or_default()
    }

    /// The line without its end; lines count from 1.
    pub fn line(&self, number: usize) -> &str {
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
        self.between(self.position(offset), self.position(offset + length))
    }

    pub fn between(&self, start: Position, end: Position) -> Span {
        Span { start, end, file: self.file, item: 0 }
    }
}

/// The DAG file and the files that became part of it.
#[derive(Debug)]
pub struct Sources<'a> {
    main: Source<'a>,
    /// With their paths.
    others: Vec<(String, Source<'a>)>,
    /// What a person calls the items of `for_each`.
    items: Vec<String>,
}

impl<'a> Sources<'a> {
    pub fn new(main: Source<'a>) -> Self {
        Self { main, others: Vec::new(), items: Vec::new() }
    }

    pub fn main(&self) -> &Source<'a> {
        &self.main
    }

    /// The text that the span is in.
    pub fn of(&self, span: Span) -> &Source<'a> {
        usize::from(span.file).checked_sub(1).and_then(|place| self.others.get(place)).map_or(&self.main, |(_, it)| it)
    }

    /// The path of the text that the span is in; none for the DAG file itself.
    pub fn file(&self, span: Span) -> Option<&str> {
        let place = usize::from(span.file).checked_sub(1)?;
        self.others.get(place).map(|(path, _)| path.as_str())
    }

    /// The item of a `for_each` that the value was made for: `table = orders`.
    pub fn item(&self, span: Span) -> Option<&str> {
        let place = usize::from(span.item).checked_sub(1)?;
        self.items.get(place).map(String::as_str)
    }

    /// The text of another file; the same path is kept once.
    pub fn add(&mut self, path: &str, text: String) -> &Source<'a> {
        let place = self.others.iter().position(|(known, _)| known == path).unwrap_or_else(|| {
            let number = u16::try_from(self.others.len() + 1).unwrap_or(u16::MAX);
            let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
            self.others.push((path.to_owned(), Source::of(Cow::Owned(text), number)));
            self.others.len() - 1
        });
        &self.others[place].1
    }

    /// The number of an item; too many share the last.
    pub fn add_item(&mut self, name: String) -> u16 {
        self.items.push(name);
        u16::try_from(self.items.len()).unwrap_or(u16::MAX)
    }
}
