//! What the values of a column are, in words that belong to no engine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The type of a column, as the source's catalogue has it: never guessed from the rows. With it comes the form that the
/// values have as text in a [`RowBatch`](super::RowBatch).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// `-12`. 8, 16, 24, 32 or 64 bits.
    Integer { bits: u8, signed: bool },
    /// `-12.50`, with all digits. Unknown numbers: PostgreSQL's `numeric` without limits (which also holds `NaN` and
    /// `Infinity`), or an expression whose limits the server does not tell.
    Decimal { precision: Option<u32>, scale: Option<u32> },
    /// `0.1`, `1e-300`, `NaN`, `Infinity`, `-Infinity`: the shortest text that reads back as the same bits. 32 or 64 bits.
    Float { bits: u8 },
    /// `t` and `f` (PostgreSQL), `1` and `0` (SQLite).
    Bool,
    /// MySQL's BIT: the bits as an unsigned number, `5`.
    Bit { length: u32 },
    /// PostgreSQL's bit and varbit: `0101`.
    BitString { max_length: Option<u32> },
    /// As it is. `max_chars` characters at most, `max_bytes` bytes of UTF-8 at most; `None`: no limit is declared.
    Text { max_chars: Option<u64>, max_bytes: Option<u64> },
    /// Lower-case hex, two digits a byte.
    Bytes { max_bytes: Option<u64> },
    /// `2024-02-29`. PostgreSQL's may be `infinity` or end in ` BC`, MySQL's `0000-00-00`.
    Date,
    /// `23:59:59.000001`. MySQL's (`beyond_day`) may be negative and go to `838:59:59`; with `zoned` an offset follows.
    Time { beyond_day: bool, zoned: bool },
    /// `2024-02-29 23:59:59.000001`. `zoned` is a moment, in UTC (`+00` follows in PostgreSQL); otherwise what a clock on
    /// some wall said. The same exceptions as with dates.
    Timestamp { zoned: bool },
    /// `2024`, `0000`.
    Year,
    /// The document's text.
    Json,
    /// Lower-case, with hyphens.
    Uuid,
    /// PostgreSQL's text form: `{1,2,NULL}`, `{"a,b",""}`.
    Array { of: Box<ValueType> },
    /// PostgreSQL's own style: `1 year 2 mons 3 days 04:05:06.7`.
    Interval,
    /// One of a list of texts, the longest of `max_chars`.
    Enum { max_chars: Option<u64> },
    /// Some of a list of texts, with commas between; `max_chars` when all are there.
    Set { max_chars: Option<u64> },
    /// A number with the currency's digits behind the point: `-1234.50`, no sign and no separators.
    Money,
    /// The engine's own text form.
    #[default]
    Other,
}

impl ValueType {
    /// Text of any length.
    pub const TEXT: Self = Self::Text { max_chars: None, max_bytes: None };

    /// True where values are text that people wrote: '' is a value of it.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::Text { .. } | Self::Enum { .. } | Self::Set { .. } | Self::Other)
    }
}

/// `integer(64)`, `decimal(38,10)`, `timestamp`: for messages and lists.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sized = |f: &mut fmt::Formatter<'_>, name: &str, size: Option<u64>| match size {
            Some(size) => write!(f, "{name}({size})"),
            None => f.write_str(name),
        };
        match self {
            Self::Integer { bits, signed: true } => write!(f, "integer({bits})"),
            Self::Integer { bits, signed: false } => write!(f, "unsigned integer({bits})"),
            Self::Decimal { precision: Some(precision), scale } => {
                write!(f, "decimal({precision},{})", scale.unwrap_or(0))
            }
            Self::Decimal { precision: None, .. } => f.write_str("decimal"),
            Self::Float { bits } => write!(f, "float({bits})"),
            Self::Bool => f.write_str("bool"),
            Self::Bit { length } => write!(f, "bit({length})"),
            Self::BitString { max_length } => sized(f, "bit string", max_length.map(u64::from)),
            Self::Text { max_chars, .. } => sized(f, "text", *max_chars),
            Self::Bytes { max_bytes } => sized(f, "bytes", *max_bytes),
            Self::Date => f.write_str("date"),
            Self::Time { zoned: true, .. } => f.write_str("time with zone"),
            Self::Time { beyond_day: true, .. } => f.write_str("time beyond a day"),
            Self::Time { .. } => f.write_str("time"),
            Self::Timestamp { zoned: true } => f.write_str("timestamp with zone"),
            Self::Timestamp { zoned: false } => f.write_str("timestamp"),
            Self::Year => f.write_str("year"),
            Self::Json => f.write_str("json"),
            Self::Uuid => f.write_str("uuid"),
            Self::Array { of } => write!(f, "array of {of}"),
            Self::Interval => f.write_str("interval"),
            Self::Enum { max_chars } => sized(f, "enum", *max_chars),
            Self::Set { max_chars } => sized(f, "set", *max_chars),
            Self::Money => f.write_str("money"),
            Self::Other => f.write_str("other"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ValueType;

    #[test]
    fn types_are_named_and_stored() {
        let cases = [
            (ValueType::Integer { bits: 64, signed: false }, "unsigned integer(64)"),
            (ValueType::Decimal { precision: Some(38), scale: Some(10) }, "decimal(38,10)"),
            (ValueType::Array { of: Box::new(ValueType::TEXT) }, "array of text"),
            (ValueType::Time { beyond_day: true, zoned: false }, "time beyond a day"),
        ];
        for (value, name) in cases {
            assert_eq!(value.to_string(), name);
            let stored = serde_json::to_string(&value).expect("is stored");
            assert_eq!(serde_json::from_str::<ValueType>(&stored).expect("is read"), value);
        }
    }
}
