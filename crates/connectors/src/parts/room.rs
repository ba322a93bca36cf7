//! What a column of a type has room for: whether it holds every value of a source's type, and what type would.

use millrace_operator_api::ports::ValueType;

use crate::parts::dialect::Dialect;
use crate::parts::{ddl, declared::Declared};

const LONGEST_REDSHIFT_VARCHAR: u64 = 65_535;
const LONGEST_REDSHIFT_VARBYTE: u64 = 16_777_216;

/// What a column's type is, as far as it has limits.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Room {
    /// Of so many characters, in Redshift bytes.
    Text(Option<u64>),
    Integer(u32),
    /// Digits before and behind the point; any number where there are no limits.
    Decimal(Option<(u32, u32)>),
    Float(u32),
    Bool,
    Date,
    Time {
        zoned: bool,
    },
    Timestamp {
        zoned: bool,
    },
    Interval,
    Bytes(Option<u64>),
    Uuid,
    Json,
    Bits {
        most: Option<u32>,
        is_exact: bool,
    },
    Money,
    Array(Box<Room>),
    /// The engine knows.
    Unknown,
}

impl Room {
    fn of(type_name: &str, dialect: Dialect) -> Self {
        if let Some(element) = type_name.strip_suffix("[]") {
            return Self::Array(Box::new(Self::of(element, dialect)));
        }
        let declared = Declared::read(type_name);
        let is_zoned = type_name.contains("with time zone") || declared.name.ends_with("tz");
        let length = declared.number(0).map(u64::from);
        let or = |usual: u64| length.or((dialect == Dialect::Redshift).then_some(usual));
        match declared.name.as_str() {
            "text" | "character varying" | "varchar" | "nvarchar" | "bpchar" | "citext" => Self::Text(or(256)),
            "character" | "char" | "nchar" => Self::Text(Some(length.unwrap_or(1))),
            "name" => Self::Text(Some(63)),
            "smallint" | "int2" => Self::Integer(16),
            "integer" | "int" | "int4" => Self::Integer(32),
            "bigint" | "int8" => Self::Integer(64),
            "numeric" | "decimal" => match (declared.number(0), declared.arguments.get(1)) {
                // Tens and hundreds.
                (Some(_), Some(scale)) if scale.starts_with('-') => Self::Unknown,
                (Some(precision), scale) => {
                    let scale = scale.and_then(|scale| scale.parse().ok()).unwrap_or(0);
                    Self::Decimal(Some((precision.saturating_sub(scale), scale)))
                }
                (None, _) => Self::Decimal((dialect == Dialect::Redshift).then_some((18, 0))),
            },
            "real" | "float4" => Self::Float(32),
            "double precision" | "float8" | "float" => Self::Float(64),
            "boolean" | "bool" => Self::Bool,
            "date" => Self::Date,
            "money" => Self::Money,
            "uuid" => Self::Uuid,
            "json" | "jsonb" | "super" => Self::Json,
            "bytea" => Self::Bytes(or(LONGEST_REDSHIFT_VARBYTE)),
            "varbyte" | "varbinary" | "binary varying" => Self::Bytes(or(64_000)),
            "bit" => Self::Bits { most: Some(declared.number(0).unwrap_or(1)), is_exact: true },
            "bit varying" | "varbit" => Self::Bits { most: declared.number(0), is_exact: false },
            name if name.starts_with("timestamp") => Self::Timestamp { zoned: is_zoned },
            name if name.starts_with("interval") => Self::Interval,
            "time" | "timetz" | "time without time zone" | "time with time zone" => Self::Time { zoned: is_zoned },
            _ => Self::Unknown,
        }
    }

