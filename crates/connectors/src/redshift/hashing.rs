//! Hashes of rows in Redshift's SQL.

use millrace_operator_api::ports::{CanonicalForm, HashedSql, RowHashing, SourceColumn, ValueType};

use crate::parts::sql::quote;

pub struct RedshiftHashing;

impl RowHashing for RedshiftHashing {
    fn canonical(&self, column: &SourceColumn, form: CanonicalForm) -> Option<HashedSql> {
        canonical_text(column, form).map(HashedSql::Text)
    }

    fn hash(&self, values: &[HashedSql]) -> String {
        let cells: Vec<String> = values
            .iter()
            .map(HashedSql::sql)
            .map(|text| format!("COALESCE(OCTET_LENGTH({text})::varchar || ':' || {text}, '~')"))
            .collect();
        format!("STRTOL(LEFT(MD5({}), 15), 16)", cells.join(" || "))
    }
}

fn canonical_text(column: &SourceColumn, form: CanonicalForm) -> Option<String> {
    let x = quote(&column.name);
    let text = match column.value {
        ValueType::Bool => format!("CASE WHEN {x} THEN 't' WHEN NOT {x} THEN 'f' END"),
        ValueType::Bytes { .. } => format!("LOWER(TO_HEX({x}))"),
        ValueType::Text { .. } => x.clone(),
        ValueType::Float { .. } | ValueType::Json | ValueType::Other => return None,
        _ => format!("{x}::varchar"),
    };
    let without_zeros =
        format!("CASE WHEN POSITION('.' IN {text}) > 0 THEN RTRIM(RTRIM({text}, '0'), '.') ELSE {text} END");
    Some(match form {
        CanonicalForm::Plain => text,
        CanonicalForm::Padded => format!("RTRIM({text}, ' ')"),
        CanonicalForm::Lower => format!("LOWER({text})"),
        CanonicalForm::Number => match column.value {
            ValueType::Decimal { scale: Some(0), .. } | ValueType::Integer { .. } => text,
            _ => without_zeros,
        },
        CanonicalForm::Truth if column.value == ValueType::Bool => {
            format!("CASE WHEN {x} THEN '1' WHEN NOT {x} THEN '0' END")
        }
        CanonicalForm::Truth | CanonicalForm::Date => text,
        CanonicalForm::Time => without_zeros,
        CanonicalForm::Timestamp => {
            let x = if column.value == (ValueType::Timestamp { zoned: true }) {
                format!("({x} AT TIME ZONE 'UTC')")
            } else {
                x
            };
            format!("RTRIM(RTRIM(TO_CHAR({x}, 'YYYY-MM-DD HH24:MI:SS.US'), '0'), '.')")
        }
        CanonicalForm::Float { .. } | CanonicalForm::Json | CanonicalForm::Jsonb | CanonicalForm::Moment => {
            return None;
        }
    })
}
