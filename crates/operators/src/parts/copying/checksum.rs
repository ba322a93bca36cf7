//! What went into a table compared with what stands in it, by a sum over the rows in which their order does not matter.
//!
//! The rows are hashed as they pass, and the target is read again afterwards, or sums its rows up itself. What two engines write differently (`t` and
//! `1`, `12.50` and `12.5`, `+00`) is made alike first.

use futures::TryStreamExt;
use millrace_operator_api::ports::{
    CanonicalForm, CheckResult, RowBatch, SourceColumn, SqlSource, TableName, ValueType,
};
use millrace_operator_api::{PortErrorKind, TaskContext, TaskError};
use sha2::{Digest, Sha256};
use std::sync::Arc;

use crate::parts::column_name::find;
use crate::parts::proof::canonical::form_of_pair;
use crate::parts::proof::comparing::{Side, fingerprint};
use crate::parts::proof::row_hash::{Fingerprint, RowHasher};
use crate::parts::report::while_doing;

/// How many rows, and the sum of their hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hash: u128,
}

/// How a value is written so that both engines write it alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    AsItIs,
    Truth,
    Number,
    Single,
    Double,
    Moment,
}

impl Form {
    fn of(one: &ValueType, other: &ValueType) -> Self {
        let is = |test: fn(&ValueType) -> bool| test(one) || test(other);
        if is(|value| matches!(value, ValueType::Bool)) {
            Self::Truth
        } else if is(|value| matches!(value, ValueType::Float { bits: 32 })) {
            Self::Single
        } else if is(|value| matches!(value, ValueType::Float { .. })) {
            Self::Double
        } else if is(|value| {
            matches!(
                value,
                ValueType::Integer { .. }
                    | ValueType::Decimal { .. }
                    | ValueType::Money
                    | ValueType::Bit { .. }
                    | ValueType::Year
            )
        }) {
            Self::Number
        } else if is(|value| matches!(value, ValueType::Date | ValueType::Timestamp { .. } | ValueType::Time { .. })) {
            Self::Moment
        } else {
            Self::AsItIs
        }
    }

    fn write(self, cell: &[u8], out: &mut Vec<u8>) {
        let text = std::str::from_utf8(cell).unwrap_or_default();
        match self {
            Self::Truth => out.push(match text.to_ascii_lowercase().as_str() {
                "t" | "true" | "1" | "y" | "yes" => b'1',
                "f" | "false" | "0" | "n" | "no" => b'0',
                _ => return out.extend_from_slice(cell),
            }),
            Self::Number => match plain_number(text) {
                Some(number) => out.extend_from_slice(number.as_bytes()),
                None => out.extend_from_slice(cell),
            },
            Self::Single => match text.parse::<f32>() {
                Ok(number) => out.extend_from_slice(&number.to_bits().to_be_bytes()),
                Err(_) => out.extend_from_slice(cell),
            },
            Self::Double => match text.parse::<f64>() {
                Ok(number) => out.extend_from_slice(&number.to_bits().to_be_bytes()),
                Err(_) => out.extend_from_slice(cell),
            },
            Self::Moment => {
                let text = ["+00:00", "+00", "Z"].iter().find_map(|zone| text.strip_suffix(zone)).unwrap_or(text);
                let text = text.strip_suffix(" 00:00:00").unwrap_or(text);
                let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
                let text = text.strip_suffix(" 00:00:00").unwrap_or(text);
                out.extend_from_slice(text.as_bytes());
            }
            Self::AsItIs => out.extend_from_slice(cell),
        }
    }
}

/// Without zeros that say nothing.
fn plain_number(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    Some(match (whole, fraction) {
        ("", "") => "0".to_owned(),
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    })
}

/// Sums rows up as they pass.
pub struct Summing(Way);

enum Way {
    /// The target's rows are read.
    Reading(Box<Reading>),
    /// The target's own SQL sums them up: rows do not come out of it in a stream.
    Asking(Box<Asking>),
}

struct Reading {
    target: Arc<dyn SqlSource>,
    select: String,
    forms: Vec<Form>,
    sum: Sum,
    row: Vec<u8>,
}