    fn holds(&self, value: &ValueType, dialect: Dialect) -> bool {
        use ValueType as V;
        match (self, value) {
            (Self::Unknown | Self::Text(None), _)
            | (Self::Bool, V::Bool | V::Bit { length: 1 })
            | (Self::Date, V::Date)
            | (Self::Timestamp { .. }, V::Timestamp { .. } | V::Date)
            | (Self::Interval, V::Interval | V::Time { zoned: false, .. })
            | (Self::Bytes(None), V::Bytes { .. })
            | (Self::Uuid, V::Uuid)
            | (Self::Json, V::Json | V::Integer { .. } | V::Bit { .. } | V::Decimal { precision: Some(_), .. })
            | (Self::Money, V::Money) => true,
            (Self::Text(Some(most)), value) => has_room(*most, value, dialect),
            (Self::Time { zoned }, V::Time { beyond_day: false, zoned: of_value }) => *zoned || !of_value,
            (Self::Bytes(Some(most)), V::Bytes { max_bytes }) => {
                *most >= max_bytes.map_or(LONGEST_REDSHIFT_VARBYTE, |bytes| bytes.min(LONGEST_REDSHIFT_VARBYTE))
            }
            (Self::Bits { most, is_exact }, V::BitString { max_length }) => match (most, max_length) {
                (None, _) => true,
                (Some(most), Some(length)) => most == length || (!is_exact && most > length),
                (Some(_), None) => false,
            },
            (Self::Array(element), V::Array { of }) => element.holds(of, dialect),
            (Self::Money, value) => whole_digits(value).is_some_and(|(whole, scale)| whole <= 17 && scale <= 2),
            (Self::Integer(bits), value) => match value_bits(value) {
                Some(needed) => needed <= *bits,
                // One digit less than the highest has.
                None => whole_digits(value).is_some_and(|(whole, scale)| scale == 0 && whole < digits(*bits)),
            },
            (Self::Decimal(None), V::Decimal { .. } | V::Money | V::Float { .. }) => true,
            (Self::Decimal(None), value) => value_bits(value).is_some(),
            (Self::Decimal(Some((before, behind))), value) => {
                whole_digits(value).is_some_and(|(whole, scale)| *before >= whole && *behind >= scale)
            }
            (Self::Float(bits), V::Float { bits: of_value }) => u32::from(*of_value) <= *bits,
            (Self::Float(bits), value) => {
                // Bits of a whole number with its sign, and digits, that every float of the size keeps.
                let (whole, kept) = if *bits == 64 { (54, 15) } else { (25, 6) };
                match value_bits(value) {
                    Some(needed) => needed <= whole,
                    None => whole_digits(value).is_some_and(|(before, behind)| before + behind <= kept),
                }
            }
            _ => false,
        }
    }

    /// What values the column has; `None` where that can't be said.
    fn value(&self, dialect: Dialect) -> Option<ValueType> {
        Some(match self {
            Self::Text(most) if dialect == Dialect::Redshift => {
                ValueType::Text { max_chars: None, max_bytes: Some((*most)?) }
            }
            Self::Text(most) => ValueType::Text { max_chars: *most, max_bytes: None },
            Self::Integer(bits) => ValueType::Integer { bits: u8::try_from(*bits).ok()?, signed: true },
            Self::Decimal(limits) => ValueType::Decimal {
                precision: limits.map(|(whole, scale)| whole + scale),
                scale: limits.map(|(_, scale)| scale),
            },
            Self::Float(bits) => ValueType::Float { bits: u8::try_from(*bits).ok()? },
            Self::Bool => ValueType::Bool,
            Self::Date => ValueType::Date,
            Self::Time { zoned } => ValueType::Time { beyond_day: false, zoned: *zoned },
            Self::Timestamp { zoned } => ValueType::Timestamp { zoned: *zoned },
            Self::Interval => ValueType::Interval,
            Self::Bytes(max_bytes) => ValueType::Bytes { max_bytes: *max_bytes },
            Self::Uuid => ValueType::Uuid,
            Self::Json => ValueType::Json,
            Self::Bits { most, .. } => ValueType::BitString { max_length: *most },
            Self::Money => ValueType::Money,
            Self::Array(element) => ValueType::Array { of: Box::new(element.value(dialect)?) },
            Self::Unknown => return None,
        })
    }
}

/// Bits of the whole numbers, the sign among them.
fn value_bits(value: &ValueType) -> Option<u32> {
    match value {
        ValueType::Integer { bits, signed } => Some(ddl::signed_bits(u32::from(*bits), *signed)),
        ValueType::Bit { length } => Some(ddl::signed_bits(*length, false)),
        ValueType::Year => Some(16),
        _ => None,
    }
}

/// Digits of the highest number of so many bits, the sign among them.
fn digits(bits: u32) -> u32 {
    ((1_i128 << (bits - 1)) - 1).to_string().len() as u32
}

/// The most digits before and behind the point.
fn whole_digits(value: &ValueType) -> Option<(u32, u32)> {
    match value {
        ValueType::Decimal { precision: Some(precision), scale } => {
            let scale = scale.unwrap_or(0);
            Some((precision.saturating_sub(scale), scale))
        }
        ValueType::Money => Some((17, 2)),
        ValueType::Year => Some((4, 0)),
        value => value_bits(value).map(|bits| (digits(bits), 0)),
    }
}

