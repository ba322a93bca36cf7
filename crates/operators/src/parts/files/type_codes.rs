//! Types of columns in a few characters, for places where every byte counts: metadata of objects, lists of parts, results
//! of tasks.

use millrace_operator_api::ports::ValueType;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `i64`, `n38.10`, `t40.160`, `[i32`.
pub fn code(value: &ValueType) -> String {
    use ValueType as V;
    let sized = |letter: &str, size: Option<u64>| match size {
        Some(size) => format!("{letter}{size}"),
        None => letter.to_owned(),
    };
    match value {
        V::Integer { bits, signed } => format!("{}{bits}", if *signed { 'i' } else { 'u' }),
        V::Decimal { precision, scale } => match scale {
            Some(scale) => format!("{}.{scale}", sized("n", precision.map(u64::from))),
            None => sized("n", precision.map(u64::from)),
        },
        V::Float { bits } => format!("f{bits}"),
        V::Bool => "b".to_owned(),
        V::Bit { length } => format!("m{length}"),
        V::BitString { max_length } => sized("v", max_length.map(u64::from)),
        V::Text { max_chars, max_bytes } => match max_bytes {
            Some(bytes) => format!("{}.{bytes}", sized("t", *max_chars)),
            None => sized("t", *max_chars),
        },
        V::Bytes { max_bytes } => sized("x", *max_bytes),
        V::Date => "d".to_owned(),
        V::Time { beyond_day, zoned } => {
            format!("h{}{}", if *beyond_day { "b" } else { "" }, if *zoned { "z" } else { "" })
        }
        V::Timestamp { zoned } => if *zoned { "sz" } else { "s" }.to_owned(),
        V::Year => "y".to_owned(),
        V::Json => "j".to_owned(),
        V::Uuid => "g".to_owned(),
        V::Array { of } => format!("[{}", code(of)),
        V::Interval => "l".to_owned(),
        V::Enum { max_chars } => sized("e", *max_chars),
        V::Set { max_chars } => sized("k", *max_chars),
        V::Money => "c".to_owned(),
        V::Other => "o".to_owned(),
    }
}

/// What [`code`] wrote; [`ValueType::Other`] for what a later version may have written.
pub fn read(code: &str) -> ValueType {
    use ValueType as V;
    fn known(code: &str) -> Option<V> {
        let mut letters = code.chars();
        let letter = letters.next()?;
        let rest = letters.as_str();
        let (first, second) = rest.split_once('.').unwrap_or((rest, ""));
        let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u64>().ok().map(Some) };
        let small = |text: &str| if text.is_empty() { Some(None) } else { text.parse::<u32>().ok().map(Some) };
        Some(match letter {
            'i' | 'u' => V::Integer { bits: rest.parse().ok()?, signed: letter == 'i' },
            'n' => V::Decimal { precision: small(first)?, scale: small(second)? },
            'f' => V::Float { bits: rest.parse().ok()? },
            'b' => V::Bool,
            'm' => V::Bit { length: rest.parse().ok()? },
            'v' => V::BitString { max_length: small(rest)? },
            't' => V::Text { max_chars: number(first)?, max_bytes: number(second)? },
            'x' => V::Bytes { max_bytes: number(rest)? },
            'd' => V::Date,
            'h' => V::Time { beyond_day: rest.contains('b'), zoned: rest.contains('z') },
            's' => V::Timestamp { zoned: rest == "z" },
            'y' => V::Year,
            'j' => V::Json,
            'g' => V::Uuid,
            '[' => V::Array { of: Box::new(known(rest)?) },
            'l' => V::Interval,
            'e' => V::Enum { max_chars: number(rest)? },
            'k' => V::Set { max_chars: number(rest)? },
            'c' => V::Money,
            _ => return None,
        })
    }
    known(code).unwrap_or(V::Other)
}

/// For `#[serde(with = "type_codes")]`.
pub fn serialize<S: Serializer>(types: &[ValueType], serializer: S) -> Result<S::Ok, S::Error> {
    types.iter().map(code).collect::<Vec<_>>().serialize(serializer)
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ValueType>, D::Error> {
    Ok(Vec::<String>::deserialize(deserializer)?.iter().map(|code| read(code)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_read_as_it_was_written() {
        use ValueType as V;
        let types = [
            (V::Integer { bits: 64, signed: true }, "i64"),
            (V::Integer { bits: 8, signed: false }, "u8"),
            (V::Decimal { precision: Some(38), scale: Some(10) }, "n38.10"),
            (V::Decimal { precision: Some(9), scale: None }, "n9"),
            (V::Decimal { precision: None, scale: None }, "n"),
            (V::Float { bits: 32 }, "f32"),
            (V::Bool, "b"),
            (V::Bit { length: 5 }, "m5"),
            (V::BitString { max_length: None }, "v"),
            (V::BitString { max_length: Some(7) }, "v7"),
            (V::TEXT, "t"),
            (V::Text { max_chars: Some(40), max_bytes: None }, "t40"),
            (V::Text { max_chars: Some(40), max_bytes: Some(160) }, "t40.160"),
            (V::Text { max_chars: None, max_bytes: Some(4_294_967_295) }, "t.4294967295"),
            (V::Bytes { max_bytes: Some(16) }, "x16"),
            (V::Date, "d"),
            (V::Time { beyond_day: false, zoned: false }, "h"),
            (V::Time { beyond_day: true, zoned: false }, "hb"),
            (V::Time { beyond_day: false, zoned: true }, "hz"),
            (V::Timestamp { zoned: false }, "s"),
            (V::Timestamp { zoned: true }, "sz"),
            (V::Year, "y"),
            (V::Json, "j"),
            (V::Uuid, "g"),
            (V::Array { of: Box::new(V::Decimal { precision: Some(5), scale: Some(2) }) }, "[n5.2"),
            (V::Interval, "l"),
            (V::Enum { max_chars: Some(3) }, "e3"),
            (V::Set { max_chars: None }, "k"),
            (V::Money, "c"),
            (V::Other, "o"),
        ];
        for (value, expected) in types {
            assert_eq!(code(&value), expected);
            assert_eq!(read(expected), value, "{expected}");
        }
        for unknown in ["", "i", "izz", "q9", "[", "n1.x"] {
            assert_eq!(read(unknown), V::Other, "{unknown}");
        }
    }
}
