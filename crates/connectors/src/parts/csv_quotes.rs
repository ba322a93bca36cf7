//! Which fields of a CSV record stood in quotes: what tells '' from NULL where NULL is an empty field.
//!
//! The reader of CSV does not say it, so the bytes that it takes are looked at once more; only where it matters.

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
