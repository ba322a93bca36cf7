//! PostgreSQL's types in neutral words, from the statement's own description: type and modifier.

use millrace_operator_api::ports::{SourceColumn, ValueType};
use tokio_postgres::types::{Kind, Type};

/// A modifier counts its own header.
const HEADER: i32 = 4;

pub fn source_column(column: &tokio_postgres::Column) -> SourceColumn {
    SourceColumn {
        name: column.name().to_owned(),
        type_name: name_of(column.type_()).to_owned(),
        value: value_type(column.type_(), column.type_modifier()),
    }
}

/// A domain over CHAR is filled up with blanks as well.
fn name_of(of: &Type) -> &str {
    let mut base = of;
    while let Kind::Domain(inner) = base.kind() {
        base = inner;
    }
    if *base == Type::BPCHAR { base.name() } else { of.name() }
}

/// `modifier` is -1 where none is declared.
fn value_type(of: &Type, modifier: i32) -> ValueType {
    let length = u32::try_from(modifier).ok();
    let chars = u64::try_from(modifier - HEADER).ok().filter(|_| modifier >= HEADER);
    match *of {
        Type::INT2 => ValueType::Integer { bits: 16, signed: true },
        Type::INT4 => ValueType::Integer { bits: 32, signed: true },
        Type::INT8 => ValueType::Integer { bits: 64, signed: true },
        Type::OID => ValueType::Integer { bits: 32, signed: false },
        Type::NUMERIC => decimal(modifier),
        Type::FLOAT4 => ValueType::Float { bits: 32 },
        Type::FLOAT8 => ValueType::Float { bits: 64 },
        Type::BOOL => ValueType::Bool,
        Type::BIT => ValueType::BitString { max_length: length.or(Some(1)) },
        Type::VARBIT => ValueType::BitString { max_length: length },
        Type::VARCHAR | Type::BPCHAR => {
            ValueType::Text { max_chars: chars, max_bytes: chars.map(|chars| chars.saturating_mul(4)) }
        }
        Type::NAME => ValueType::Text { max_chars: Some(63), max_bytes: Some(63) },
        Type::CHAR => ValueType::Text { max_chars: Some(1), max_bytes: Some(1) },
        Type::TEXT | Type::XML | Type::UNKNOWN => ValueType::TEXT,
        Type::BYTEA => ValueType::Bytes { max_bytes: None },
        Type::DATE => ValueType::Date,
        Type::TIME => ValueType::Time { beyond_day: false, zoned: false },
        Type::TIMETZ => ValueType::Time { beyond_day: false, zoned: true },
        Type::TIMESTAMP => ValueType::Timestamp { zoned: false },
        Type::TIMESTAMPTZ => ValueType::Timestamp { zoned: true },
        Type::INTERVAL => ValueType::Interval,
        Type::JSON | Type::JSONB => ValueType::Json,
        Type::UUID => ValueType::Uuid,
        Type::MONEY => ValueType::Money,
        _ => match of.kind() {
            Kind::Array(element) => ValueType::Array { of: Box::new(value_type(element, modifier)) },
            Kind::Domain(base) => value_type(base, modifier),
            Kind::Enum(labels) => {
                ValueType::Enum { max_chars: labels.iter().map(|label| label.chars().count() as u64).max() }
            }
            _ if of.name() == "citext" => ValueType::TEXT,
            _ => ValueType::Other,
        },
    }
}

/// A scale below zero rounds to tens or hundreds, and one above the precision leaves zeros behind the point: both become
/// the smallest ordinary limits that hold every such value.
fn decimal(modifier: i32) -> ValueType {
    if modifier < HEADER {
        return ValueType::Decimal { precision: None, scale: None };
    }
    let packed = modifier - HEADER;
    let precision = (packed >> 16) & 0xffff;
    let scale = ((packed & 0x7ff) ^ 1024) - 1024;
    let precision = if scale < 0 { precision - scale } else { precision.max(scale) };
    ValueType::Decimal { precision: u32::try_from(precision).ok(), scale: u32::try_from(scale.max(0)).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numeric(precision: i32, scale: i32) -> String {
        value_type(&Type::NUMERIC, ((precision << 16) | (scale & 0x7ff)) + HEADER).to_string()
    }

    #[test]
    fn modifiers_become_limits() {
        assert_eq!(numeric(38, 10), "decimal(38,10)");
        assert_eq!(numeric(2, -3), "decimal(5,0)");
        assert_eq!(numeric(3, 5), "decimal(5,5)");
        assert_eq!(value_type(&Type::NUMERIC, -1).to_string(), "decimal");
        assert_eq!(value_type(&Type::VARCHAR, 24).to_string(), "text(20)");
        assert_eq!(value_type(&Type::VARCHAR, -1), ValueType::TEXT);
        assert_eq!(value_type(&Type::BIT, 5).to_string(), "bit string(5)");
        assert_eq!(value_type(&Type::NUMERIC_ARRAY, -1).to_string(), "array of decimal");
        assert_eq!(value_type(&Type::INET, -1), ValueType::Other);
    }
}