/// Of what has characters of one byte alone, how long the longest is as a text.
fn longest(value: &ValueType) -> Option<u64> {
    Some(match value {
        ValueType::Integer { .. } | ValueType::Bit { .. } => {
            u64::from(digits(value_bits(value)?)) + u64::from(is_signed(value))
        }
        ValueType::Decimal { .. } => {
            let (whole, scale) = whole_digits(value)?;
            // Sign, a zero before the point, the point.
            u64::from(whole.max(1) + scale + u32::from(scale > 0)) + 1
        }
        ValueType::Float { bits: 32 } => 15,
        ValueType::Float { .. } => 24,
        ValueType::Bool => 1,
        ValueType::BitString { max_length } => u64::from((*max_length)?),
        ValueType::Bytes { max_bytes } => max_bytes.as_ref()?.saturating_mul(2),
        ValueType::Date => 10,
        ValueType::Time { beyond_day: true, .. } => 17,
        ValueType::Time { zoned, .. } => {
            if *zoned {
                21
            } else {
                15
            }
        }
        ValueType::Timestamp { zoned } => {
            if *zoned {
                29
            } else {
                26
            }
        }
        ValueType::Year => 4,
        ValueType::Uuid => 36,
        ValueType::Interval => 128,
        ValueType::Money => 21,
        _ => return None,
    })
}

fn is_signed(value: &ValueType) -> bool {
    matches!(value, ValueType::Integer { signed: true, .. })
}

/// Whether a text of `most` characters, or bytes, has room for every value.
fn has_room(most: u64, value: &ValueType, dialect: Dialect) -> bool {
    let counts_bytes = dialect == Dialect::Redshift;
    let needed = match value {
        ValueType::Text { max_chars, max_bytes } if counts_bytes => {
            max_bytes.or(max_chars.map(|count| count.saturating_mul(4)))
        }
        ValueType::Text { max_chars, .. } => *max_chars,
        ValueType::Enum { max_chars } | ValueType::Set { max_chars } => {
            max_chars.map(|count| if counts_bytes { count.saturating_mul(4) } else { count })
        }
        value => longest(value),
    };
    // The longest there is holds what it can; a longer value is refused when it comes.
    let end = if counts_bytes { LONGEST_REDSHIFT_VARCHAR } else { u64::MAX };
    most >= needed.map_or(LONGEST_REDSHIFT_VARCHAR, |needed| needed.min(end))
}

pub fn holds(type_name: &str, value: &ValueType, dialect: Dialect) -> bool {
    Room::of(type_name, dialect).holds(value, dialect)
}

/// The type that holds what the column has and every such value; `None` where there is none, and where the engine would make
/// something else of what is there.
pub fn widened(type_name: &str, value: &ValueType, dialect: Dialect) -> Option<String> {
    use ValueType as V;
    let old = Room::of(type_name, dialect).value(dialect)?;
    let both = match (&old, value) {
        // Whose midnight a day is nobody says, nor whose clock a time was read from; and exact numbers stay exact.
        (V::Date, V::Timestamp { zoned: true })
        | (V::Time { zoned: false, .. }, V::Time { zoned: true, .. })
        | (V::Integer { .. } | V::Decimal { .. } | V::Money, V::Float { .. }) => return None,
        (
            V::Integer { .. } | V::Decimal { precision: Some(_), .. },
            V::Integer { .. } | V::Bit { .. } | V::Decimal { precision: Some(_), .. },
        ) if matches!(old, V::Decimal { .. }) || matches!(value, V::Decimal { .. }) => {
            let (one, other) = (whole_digits(&old)?, whole_digits(value)?);
            let (whole, scale) = (one.0.max(other.0), one.1.max(other.1));
            V::Decimal { precision: Some(whole + scale), scale: Some(scale) }
        }
        (V::Text { .. }, value) if !value.is_text() => {
            let length = longest(value);
            V::Text { max_chars: length, max_bytes: length }
        }
        _ => value.clone(),
    };
    let wider = match dialect {
        Dialect::Postgres => ddl::postgres(&both),
        Dialect::Redshift => ddl::redshift(&both),
    };
    // Of numbers and days never texts.
    let is_of_its_kind = matches!(old, V::Text { .. }) || !matches!(Room::of(&wider, dialect), Room::Text(_));
    (is_of_its_kind && holds(&wider, &old, dialect) && holds(&wider, value, dialect)).then_some(wider)
}

