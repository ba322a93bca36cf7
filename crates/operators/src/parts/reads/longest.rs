//! The longest text of each column, noted down as the rows go by: a load that has no look at the rows knows by it whether they
//! fit, before it sends anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use millrace_operator_api::ports::{RowBatch, RowStream, ValueType};
use serde::{Deserialize, Serialize};

/// Of a column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongText {
    /// Without blanks at its end.
    pub bytes: u64,
    /// Counted from 1 in the order of the query; `None` where several connections read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
}

/// By the column's name.
pub type LongTexts = BTreeMap<String, LongText>;

/// Filled by the streams that it watches.
#[derive(Debug, Clone, Default)]
pub struct Longest(Arc<Mutex<LongTexts>>);

impl Longest {
    /// The same rows, for each reader of one query.
    pub fn watch(&self, streams: Vec<RowStream>) -> Vec<RowStream> {
        let is_one = streams.len() == 1;
        streams.into_iter().map(|rows| self.watch_one(rows, is_one)).collect()
    }

    pub fn found(&self) -> LongTexts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn watch_one(&self, rows: RowStream, is_one: bool) -> RowStream {
        let texts: Vec<(usize, String)> = rows
            .columns
            .iter()
            .enumerate()
            .filter(|(_, column)| is_text(&column.value))
            .map(|(at, column)| (at, column.name.clone()))
            .collect();
        if texts.is_empty() {
            return rows;
        }
        let (all, mut before) = (Arc::clone(&self.0), 0);
        let batches = rows.batches.map(move |batch| {
            let batch = batch?;
            let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
            for (at, name) in &texts {
                let known = all.get(name).map_or(0, |known| known.bytes);
                if let Some((row, bytes)) = longer(&batch, *at, known) {
                    all.insert(name.clone(), LongText { bytes, row: is_one.then_some(before + row + 1) });
                }
            }
            before += batch.len() as u64;
            Ok(batch)
        });
        RowStream { columns: rows.columns, batches: batches.boxed() }
    }
}

/// What goes into a column of text as it is.
fn is_text(value: &ValueType) -> bool {
    matches!(value, ValueType::Text { .. } | ValueType::Json | ValueType::Array { .. } | ValueType::Other)
}

/// The first of the longest cells of the batch's column, if one is longer than `known` bytes.
fn longer(batch: &RowBatch, column: usize, known: u64) -> Option<(u64, u64)> {
    let (mut found, mut known) = (None, known);
    for row in 0..batch.len() {
        let Some(cell) = batch.cell(row, column).filter(|cell| cell.len() as u64 > known) else { continue };
        let bytes = cell.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last as u64 + 1);
        if bytes > known {
            (found, known) = (Some((row as u64, bytes)), bytes);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_longest_is_found_without_its_blanks() {
        let mut batch = RowBatch::new(1);
        for cell in [Some(&b"ab        "[..]), None, Some("주".as_bytes()), Some(b"abc"), Some(b"")] {
            batch.push(cell);
        }
        assert_eq!(longer(&batch, 0, 0), Some((2, 3)));
        assert_eq!(longer(&batch, 0, 3), None);
    }
}
