//! How a value that stops a movement is named: its row, by number and by key, its column, and the value where it may be shown.

use millrace_operator_api::ports::{RowBatch, SourceColumn};
use millrace_operator_api::{PortError, PortErrorKind};

/// Of the rows of one query.
pub struct RowNames {
    columns: Vec<String>,
    /// Places of the key's columns.
    keys: Vec<usize>,
    show_values: bool,
}

impl RowNames {
    pub fn new(columns: &[SourceColumn], keys: &[String], show_values: bool) -> Self {
        let is_key = |column: &SourceColumn| keys.iter().any(|key| key.eq_ignore_ascii_case(&column.name));
        Self {
            columns: columns.iter().map(|column| column.name.clone()).collect(),
            keys: (0..columns.len()).filter(|index| is_key(&columns[*index])).collect(),
            show_values,
        }
    }

    pub fn column(&self, index: usize) -> &str {
        &self.columns[index]
    }

    /// `row` counts in the batch from 0, `before` are the rows that came before the batch; `why` ends the sentence that the
    /// value begins. A key that is no number or date is shown only where values are.
    pub fn refused(&self, batch: &RowBatch, (row, before): (usize, u64), column: usize, why: &str) -> PortError {
        let text = String::from_utf8_lossy(batch.cell(row, column).unwrap_or_default()).into_owned();
        let value = if self.show_values {
            format!("'{}'", text.chars().take(80).collect::<String>())
        } else {
            format!("of {} characters, not shown (show_values: true shows it),", text.chars().count())
        };
        let place = self.place(batch, (row, before), column);
        PortError::new(PortErrorKind::Data, format!("{place}: the value {value} {why}"))
    }

    /// A row that its keys do not name, because one of them is NULL: whoever goes by them takes it for a new one each time.
    pub fn unnamed(&self, batch: &RowBatch, before: u64) -> Option<PortError> {
        let is_missing =
            |row: usize| self.keys.iter().find(|key| batch.cell(row, **key).is_none()).map(|key| (row, *key));
        let (row, key) = (0..batch.len()).find_map(is_missing)?;
        let place = self.place(batch, (row, before), key);
        Some(PortError::new(
            PortErrorKind::Data,
            format!(
                "{place}: the value is NULL, and the column is one of the primary_key: such a row would come in anew with every \
                 copy; give it a value in a custom_select (COALESCE), leave such rows out, or name columns that are never NULL"
            ),
        ))
    }

    /// A value that is NULL, or becomes it, where none may be.
    pub fn missing(&self, batch: &RowBatch, (row, before): (usize, u64), column: usize) -> PortError {
        let place = self.place(batch, (row, before), column);
        let what = if batch.cell(row, column).is_some() { "is empty, and would be loaded as NULL" } else { "is NULL" };
        PortError::new(
            PortErrorKind::Data,
            format!(
                "{place}: the value {what}, and the table's column is NOT NULL; give it a value in the query (COALESCE), leave \
                 such rows out, or let the column be NULL"
            ),
        )
    }

    fn place(&self, batch: &RowBatch, (row, before): (usize, u64), column: usize) -> String {
        let number = before + row as u64 + 1;
        let key: Vec<String> = self
            .keys
            .iter()
            .filter_map(|key| {
                let text = String::from_utf8_lossy(batch.cell(row, *key)?).into_owned();
                let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
                (is_plain || self.show_values).then(|| format!("{}={text}", self.columns[*key]))
            })
            .collect();
        let key = if key.is_empty() { String::new() } else { format!(" ({})", key.join(", ")) };
        format!("row {number}{key}, column {}", self.columns[column])
    }
}
