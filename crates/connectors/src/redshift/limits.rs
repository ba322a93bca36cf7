//! What a column of Redshift can hold, known before a row is sent.

use crate::parts::exact::{CUT, WIDER};

/// Of one column, read from its type once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Limit {
    Nothing,
    /// VARCHAR counts bytes.
    Varchar(usize),
    /// CHAR counts bytes, and takes characters of one byte only.
    Char(usize),
    Integer {
        name: &'static str,
        lowest: i128,
        highest: i128,
    },
    Decimal {
        precision: usize,
        scale: usize,
    },
    Float {
        is_double: bool,
    },
    Boolean,
    Date,
    /// With or without zone.
    Timestamp,
    Super,
    /// Bytes, as hex in the rows.
    Varbyte(usize),
}

/// A SUPER's text, by default.
pub const LONGEST_SUPER: usize = 16_000_000;
const LONGEST_VARBYTE: usize = 16_777_216;

impl Limit {
    /// From `character varying(20)`, `numeric(38,10)`, `bigint`, …: what the catalogue says.
    pub fn of(type_name: &str) -> Self {
        let lower = type_name.to_ascii_lowercase();
        let (name, arguments) = lower
            .split_once('(')
            .map_or((lower.as_str(), ""), |(name, rest)| (name.trim(), rest.split(')').next().unwrap_or_default()));
        let mut numbers = arguments.split(',').map(|number| number.trim().parse::<usize>().ok());
        let first = numbers.next().flatten();
        let integer =
            |name, bits: u32| Self::Integer { name, lowest: -(1 << (bits - 1)), highest: (1 << (bits - 1)) - 1 };
        match name {
            "character varying" | "varchar" | "nvarchar" => Self::Varchar(first.unwrap_or(256)),
            "text" => Self::Varchar(256),
            "character" | "char" | "nchar" => Self::Char(first.unwrap_or(1)),
            "bpchar" => Self::Char(first.unwrap_or(256)),
            "smallint" | "int2" => integer("smallint", 16),
            "integer" | "int" | "int4" => integer("integer", 32),
            "bigint" | "int8" => integer("bigint", 64),
            "numeric" | "decimal" => {
                Self::Decimal { precision: first.unwrap_or(18), scale: numbers.next().flatten().unwrap_or(0) }
            }
            "real" | "float4" => Self::Float { is_double: false },
            "double precision" | "float8" | "float" => Self::Float { is_double: true },
            "boolean" | "bool" => Self::Boolean,
            "date" => Self::Date,
            "super" | "jsonb" => Self::Super,
            "varbyte" | "varbinary" | "binary varying" => Self::Varbyte(first.unwrap_or(64_000)),
            "bytea" => Self::Varbyte(LONGEST_VARBYTE),
            _ if name.starts_with("timestamp") => Self::Timestamp,
            _ => Self::Nothing,
        }
    }

    /// Why the value cannot be held; `None` when it can, as far as can be told.
    pub fn refusal(&self, value: &[u8]) -> Option<String> {
        let Ok(text) = std::str::from_utf8(value) else { return Some("is not UTF-8".to_owned()) };
        match self {
            Self::Nothing => None,
            Self::Varchar(most) => (value.len() > *most).then(|| {
                format!(
                    "is {} bytes long, and varchar({most}) holds {most} (it counts bytes, not characters); {WIDER}, up to \
                     varchar(65535); {CUT}",
                    value.len()
                )
            }),
            Self::Char(most) => {
                if !value.is_ascii() {
                    return Some("has characters of more than one byte, which char does not hold; varchar does".to_owned());
                }
                let length = text.trim_end_matches(' ').len();
                (length > *most).then(|| format!("is {length} bytes long, and char({most}) holds {most}"))
            }
            Self::Integer { name, lowest, highest } => match text.trim().parse::<i128>() {
                Ok(number) if (*lowest..=*highest).contains(&number) => None,
                Ok(_) => Some(format!("is out of the range of {name} ({lowest} to {highest})")),
                Err(_) => Some(format!("is not a whole number, which {name} needs")),
            },
            Self::Decimal { precision, scale } => decimal_refusal(text.trim(), *precision, *scale),
            Self::Float { is_double } => float_refusal(text.trim(), *is_double),
            Self::Boolean => {
                let lower = text.trim().to_ascii_lowercase();
                let known = ["t", "f", "true", "false", "yes", "no", "y", "n", "1", "0", "on", "off"];
                (!known.contains(&lower.as_str())).then(|| "is not a boolean".to_owned())
            }
            Self::Date => date_refusal(text, "date"),
            Self::Timestamp => timestamp_refusal(text),
            Self::Super => (value.len() > LONGEST_SUPER)
                .then(|| format!("is {} bytes long, and super holds {LONGEST_SUPER}", value.len()))
                .or_else(|| {
                    serde_json::from_str::<serde::de::IgnoredAny>(text).is_err().then(|| "is not JSON".to_owned())
                }),
            Self::Varbyte(most) => {
                let hex = text.strip_prefix("\\x").unwrap_or(text);
                if !hex.len().is_multiple_of(2) || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Some("is not hexadecimal".to_owned());
                }
                (hex.len() / 2 > *most).then(|| format!("is {} bytes long, and varbyte holds {most}", hex.len() / 2))
            }
        }
    }
}

