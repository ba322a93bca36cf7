//! Rows out of Redshift, for comparing: small answers, which fit in memory.

use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{RowBatch, RowHashing, RowStream, SourceColumn, SqlSource, TableName, ValueType};

use super::RedshiftWarehouse;
use super::hashing::RedshiftHashing;
use crate::parts::declared::Declared;
use crate::parts::session::{ask, describe};
use crate::parts::sql::without_semicolon;
use crate::postgres::key_query;

/// Asks through the warehouse's own transport; an answer arrives whole. What a column of a query is is not told: its
/// values are text.
pub struct RedshiftSource {
    warehouse: Arc<RedshiftWarehouse>,
}

impl RedshiftSource {
    pub fn new(warehouse: RedshiftWarehouse) -> Self {
        Self { warehouse: Arc::new(warehouse) }
    }
}

impl SqlSource for RedshiftSource {
    fn quote(&self, name: &str) -> String {
        crate::parts::sql::quote(name)
    }

    fn literal(&self, text: &str) -> String {
        crate::parts::sql::literal(text)
    }

    fn table_sql(&self, table: &TableName) -> String {
        crate::parts::sql::table(table)
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(async move {
            let session = self.warehouse.session(None);
            let answer = ask(&*session, "read", without_semicolon(sql).to_owned()).await?;
            let mut batch = RowBatch::new(answer.columns.len());
            for cell in answer.rows.iter().flatten() {
                batch.push(cell.as_deref().map(str::as_bytes));
            }
            let columns = answer.columns.into_iter().map(SourceColumn::text).collect();
            let batches = if batch.is_empty() { Vec::new() } else { vec![Ok(batch)] };
            Ok(RowStream { columns, batches: stream::iter(batches).boxed() })
        })
    }

    fn answers_whole(&self) -> bool {
        true
    }

    fn table_columns<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<SourceColumn>, PortError>> {
        Box::pin(async move {
            let columns = describe(&*self.warehouse.session(None), table).await?;
            let column = |column: millrace_operator_api::ports::Column| SourceColumn {
                value: value_type(&column.type_name),
                // Filled up with blanks, as PostgreSQL's of this name.
                type_name: if column.type_name.starts_with("character(") || column.type_name == "character" {
                    "bpchar".to_owned()
                } else {
                    column.type_name
                },
                name: column.name,
            };
            Ok(columns.into_iter().map(column).collect())
        })
    }

    fn key_query(&self, table: &TableName) -> Option<String> {
        Some(key_query(table, |text| crate::parts::sql::literal(&text.to_lowercase())))
    }

    fn row_hashing(&self) -> Option<&dyn RowHashing> {
        Some(&RedshiftHashing)
    }
}

fn value_type(text: &str) -> ValueType {
    let declared = Declared::read(text);
    let is_zoned = text.contains("with time zone") || declared.name.ends_with("tz");
    let length = declared.number(0).map(u64::from);
    match declared.name.split(' ').next().unwrap_or_default() {
        "smallint" | "int2" => ValueType::Integer { bits: 16, signed: true },
        "integer" | "int" | "int4" => ValueType::Integer { bits: 32, signed: true },
        "bigint" | "int8" => ValueType::Integer { bits: 64, signed: true },
        "numeric" | "decimal" => ValueType::Decimal {
            precision: declared.number(0),
            scale: declared.number(0).map(|_| declared.number(1).unwrap_or(0)),
        },
        "real" | "float4" => ValueType::Float { bits: 32 },
        "double" | "float" | "float8" => ValueType::Float { bits: 64 },
        "boolean" | "bool" => ValueType::Bool,
        "date" => ValueType::Date,
        "time" | "timetz" => ValueType::Time { beyond_day: false, zoned: is_zoned },
        "timestamp" | "timestamptz" => ValueType::Timestamp { zoned: is_zoned },
        "character" | "char" | "varchar" | "text" | "bpchar" | "nvarchar" => {
            ValueType::Text { max_chars: None, max_bytes: length }
        }
        "varbyte" | "bytea" | "varbinary" => ValueType::Bytes { max_bytes: length },
        "super" | "jsonb" | "json" => ValueType::Json,
        _ => ValueType::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_read() {
        let cases = [
            ("bigint", "integer(64)"),
            ("numeric(38,10)", "decimal(38,10)"),
            ("numeric", "decimal"),
            ("character varying(256)", "text"),
            ("timestamp without time zone", "timestamp"),
            ("timestamp with time zone", "timestamp with zone"),
            ("double precision", "float(64)"),
            ("super", "json"),
            ("geometry", "other"),
        ];
        for (text, expected) in cases {
            assert_eq!(value_type(text).to_string(), expected, "{text}");
        }
    }
}
