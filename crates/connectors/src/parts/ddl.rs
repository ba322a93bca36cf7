//! Tables that are made or changed for rows: types that hold every value of the source exactly, in each engine's words.
//!
//! `docs/types.md` shows the same for people.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{Alteration, NewColumn, TableName, ValueType};

use crate::parts::failure::invalid;
use crate::parts::sql::{list, quote, table};

/// PostgreSQL's longest `varchar(n)`.
const LONGEST_POSTGRES_VARCHAR: u64 = 10_485_760;
const LONGEST_REDSHIFT_VARCHAR: u64 = 65_535;
const LONGEST_REDSHIFT_VARBYTE: u64 = 16_777_216;
/// Digits of Redshift's longest DECIMAL.
const REDSHIFT_DIGITS: u32 = 38;

/// The bits that a signed number needs to hold every one of them.
pub fn signed_bits(bits: u32, signed: bool) -> u32 {
    if signed { bits } else { bits + 1 }
}

fn integer(bits: u32, widest: &str) -> String {
    match bits {
        0..=16 => "smallint",
        17..=32 => "integer",
        33..=64 => "bigint",
        _ => widest,
    }
    .to_owned()
}

pub fn postgres(value: &ValueType) -> String {
    let varchar = |length: Option<u64>| match length {
        Some(length @ 1..=LONGEST_POSTGRES_VARCHAR) => format!("varchar({length})"),
        _ => "text".to_owned(),
    };
    match value {
        ValueType::Integer { bits, signed } => integer(signed_bits(u32::from(*bits), *signed), "numeric(20,0)"),
        ValueType::Bit { length } => integer(signed_bits(*length, false), "numeric(20,0)"),
        ValueType::Decimal { precision: Some(precision @ 1..=1000), scale } => {
            format!("numeric({precision},{})", scale.unwrap_or(0))
        }
        ValueType::Decimal { .. } | ValueType::Money => "numeric".to_owned(),
        ValueType::Float { bits: 32 } => "real".to_owned(),
        ValueType::Float { .. } => "double precision".to_owned(),
        ValueType::Bool => "boolean".to_owned(),
        ValueType::BitString { max_length: Some(length) } => format!("bit varying({length})"),
        ValueType::BitString { max_length: None } => "bit varying".to_owned(),
        ValueType::Text { max_chars, .. } => varchar(*max_chars),
        ValueType::Enum { max_chars } | ValueType::Set { max_chars } => varchar(*max_chars),
        ValueType::Bytes { .. } => "bytea".to_owned(),
        ValueType::Date => "date".to_owned(),
        ValueType::Time { beyond_day: true, .. } | ValueType::Interval => "interval".to_owned(),
        ValueType::Time { zoned: true, .. } => "time with time zone".to_owned(),
        ValueType::Time { .. } => "time".to_owned(),
        ValueType::Timestamp { zoned: true } => "timestamp with time zone".to_owned(),
        ValueType::Timestamp { zoned: false } => "timestamp".to_owned(),
        ValueType::Year => "smallint".to_owned(),
        // jsonb would rewrite numbers, drop repeated keys and refuse \u0000.
        ValueType::Json => "json".to_owned(),
        ValueType::Uuid => "uuid".to_owned(),
        ValueType::Array { of } => format!("{}[]", postgres(of)),
        ValueType::Other => "text".to_owned(),
    }
}

