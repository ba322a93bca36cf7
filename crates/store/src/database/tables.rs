//! The tables as the database itself describes them: whoever moves or deletes whole rows needs no list that a later
//! migration must keep up.

use std::collections::BTreeMap;

use sea_orm::{ConnectionTrait, DbBackend, Value};
use serde_json::Value as Json;

use crate::sql::{Kind, values};
use crate::{Result, StoreError, sql};

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub name: String,
    pub kind: Kind,
}

/// `column` holds the `target` of a row of `table`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    pub column: String,
    pub table: String,
    pub target: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Places in `columns`.
    pub key: Vec<usize>,
    pub references: Vec<Reference>,
}

impl Table {
    /// `user` is a word of PostgreSQL's.
    pub fn quoted(&self) -> String {
        quote(&self.name)
    }

    pub fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|known| known.name == column)
    }

    /// A row as a JSON array in the order of the columns, as an expression.
    fn row_as_json(&self, backend: DbBackend) -> String {
        let cells: Vec<String> = self
            .columns
            .iter()
            .map(|column| match (backend, column.kind) {
                // SQLite has no truth values of its own: json('true') is one in JSON.
                (DbBackend::Sqlite, Kind::Bool) => {
                    let name = quote(&column.name);
                    format!("CASE WHEN {name} IS NULL THEN NULL WHEN {name} THEN json('true') ELSE json('false') END")
                }
                _ => quote(&column.name),
            })
            .collect();
        match backend {
            DbBackend::Sqlite => format!("json_array({})", cells.join(", ")),
            _ => format!("CAST(jsonb_build_array({}) AS TEXT)", cells.join(", ")),
        }
    }

    /// Up to `limit` rows that fulfil `condition`, in the order of the key, after the row with `after`.
    pub async fn page(
        &self,
        connection: &impl ConnectionTrait,
        condition: (&str, Vec<Value>),
        after: Option<&[Json]>,
        limit: u64,
    ) -> Result<Vec<Vec<Json>>> {
        let (mut text, mut values) = (condition.0.to_owned(), condition.1);
        let key: Vec<String> = self.key.iter().map(|place| quote(&self.columns[*place].name)).collect();
        if let Some(after) = after {
            let mut marks = Vec::new();
            for place in &self.key {
                values.push(as_value(&after[*place]));
                marks.push(format!("${}", values.len()));
            }
            text = format!("({text}) AND ({}) > ({})", key.join(", "), marks.join(", "));
        }
        values.push(i64::try_from(limit).unwrap_or(i64::MAX).into());
        let sql = format!(
            "SELECT {} AS r FROM {} WHERE {text} ORDER BY {} LIMIT ${}",
            self.row_as_json(connection.get_database_backend()),
            self.quoted(),
            key.join(", "),
            values.len()
        );
        sql::all(connection, "read rows", sql, values).await?.iter().map(|row| row.json("r")).collect()
    }

    pub async fn count(&self, connection: &impl ConnectionTrait) -> Result<u64> {
        let sql = format!("SELECT COUNT(*) AS n FROM {}", self.quoted());
        let row = sql::one(connection, "count rows", sql, vec![]).await?;
        Ok(row.map(|row| row.int("n")).transpose()?.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
    }
}

pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn as_value(cell: &Json) -> Value {
    match cell {
        Json::Number(number) => Value::from(number.as_i64()),
        Json::Bool(flag) => Value::from(*flag),
        Json::String(text) => Value::from(text.as_str()),
        _ => Value::from(None::<String>),
    }
}

