//! Declared types of SQLite in neutral words. They bind no value: what a column really holds may be of any kind, and is
//! given as the text of that kind.

use std::collections::{BTreeSet, HashMap};

use millrace_operator_api::ports::{SourceColumn, ValueType};
use sqlx::sqlite::SqliteColumn;
use sqlx::{Column, SqliteConnection};

use super::connect::{SqliteFile, literal};
use crate::parts::declared::Declared;

/// The columns of a prepared query: those that are columns of tables have declared types, expressions have none.
pub async fn source_columns(
    file: &SqliteFile,
    connection: &mut SqliteConnection,
    columns: &[SqliteColumn],
) -> Vec<SourceColumn> {
    let mut declared: HashMap<String, HashMap<String, String>> = HashMap::new();
    for table in columns.iter().filter_map(origin).map(|(table, _)| table).collect::<BTreeSet<_>>() {
        let statement = format!("SELECT name, type FROM pragma_table_xinfo({})", literal(&table));
        match file.ask(connection, &statement).await {
            Ok(answer) => {
                let types = answer.rows.into_iter().filter_map(|row| {
                    let mut cells = row.into_iter();
                    Some((cells.next()??, cells.next()??))
                });
                declared.insert(table, types.collect());
            }
            Err(error) => tracing::debug!(error = error.message, "the declared types could not be read"),
        }
    }
    columns
        .iter()
        .map(|column| {
            let known = origin(column).and_then(|(table, name)| declared.get(&table)?.get(&name).cloned());
            let text = known.unwrap_or_default();
            SourceColumn {
                name: column.name().to_owned(),
                value: value_type(&text),
                // PostgreSQL has a type of that name, whose texts are in an order that nobody keeps here.
                type_name: Some(text.to_ascii_lowercase())
                    .filter(|name| name != "jsonb")
                    .unwrap_or_else(|| "json".to_owned()),
            }
        })
        .collect()
}

fn origin(column: &SqliteColumn) -> Option<(String, String)> {
    let origin = column.origin();
    let table = origin.table_column()?;
    Some((table.table.to_string(), table.name.to_string()))
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
