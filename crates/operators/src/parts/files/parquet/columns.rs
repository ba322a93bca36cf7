//! What a column becomes in Parquet.

use millrace_operator_api::ports::{SourceColumn, ValueType};
use parquet::basic::{LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::errors::ParquetError;
use parquet::schema::types::{Type, TypePtr};

/// How a cell's text is to be read for its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Bool,
    /// Whole numbers between these two.
    Integer {
        least: i64,
        most: i64,
    },
    Decimal {
        precision: u32,
        scale: u32,
        bytes: usize,
    },
    Float,
    Text,
    Hex,
    Date,
    Time,
    Timestamp,
}

/// The largest precision that readers in general know.
const MOST_DIGITS: u32 = 38;

/// The form, and the Parquet type in words: `INT32`, `DECIMAL(38,10)`, `STRING`.
fn form_of(value: &ValueType) -> (Form, Physical, Option<LogicalType>) {
    let small =
        |least, most, bits| (Form::Integer { least, most }, Physical::INT32, Some(LogicalType::integer(bits, true)));
    let large = |least, most| (Form::Integer { least, most }, Physical::INT64, Some(LogicalType::integer(64, true)));
    match value {
        ValueType::Integer { bits: 8, signed: true } => small(-128, 127, 8),
        ValueType::Integer { bits: 8, signed: false } => small(0, 255, 16),
        ValueType::Integer { bits: 16, signed: true } => small(-32_768, 32_767, 16),
        ValueType::Integer { bits: 16, signed: false } => small(0, 65_535, 32),
        ValueType::Integer { bits: 24, signed: true } => small(-8_388_608, 8_388_607, 32),
        ValueType::Integer { bits: 24, signed: false } => small(0, 16_777_215, 32),
        ValueType::Integer { bits: 32, signed: true } => small(i32::MIN.into(), i32::MAX.into(), 32),
        ValueType::Integer { bits: 32, signed: false } => large(0, u32::MAX.into()),
        ValueType::Integer { signed: true, .. } => large(i64::MIN, i64::MAX),
        ValueType::Integer { signed: false, .. } => decimal(20, 0),
        ValueType::Decimal { precision: Some(precision), scale } if (1..=MOST_DIGITS).contains(precision) => {
            decimal(*precision, scale.unwrap_or(0))
        }
        ValueType::Money => decimal(21, 4),
        ValueType::Float { bits: 32 } => (Form::Float, Physical::FLOAT, None),
        ValueType::Float { .. } => (Form::Float, Physical::DOUBLE, None),
        ValueType::Bool => (Form::Bool, Physical::BOOLEAN, None),
        ValueType::Bit { length: length @ ..=15 } => small(0, (1 << length) - 1, 16),
        ValueType::Bit { length: length @ ..=31 } => small(0, (1 << length) - 1, 32),
        ValueType::Bit { length: ..=63 } => large(0, i64::MAX),
        ValueType::Bit { .. } => decimal(20, 0),
        ValueType::Year => small(0, 9_999, 16),
        ValueType::Date => (Form::Date, Physical::INT32, Some(LogicalType::Date)),
        ValueType::Time { beyond_day: false, zoned: false } => {
            (Form::Time, Physical::INT64, Some(LogicalType::time(false, TimeUnit::MICROS)))
        }
        ValueType::Timestamp { zoned } => {
            (Form::Timestamp, Physical::INT64, Some(LogicalType::timestamp(*zoned, TimeUnit::MICROS)))
        }
        ValueType::Bytes { .. } => (Form::Hex, Physical::BYTE_ARRAY, None),
        ValueType::Decimal { .. }
        | ValueType::BitString { .. }
        | ValueType::Text { .. }
        | ValueType::Time { .. }
        | ValueType::Json
        | ValueType::Uuid
        | ValueType::Array { .. }
        | ValueType::Interval
        | ValueType::Enum { .. }
        | ValueType::Set { .. }
        | ValueType::Other => (Form::Text, Physical::BYTE_ARRAY, Some(LogicalType::String)),
    }
}

fn decimal(precision: u32, scale: u32) -> (Form, Physical, Option<LogicalType>) {
    let (physical, bytes) = match precision {
        ..=9 => (Physical::INT32, 4),
        10..=18 => (Physical::INT64, 8),
        _ => (Physical::FIXED_LEN_BYTE_ARRAY, 16),
    };
    let logical = LogicalType::decimal(scale.cast_signed(), precision.cast_signed());
    (Form::Decimal { precision, scale, bytes }, physical, Some(logical))
}

/// In words, for documents: `INT32`, `DECIMAL(38,10)`, `STRING`, `TIMESTAMP (UTC)`.
pub fn parquet_type(value: &ValueType) -> String {
    let (form, physical, _) = form_of(value);
    match (form, value) {
        (Form::Decimal { precision, scale, .. }, _) => format!("DECIMAL({precision},{scale})"),
        (Form::Text, _) => "STRING".to_owned(),
        (Form::Date, _) => "DATE".to_owned(),
        (Form::Time, _) => "TIME".to_owned(),
        (Form::Timestamp, ValueType::Timestamp { zoned: true }) => "TIMESTAMP (UTC)".to_owned(),
        (Form::Timestamp, _) => "TIMESTAMP".to_owned(),
        _ => physical.to_string(),
    }
}

pub fn schema(columns: &[SourceColumn]) -> Result<(Type, Vec<Form>), ParquetError> {
    let mut forms = Vec::with_capacity(columns.len());
    let mut fields: Vec<TypePtr> = Vec::with_capacity(columns.len());
    for column in columns {
        let (form, physical, logical) = form_of(&column.value);
        let mut builder = Type::primitive_type_builder(&column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical);
        if let Form::Decimal { precision, scale, bytes } = form {
            builder = builder.with_precision(precision.cast_signed()).with_scale(scale.cast_signed());
            if physical == Physical::FIXED_LEN_BYTE_ARRAY {
                builder = builder.with_length(bytes as i32);
            }
        }
        fields.push(TypePtr::new(builder.build()?));
        forms.push(form);
    }
    Ok((Type::group_type_builder("rows").with_fields(fields).build()?, forms))
}
