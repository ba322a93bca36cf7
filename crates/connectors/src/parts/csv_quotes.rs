//! Which fields of a CSV record stood in quotes: what tells '' from NULL where NULL is an empty field. And whether text
//! stands behind the quotes of one.
//!
//! The reader of CSV does not say it, so the bytes that it takes are looked at once more; only where it matters.

use memchr::memchr;

/// Follows a record, byte by byte.
pub struct Quotes {
    delimiter: u8,
    quote: u8,
    place: Place,
    /// For each field of the record so far.
    had: Vec<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    FieldStart,
    Plain,
    Quoted,
    /// Behind a quote inside of quotes: the second half of one that is meant, or the end.
    QuoteInQuoted,
    RecordEnd,
}

impl Quotes {
    pub fn new(delimiter: u8, quote: u8) -> Self {
        Self { delimiter, quote, place: Place::FieldStart, had: Vec::new() }
    }

    /// The bytes of the record that come next.
    pub fn see(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.place = match (self.place, *byte) {
                (Place::FieldStart, byte) if byte == self.quote => {
                    self.had.push(true);
                    Place::Quoted
                }
                (Place::FieldStart, byte) if byte == self.delimiter => {
                    self.had.push(false);
                    Place::FieldStart
                }
                // An empty line, or the rest of an end of line, is no record.
                (Place::FieldStart, b'\n' | b'\r') if self.had.is_empty() => Place::FieldStart,
                (Place::FieldStart, byte) => {
                    self.had.push(false);
                    if matches!(byte, b'\n' | b'\r') { Place::RecordEnd } else { Place::Plain }
                }
                (Place::Plain | Place::QuoteInQuoted, byte) if byte == self.delimiter => Place::FieldStart,
                (Place::Plain | Place::QuoteInQuoted, b'\n' | b'\r') => Place::RecordEnd,
                (Place::Quoted, byte) if byte == self.quote => Place::QuoteInQuoted,
                (Place::QuoteInQuoted, byte) if byte == self.quote => Place::Quoted,
                (Place::QuoteInQuoted, _) => Place::Plain,
                (place, _) => place,
            };
        }
    }

    /// The reader says that the record has ended; its last field may have no bytes at all.
    pub fn end_record(&mut self) {
        if self.place == Place::FieldStart {
            self.had.push(false);
        }
    }

    pub fn begin_record(&mut self) {
        self.had.clear();
        self.place = Place::FieldStart;
    }

    /// Whether the field of the record stood in quotes.
    pub fn had(&self, field: usize) -> bool {
        self.had.get(field).copied().unwrap_or(false)
    }
}

/// Looks for text behind a closing quote: the reader would take it for a part of the value, without the quotes. Goes from
/// quote to quote, so that what has none costs next to nothing.
pub struct Stray {
    delimiter: u8,
    quote: u8,
    is_inside: bool,
    /// The last byte so far was a quote inside of quotes.
    is_open: bool,
    /// The byte of the record before those that come next.
    last: Option<u8>,
    /// In the record so far.
    pub is_found: bool,
}

impl Stray {
    pub fn new(delimiter: u8, quote: u8) -> Self {
        Self { delimiter, quote, is_inside: false, is_open: false, last: None, is_found: false }
    }

    fn ends_field(&self, byte: u8) -> bool {
        byte == self.delimiter || matches!(byte, b'\n' | b'\r')
    }

    /// The bytes of the record that come next.
    pub fn see(&mut self, bytes: &[u8]) {
        let Some((first, last)) = bytes.first().zip(bytes.last()) else { return };
        let mut at = 0;
        if std::mem::take(&mut self.is_open) {
            at = self.behind_quote(*first);
        }
        while let Some(next) = memchr(self.quote, &bytes[at..]) {
            let here = at + next;
            at = here + 1;
            if self.is_inside {
                match bytes.get(at) {
                    Some(byte) => at += self.behind_quote(*byte),
                    None => self.is_open = true,
                }
            } else {
                let before = if here == 0 { self.last } else { Some(bytes[here - 1]) };
                self.is_inside = before.is_none_or(|byte| self.ends_field(byte));
            }
        }
        self.last = Some(*last);
    }

    /// How many bytes the quote before has with it: two of them are one that is meant.
    fn behind_quote(&mut self, byte: u8) -> usize {
        if byte == self.quote {
            return 1;
        }
        self.is_inside = false;
        self.is_found |= !self.ends_field(byte);
        0
    }

    pub fn begin_record(&mut self) {
        *self = Self::new(self.delimiter, self.quote);
    }
}