pub fn redshift(value: &ValueType) -> String {
    let varchar = |bytes: Option<u64>| {
        format!("varchar({})", bytes.unwrap_or(LONGEST_REDSHIFT_VARCHAR).clamp(1, LONGEST_REDSHIFT_VARCHAR))
    };
    // A character takes up to four bytes.
    let characters = |count: Option<u64>| varchar(count.map(|count| count.saturating_mul(4)));
    match value {
        ValueType::Integer { bits, signed } => integer(signed_bits(u32::from(*bits), *signed), "decimal(20,0)"),
        ValueType::Bit { length } => integer(signed_bits(*length, false), "decimal(20,0)"),
        ValueType::Decimal { precision: Some(precision @ 1..=REDSHIFT_DIGITS), scale } if scale.unwrap_or(0) <= 37 => {
            format!("decimal({precision},{})", scale.unwrap_or(0))
        }
        // Sign, point and all digits: a number with fewer would not be the same one.
        ValueType::Decimal { precision, .. } => varchar(precision.map(|digits| u64::from(digits) + 3)),
        ValueType::Money => "decimal(21,4)".to_owned(),
        ValueType::Float { bits: 32 } => "real".to_owned(),
        ValueType::Float { .. } => "double precision".to_owned(),
        ValueType::Bool => "boolean".to_owned(),
        ValueType::BitString { max_length } => varchar(max_length.map(u64::from)),
        ValueType::Text { max_chars, max_bytes } => match max_bytes {
            Some(bytes) => varchar(Some(*bytes)),
            None => characters(*max_chars),
        },
        ValueType::Enum { max_chars } | ValueType::Set { max_chars } => characters(*max_chars),
        ValueType::Bytes { max_bytes } => {
            format!("varbyte({})", max_bytes.unwrap_or(LONGEST_REDSHIFT_VARBYTE).clamp(1, LONGEST_REDSHIFT_VARBYTE))
        }
        ValueType::Date => "date".to_owned(),
        // -838:59:59.000000
        ValueType::Time { beyond_day: true, .. } => "varchar(17)".to_owned(),
        ValueType::Time { zoned: true, .. } => "timetz".to_owned(),
        ValueType::Time { .. } => "time".to_owned(),
        ValueType::Timestamp { zoned: true } => "timestamptz".to_owned(),
        ValueType::Timestamp { zoned: false } => "timestamp".to_owned(),
        ValueType::Year => "smallint".to_owned(),
        ValueType::Json => "super".to_owned(),
        ValueType::Uuid => "varchar(36)".to_owned(),
        ValueType::Interval => "varchar(128)".to_owned(),
        ValueType::Array { .. } | ValueType::Other => varchar(None),
    }
}

/// SQLite's own types lose digits of decimals and of integers above 63 bits: those are text.
pub fn sqlite(value: &ValueType) -> String {
    match value {
        ValueType::Integer { bits, signed } if signed_bits(u32::from(*bits), *signed) <= 64 => "INTEGER",
        ValueType::Bit { length } if *length <= 63 => "INTEGER",
        ValueType::Year => "INTEGER",
        ValueType::Float { .. } => "REAL",
        ValueType::Bool => "BOOLEAN",
        ValueType::Bytes { .. } => "BLOB",
        ValueType::Date => "DATE",
        ValueType::Timestamp { .. } => "TIMESTAMP",
        _ => "TEXT",
    }
    .to_owned()
}

/// `name` is quoted.
pub fn create_table(
    name: &str,
    columns: &[NewColumn],
    keys: &[String],
    if_not_exists: bool,
) -> Result<String, PortError> {
    if columns.is_empty() {
        return Err(invalid(format!("a table {name} without columns cannot be made")));
    }
    if let Some(missing) = keys.iter().find(|key| !columns.iter().any(|column| column.name == **key)) {
        return Err(invalid(format!("{missing:?} is to be a key of {name}, and is none of its columns")));
    }
    let mut parts: Vec<String> = columns.iter().map(|column| definition(column, keys.contains(&column.name))).collect();
    if !keys.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(keys)));
    }
    let guard = if if_not_exists { "IF NOT EXISTS " } else { "" };
    Ok(format!("CREATE TABLE {guard}{name} ({})", parts.join(", ")))
}

fn definition(column: &NewColumn, is_key: bool) -> String {
    let not_null = if column.is_nullable && !is_key { "" } else { " NOT NULL" };
    format!("{} {}{not_null}", quote(&column.name), column.type_name)
}

