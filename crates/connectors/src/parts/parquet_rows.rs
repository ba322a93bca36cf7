//! Parquet files out of the object store, as rows of text, for warehouses that cannot read them there themselves.
//!
//! The format is read from its end, so the file goes to the disk first: without a name, so that nothing is left behind
//! however a load ends.

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use futures::TryStreamExt;
use millrace_operator_api::ports::{ObjectInfo, ObjectRows, RowBatch, SPELLINGS, Spelling, Spellings};
use millrace_operator_api::{PortError, PortErrorKind};
use parquet::data_type::Decimal;
use parquet::file::metadata::{FileMetaData, RowGroupMetaData};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::TreeBuilder;

use crate::parts::batches::{Batches, Outlet, channel};
use crate::parts::failure::{chain, data, while_doing};
use crate::parts::files::{changed, open_unchanged};

/// The rows of the object, whose columns go by order: there must be as many as `columns`.
pub async fn open(files: &ObjectRows, object: &ObjectInfo, columns: usize) -> Result<Batches, PortError> {
    let url = object.url();
    let file = spool(files, object).await?;
    let (outlet, batches) = channel();
    tokio::task::spawn_blocking(move || {
        outlet.blocking_end(read(file, columns, &outlet).map_err(|error| while_doing(&url, error)));
    });
    Ok(batches)
}

async fn spool(files: &ObjectRows, object: &ObjectInfo) -> Result<File, PortError> {
    let failed = |error: &std::io::Error| {
        let message = format!("{} could not be kept on disk while it is read: {}", object.url(), chain(error));
        PortError::new(PortErrorKind::Unavailable, message)
    };
    let mut body = open_unchanged(files, object).await?;
    let mut file = nameless().map_err(|error| failed(&error))?;
    let mut seen = 0;
    while let Some(chunk) = body.try_next().await? {
        seen += chunk.len() as u64;
        file.write_all(&chunk).map_err(|error| failed(&error))?;
    }
    if seen != object.size {
        return Err(changed(&object.url()));
    }
    file.rewind().map_err(|error| failed(&error))?;
    Ok(file)
}

/// A file that is gone as soon as it is closed.
fn nameless() -> std::io::Result<File> {
    static NUMBER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("millrace-parquet-{}-{number}", std::process::id()));
    // What a process of the same number left before the names were removed is nobody's.
    let _ = std::fs::remove_file(&path);
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn read(file: File, columns: usize, outlet: &Outlet) -> Result<(), PortError> {
    let broken = |error: &parquet::errors::ParquetError| data(format!("the file is not readable as Parquet: {error}"));
    let reader = SerializedFileReader::new(file).map_err(|error| broken(&error))?;
    let found = reader.metadata().file_metadata().schema().get_fields().len();
    if found != columns {
        return Err(data(format!("the file has {found} columns where {columns} are expected; they go by order")));
    }
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let spellings = spellings(reader.metadata().file_metadata());
    let mut batch = RowBatch::new(columns);
    let mut text = String::new();
    let mut number = 0_u64;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group).map_err(|error| broken(&error))?;
        let rows = TreeBuilder::new().with_batch_size(values_at_once(group.metadata()));
        let mut rows = rows.as_iter(Arc::clone(&schema), &*group).map_err(|error| broken(&error))?;
        let mut left = group.metadata().num_rows();
        for row in rows.by_ref() {
            let row = row.map_err(|error| broken(&error))?;
            number += 1;
            left -= 1;
            for ((name, field), spelling) in row.into_columns().into_iter().zip(&spellings) {
                push(&mut batch, field, spelling.as_ref(), &mut text)
                    .map_err(|reason| data(format!("row {number}, column {name}: {reason}")))?;
            }
            if left > 0 && outlet.is_enough(&batch) {
                outlet.blocking_send(std::mem::replace(&mut batch, RowBatch::new(columns)))?;
            }
        }
        // Its pages are not held while its last rows, which may be one as long as they, are on their way.
        drop(rows);
        drop(group);
        if outlet.is_enough(&batch) {
            outlet.blocking_send(std::mem::replace(&mut batch, RowBatch::new(columns)))?;
        }
    }
    if !batch.is_empty() {
        outlet.blocking_send(batch)?;
    }
    Ok(())
}

/// How the values of each column were spelled, where the file says it.
fn spellings(file: &FileMetaData) -> Vec<Option<Spelling>> {
    let noted = file.key_value_metadata().and_then(|pairs| pairs.iter().find(|pair| pair.key == SPELLINGS));
    let noted: Spellings = noted.and_then(|pair| serde_json::from_str(pair.value.as_deref()?).ok()).unwrap_or_default();
    file.schema().get_fields().iter().map(|field| noted.get(field.name()).cloned()).collect()
}

/// Of each column so many values are held at once.
fn values_at_once(group: &RowGroupMetaData) -> usize {
    const BYTES: i64 = 4 << 20;
    const MOST: i64 = 1024;
    let row = group.total_byte_size() / group.num_rows().max(1);
    (BYTES / row.max(1)).clamp(1, MOST) as usize
}

/// A long value needs no memory of its own on its way; short ones are written into `text` first.
fn push(batch: &mut RowBatch, field: Field, spelling: Option<&Spelling>, text: &mut String) -> Result<(), String> {
    match field {
        Field::Null => batch.push(None),
        Field::Str(text) => batch.push(Some(text.as_bytes())),
        Field::Bytes(bytes) => batch.push_written(|out| {
            const PIECE: usize = 64 * 1024;
            out.reserve(2 * bytes.len());
            bytes.data().chunks(PIECE).for_each(|piece| out.extend_from_slice(hex::encode(piece).as_bytes()));
        }),
        other => {
            text.clear();
            write_short(&other, text)?;
            if let Some(spelling) = spelling {
                spelling.apply(text);
            }
            batch.push(Some(text.as_bytes()));
        }
    }
    Ok(())
}

