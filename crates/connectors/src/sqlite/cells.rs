//! Values of SQLite, whatever the column is called in which they are kept.
//!
//! Any column holds any kind of value. One that is not of its column's kind is read as SQLite's own CAST to that kind reads
//! it: a text in a column of bytes is the bytes of its UTF-8, and bytes in a column of texts are the text that they spell.

use std::borrow::Cow;

use millrace_operator_api::ports::ValueType;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, TypeInfo, ValueRef};

/// Why a value has no text.
#[derive(Debug)]
pub enum Unreadable {
    /// Bytes that are no UTF-8 in a column of something else.
    Bytes(usize),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Unreadable {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

/// The canonical text of a value that stands in a column of this type.
pub fn canonical<'a>(row: &'a SqliteRow, index: usize, of: &ValueType) -> Result<Option<Cow<'a, [u8]>>, Unreadable> {
    let is_blob = class_of(row, index)?.is_some_and(|class| class == "BLOB");
    match of {
        // Of what is no column of a table nothing is declared.
        ValueType::Other => Ok(text(row, index)?),
        ValueType::Bytes { .. } if is_blob => Ok(text(row, index)?),
        ValueType::Bytes { .. } => Ok(text(row, index)?.map(|text| hex::encode(text).into_bytes().into())),
        _ if is_blob => {
            let bytes: &[u8] = row.try_get_unchecked(index)?;
            match (of, bytes) {
                (ValueType::Uuid, bytes) if bytes.len() == 16 => {
                    Ok(Some(hyphened(hex::encode(bytes).as_bytes()).into()))
                }
                (_, bytes) if std::str::from_utf8(bytes).is_ok() => Ok(Some(bytes.into())),
                (_, bytes) => Err(Unreadable::Bytes(bytes.len())),
            }
        }
        _ => Ok(text(row, index)?),
    }
}

/// SQLite's name for the kind of a value; `None` for NULL.
fn class_of(row: &SqliteRow, index: usize) -> Result<Option<String>, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    Ok((!value.is_null()).then(|| value.type_info().name().to_owned()))
}

/// A value as text, by its own storage class: integers and texts exactly, floats in the shortest form that reads back as
/// the same, blobs as lower-case hex.
pub fn text(row: &SqliteRow, index: usize) -> Result<Option<Cow<'_, [u8]>>, sqlx::Error> {
    let Some(class) = class_of(row, index)? else { return Ok(None) };
    Ok(Some(match class.as_str() {
        "INTEGER" | "BOOLEAN" => row.try_get_unchecked::<i64, _>(index)?.to_string().into_bytes().into(),
        "REAL" => {
            let number: f64 = row.try_get_unchecked(index)?;
            if number.is_infinite() {
                let text: &[u8] = if number > 0.0 { b"Infinity" } else { b"-Infinity" };
                return Ok(Some(text.into()));
            }
            number.to_string().into_bytes().into()
        }
        "BLOB" => hex::encode(row.try_get_unchecked::<&[u8], _>(index)?).into_bytes().into(),
        // A long one is not copied on its way to the rows.
        _ => row.try_get_unchecked::<&[u8], _>(index)?.into(),
    }))
}

/// 32 digits as a UUID is written.
fn hyphened(digits: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(36);
    for (at, digit) in digits.iter().enumerate() {
        if matches!(at, 8 | 12 | 16 | 20) {
            text.push(b'-');
        }
        text.push(*digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_uuid_are_written_with_hyphens() {
        assert_eq!(hyphened(hex::encode([0x12; 16]).as_bytes()), b"12121212-1212-1212-1212-121212121212");
    }
}
