//! Declared types of SQLite in neutral words. They bind no value: what a column really holds may be of any kind, and is
//! given as the text of that kind.

use millrace_operator_api::ports::{SourceColumn, ValueType};
use rusqlite::Statement;

use crate::parts::declared::Declared;

/// The columns of a prepared query: those that are columns of tables have declared types, expressions have none.
pub fn source_columns(statement: &Statement<'_>) -> Vec<SourceColumn> {
    let columns = statement.columns();
    let columns = columns.iter().map(|column| {
        let text = column.decl_type().unwrap_or_default();
        SourceColumn {
            name: column.name().to_owned(),
            value: value_type(text),
            // PostgreSQL has a type of that name, whose texts are in an order that nobody keeps here.
            type_name: Some(text.to_ascii_lowercase())
                .filter(|name| name != "jsonb")
                .unwrap_or_else(|| "json".to_owned()),
        }
    });
    columns.collect()
}

fn value_type(text: &str) -> ValueType {
    let declared = Declared::read(text);
    let name = declared.name.as_str();
    let length = declared.number(0).map(u64::from);
    let has = |word: &str| name.contains(word);
    match name {
        "" | "any" => ValueType::Other,
        "bool" | "boolean" => ValueType::Bool,
        "date" => ValueType::Date,
        "time" => ValueType::Time { beyond_day: false, zoned: false },
        "datetime" | "timestamp" => ValueType::Timestamp { zoned: false },
        "timestamptz" | "timestamp with time zone" => ValueType::Timestamp { zoned: true },
        "decimal" | "numeric" | "number" => ValueType::Decimal {
            precision: declared.number(0),
            scale: declared.number(0).map(|_| declared.number(1).unwrap_or(0)),
        },
        "json" | "jsonb" => ValueType::Json,
        "uuid" => ValueType::Uuid,
        // As SQLite reads them itself: every integer has up to 64 bits, whatever the name promises.
        _ if has("int") => ValueType::Integer { bits: 64, signed: true },
        _ if has("char") || has("clob") || has("text") => {
            ValueType::Text { max_chars: length, max_bytes: length.map(|chars| chars.saturating_mul(4)) }
        }
        _ if has("blob") || has("binary") => ValueType::Bytes { max_bytes: length },
        _ if has("real") || has("floa") || has("doub") => ValueType::Float { bits: 64 },
        _ => ValueType::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::value_type;

    #[test]
    fn declared_types_are_understood() {
        let cases = [
            ("", "other"),
            ("TINYINT", "integer(64)"),
            ("UNSIGNED BIG INT", "integer(64)"),
            ("DECIMAL(10,5)", "decimal(10,5)"),
            ("NUMERIC", "decimal"),
            ("NVARCHAR(100)", "text(100)"),
            ("BLOB", "bytes"),
            ("DOUBLE PRECISION", "float(64)"),
            ("BOOLEAN", "bool"),
            ("DATETIME", "timestamp"),
            ("GEOGRAPHY", "other"),
        ];
        for (text, expected) in cases {
            assert_eq!(value_type(text).to_string(), expected, "{text}");
        }
    }
}