fn write_short(field: &Field, out: &mut String) -> Result<(), String> {
    use std::fmt::Write;
    let written = match field {
        Field::Bool(value) => write!(out, "{}", if *value { 't' } else { 'f' }),
        Field::Byte(value) => write!(out, "{value}"),
        Field::Short(value) => write!(out, "{value}"),
        Field::Int(value) => write!(out, "{value}"),
        Field::Long(value) => write!(out, "{value}"),
        Field::UByte(value) => write!(out, "{value}"),
        Field::UShort(value) => write!(out, "{value}"),
        Field::UInt(value) => write!(out, "{value}"),
        Field::ULong(value) => write!(out, "{value}"),
        Field::Float(value) => write!(out, "{}", float(format!("{value:?}"))),
        Field::Double(value) => write!(out, "{}", float(format!("{value:?}"))),
        Field::Decimal(value) => write!(out, "{}", decimal(value)?),
        Field::Date(days) => {
            let day = NaiveDate::from_epoch_days(*days).ok_or("the date is out of range")?;
            write!(out, "{}", without_plus(&day.to_string()))
        }
        Field::TimeMillis(millis) => write!(out, "{}", time(i64::from(*millis) * 1000)?),
        Field::TimeMicros(micros) => write!(out, "{}", time(*micros)?),
        Field::TimestampMillis(millis) => write!(out, "{}", timestamp(millis.saturating_mul(1000))?),
        Field::TimestampMicros(micros) => write!(out, "{}", timestamp(*micros)?),
        other => return Err(format!("values such as {} cannot be loaded", name_of(other))),
    };
    written.map_err(|error| error.to_string())
}

fn name_of(field: &Field) -> &'static str {
    match field {
        Field::Group(_) => "groups",
        Field::ListInternal(_) => "lists",
        Field::MapInternal(_) => "maps",
        _ => "these",
    }
}

/// The shortest text that reads back as the same bits, in the words of databases.
fn float(shortest: String) -> String {
    match shortest.as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        _ => shortest.strip_suffix(".0").map(ToOwned::to_owned).unwrap_or(shortest),
    }
}

/// From two's complement, the highest byte first.
fn decimal(value: &Decimal) -> Result<String, String> {
    let bytes = value.data();
    if bytes.len() > 16 {
        return Err(format!("a decimal of {} bytes cannot be loaded", bytes.len()));
    }
    let start = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1_i128 } else { 0 };
    let unscaled = bytes.iter().fold(start, |number, byte| (number << 8) | i128::from(*byte));
    let scale = usize::try_from(value.scale()).unwrap_or(0);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    Ok(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

fn time(micros: i64) -> Result<String, String> {
    if !(0..86_400_000_000).contains(&micros) {
        return Err("the time is out of a day".to_owned());
    }
    let (time, _) = NaiveTime::MIN.overflowing_add_signed(TimeDelta::microseconds(micros));
    Ok(without_zeros(time.format("%H:%M:%S%.6f").to_string()))
}

fn timestamp(micros: i64) -> Result<String, String> {
    let moment = DateTime::from_timestamp_micros(micros).ok_or("the timestamp is out of range")?;
    let text = moment.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    Ok(without_zeros(without_plus(&text).to_owned()))
}

/// As databases write years beyond 9999, which chrono writes with a sign.
fn without_plus(text: &str) -> &str {
    text.strip_prefix('+').unwrap_or(text)
}

fn without_zeros(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use parquet::data_type::ByteArray;

    use super::*;

    #[test]
    fn values_become_the_text_that_databases_read() {
        let number = |number: i128, scale| {
            Field::Decimal(Decimal::from_bytes(ByteArray::from(number.to_be_bytes().to_vec()), 38, scale))
        };
        let cases = [
            (Field::Bool(true), "t"),
            (Field::ULong(u64::MAX), "18446744073709551615"),
            (Field::Double(0.1), "0.1"),
            (Field::Double(1e300), "1e300"),
            (Field::Double(f64::NEG_INFINITY), "-Infinity"),
            (Field::Float(0.1), "0.1"),
            (number(-1, 10), "-0.0000000001"),
            (number(12_345_678_901_234_567_890_123_456_789_012_345_678, 10), "1234567890123456789012345678.9012345678"),
            (number(-120, 1), "-12.0"),
            (number(7, 0), "7"),
            (Field::Decimal(Decimal::from_i32(-5, 9, 2)), "-0.05"),
            (Field::Str("주문, \"\"".to_owned()), "주문, \"\""),
            (Field::Bytes(ByteArray::from(vec![0, 255])), "00ff"),
            (Field::Date(-719_162), "0001-01-01"),
            (Field::Date(2_932_896), "9999-12-31"),
            (Field::Date(2_932_897), "10000-01-01"),
            (Field::TimestampMicros(253_402_300_800_000_000), "10000-01-01 00:00:00"),
            (Field::TimeMicros(86_399_999_999), "23:59:59.999999"),
            (Field::TimestampMicros(-1), "1969-12-31 23:59:59.999999"),
            (Field::TimestampMicros(0), "1970-01-01 00:00:00"),
        ];
        for (field, expected) in cases {
            let mut batch = RowBatch::new(1);
            push(&mut batch, field, None, &mut "of before".to_owned()).unwrap();
            assert_eq!(batch.cell(0, 0), Some(expected.as_bytes()));
        }
        let mut batch = RowBatch::new(1);
        push(&mut batch, Field::Null, None, &mut String::new()).unwrap();
        assert_eq!(batch.cell(0, 0), None);
    }
}