fn decimal_refusal(text: &str, precision: usize, scale: usize) -> Option<String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if digits.is_empty() || digits == "." || !is_plain(whole) || !is_plain(fraction) {
        // 1e5 is a number, too: the engine knows.
        let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
        return (!is_number).then(|| format!("is not a number that decimal({precision},{scale}) holds"));
    }
    let whole = whole.trim_start_matches('0').len();
    if whole > precision.saturating_sub(scale) {
        return Some(format!(
            "has {whole} digits before the point, and decimal({precision},{scale}) holds {}",
            precision.saturating_sub(scale)
        ));
    }
    // Digits behind the point that the column does not have are looked at before.
    None
}

fn float_refusal(text: &str, is_double: bool) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "nan" | "infinity" | "-infinity" | "inf" | "-inf" => None,
        _ => match text.parse::<f64>() {
            Err(_) => Some("is not a number".to_owned()),
            Ok(number) if number.is_infinite() => Some("is out of the range of double precision".to_owned()),
            Ok(_) if !is_double && text.parse::<f32>().is_ok_and(f32::is_infinite) => {
                Some("is out of the range of real".to_owned())
            }
            Ok(_) => None,
        },
    }
}

/// `2024-02-28`, whatever follows: a day that needs no calendar to be known as one.
pub fn is_plain_day(value: &[u8]) -> bool {
    let is_number = |range: std::ops::Range<usize>| value[range].iter().all(u8::is_ascii_digit);
    value.len() >= 10
        && is_number(0..4)
        && value[4] == b'-'
        && is_number(5..7)
        && value[7] == b'-'
        && is_number(8..10)
        && &value[..4] != b"0000"
        && (&b"01"[..]..=&b"12"[..]).contains(&&value[5..7])
        && (&b"01"[..]..=&b"28"[..]).contains(&&value[8..10])
}

fn date_refusal(text: &str, name: &str) -> Option<String> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("infinity") || text.eq_ignore_ascii_case("-infinity") || text.ends_with(" BC") {
        return Some(format!("is not a {name} that Redshift holds (years 1 to 9999 are safe)"));
    }
    if text.starts_with("0000") || text.contains("-00") {
        return Some(format!("is a zero {name}, which is no day; zero_dates: null at the extract makes it NULL"));
    }
    let is_day = text.get(..10).is_some_and(|day| chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").is_ok());
    // Other ways to write a date are the engine's to read.
    let looks_like_iso =
        text.len() >= 10 && text.as_bytes().get(4) == Some(&b'-') && text.as_bytes().get(7) == Some(&b'-');
    (looks_like_iso && !is_day).then(|| format!("is not a {name}: there is no such day"))
}

fn timestamp_refusal(text: &str) -> Option<String> {
    if let Some(reason) = date_refusal(text, "timestamp") {
        return Some(reason);
    }
    let fraction = text.split_once('.').map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
    (fraction > 6).then(|| format!("has {fraction} digits of a second, and a timestamp holds 6"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_values_held_against_them() {
        let fits = [
            ("character varying(6)", "주문"),
            ("character(3)", "abc  "),
            ("smallint", "-32768"),
            ("bigint", "9223372036854775807"),
            ("numeric(38,10)", "-1234567890123456789012345678.0123456789"),
            ("numeric(5,2)", "0999.10000"),
            ("double precision", "NaN"),
            ("real", "3.4028235e38"),
            ("date", "9999-12-31"),
            ("timestamp without time zone", "0001-01-01 00:00:00.123456"),
            ("super", "{\"a\": [1, null]}"),
            ("varbyte(2)", "00ff"),
            ("boolean", "t"),
        ];
        for (kind, value) in fits {
            assert_eq!(Limit::of(kind).refusal(value.as_bytes()), None, "{kind} {value}");
        }
        let refused = [
            ("character varying(5)", "주문", "is 6 bytes long"),
            ("character(3)", "é", "more than one byte"),
            ("smallint", "32768", "out of the range"),
            ("bigint", "18446744073709551615", "out of the range"),
            ("integer", "12.5", "not a whole number"),
            ("numeric(5,2)", "1000.00", "4 digits before the point"),
            ("real", "1e39", "out of the range of real"),
            ("date", "2023-02-29", "no such day"),
            ("timestamp", "0000-00-00 00:00:00", "zero timestamp"),
            ("timestamp", "infinity", "not a timestamp"),
            ("timestamp", "2024-01-01 00:00:00.1234567", "7 digits"),
            ("super", "{", "not JSON"),
            ("varbyte(1)", "00ff", "2 bytes long"),
            ("boolean", "maybe", "not a boolean"),
        ];
        for (kind, value, reason) in refused {
            let said = Limit::of(kind).refusal(value.as_bytes()).unwrap_or_default();
            assert!(said.contains(reason), "{kind}: {value} {said}");
        }
    }
}
