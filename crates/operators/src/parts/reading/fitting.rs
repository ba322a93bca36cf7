//! Values that the target would refuse or cut, found while the rows are read and before anything is loaded.

use futures::StreamExt;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{ColumnLimit, CsvFormat, RowBatch, RowStream, SourceColumn, TableName, Warehouse};

use super::refused_value::RowNames;

/// The target's columns, as far as they may refuse a value of the rows.
pub struct Fitting {
    /// Where the column stands in the rows.
    limits: Vec<(usize, Box<dyn ColumnLimit>)>,
    names: RowNames,
    /// What stands before an error.
    place: String,
    rows: u64,
}

/// How the columns of the rows meet those of the target.
pub struct Meets<'a> {
    /// Named in an error, where nothing else names it.
    pub target: Option<&'a TableName>,
    pub columns: &'a [SourceColumn],
    /// For each of them the type of the target's column; `None` for one that the target does not have.
    pub types: &'a [Option<String>],
    /// The columns by which a row is named.
    pub keys: &'a [String],
    pub format: &'a CsvFormat,
    pub show_values: bool,
}

impl Fitting {
    /// `None` where no value needs to be looked at.
    pub fn new(warehouse: &dyn Warehouse, meets: &Meets<'_>) -> Option<Self> {
        let limits: Vec<(usize, Box<dyn ColumnLimit>)> = meets
            .columns
            .iter()
            .zip(meets.types)
            .enumerate()
            .filter_map(|(index, (column, type_name))| {
                let limit = warehouse.column_limit(type_name.as_deref()?, &column.value, meets.format)?;
                Some((index, limit))
            })
            .collect();
        let names = RowNames::new(meets.columns, meets.keys, meets.show_values);
        let place = meets.target.map(|target| format!("{target}: ")).unwrap_or_default();
        (!limits.is_empty()).then_some(Self { limits, names, place, rows: 0 })
    }

    /// Names the first value that would not get there.
    pub fn look(&mut self, batch: &RowBatch) -> Result<(), PortError> {
        let first = self
            .limits
            .iter()
            .filter_map(|(column, limit)| {
                (0..batch.len()).find_map(|row| Some((row, *column, limit.refusal(batch.cell(row, *column)?)?)))
            })
            .min_by_key(|(row, column, _)| (*row, *column));
        if let Some((row, column, why)) = first {
            let error = self.names.refused(batch, (row, self.rows), column, &why);
            return Err(PortError { message: format!("{}{}", self.place, error.message), ..error });
        }
        self.rows += batch.len() as u64;
        Ok(())
    }

    /// The same rows, up to one that does not fit.
    pub fn watch(mut self, rows: RowStream) -> RowStream {
        let batches = rows.batches.map(move |batch| {
            let batch = batch?;
            self.look(&batch).map(|()| batch)
        });
        RowStream { columns: rows.columns, batches: batches.boxed() }
    }
}
