//! Sizes in bytes, as people write them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Bytes: `1048576`, `64MiB`, `64 MB`, `1.5 GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

impl ByteSize {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let factor: f64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1.0,
            "kb" => 1e3,
            "mb" => 1e6,
            "gb" => 1e9,
            "kib" | "k" => 1024.0,
            "mib" | "m" => 1_048_576.0,
            "gib" | "g" => 1_073_741_824.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        let bytes = number * factor;
        (1.0..1e18).contains(&bytes).then_some(Self(bytes as u64))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl Visitor<'_> for Sizes {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as 64MiB, or a number of bytes")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<ByteSize, E> {
                if bytes == 0 { Err(E::custom("a size of 0")) } else { Ok(ByteSize(bytes)) }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                ByteSize::read(text).ok_or_else(|| E::custom(format!("'{text}' is no size; write one such as 64MiB")))
            }
        }
        deserializer.deserialize_any(Sizes)
    }
}

impl JsonSchema for ByteSize {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "integer"] })
    }
}

#[cfg(test)]
mod tests {
    use super::ByteSize;

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("64MiB", Some(64 << 20)),
            ("64 mb", Some(64_000_000)),
            ("1.5 GiB", Some(3 << 29)),
            ("100", Some(100)),
            ("0", None),
            ("many", None),
            ("5 parsec", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(ByteSize::read(text).map(|size| size.0), expected, "{text}");
        }
    }
}