/// SQLite's columns hold texts and blobs of any length; its integers have 64 bits, and its other numbers are doubles.
pub fn sqlite_holds(type_name: &str, value: &ValueType) -> bool {
    let upper = type_name.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
    let bits = value_bits(value);
    if has(&["INT"]) {
        let is_other = matches!(value, ValueType::Text { .. } | ValueType::Decimal { .. } | ValueType::Float { .. });
        return bits.map_or(!is_other, |bits| bits <= 64);
    }
    if upper.trim().is_empty() || has(&["CHAR", "CLOB", "TEXT", "BLOB", "BYTEA", "BINARY"]) {
        return true;
    }
    let is_double = has(&["REAL", "FLOA", "DOUB"]);
    let is_number = is_double || has(&["NUM", "DEC", "MONEY"]);
    match value {
        ValueType::Decimal { .. } | ValueType::Money if is_number => {
            whole_digits(value).is_some_and(|(whole, scale)| whole + scale <= 15)
        }
        ValueType::Integer { .. } | ValueType::Bit { .. } if is_number => {
            bits.is_some_and(|bits| bits <= if is_double { 54 } else { 64 })
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn integer(bits: u8, signed: bool) -> ValueType {
        ValueType::Integer { bits, signed }
    }

    fn text(max_chars: u64) -> ValueType {
        ValueType::Text { max_chars: Some(max_chars), max_bytes: None }
    }

    fn decimal(precision: u32, scale: u32) -> ValueType {
        ValueType::Decimal { precision: Some(precision), scale: Some(scale) }
    }

    fn clock(zoned: bool) -> ValueType {
        ValueType::Timestamp { zoned }
    }

    /// One of each kind.
    fn all() -> Vec<ValueType> {
        let time = |beyond_day, zoned| ValueType::Time { beyond_day, zoned };
        let mut all: Vec<ValueType> =
            [8, 16, 24, 32, 64].into_iter().flat_map(|bits| [integer(bits, true), integer(bits, false)]).collect();
        all.extend([
            decimal(10, 2),
            decimal(5, 5),
            decimal(65, 30),
            ValueType::Decimal { precision: None, scale: None },
        ]);
        all.extend([ValueType::Float { bits: 32 }, ValueType::Float { bits: 64 }, ValueType::Bool, ValueType::Year]);
        all.extend([1, 15, 31, 64].map(|length| ValueType::Bit { length }));
        all.extend([Some(5), None].map(|max_length| ValueType::BitString { max_length }));
        all.extend([
            text(20),
            ValueType::TEXT,
            ValueType::Enum { max_chars: Some(3) },
            ValueType::Set { max_chars: Some(9) },
        ]);
        all.extend([Some(16), None].map(|max_bytes| ValueType::Bytes { max_bytes }));
        all.extend([
            ValueType::Date,
            time(false, false),
            time(false, true),
            time(true, false),
            clock(true),
            clock(false),
        ]);
        all.extend([ValueType::Json, ValueType::Uuid, ValueType::Interval, ValueType::Money, ValueType::Other]);
        all.push(ValueType::Array { of: Box::new(integer(32, true)) });
        all
    }

    #[test]
    fn the_type_that_is_made_for_values_holds_them() {
        for value in all() {
            assert!(holds(&ddl::postgres(&value), &value, Dialect::Postgres), "postgres {value}");
            assert!(holds(&ddl::redshift(&value), &value, Dialect::Redshift), "redshift {value}");
            assert!(sqlite_holds(&ddl::sqlite(&value), &value), "sqlite {value}");
        }
    }

    #[test]
    fn what_a_column_holds_is_known_before_a_row_is_read() {
        for (type_name, value, in_postgres, in_redshift) in [
            ("bigint", integer(64, true), true, true),
            ("bigint", integer(64, false), false, false),
            ("integer", integer(32, false), false, false),
            ("integer", decimal(9, 0), true, true),
            ("integer", decimal(10, 0), false, false),
            ("integer", ValueType::Bool, false, false),
            ("integer", ValueType::Uuid, false, false),
            ("numeric(20,0)", integer(64, false), true, true),
            ("numeric(20,2)", integer(64, false), false, false),
            ("numeric(10,2)", ValueType::Float { bits: 64 }, false, false),
            ("numeric(10,2)", ValueType::Money, false, false),
            ("numeric", ValueType::Float { bits: 64 }, true, false),
            ("numeric", decimal(30, 10), true, false),
            ("numeric", ValueType::Date, false, false),
            ("character varying(20)", text(20), true, false),
            ("character varying(80)", text(20), true, true),
            ("character varying(19)", text(20), false, false),
            ("character varying(10)", integer(32, true), false, false),
            ("character varying(11)", integer(32, true), true, true),
            ("character varying(10)", ValueType::Date, true, true),
            ("character varying(10)", clock(false), false, false),
            ("character varying(35)", ValueType::Uuid, false, false),
            ("character varying(100)", ValueType::Json, false, false),
            ("text", ValueType::TEXT, true, false),
            ("character varying(65535)", ValueType::TEXT, true, true),
            ("numeric(38,10)", decimal(38, 10), true, true),
            ("numeric(38,9)", decimal(38, 10), false, false),
            ("integer", ValueType::TEXT, false, false),
            ("real", ValueType::Float { bits: 64 }, false, false),
            ("real", integer(32, true), false, false),
            ("double precision", integer(32, true), true, true),
            ("double precision", integer(64, true), false, false),
            ("double precision", decimal(16, 2), false, false),
            ("double precision", decimal(15, 2), true, true),
            ("boolean", integer(8, true), false, false),
            ("boolean", ValueType::Bit { length: 1 }, true, true),
            ("date", ValueType::Date, true, true),
            ("date", clock(false), false, false),
            ("timestamp(0) without time zone", clock(true), true, true),
            ("timestamp with time zone", ValueType::Time { beyond_day: false, zoned: false }, false, false),
            ("time without time zone", clock(false), false, false),
            ("time without time zone", ValueType::Time { beyond_day: true, zoned: false }, false, false),
            ("time without time zone", ValueType::Time { beyond_day: false, zoned: true }, false, false),
            ("interval", ValueType::Time { beyond_day: true, zoned: false }, true, true),
            ("bytea", ValueType::Bytes { max_bytes: None }, true, true),
            ("bytea", ValueType::Uuid, false, false),
            ("varbyte(8)", ValueType::Bytes { max_bytes: Some(16) }, false, false),
            ("uuid", ValueType::Json, false, false),
            ("jsonb", ValueType::Bool, false, false),
            ("bit(3)", ValueType::BitString { max_length: Some(5) }, false, false),
            ("bit varying(5)", ValueType::BitString { max_length: Some(3) }, true, true),
            ("integer[]", ValueType::Array { of: Box::new(integer(64, true)) }, false, false),
            ("integer", ValueType::Array { of: Box::new(integer(32, true)) }, false, false),
            ("inet", ValueType::Other, true, true),
        ] {
            assert_eq!(holds(type_name, &value, Dialect::Postgres), in_postgres, "postgres {type_name} {value}");
            assert_eq!(holds(type_name, &value, Dialect::Redshift), in_redshift, "redshift {type_name} {value}");
        }
        assert!(sqlite_holds("TEXT", &integer(64, false)) && !sqlite_holds("INTEGER", &integer(64, false)));
        assert!(!sqlite_holds("REAL", &integer(64, true)) && !sqlite_holds("DECIMAL(20,2)", &decimal(20, 2)));
        assert!(sqlite_holds("DECIMAL(10,2)", &decimal(10, 2)) && sqlite_holds("DATE", &clock(false)));
    }

    #[test]
    fn a_wider_type_holds_what_is_there_too() {
        let wider = |type_name: &str, value: &ValueType| widened(type_name, value, Dialect::Postgres);
        assert_eq!(wider("integer", &integer(64, true)).as_deref(), Some("bigint"));
        assert_eq!(wider("character varying(3)", &text(20)).as_deref(), Some("varchar(20)"));
        assert_eq!(wider("character varying(3)", &ValueType::Uuid).as_deref(), Some("varchar(36)"));
        assert_eq!(wider("character varying(3)", &ValueType::Json).as_deref(), Some("text"));
        assert_eq!(wider("integer", &decimal(6, 2)).as_deref(), Some("numeric(12,2)"));
        assert_eq!(wider("numeric(12,2)", &decimal(10, 5)).as_deref(), Some("numeric(15,5)"));
        assert_eq!(wider("date", &clock(false)).as_deref(), Some("timestamp"));
        assert_eq!(wider("real", &ValueType::Float { bits: 64 }).as_deref(), Some("double precision"));
        for (type_name, value) in [
            ("date", clock(true)),
            ("bigint", ValueType::Float { bits: 64 }),
            ("numeric(30,10)", ValueType::Float { bits: 64 }),
            ("numeric(10,2)", ValueType::Float { bits: 64 }),
            ("time without time zone", ValueType::Time { beyond_day: false, zoned: true }),
            ("boolean", integer(8, true)),
            ("integer", ValueType::Uuid),
            ("uuid", ValueType::Json),
            ("integer", ValueType::TEXT),
        ] {
            assert_eq!(wider(type_name, &value), None, "{type_name} {value}");
        }
        assert_eq!(widened("character varying(9)", &text(20), Dialect::Redshift).as_deref(), Some("varchar(80)"));
    }
}