/// One statement for each change: Redshift takes one column at a time, and changes lengths of VARCHAR only.
pub fn alter_table(name: &TableName, alterations: &[Alteration]) -> Vec<String> {
    let name = table(name);
    alterations
        .iter()
        .map(|alteration| match alteration {
            // Rows that are there have no value for it.
            Alteration::Add(column) => {
                format!("ALTER TABLE {name} ADD COLUMN {} {}", quote(&column.name), column.type_name)
            }
            Alteration::Widen { column, type_name } => {
                format!("ALTER TABLE {name} ALTER COLUMN {} TYPE {type_name}", quote(column))
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_of_the_source_has_a_type_that_holds_it() {
        let int = |bits, signed| ValueType::Integer { bits, signed };
        let text = |max_chars, max_bytes| ValueType::Text { max_chars, max_bytes };
        let decimal = |precision, scale| ValueType::Decimal { precision, scale };
        let time = |beyond_day| ValueType::Time { beyond_day, zoned: false };
        let cases = [
            (int(8, false), "smallint", "smallint", "INTEGER"),
            (int(16, false), "integer", "integer", "INTEGER"),
            (int(24, true), "integer", "integer", "INTEGER"),
            (int(32, false), "bigint", "bigint", "INTEGER"),
            (int(64, true), "bigint", "bigint", "INTEGER"),
            (int(64, false), "numeric(20,0)", "decimal(20,0)", "TEXT"),
            (decimal(Some(38), Some(10)), "numeric(38,10)", "decimal(38,10)", "TEXT"),
            (decimal(Some(65), Some(30)), "numeric(65,30)", "varchar(68)", "TEXT"),
            (decimal(None, None), "numeric", "varchar(65535)", "TEXT"),
            (ValueType::Bit { length: 1 }, "smallint", "smallint", "INTEGER"),
            (ValueType::Bit { length: 64 }, "numeric(20,0)", "decimal(20,0)", "TEXT"),
            (text(Some(20), Some(80)), "varchar(20)", "varchar(80)", "TEXT"),
            (text(Some(20_000), None), "varchar(20000)", "varchar(65535)", "TEXT"),
            (ValueType::TEXT, "text", "varchar(65535)", "TEXT"),
            (ValueType::Bytes { max_bytes: Some(16) }, "bytea", "varbyte(16)", "BLOB"),
            (time(true), "interval", "varchar(17)", "TEXT"),
            (time(false), "time", "time", "TEXT"),
            (ValueType::Timestamp { zoned: true }, "timestamp with time zone", "timestamptz", "TIMESTAMP"),
            (ValueType::Json, "json", "super", "TEXT"),
            (ValueType::Array { of: Box::new(int(32, true)) }, "integer[]", "varchar(65535)", "TEXT"),
            (ValueType::Enum { max_chars: Some(3) }, "varchar(3)", "varchar(12)", "TEXT"),
        ];
        for (value, in_postgres, in_redshift, in_sqlite) in cases {
            let found = (postgres(&value), redshift(&value), sqlite(&value));
            assert_eq!(found, (in_postgres.into(), in_redshift.into(), in_sqlite.into()), "{value}");
        }
    }

    #[test]
    fn tables_are_made_with_their_keys() {
        let columns: Vec<NewColumn> = [("id", "bigint", true), ("\u{c8fc}\u{bb38} \"x\"", "varchar(9)", false)]
            .into_iter()
            .map(|(name, type_name, is_nullable)| NewColumn {
                name: name.into(),
                type_name: type_name.into(),
                is_nullable,
            })
            .collect();
        assert_eq!(
            create_table("\"t\"", &columns, &["id".to_owned()], true).as_deref().ok(),
            Some(
                "CREATE TABLE IF NOT EXISTS \"t\" (\"id\" bigint NOT NULL, \"\u{c8fc}\u{bb38} \"\"x\"\"\" varchar(9) NOT NULL, \
                 PRIMARY KEY (\"id\"))"
            )
        );
        assert!(create_table("\"t\"", &columns, &["nope".to_owned()], true).is_err());
        assert!(create_table("\"t\"", &[], &[], true).is_err());
    }
}
