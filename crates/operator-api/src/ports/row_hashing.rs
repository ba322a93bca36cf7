//! What an engine's SQL can say of the rows it holds, so that two engines can be compared without moving their rows.

use super::SourceColumn;

/// How values are written so that equal ones have one text on every engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanonicalForm {
    /// The text as sources give it.
    Plain,
    /// Without the blanks at its end: one of the engines fills texts up with them.
    Padded,
    /// In small letters.
    Lower,
    /// Decimal digits without needless zeros.
    Number,
    /// Of 32 or 64 bits, to the last of them.
    Float { bits: u8 },
    /// `1` and `0`.
    Truth,
    /// A day that there is not (0000-00-00) counts as NULL.
    Date,
    /// Without a zone, which is UTC where there is one, and without zeros at the fraction's end. As with dates.
    Timestamp,
    /// A timestamp as a day or a text may hold it too: midnight is the day alone, and a `T` stands for the blank.
    Moment,
    /// Without zeros at the fraction's end.
    Time,
    /// The document with its keys in order.
    Json,
    /// The same, of a text that PostgreSQL has written of a `jsonb`: it is so but for its numbers.
    Jsonb,
}

/// An expression of one engine's SQL for what of a value is hashed, NULL for NULL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashedSql {
    /// The canonical text.
    Text(String),
    /// Of a float its eight bytes, the highest first; those of 32 bits are the last four.
    Bytes(String),
}

impl HashedSql {
    pub fn sql(&self) -> &str {
        let (Self::Text(sql) | Self::Bytes(sql)) = self;
        sql
    }
}

/// SQL of one engine for hashes of rows.
pub trait RowHashing: Send + Sync {
    /// Of a column of the relation at hand. `None`: this engine's SQL can't say it exactly, so the rows themselves must be
    /// read.
    fn canonical(&self, column: &SourceColumn, form: CanonicalForm) -> Option<HashedSql>;

    /// An expression for the first 60 bits, as a number, of the MD5 of the message of these values: for each
    /// `<bytes>:<value>`, and `~` for NULL.
    fn hash(&self, values: &[HashedSql]) -> String;
}
