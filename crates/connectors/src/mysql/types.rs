//! The types of a query's columns, from the catalogue where they are columns of tables, and from the answer's own
//! description where they are expressions.

use std::collections::{BTreeSet, HashMap};

use millrace_operator_api::ports::{SourceColumn, ValueType};
use sqlx::mysql::{MySqlColumn, MySqlConnection, MySqlRow};
use sqlx::{AssertSqlSafe, Column, Executor, Row, SqlSafeStr, Statement};

use super::{cells, derived};
use crate::parts::declared::Declared;

/// What the catalogue says of a column of a table.
struct Known {
    column_type: String,
    max_chars: Option<u64>,
    /// In the column's own character set.
    max_octets: Option<u64>,
    character_set: Option<String>,
    is_json: bool,
}

type Catalogue = HashMap<(String, String), Known>;

/// The columns of a prepared statement, and of those that come out of a query within it what they are there: a night's rows
/// of a table are asked for by a condition around it, and are the table's all the same.
pub async fn source_columns(
    connection: &mut MySqlConnection,
    columns: &[MySqlColumn],
    mut sql: &str,
    is_mariadb: bool,
) -> Vec<SourceColumn> {
    let mut found = described(connection, columns, is_mariadb).await;
    while found.iter().any(|(_, is_known)| !is_known)
        && let Some(inside) = derived::inside(sql)
    {
        let text = AssertSqlSafe(inside.to_owned()).into_sql_str();
        // What can't be asked alone stays as the server describes it.
        let Ok(prepared) = connection.prepare(text).await else { break };
        let within = described(connection, prepared.columns(), is_mariadb).await;
        for (column, is_known) in found.iter_mut().filter(|(_, is_known)| !is_known) {
            let same = |(other, _): &&(SourceColumn, bool)| other.name.eq_ignore_ascii_case(&column.name);
            if let Some((same, true)) = within.iter().find(same) {
                *column = SourceColumn { name: std::mem::take(&mut column.name), ..same.clone() };
                *is_known = true;
            }
        }
        sql = inside;
    }
    found.into_iter().map(|(column, _)| column).collect()
}

/// The columns, and whether each is a table's that the catalogue knows. Where that can't be read (views of others, say), the
/// types are as exact as the statement's own description.
async fn described(
    connection: &mut MySqlConnection,
    columns: &[MySqlColumn],
    is_mariadb: bool,
) -> Vec<(SourceColumn, bool)> {
    let known = match catalogue(connection, columns, is_mariadb).await {
        Ok(known) => known,
        Err(error) => {
            tracing::debug!(%error, "the catalogue could not be read");
            Catalogue::new()
        }
    };
    columns
        .iter()
        .map(|column| {
            let type_name = cells::type_name(column.type_info());
            let facts = origin(column).and_then(|(table, name)| known.get(&(table, name)));
            let value = facts.map_or_else(|| of_expression(&type_name), of_catalogue);
            (SourceColumn { name: column.name().to_owned(), type_name, value }, facts.is_some())
        })
        .collect()
}

/// `schema.table` and the column.
fn origin(column: &MySqlColumn) -> Option<(String, String)> {
    let origin = column.origin();
    let table = origin.table_column()?;
    Some((table.table.to_string(), table.name.to_string()))
}

async fn catalogue(
    connection: &mut MySqlConnection,
    columns: &[MySqlColumn],
    is_mariadb: bool,
) -> Result<Catalogue, sqlx::Error> {
    let tables: BTreeSet<String> = columns.iter().filter_map(origin).map(|(table, _)| table).collect();
    let places: Vec<String> = tables
        .iter()
        .filter_map(|table| table.split_once('.'))
        .map(|(schema, table)| format!("(c.table_schema = {} AND c.table_name = {})", literal(schema), literal(table)))
        .collect();
    let mut known = Catalogue::new();
    if places.is_empty() {
        return Ok(known);
    }
    let statement = format!(
        "SELECT CONCAT(c.table_schema, '.', c.table_name), c.column_name, CAST(c.column_type AS CHAR), \
         CAST(c.character_maximum_length AS CHAR), CAST(c.character_octet_length AS CHAR), c.character_set_name \
         FROM information_schema.columns c WHERE {}",
        places.join(" OR ")
    );
    for row in connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(statement))).await? {
        let text = |index| text(&row, index);
        let number = |index| text(index).and_then(|text| text.parse().ok());
        if let (Some(table), Some(column)) = (text(0), text(1)) {
            let facts = Known {
                column_type: text(2).unwrap_or_default(),
                max_chars: number(3),
                max_octets: number(4),
                character_set: text(5),
                is_json: false,
            };
            known.insert((table, column), facts);
        }
    }
    if is_mariadb && known.values().any(|facts| facts.column_type == "longtext") {
        mark_json(connection, &tables, &mut known).await?;
    }
    Ok(known)
}

