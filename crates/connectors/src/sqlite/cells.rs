//! Values of SQLite, whatever the column is called in which they are kept.
//!
//! Any column holds any kind of value. One that is not of its column's kind is read as SQLite's own CAST to that kind reads
//! it: a text in a column of bytes is the bytes of its UTF-8, and bytes in a column of texts are the text that they spell.

use std::io::Write;

use millrace_operator_api::ports::ValueType;
use rusqlite::types::ValueRef;

/// So many bytes that are no UTF-8 stand in a column of something else.
#[derive(Debug, PartialEq)]
pub struct NoText(pub usize);

/// Appends the canonical text of a value that stands in a column of this type; nothing for NULL.
pub fn append_canonical(value: ValueRef<'_>, of: &ValueType, text: &mut Vec<u8>) -> Result<(), NoText> {
    match (of, value) {
        // Of what is no column of a table nothing is declared.
        (ValueType::Other, _) | (ValueType::Bytes { .. }, ValueRef::Blob(_)) => append_text(value, text),
        (ValueType::Bytes { .. }, ValueRef::Text(bytes)) => append_hex(bytes, text),
        (ValueType::Bytes { .. }, _) => {
            let mut number = Vec::new();
            append_text(value, &mut number);
            append_hex(&number, text);
        }
        (ValueType::Uuid, ValueRef::Blob(bytes)) if bytes.len() == 16 => append_uuid(bytes, text),
        (_, ValueRef::Blob(bytes)) if std::str::from_utf8(bytes).is_ok() => text.extend_from_slice(bytes),
        (_, ValueRef::Blob(bytes)) => return Err(NoText(bytes.len())),
        _ => append_text(value, text),
    }
    Ok(())
}

/// A value as text, by its own storage class: integers and texts exactly, floats in the shortest form that reads back as
/// the same, blobs as lower-case hex.
pub fn text(value: ValueRef<'_>) -> Option<String> {
    if value == ValueRef::Null {
        return None;
    }
    let mut text = Vec::new();
    append_text(value, &mut text);
    Some(String::from_utf8(text).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn append_text(value: ValueRef<'_>, text: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = match value {
        ValueRef::Null => Ok(()),
        ValueRef::Integer(number) => write!(text, "{number}"),
        ValueRef::Real(f64::INFINITY) => text.write_all(b"Infinity"),
        ValueRef::Real(f64::NEG_INFINITY) => text.write_all(b"-Infinity"),
        ValueRef::Real(number) => write!(text, "{number}"),
        ValueRef::Text(bytes) => text.write_all(bytes),
        ValueRef::Blob(bytes) => {
            append_hex(bytes, text);
            Ok(())
        }
    };
}

/// The digits of a long value need no memory of their own on their way.
fn append_hex(bytes: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + 2 * bytes.len(), 0);
    // There is room for exactly as many digits.
    let _ = hex::encode_to_slice(bytes, &mut text[start..]);
}

/// 32 digits as a UUID is written.
fn append_uuid(bytes: &[u8], text: &mut Vec<u8>) {
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push(b'-');
        }
        append_hex(&[*byte], text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(value: ValueRef<'_>, of: &ValueType) -> Result<String, NoText> {
        let mut text = b"before ".to_vec();
        append_canonical(value, of, &mut text)?;
        Ok(String::from_utf8(text.split_off("before ".len())).unwrap())
    }

    #[test]
    fn a_value_is_read_as_its_column_says() {
        let bytes = ValueType::Bytes { max_bytes: None };
        let word = ValueType::Text { max_chars: None, max_bytes: None };
        for (value, of, expected) in [
            (ValueRef::Blob(&[0x12; 16]), &ValueType::Uuid, Ok("12121212-1212-1212-1212-121212121212")),
            (ValueRef::Blob(&[0x12; 15]), &ValueType::Uuid, Ok("\u{12}".repeat(15).as_str())),
            (ValueRef::Blob(b"\x00\xff"), &bytes, Ok("00ff")),
            (ValueRef::Text(b"de"), &bytes, Ok("6465")),
            (ValueRef::Integer(12), &bytes, Ok("3132")),
            (ValueRef::Blob(b"de"), &word, Ok("de")),
            (ValueRef::Blob(b"\xff"), &word, Err(NoText(1))),
            (ValueRef::Blob(b"\xff"), &ValueType::Other, Ok("ff")),
            (ValueRef::Integer(i64::MIN), &word, Ok("-9223372036854775808")),
            (ValueRef::Real(0.1), &word, Ok("0.1")),
            (ValueRef::Real(f64::NEG_INFINITY), &ValueType::Other, Ok("-Infinity")),
        ] {
            assert_eq!(canonical(value, of), expected.map(ToOwned::to_owned), "{value:?} in {of}");
        }
    }

    #[test]
    fn what_is_asked_for_has_a_text() {
        assert_eq!(text(ValueRef::Null), None);
        assert_eq!(text(ValueRef::Text(b"")).as_deref(), Some(""));
        assert_eq!(text(ValueRef::Text(b"a\xff")).as_deref(), Some("a\u{fffd}"));
        assert_eq!(text(ValueRef::Real(f64::INFINITY)).as_deref(), Some("Infinity"));
    }
}
