//! Values that the target would refuse or cut, found while the rows are read and before anything is loaded.

use futures::StreamExt;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{ColumnLimit, CsvFormat, RowBatch, RowStream, SourceColumn, TableName, Warehouse};

use super::refused_value::RowNames;
use crate::parts::loads::drift::is_text_type;

/// A column of the target that takes no NULL.
struct Required {
    /// Where it stands in the rows.
    at: usize,
    /// A value without a character is none to it.
    empty_is_null: bool,
    /// Nor is one of blanks.
    blanks_are_null: bool,
}

impl Required {
    fn is_missing(&self, cell: Option<&[u8]>) -> bool {
        match cell {
            None => true,
            Some([]) => self.empty_is_null,
            Some(cell) => self.blanks_are_null && cell.iter().all(u8::is_ascii_whitespace),
        }
    }
}

/// Numbers, times and truth, of which '' is none.
fn has_no_empty_value(type_name: &str) -> bool {
    const KINDS: [&str; 11] =
        ["smallint", "int", "bigint", "numeric", "decimal", "real", "double", "float", "bool", "date", "time"];
    let name = type_name.to_ascii_lowercase();
    // An interval is one of them, and begins like the numbers.
    KINDS.iter().any(|kind| name.starts_with(kind))
}

/// The target's columns, as far as they may refuse a value of the rows.
pub struct Fitting {
    required: Vec<Required>,
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
    /// For each of them whether the target's column takes no NULL.
    pub required: &'a [bool],
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
        let format = meets.format;
        let required: Vec<Required> = (0..meets.columns.len())
            .filter(|at| meets.required.get(*at) == Some(&true))
            .map(|at| {
                let type_name = meets.types.get(at).and_then(Option::as_deref).unwrap_or_default();
                Required {
                    at,
                    empty_is_null: format.empty_as_null || has_no_empty_value(type_name),
                    blanks_are_null: format.blanks_as_null && is_text_type(type_name),
                }
            })
            .collect();
        let names = RowNames::new(meets.columns, meets.keys, meets.show_values);
        let place = meets.target.map(|target| format!("{target}: ")).unwrap_or_default();
        let is_needed = !(limits.is_empty() && required.is_empty());
        is_needed.then_some(Self { required, limits, names, place, rows: 0 })
    }

    /// Names the first value that would not get there.
    pub fn look(&mut self, batch: &RowBatch) -> Result<(), PortError> {
        let missing = self
            .required
            .iter()
            .filter_map(|column| {
                let at = column.at;
                (0..batch.len()).find(|row| column.is_missing(batch.cell(*row, at))).map(|row| (row, at))
            })
            .min();
        let first = self
            .limits
            .iter()
            .filter_map(|(column, limit)| {
                (0..batch.len()).find_map(|row| Some((row, *column, limit.refusal(batch.cell(row, *column)?)?)))
            })
            .min_by_key(|(row, column, _)| (*row, *column));
        let refused = match (missing, first) {
            (Some((row, column)), first) if first.as_ref().is_none_or(|first| (row, column) <= (first.0, first.1)) => {
                Some(self.names.missing(batch, (row, self.rows), column))
            }
            (_, Some((row, column, why))) => Some(self.names.refused(batch, (row, self.rows), column, &why)),
            _ => None,
        };
        if let Some(error) = refused {
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
