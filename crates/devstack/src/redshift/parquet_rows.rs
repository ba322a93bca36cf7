//! Rows of a Parquet file as COPY takes them: by order, as many columns as the table has, each of the kind of its column.
//!
//! The format is read from its end, so the file goes to the disk first, without a name.

use std::fs::File;
use std::io::{Seek, Write as _};

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta};
use futures::StreamExt;
use parquet::basic::{LogicalType, Type as Physical};
use parquet::data_type::Decimal;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use tokio::sync::mpsc;

use super::answer::SqlError;
use super::convert::{Column, Kind};
use crate::objects::ObjectBytes;

/// The values of a row as texts; `None` for NULL.
pub(super) type Row = Vec<Option<String>>;

const ROWS_AT_ONCE: usize = 256;

/// Reads a file whose columns go into these.
pub(super) async fn open(
    url: &str,
    mut body: ObjectBytes,
    columns: &[Column],
) -> Result<mpsc::Receiver<Result<Vec<Row>, SqlError>>, SqlError> {
    let broken = |what: String| SqlError::new(format!("Spectrum Scan Error. {what}: {url}"));
    let mut file = nameless().map_err(|error| broken(error.to_string()))?;
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| broken(error.to_string()))?;
        file.write_all(&chunk).map_err(|error| broken(error.to_string()))?;
    }
    file.rewind().map_err(|error| broken(error.to_string()))?;
    let (sender, receiver) = mpsc::channel(2);
    let (url, columns) = (url.to_owned(), columns.to_vec());
    tokio::task::spawn_blocking(move || {
        if let Err(what) = read(file, &columns, &sender) {
            // Nobody listens when the statement has ended already.
            let _ = sender.blocking_send(Err(SqlError::new(format!("Spectrum Scan Error. {what}: {url}"))));
        }
    });
    Ok(receiver)
}

/// A file that is gone as soon as it is closed.
fn nameless() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("millrace-standin-{}", uuid::Uuid::now_v7()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

fn read(file: File, columns: &[Column], out: &mpsc::Sender<Result<Vec<Row>, SqlError>>) -> Result<(), String> {
    let broken = |error: parquet::errors::ParquetError| format!("File is not readable as Parquet ({error})");
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema();
    let found = schema.get_fields().len();
    if found != columns.len() {
        return Err(format!(
            "Number of columns in parquet file {found} does not match the number of columns in table {}",
            columns.len()
        ));
    }
    for (field, column) in schema.get_fields().iter().zip(columns) {
        if !is_compatible(field, column.kind) {
            let (type_name, _) = column.type_and_length();
            return Err(format!(
                "File has an incompatible Parquet schema for column '{}'. Column type: {}, Parquet schema: {}",
                column.name,
                type_name.to_uppercase(),
                if field.is_primitive() {
                    field.get_physical_type().to_string().to_lowercase()
                } else {
                    "group".to_owned()
                }
            ));
        }
    }
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None).map_err(broken)? {
        let row = row.map_err(broken)?;
        rows.push(row.get_column_iter().map(|(_, field)| text(field)).collect::<Result<Row, String>>()?);
        if rows.len() == ROWS_AT_ONCE && out.blocking_send(Ok(std::mem::take(&mut rows))).is_err() {
            return Ok(());
        }
    }
    let _ = out.blocking_send(Ok(rows));
    Ok(())
}

/// Nothing is widened: a file's 32 bits do not go into a BIGINT.
fn is_compatible(field: &Type, kind: Kind) -> bool {
    if !field.is_primitive() {
        return false;
    }
    let (physical, logical) = (field.get_physical_type(), field.get_basic_info().logical_type_ref());
    let is_bytes = matches!(physical, Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY);
    let is_integer = matches!(logical, None | Some(LogicalType::Integer(_)));
    match kind {
        Kind::Integer(8) => physical == Physical::INT64 && is_integer,
        Kind::Integer(_) => physical == Physical::INT32 && is_integer,
        Kind::Decimal { .. } => matches!(logical, Some(LogicalType::Decimal(_))),
        Kind::Float => matches!(physical, Physical::FLOAT | Physical::DOUBLE),
        Kind::Boolean => physical == Physical::BOOLEAN,
        Kind::Varchar(_) | Kind::Char(_) | Kind::Super => is_bytes && !matches!(logical, Some(LogicalType::Decimal(_))),
        Kind::Varbyte => is_bytes && logical.is_none(),
        Kind::Date => matches!(logical, Some(LogicalType::Date)),
        Kind::Time | Kind::TimeWithZone => matches!(logical, Some(LogicalType::Time(_))),
        Kind::Timestamp | Kind::TimestampWithZone => {
            physical == Physical::INT96 || matches!(logical, Some(LogicalType::Timestamp(_)))
        }
    }
}

fn text(field: &Field) -> Result<Option<String>, String> {
    let float = |shortest: String| match shortest.as_str() {
        "inf" => "Infinity".to_owned(),
        "-inf" => "-Infinity".to_owned(),
        _ => shortest,
    };
    let moment = |micros: i64| {
        let moment = DateTime::from_timestamp_micros(micros).ok_or("A timestamp is out of range")?;
        Ok::<_, String>(moment.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string())
    };
    let clock = |micros: i64| {
        let (time, _) = NaiveTime::MIN.overflowing_add_signed(TimeDelta::microseconds(micros));
        time.format("%H:%M:%S%.6f").to_string()
    };
    Ok(Some(match field {
        Field::Null => return Ok(None),
        Field::Bool(value) => value.to_string(),
        Field::Byte(value) => value.to_string(),
        Field::Short(value) => value.to_string(),
        Field::Int(value) => value.to_string(),
        Field::Long(value) => value.to_string(),
        Field::UByte(value) => value.to_string(),
        Field::UShort(value) => value.to_string(),
        Field::UInt(value) => value.to_string(),
        Field::ULong(value) => value.to_string(),
        Field::Float(value) => float(format!("{value:?}")),
        Field::Double(value) => float(format!("{value:?}")),
        Field::Decimal(value) => decimal(value)?,
        Field::Str(value) => value.clone(),
        Field::Bytes(value) => hex::encode(value.data()),
        Field::Date(days) => NaiveDate::from_epoch_days(*days).ok_or("A date is out of range")?.to_string(),
        Field::TimeMillis(millis) => clock(i64::from(*millis) * 1000),
        Field::TimeMicros(micros) => clock(*micros),
        Field::TimestampMillis(millis) => moment(millis.saturating_mul(1000))?,
        Field::TimestampMicros(micros) => moment(*micros)?,
        _ => return Err("Values that nest cannot be loaded".to_owned()),
    }))
}

/// From two's complement, the highest byte first.
fn decimal(value: &Decimal) -> Result<String, String> {
    let bytes = value.data();
    if bytes.len() > 16 {
        return Err("A decimal has more than 38 digits".to_owned());
    }
    let start = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1_i128 } else { 0 };
    let unscaled = bytes.iter().fold(start, |number, byte| (number << 8) | i128::from(*byte));
    let scale = usize::try_from(value.scale()).unwrap_or(0);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    Ok(if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}
