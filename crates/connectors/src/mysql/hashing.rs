//! Hashes of rows in the SQL of MySQL and MariaDB.

use millrace_operator_api::ports::{CanonicalForm, HashedSql, RowHashing, SourceColumn, TableName, ValueType};

/// A name in backticks.
pub fn quote(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

pub struct MySqlHashing;

impl RowHashing for MySqlHashing {
    fn canonical(&self, column: &SourceColumn, form: CanonicalForm) -> Option<HashedSql> {
        canonical_text(column, form).map(HashedSql::Text)
    }

    fn hash(&self, values: &[HashedSql]) -> String {
        let cells: Vec<String> = values
            .iter()
            .map(HashedSql::sql)
            .map(|text| format!("COALESCE(CONCAT(LENGTH({text}), ':', {text}), '~')"))
            .collect();
        format!("CAST(CONV(LEFT(MD5(CONCAT({})), 15), 16, 10) AS UNSIGNED)", cells.join(", "))
    }
}

fn canonical_text(column: &SourceColumn, form: CanonicalForm) -> Option<String> {
    let x = quote(&column.name);
    let text = match column.value {
        ValueType::Text { .. } | ValueType::Enum { .. } | ValueType::Set { .. } => {
            format!("CONVERT({x} USING utf8mb4)")
        }
        ValueType::Bytes { .. } => format!("LOWER(HEX({x}))"),
        ValueType::Bit { .. } => format!("CAST({x} + 0 AS CHAR)"),
        ValueType::Float { .. } | ValueType::Other => return None,
        _ => format!("CAST({x} AS CHAR)"),
    };
    // Of a day that there is not one part is zero.
    let day = |text: &str| format!("IF(YEAR({x}) = 0 OR MONTH({x}) = 0 OR DAYOFMONTH({x}) = 0, NULL, {text})");
    let clock = format!("IF(MICROSECOND({x}) = 0, SUBSTRING_INDEX({text}, '.', 1), TRIM(TRAILING '0' FROM {text}))");
    let is_text = matches!(column.value, ValueType::Text { .. });
    if is_text && matches!(form, CanonicalForm::Number | CanonicalForm::Timestamp | CanonicalForm::Time) {
        // MySQL makes a DOUBLE of a text that it is to count, and NULL of one that it takes for a time.
        return None;
    }
    Some(match form {
        CanonicalForm::Plain => text,
        CanonicalForm::Padded => format!("TRIM(TRAILING ' ' FROM {text})"),
        CanonicalForm::Lower => format!("LOWER({text})"),
        CanonicalForm::Number => match column.value {
            ValueType::Decimal { scale: Some(0), .. } | ValueType::Bit { .. } => text,
            ValueType::Decimal { .. } => {
                format!("IF(LOCATE('.', {text}) = 0, {text}, TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {text})))")
            }
            // Without the zeros before it that ZEROFILL writes.
            _ => format!("CAST({x} + 0 AS CHAR)"),
        },
        CanonicalForm::Truth => format!("CAST({x} + 0 AS CHAR)"),
        CanonicalForm::Date => day(&text),
        CanonicalForm::Timestamp => day(&clock),
        CanonicalForm::Time => clock,
        CanonicalForm::Float { .. } | CanonicalForm::Json | CanonicalForm::Jsonb | CanonicalForm::Moment => {
            return None;
        }
    })
}

pub fn key_query(table: &TableName, literal: impl Fn(&str) -> String) -> String {
    let schema = table.schema.as_deref().map_or_else(|| "DATABASE()".to_owned(), &literal);
    format!(
        "SELECT column_name FROM information_schema.key_column_usage WHERE constraint_name = 'PRIMARY' \
         AND table_schema = {schema} AND table_name = {} ORDER BY ordinal_position",
        literal(&table.name)
    )
}

/// MariaDB's and MySQL's INVISIBLE ones.
pub fn invisible_columns(table: &TableName, literal: impl Fn(&str) -> String) -> String {
    let schema = table.schema.as_deref().map_or_else(|| "DATABASE()".to_owned(), &literal);
    format!(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = {schema} AND table_name = {} \
         AND extra LIKE '%INVISIBLE%' ORDER BY ordinal_position",
        literal(&table.name)
    )
}
