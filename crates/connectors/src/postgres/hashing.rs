//! Hashes of rows in PostgreSQL's SQL.

use millrace_operator_api::ports::{CanonicalForm, HashedSql, RowHashing, SourceColumn, TableName, ValueType};

use crate::parts::sql::quote;

pub struct PostgresHashing;

impl RowHashing for PostgresHashing {
    fn canonical(&self, column: &SourceColumn, form: CanonicalForm) -> Option<HashedSql> {
        match (&column.value, form) {
            (ValueType::Float { bits }, CanonicalForm::Float { bits: compared }) => {
                (*bits == compared).then(|| HashedSql::Bytes(float_bytes(&quote(&column.name), compared)))
            }
            _ => canonical_text(column, form).map(HashedSql::Text),
        }
    }

    /// Floats are bytes, and only where there are some the texts must become bytes too.
    fn hash(&self, values: &[HashedSql]) -> String {
        let joined = |cells: &[HashedSql]| {
            let cells = cells.iter().map(HashedSql::sql);
            cells.map(|x| format!("COALESCE(octet_length({x}) || ':' || {x}, '~')")).collect::<Vec<_>>().join(" || ")
        };
        let is_text = |value: &HashedSql| matches!(value, HashedSql::Text(_));
        let message = if values.iter().all(is_text) {
            joined(values)
        } else {
            let alike = values.chunk_by(|a, b| is_text(a) && is_text(b));
            let pieces = alike.map(|cells| match cells {
                [HashedSql::Bytes(x)] => format!("COALESCE('8:'::bytea || {x}, '~'::bytea)"),
                texts => format!("convert_to({}, 'UTF8')", joined(texts)),
            });
            pieces.collect::<Vec<_>>().join(" || ")
        };
        format!("('x' || left(md5({message}), 15))::bit(60)::bigint")
    }
}

/// As the stream of rows has them, where every NaN is one.
fn float_bytes(x: &str, bits: u8) -> String {
    if bits == 32 {
        format!("'\\x00000000'::bytea || CASE WHEN {x} = 'NaN' THEN '\\x7fc00000'::bytea ELSE float4send({x}) END")
    } else {
        format!("CASE WHEN {x} = 'NaN' THEN '\\x7ff8000000000000'::bytea ELSE float8send({x}) END")
    }
}

fn canonical_text(column: &SourceColumn, form: CanonicalForm) -> Option<String> {
    let x = quote(&column.name);
    let text = match column.value {
        // As COPY writes them.
        ValueType::Bool => format!("CASE WHEN {x} THEN 't' WHEN NOT {x} THEN 'f' END"),
        ValueType::Bytes { .. } => format!("encode({x}, 'hex')"),
        ValueType::Money => format!("{x}::numeric::text"),
        ValueType::Array { .. } | ValueType::Float { .. } => return None,
        // A cast takes the blanks of a CHAR away, which are read with its rows.
        ValueType::Text { .. } if !matches!(column.type_name.as_str(), "text" | "varchar") => {
            format!("CASE WHEN {x} IS NOT NULL THEN concat({x}) END")
        }
        _ => format!("{x}::text"),
    };
    let is_text = matches!(column.value, ValueType::Text { .. } | ValueType::Other);
    Some(match form {
        CanonicalForm::Plain => text,
        // Written by whoever wrote it, with zeros or without.
        CanonicalForm::Time | CanonicalForm::Timestamp if is_text => {
            format!("CASE WHEN position('.' IN {text}) > 0 THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END")
        }
        CanonicalForm::Padded => format!("rtrim({text}, ' ')"),
        CanonicalForm::Lower => format!("lower({text})"),
        CanonicalForm::Number => match column.value {
            ValueType::Decimal { scale: Some(0), .. } | ValueType::Integer { .. } => text,
            _ => format!("trim_scale({x}::numeric)::text"),
        },
        CanonicalForm::Truth if column.value == ValueType::Bool => {
            format!("CASE WHEN {x} THEN '1' WHEN NOT {x} THEN '0' END")
        }
        CanonicalForm::Truth | CanonicalForm::Date | CanonicalForm::Time => text,
        CanonicalForm::Timestamp if column.value == (ValueType::Timestamp { zoned: true }) => {
            format!("({x} AT TIME ZONE 'UTC')::text")
        }
        CanonicalForm::Timestamp => text,
        CanonicalForm::Float { .. } | CanonicalForm::Json | CanonicalForm::Jsonb | CanonicalForm::Moment => {
            return None;
        }
    })
}

/// Of PostgreSQL and Redshift.
pub fn key_query(table: &TableName, literal: impl Fn(&str) -> String) -> String {
    let schema = table.schema.as_deref().map_or_else(|| "current_schema()".to_owned(), &literal);
    format!(
        "SELECT k.column_name FROM information_schema.table_constraints c \
         JOIN information_schema.key_column_usage k ON k.constraint_name = c.constraint_name \
         AND k.table_schema = c.table_schema AND k.table_name = c.table_name \
         WHERE c.constraint_type = 'PRIMARY KEY' AND c.table_schema = {schema} AND c.table_name = {} \
         ORDER BY k.ordinal_position",
        literal(&table.name)
    )
}
