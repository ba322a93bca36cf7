//! What went into a table compared with what stands in it, by a sum over the rows in which their order does not matter.
//!
//! The rows are hashed as they pass, and the target is read again afterwards, or sums its rows up itself. What two engines
//! write differently (`t` and `1`, `12.50` and `12.5`, `+00`) is made alike first, as `data verify` does it.

use millrace_operator_api::ports::{CanonicalForm, CheckResult, RowBatch, SourceColumn, TableName, ValueType};
use millrace_operator_api::{PortErrorKind, TaskContext, TaskError};

use crate::parts::column_name::find;
use crate::parts::proof::canonical::form_of_pair;
use crate::parts::proof::comparing::{Side, fingerprint};
use crate::parts::proof::row_hash::{Fingerprint, RowHasher};
use crate::parts::report::while_doing;

/// Sums rows up as they pass.
pub struct Summing {
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
        // Rows that do not come out of the target in a stream are summed up by its own SQL.
        let (target, is_streamed) = match context.ports.source(context, conn_id).await {
            Ok(target) => (target, true),
            Err(error) if error.kind == PortErrorKind::Invalid => {
                (context.ports.reader(context, conn_id).await?, false)
            }
            Err(error) => return Err(error.into()),
        };
        let attempted = format!("looking at the columns of {table}");
        let known = target.table_columns(table).await.map_err(|error| while_doing(&attempted, error))?;
        let (mut of_target, mut picked, mut forms, mut left_out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (index, (name, column)) in names.iter().zip(columns).enumerate() {
            let Some(other) = find(&known, name) else {
                left_out.push(name.as_str());
                continue;
            };
            let form = form_of_pair(column, other);
            let can = || target.row_hashing().is_some_and(|hashing| hashing.canonical(other, form).is_some());
            if is_streamed || (can() && is_written_alike(&column.value, &other.value)) {
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
            is_streamed,
            repeated: None,
        };
        let hasher = RowHasher::new(forms.clone());
        Ok(Self { side, columns: picked, forms, hasher, hashes: Vec::new(), sum: Fingerprint::default() })
    }

    pub fn add(&mut self, batch: &RowBatch) {
        self.hashes.clear();
        self.hasher.hash_picked(batch, &self.columns, &mut self.hashes);
        self.hashes.iter().for_each(|hash| self.sum.add(*hash));
    }

    /// Looks at the target's rows, all of them or those of the filter, and compares.
    pub async fn compare(&mut self, table: &TableName, filter: Option<&str>) -> Result<CheckResult, TaskError> {
        self.side.filter = filter.map(ToOwned::to_owned);
        let found = fingerprint(&self.side, &self.forms).await;
        let found = found.map_err(|error| while_doing(&format!("comparing with {table}"), error))?;
        let name = format!("checksum of the rows copied: {}", self.sum);
        Ok(CheckResult { name, passed: self.sum == found, found: found.to_string() })
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
