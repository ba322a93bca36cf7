//! Redshift's column types and what they are in PostgreSQL.

use super::answer::SqlError;

/// Bytes of the longest VARCHAR.
const LONGEST_VARCHAR: i64 = 65_535;
/// Bytes of the longest CHAR.
const LONGEST_CHAR: i64 = 4_096;
/// Digits of the longest DECIMAL.
const LONGEST_DECIMAL: i64 = 38;

/// The PostgreSQL type of a column that is declared with `declared` in Redshift.
pub(super) fn column_type(declared: &str, column: &str) -> Result<String, SqlError> {
    let (name, arguments) = split(declared);
    let length = |default: i64, longest: i64, kind: &str| -> Result<i64, SqlError> {
        let length = match arguments.as_slice() {
            [] => default,
            [max] if max.eq_ignore_ascii_case("max") => longest,
            [length] => length.parse().map_err(|_| SqlError::syntax(length))?,
            [_, extra, ..] => return Err(SqlError::syntax(extra)),
        };
        if length < 1 {
            return Err(SqlError::new(format!("length for type {kind} must be at least 1")));
        }
        if length > longest {
            return Err(SqlError::new(format!("length for type {kind} cannot exceed {longest}")));
        }
        Ok(length)
    };
    let plain = |postgres: &str| match arguments.first() {
        None => Ok(postgres.to_owned()),
        Some(argument) => Err(SqlError::syntax(argument)),
    };
    match name.as_str() {
        "smallint" | "int2" => plain("smallint"),
        "integer" | "int" | "int4" => plain("integer"),
        "bigint" | "int8" => plain("bigint"),
        "decimal" | "numeric" => decimal(&arguments),
        "real" | "float4" => plain("real"),
        "double precision" | "double" | "float8" => plain("double precision"),
        "float" => match arguments.first().map(|digits| digits.parse::<i64>()) {
            None => Ok("double precision".to_owned()),
            Some(Ok(1..=24)) => Ok("real".to_owned()),
            Some(Ok(25..=53)) => Ok("double precision".to_owned()),
            Some(_) => Err(SqlError::new("precision for type float must be between 1 and 53")),
        },
        "boolean" | "bool" => plain("boolean"),
        "char" | "character" | "nchar" => Ok(format!("character({})", length(1, LONGEST_CHAR, "char")?)),
        "bpchar" => Ok("character(256)".to_owned()),
        "varchar" | "character varying" | "char varying" | "nvarchar" => {
            Ok(format!("character varying({})", length(256, LONGEST_VARCHAR, "varchar")?))
        }
        // Redshift makes VARCHAR(256) of it, whatever people expect.
        "text" => Ok("character varying(256)".to_owned()),
        "date" => plain("date"),
        "time" | "time without time zone" => plain("time without time zone"),
        "timetz" | "time with time zone" => plain("time with time zone"),
        "timestamp" | "timestamp without time zone" => plain("timestamp without time zone"),
        "timestamptz" | "timestamp with time zone" => plain("timestamp with time zone"),
        "super" => plain("jsonb"),
        "varbyte" | "varbinary" | "binary varying" => Ok("bytea".to_owned()),
        "geometry" | "geography" | "hllsketch" | "interval" => {
            Err(SqlError::not_emulated(&format!("the type {name} of column {column}")))
        }
        // PostgreSQL has them, Redshift does not.
        _ => Err(SqlError::new(format!("Column \"{column}\" has unsupported type \"{name}\"."))),
    }
}

fn decimal(arguments: &[String]) -> Result<String, SqlError> {
    let number = |text: &String| text.parse::<i64>().map_err(|_| SqlError::syntax(text));
    let (precision, scale) = match arguments {
        [] => (18, 0),
        [precision] => (number(precision)?, 0),
        [precision, scale] => (number(precision)?, number(scale)?),
        [_, _, extra, ..] => return Err(SqlError::syntax(extra)),
    };
    if !(1..=LONGEST_DECIMAL).contains(&precision) {
        return Err(SqlError::new(format!("DECIMAL precision {precision} must be between 1 and {LONGEST_DECIMAL}")));
    }
    if !(0..=precision).contains(&scale) || scale > 37 {
        return Err(SqlError::new(format!("DECIMAL scale {scale} must be between 0 and precision {precision}")));
    }
    Ok(format!("numeric({precision},{scale})"))
}

/// `CHARACTER VARYING(10)` -> `character varying`, `["10"]`; the arguments may stand in the middle
/// (`TIMESTAMP(6) WITH TIME ZONE`).
fn split(declared: &str) -> (String, Vec<String>) {
    let lower = declared.to_lowercase();
    let Some((before, rest)) = lower.split_once('(') else { return (squeeze(&lower), Vec::new()) };
    let (inside, after) = rest.split_once(')').unwrap_or((rest, ""));
    let arguments = inside.split(',').map(|argument| argument.trim().to_owned()).collect();
    (squeeze(&format!("{before} {after}")), arguments)
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What Redshift calls a type of PostgreSQL in results, and how its values travel.
pub(super) fn result_type(postgres: &tokio_postgres::types::Type) -> (&'static str, Transport) {
    use tokio_postgres::types::Type;
    match *postgres {
        Type::BOOL => ("bool", Transport::Boolean),
        Type::INT2 => ("int2", Transport::Long),
        Type::INT4 => ("int4", Transport::Long),
        Type::INT8 => ("int8", Transport::Long),
        Type::OID => ("oid", Transport::Long),
        Type::FLOAT4 => ("float4", Transport::Double),
        Type::FLOAT8 => ("float8", Transport::Double),
        Type::NUMERIC => ("numeric", Transport::Text),
        Type::DATE => ("date", Transport::Text),
        Type::TIME => ("time", Transport::Text),
        Type::TIMETZ => ("timetz", Transport::Text),
        Type::TIMESTAMP => ("timestamp", Transport::Text),
        Type::TIMESTAMPTZ => ("timestamptz", Transport::Text),
        Type::BPCHAR => ("bpchar", Transport::Text),
        Type::NAME => ("name", Transport::Text),
        Type::JSONB => ("super", Transport::Text),
        Type::BYTEA => ("varbyte", Transport::Text),
        _ => ("varchar", Transport::Text),
    }
}

/// Which member of a result's `Field` carries a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Boolean,
    Long,
    Double,
    Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_become_what_redshift_makes_of_them() {
        for (declared, expected) in [
            ("TEXT", "character varying(256)"),
            ("VARCHAR", "character varying(256)"),
            ("VARCHAR(MAX)", "character varying(65535)"),
            ("CHARACTER VARYING(12)", "character varying(12)"),
            ("CHAR(3)", "character(3)"),
            ("DECIMAL", "numeric(18,0)"),
            ("NUMERIC(38,37)", "numeric(38,37)"),
            ("FLOAT", "double precision"),
            ("TIMESTAMP WITH TIME ZONE", "timestamp with time zone"),
            ("SUPER", "jsonb"),
        ] {
            assert_eq!(column_type(declared, "c").as_deref(), Ok(expected), "{declared}");
        }
        for refused in [
            "JSONB",
            "UUID",
            "BYTEA",
            "SERIAL",
            "VARCHAR(65536)",
            "CHAR(4097)",
            "DECIMAL(39,0)",
            "INTEGER[]",
            "TINYINT",
        ] {
            assert!(column_type(refused, "c").is_err(), "{refused}");
        }
    }
}