/// Every table but the migrator's own, those that are referred to before those that refer.
pub(crate) async fn tables(connection: &impl ConnectionTrait) -> Result<Vec<Table>> {
    let backend = connection.get_database_backend();
    let (columns, references) = match backend {
        DbBackend::Sqlite => (
            "SELECT m.name AS tbl, c.name AS col, c.type AS kind, CAST(c.pk AS BIGINT) AS pk FROM sqlite_master m \
             JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             ORDER BY m.name, c.cid",
            "SELECT m.name AS tbl, f.\"from\" AS col, f.\"table\" AS target_table, COALESCE(f.\"to\", 'id') AS target \
             FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
        ),
        _ => (
            "SELECT CAST(c.table_name AS TEXT) AS tbl, CAST(c.column_name AS TEXT) AS col, \
             CAST(c.data_type AS TEXT) AS kind, CAST(COALESCE((SELECT k.ordinal_position \
             FROM information_schema.table_constraints t JOIN information_schema.key_column_usage k \
             ON k.constraint_name = t.constraint_name AND k.table_schema = t.table_schema \
             WHERE t.constraint_type = 'PRIMARY KEY' AND t.table_schema = c.table_schema \
             AND t.table_name = c.table_name AND k.column_name = c.column_name), 0) AS BIGINT) AS pk \
             FROM information_schema.columns c JOIN information_schema.tables b \
             ON b.table_schema = c.table_schema AND b.table_name = c.table_name \
             WHERE c.table_schema = current_schema() AND b.table_type = 'BASE TABLE' \
             ORDER BY c.table_name, c.ordinal_position",
            "SELECT CAST(f.relname AS TEXT) AS tbl, CAST(a.attname AS TEXT) AS col, CAST(t.relname AS TEXT) AS target_table, \
             CAST(b.attname AS TEXT) AS target FROM pg_constraint c JOIN pg_class f ON f.oid = c.conrelid \
             JOIN pg_class t ON t.oid = c.confrelid JOIN pg_attribute a ON a.attrelid = f.oid AND a.attnum = c.conkey[1] \
             JOIN pg_attribute b ON b.attrelid = t.oid AND b.attnum = c.confkey[1] \
             WHERE c.contype = 'f' AND c.connamespace = CAST(current_schema() AS regnamespace)",
        ),
    };
    let mut found: BTreeMap<String, (Table, Vec<(i64, usize)>)> = BTreeMap::new();
    for row in sql::all(connection, "read the columns of the tables", columns, values![]).await? {
        let (name, column) = (row.text("tbl")?, row.text("col")?);
        if name == "seaql_migrations" {
            continue;
        }
        let kind = kind_of(&name, &column, &row.text("kind")?)?;
        let empty = || {
            let table = Table { name: name.clone(), columns: Vec::new(), key: Vec::new(), references: Vec::new() };
            (table, Vec::new())
        };
        let (table, key) = found.entry(name.clone()).or_insert_with(empty);
        if row.int("pk")? > 0 {
            key.push((row.int("pk")?, table.columns.len()));
        }
        table.columns.push(Column { name: column, kind });
    }
    for row in sql::all(connection, "read how tables refer to each other", references, values![]).await? {
        if let Some((table, _)) = found.get_mut(&row.text("tbl")?) {
            let reference =
                Reference { column: row.text("col")?, table: row.text("target_table")?, target: row.text("target")? };
            table.references.push(reference);
        }
    }
    let tables = found.into_values().map(|(mut table, mut key)| {
        key.sort_unstable();
        table.key = key.into_iter().map(|(_, place)| place).collect();
        if table.key.is_empty() {
            table.key = (0..table.columns.len()).collect();
        }
        table
    });
    Ok(in_order(tables.collect()))
}

fn kind_of(table: &str, column: &str, declared: &str) -> Result<Kind> {
    match declared.to_ascii_lowercase().as_str() {
        "bigint" | "integer" => Ok(Kind::Int),
        "text" => Ok(Kind::Text),
        "boolean" => Ok(Kind::Bool),
        other => Err(StoreError::Refused {
            attempted: "read the tables",
            reason: format!("column {column} of {table} has the type {other}, which is none of ours"),
        }),
    }
}

fn in_order(mut left: Vec<Table>) -> Vec<Table> {
    let mut ordered: Vec<Table> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |table: &Table| {
            table.references.iter().any(|reference| {
                reference.table != table.name && left.iter().any(|other| other.name == reference.table)
            })
        };
        let (waiting, free): (Vec<Table>, Vec<Table>) = left.iter().cloned().partition(waits);
        if free.is_empty() {
            // A circle: no order is right, and the database will say so.
            ordered.extend(waiting);
            break;
        }
        ordered.extend(free);
        left = waiting;
    }
    ordered
}
