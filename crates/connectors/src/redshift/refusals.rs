//! Loads that COPY would refuse, or do otherwise than is meant, for reasons that are known before anything is sent.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{Column, FileKind, LoadMethod, LoadRequest, ValueType};

use super::plan::{has_option, is_identity};
use crate::parts::dialect::Dialect;
use crate::parts::failure::{data, invalid};
use crate::parts::room;
use crate::redshift::limits::Limit;

/// The columns of the table, and those of the rows in their order.
pub fn check(request: &LoadRequest, table: &[Column], fields: &[String]) -> Result<(), PortError> {
    if has_option(&request.format, "EXPLICIT_IDS") {
        explicit_ids(request, table, fields)?;
    }
    if has_option(&request.format, "NOLOAD") && request.rows.objects().is_empty() {
        return Err(invalid("noload checks files, and there are none"));
    }
    if request.format.kind == FileKind::Parquet && !request.rows.objects().is_empty() {
        parquet(request, table, fields)?;
    }
    Ok(())
}

/// COPY alone gives an IDENTITY column its values, and only the table itself has one: its rows come straight from the files.
fn explicit_ids(request: &LoadRequest, table: &[Column], fields: &[String]) -> Result<(), PortError> {
    let target = &request.target;
    let is_given = |column: &&Column| is_identity(column) && fields.contains(&column.name);
    let why = if !matches!(request.method, LoadMethod::Append | LoadMethod::Replace) {
        "only append and replace can keep them: the rows of an upsert or a swap come from a staging table, and an INSERT gives an \
         IDENTITY column no values"
            .to_owned()
    } else if request.rows.objects().is_empty() {
        "rows that come without files are inserted, and an INSERT gives an IDENTITY column no values; load files \
         (sql_to_s3, then from_task)"
            .to_owned()
    } else if !request.ignored.is_empty() {
        format!(
            "COPY fills the table itself, which has no column for {}; leave it out where the files are written",
            request.ignored.join(", ")
        )
    } else if !table.iter().any(|column| is_given(&column)) {
        "no IDENTITY column of the table is among the columns of the rows; leave explicit_ids out".to_owned()
    } else if request.format.kind == FileKind::Parquet && !table.iter().map(|column| &column.name).eq(fields) {
        let names: Vec<&str> = table.iter().map(|column| column.name.as_str()).collect();
        format!("COPY takes the columns of Parquet files by their order: let the query give {}", names.join(", "))
    } else {
        return Ok(());
    };
    Err(invalid(format!("explicit_ids: {target}: {why}")))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Text,
    Whole,
    Decimal,
    Float,
    Truth,
    Bytes,
    Day,
    Moment,
}

/// What a Parquet file holds of such values; `None` where anybody may have written it in another way.
fn in_file(value: &ValueType) -> Option<Family> {
    Some(match value {
        ValueType::Integer { .. } | ValueType::Bit { .. } | ValueType::Year => Family::Whole,
        ValueType::Decimal { precision: Some(1..=38), .. } | ValueType::Money => Family::Decimal,
        ValueType::Float { .. } => Family::Float,
        ValueType::Bool => Family::Truth,
        ValueType::Bytes { .. } => Family::Bytes,
        ValueType::Date => Family::Day,
        ValueType::Timestamp { .. } => Family::Moment,
        ValueType::Time { .. } | ValueType::Other => return None,
        _ => Family::Text,
    })
}

fn in_table(limit: &Limit) -> Option<Family> {
    Some(match limit {
        Limit::Varchar(_) | Limit::Char(_) | Limit::Super => Family::Text,
        Limit::Integer { .. } => Family::Whole,
        Limit::Decimal { .. } => Family::Decimal,
        Limit::Float { .. } => Family::Float,
        Limit::Boolean => Family::Truth,
        Limit::Date => Family::Day,
        Limit::Timestamp => Family::Moment,
        Limit::Varbyte(_) => Family::Bytes,
        Limit::Nothing => return None,
    })
}

fn clash(value: &ValueType, type_name: &str) -> bool {
    match (in_file(value), in_table(&Limit::of(type_name))) {
        // Fewer bits are staged as they are, and widened by the INSERT.
        (Some(Family::Whole), Some(Family::Whole | Family::Decimal)) => {
            !room::holds(type_name, value, Dialect::Redshift)
        }
        // Bytes without a logical type may be text.
        (Some(Family::Bytes), Some(Family::Text)) => false,
        (Some(file), Some(table)) => file != table,
        _ => false,
    }
}

/// COPY converts nothing that comes in Parquet, and says "incompatible Parquet schema".
fn parquet(request: &LoadRequest, table: &[Column], fields: &[String]) -> Result<(), PortError> {
    let found = fields.iter().zip(&request.types).find_map(|(name, value)| {
        let column = table.iter().find(|column| column.name == *name && !request.ignored.contains(name))?;
        clash(value, &column.type_name).then_some((column, value))
    });
    let Some((column, value)) = found else { return Ok(()) };
    let is_text = in_file(value) == Some(Family::Text);
    let what = match value {
        ValueType::Text { .. } => "text".to_owned(),
        value if is_text => format!("text ({value} in the source)"),
        value => value.to_string(),
    };
    Err(data(format!(
        "column {} of {}: the Parquet file holds {what}, and the table {}; COPY converts nothing of a Parquet file. Cast it in the \
         query that writes the file (CAST({} AS …)), or write CSV, of which COPY reads the values themselves; nothing was loaded",
        column.name, request.target, column.type_name, column.name
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_parquet_holds_in_another_way_are_known() {
        let whole = |bits, signed| ValueType::Integer { bits, signed };
        let decimal = |precision| ValueType::Decimal { precision, scale: Some(2) };
        let clashes = [
            (ValueType::TEXT, "numeric(10,2)"),
            (ValueType::TEXT, "date"),
            (decimal(None), "numeric(10,2)"),
            (decimal(Some(65)), "numeric(38,2)"),
            (ValueType::Uuid, "bigint"),
            (whole(64, true), "integer"),
            (whole(64, false), "bigint"),
            (whole(32, true), "character varying(12)"),
            (whole(32, true), "double precision"),
            (ValueType::Date, "timestamp without time zone"),
            (ValueType::Json, "varbyte(9)"),
        ];
        for (value, type_name) in clashes {
            assert!(clash(&value, type_name), "{value} {type_name}");
        }
        let fits = [
            (ValueType::TEXT, "character varying(9)"),
            (ValueType::Json, "super"),
            (decimal(Some(9)), "numeric(10,2)"),
            (whole(16, true), "bigint"),
            (whole(32, true), "numeric(20,0)"),
            (ValueType::Bytes { max_bytes: None }, "character varying(9)"),
            (ValueType::Timestamp { zoned: true }, "timestamp without time zone"),
            (ValueType::Time { beyond_day: false, zoned: false }, "time without time zone"),
            (ValueType::Other, "date"),
        ];
        for (value, type_name) in fits {
            assert!(!clash(&value, type_name), "{value} {type_name}");
        }
    }
}