/// MariaDB's JSON is a longtext with a constraint that says so.
async fn mark_json(
    connection: &mut MySqlConnection,
    tables: &BTreeSet<String>,
    known: &mut Catalogue,
) -> Result<(), sqlx::Error> {
    let schemas: BTreeSet<String> = tables.iter().filter_map(|table| Some(literal(table.split_once('.')?.0))).collect();
    let statement = format!(
        "SELECT CONCAT(constraint_schema, '.', table_name), constraint_name, check_clause \
         FROM information_schema.check_constraints WHERE constraint_schema IN ({}) AND check_clause LIKE 'json_valid%'",
        schemas.into_iter().collect::<Vec<_>>().join(", ")
    );
    for row in connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(statement))).await? {
        let (Some(table), Some(column), Some(clause)) = (text(&row, 0), text(&row, 1), text(&row, 2)) else { continue };
        if clause == format!("json_valid(`{column}`)")
            && let Some(facts) = known.get_mut(&(table, column))
        {
            facts.is_json = true;
        }
    }
    Ok(())
}

fn text(row: &MySqlRow, index: usize) -> Option<String> {
    let bytes = row.try_get_unchecked::<Option<&[u8]>, _>(index).ok()??;
    Some(String::from_utf8_lossy(bytes).into_owned())
}

/// The session has the server's sql_mode, in which a backslash may or may not escape: hex is neither.
fn literal(text: &str) -> String {
    format!("CONVERT(0x{} USING utf8mb4)", hex::encode(text))
}

fn of_catalogue(known: &Known) -> ValueType {
    if known.is_json {
        return ValueType::Json;
    }
    let declared = Declared::read(&known.column_type);
    match declared.name.as_str() {
        "decimal" => ValueType::Decimal { precision: declared.number(0), scale: Some(declared.number(1).unwrap_or(0)) },
        "bit" => ValueType::Bit { length: declared.number(0).unwrap_or(1) },
        "enum" => ValueType::Enum { max_chars: declared.longest() },
        "set" => ValueType::Set { max_chars: declared.all_joined() },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => {
            let four_each = known.max_chars.map(|chars| chars.saturating_mul(4));
            let is_utf8 = known.character_set.as_deref().is_some_and(|set| set.starts_with("utf8") || set == "ascii");
            ValueType::Text {
                max_chars: known.max_chars,
                max_bytes: if is_utf8 { known.max_octets.min(four_each) } else { four_each },
            }
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            ValueType::Bytes { max_bytes: known.max_octets }
        }
        name if declared.is_unsigned() => of_expression(&format!("{name} unsigned")),
        name => of_expression(name),
    }
}

/// From the name alone. An expression's decimals have limits, but nobody hands them on.
fn of_expression(type_name: &str) -> ValueType {
    let (name, signed) = match type_name.strip_suffix(" unsigned") {
        Some(name) => (name, false),
        None => (type_name, true),
    };
    let integer = |bits| ValueType::Integer { bits, signed };
    match name {
        "tinyint" | "tinyint(1)" => integer(8),
        "smallint" => integer(16),
        "mediumint" => integer(24),
        "int" => integer(32),
        "bigint" => integer(64),
        "decimal" => ValueType::Decimal { precision: None, scale: None },
        "float" => ValueType::Float { bits: 32 },
        "double" => ValueType::Float { bits: 64 },
        "bit" => ValueType::Bit { length: 64 },
        "date" => ValueType::Date,
        "time" => ValueType::Time { beyond_day: true, zoned: false },
        "datetime" => ValueType::Timestamp { zoned: false },
        "timestamp" => ValueType::Timestamp { zoned: true },
        "year" => ValueType::Year,
        "json" => ValueType::Json,
        "uuid" => ValueType::Uuid,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "null" => ValueType::TEXT,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            ValueType::Bytes { max_bytes: None }
        }
        "geometry" => ValueType::Bytes { max_bytes: None },
        "enum" => ValueType::Enum { max_chars: None },
        "set" => ValueType::Set { max_chars: None },
        "inet4" | "inet6" => ValueType::Text { max_chars: Some(45), max_bytes: Some(45) },
        // Points, polygons and the like travel as the bytes of a geometry.
        "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => ValueType::Bytes { max_bytes: None },
        _ => ValueType::Other,
    }
}