struct Asking {
    side: Side,
    /// Those of the rows' columns that can be compared.
    columns: Vec<usize>,
    forms: Vec<CanonicalForm>,
    hasher: RowHasher,
    hashes: Vec<u64>,
    sum: Fingerprint,
}

impl Summing {
    /// Looks at the target's columns.
    pub async fn prepare(
        context: &TaskContext,
        conn_id: &str,
        table: &TableName,
        names: &[String],
        columns: &[SourceColumn],
    ) -> Result<Self, TaskError> {
        match context.ports.source(context, conn_id).await {
            Ok(target) => Reading::prepare(target, table, names, columns).await.map(|way| Self(Way::Reading(way))),
            Err(error) if error.kind == PortErrorKind::Invalid => {
                let target = context.ports.reader(context, conn_id).await?;
                Asking::prepare(context, target, (conn_id, table), names, columns)
                    .await
                    .map(|way| Self(Way::Asking(way)))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn add(&mut self, batch: &RowBatch) {
        match &mut self.0 {
            Way::Reading(way) => way.add(batch),
            Way::Asking(way) => {
                way.hashes.clear();
                way.hasher.hash_picked(batch, &way.columns, &mut way.hashes);
                way.hashes.iter().for_each(|hash| way.sum.add(*hash));
            }
        }
    }

    /// Looks at the target's rows, all of them or those of the filter, and compares.
    pub async fn compare(&mut self, table: &TableName, filter: Option<&str>) -> Result<CheckResult, TaskError> {
        let attempted = format!("comparing with {table}");
        let (passed_by, found, is_same) = match &mut self.0 {
            Way::Reading(way) => {
                let shown = |sum: Sum| format!("{} rows, {:032x}", sum.rows, sum.hash);
                let passed_by = std::mem::take(&mut way.sum);
                let filter = filter.map(|filter| format!(" WHERE {filter}")).unwrap_or_default();
                let select = format!("{}{filter}", way.select);
                let rows = way.target.query(&select).await;
                let mut rows = rows.map_err(|error| while_doing(&attempted, error))?;
                while let Some(batch) = rows.batches.try_next().await.map_err(|error| while_doing(&attempted, error))? {
                    way.add(&batch);
                }
                (shown(passed_by), shown(way.sum), passed_by == way.sum)
            }
            Way::Asking(way) => {
                way.side.filter = filter.map(ToOwned::to_owned);
                let found = fingerprint(&way.side, &way.forms).await.map_err(|error| while_doing(&attempted, error))?;
                (way.sum.to_string(), found.to_string(), way.sum == found)
            }
        };
        Ok(CheckResult { name: format!("checksum of the rows copied: {passed_by}"), passed: is_same, found })
    }
}

impl Reading {
    async fn prepare(
        target: Arc<dyn SqlSource>,
        table: &TableName,
        names: &[String],
        columns: &[SourceColumn],
    ) -> Result<Box<Self>, TaskError> {
        let list = names.iter().map(|name| target.quote(name)).collect::<Vec<_>>().join(", ");
        let select = format!("SELECT {list} FROM {}", target.table_sql(table));
        let attempted = format!("looking at the columns of {table}");
        let mut rows =
            target.query(&format!("{select} WHERE 1 = 0")).await.map_err(|error| while_doing(&attempted, error))?;
        while rows.batches.try_next().await.map_err(|error| while_doing(&attempted, error))?.is_some() {}
        let forms = columns.iter().zip(&rows.columns).map(|(one, other)| Form::of(&one.value, &other.value)).collect();
        Ok(Box::new(Self { target, select, forms, sum: Sum::default(), row: Vec::new() }))
    }

    fn add(&mut self, batch: &RowBatch) {
        for row in batch.rows() {
            self.row.clear();
            for (cell, form) in row.zip(&self.forms) {
                // Length and bytes, so that no two rows are written alike; NULL has none.
                let start = self.row.len();
                self.row.extend_from_slice(&[0; 9]);
                if let Some(cell) = cell {
                    form.write(cell, &mut self.row);
                    let length = (self.row.len() - start - 9) as u64;
                    self.row[start] = 1;
                    self.row[start + 1..start + 9].copy_from_slice(&length.to_be_bytes());
                }
            }
            let digest = Sha256::digest(&self.row);
            let mut half = [0_u8; 16];
            half.copy_from_slice(&digest[..16]);
            self.sum.hash = self.sum.hash.wrapping_add(u128::from_be_bytes(half));
            self.sum.rows += 1;
        }
    }
}

impl Asking {
    async fn prepare(
        context: &TaskContext,
        target: Arc<dyn SqlSource>,
        (conn_id, table): (&str, &TableName),
        names: &[String],
        columns: &[SourceColumn],
    ) -> Result<Box<Self>, TaskError> {
        let attempted = format!("looking at the columns of {table}");
        let known = target.table_columns(table).await.map_err(|error| while_doing(&attempted, error))?;
        let (mut of_target, mut picked, mut forms, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, (name, column)) in names.iter().zip(columns).enumerate() {
            let Some(other) = find(&known, name) else {
                left_out.push(name.as_str());
                continue;
            };
            let form = form_of_pair(column, other);
            let can = target.row_hashing().is_some_and(|hashing| hashing.canonical(other, form).is_some());
            if can && is_written_alike(&column.value, &other.value) {
                of_target.push(other.clone());
                picked.push(index);
                forms.push(form);
            } else {
                left_out.push(name.as_str());
            }
        }
        if !left_out.is_empty() {
            context.warning(format!("the checksum of {table} is taken without {}", left_out.join(", ")));
        }
        let side = Side {
            label: format!("{conn_id}: {table}"),
            relation: target.table_sql(table),
            source: target,
            filter: None,
            columns: of_target,
            is_streamed: false,
            repeated: None,
        };
        let hasher = RowHasher::new(forms.clone());
        Ok(Box::new(Self { side, columns: picked, forms, hasher, hashes: Vec::new(), sum: Fingerprint::default() }))
    }
}

/// Whether a value that went into the other column has the same canonical text there.
fn is_written_alike(source: &ValueType, target: &ValueType) -> bool {
    use ValueType as V;
    let is_number =
        |value: &V| matches!(value, V::Integer { .. } | V::Decimal { .. } | V::Money | V::Bit { .. } | V::Year);
    match (source, target) {
        (V::Bool, V::Bool)
        | (V::Date, V::Date)
        | (V::Timestamp { .. }, V::Timestamp { .. })
        | (V::Time { zoned: false, .. }, V::Time { zoned: false, .. })
        | (V::Bytes { .. }, V::Bytes { .. }) => true,
        (a, b) if is_number(a) && is_number(b) => true,
        (a, V::Integer { .. }) => a.is_text(),
        (a, V::Text { .. }) => !matches!(a, V::Float { .. } | V::Bool),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(one: ValueType, other: ValueType, cell: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Form::of(&one, &other).write(cell.as_bytes(), &mut out);
        out
    }

    #[test]
    fn what_engines_write_differently_is_alike() {
        let number = || ValueType::Decimal { precision: None, scale: None };
        let moment = || ValueType::Timestamp { zoned: true };
        for (one, left, other, right) in [
            (ValueType::Bool, "t", ValueType::Integer { bits: 8, signed: true }, "1"),
            (number(), "12.50", number(), "12.5"),
            (number(), "-0.00", number(), "0"),
            (number(), "0012", number(), "12.000"),
            (moment(), "2024-01-01 10:00:00+00", moment(), "2024-01-01 10:00:00.000"),
            (moment(), "2024-01-01 00:00:00.000000", ValueType::Date, "2024-01-01"),
            (ValueType::Float { bits: 64 }, "1e3", ValueType::Float { bits: 64 }, "1000"),
            (ValueType::Float { bits: 32 }, "0.1", ValueType::Float { bits: 64 }, "0.100000001490116"),
        ] {
            assert_eq!(written(one.clone(), other.clone(), left), written(one, other, right), "{left} {right}");
        }
        assert_ne!(written(ValueType::TEXT, ValueType::TEXT, "1.0"), written(ValueType::TEXT, ValueType::TEXT, "1"));
        assert_ne!(
            written(moment(), moment(), "2024-01-01 10:00:10"),
            written(moment(), moment(), "2024-01-01 10:00:1")
        );
    }
}
