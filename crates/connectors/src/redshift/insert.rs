//! Rows as INSERT statements: the way of small tables, without S3.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::rows::{LoadColumn, Refusal, Rejects, Row, RowSink};
use crate::parts::sql::{list, literal, quote, table};
use crate::parts::upsert::SEQUENCE;
use crate::redshift::limits::Limit;

/// The Data API takes 100 KB a statement.
const LONGEST_STATEMENT: usize = 96_000;
/// Statements that are sent as one transaction; the Data API takes 40.
pub const AT_ONCE: usize = 20;

pub struct Inserts<'a> {
    head: String,
    columns: &'a [LoadColumn],
    limits: Vec<Limit>,
    has_sequence: bool,
    pub rejects: &'a mut Rejects,
    open: String,
    row: String,
    ready: Vec<String>,
    rows: u64,
}

impl<'a> Inserts<'a> {
    pub fn new(staging: &TableName, columns: &'a [LoadColumn], has_sequence: bool, rejects: &'a mut Rejects) -> Self {
        let mut names = list(columns.iter().map(|column| &column.name));
        if has_sequence {
            names.push_str(&format!(", {}", quote(SEQUENCE)));
        }
        Self {
            head: format!("INSERT INTO {} ({names}) VALUES ", table(staging)),
            columns,
            limits: columns.iter().map(|column| Limit::of(&column.type_name)).collect(),
            has_sequence,
            rejects,
            open: String::new(),
            row: String::new(),
            ready: Vec::new(),
            rows: 0,
        }
    }

    /// Statements that can go: all full ones once there are enough, or everything at the end.
    pub fn ready(&mut self, is_last: bool) -> Option<Vec<String>> {
        if is_last && !self.open.is_empty() {
            self.ready.push(std::mem::take(&mut self.open));
        }
        if self.ready.is_empty() || (!is_last && self.ready.len() < AT_ONCE) {
            return None;
        }
        let rest = self.ready.split_off(self.ready.len().min(AT_ONCE));
        Some(std::mem::replace(&mut self.ready, rest))
    }

    fn write(&mut self, row: &Row<'_>) -> Result<(), (usize, Vec<u8>, String)> {
        self.row.clear();
        self.row.push('(');
        for (index, cell) in row.cells().enumerate() {
            if index > 0 {
                self.row.push_str(", ");
            }
            let Some(cell) = cell else {
                self.row.push_str("NULL");
                continue;
            };
            let limit = &self.limits[index];
            if let Some(reason) = limit.refusal(cell) {
                return Err((index, cell.to_vec(), reason));
            }
            let text = String::from_utf8_lossy(cell);
            match limit {
                Limit::Super => self.row.push_str(&format!("JSON_PARSE({})", literal(&text))),
                Limit::Varbyte(_) => {
                    let hex = text.strip_prefix("\\x").unwrap_or(&text);
                    self.row.push_str(&format!("TO_VARBYTE({}, 'hex')", literal(hex)));
                }
                _ => self.row.push_str(&literal(&text)),
            }
        }
        if self.has_sequence {
            self.row.push_str(&format!(", {}", self.rows));
        }
        self.row.push(')');
        Ok(())
    }
}

impl RowSink for Inserts<'_> {
    fn take(&mut self, row: &Row<'_>) -> Result<(), PortError> {
        self.rows += 1;
        if let Err((column, value, reason)) = self.write(row) {
            return self.rejects.add(Refusal {
                line: row.line,
                column: Some(self.columns[column].name.clone()),
                value: Some(value),
                row: Some(row.text(self.columns)),
                reason,
            });
        }
        if self.row.len() + self.head.len() > LONGEST_STATEMENT {
            return self.rejects.add(Refusal {
                line: row.line,
                row: Some(row.text(self.columns)),
                reason: format!(
                    "the row makes a statement of {} bytes, and {LONGEST_STATEMENT} can be sent; load it through S3",
                    self.row.len() + self.head.len()
                ),
                ..Refusal::default()
            });
        }
        if !self.open.is_empty() && self.open.len() + 2 + self.row.len() > LONGEST_STATEMENT {
            self.ready.push(std::mem::take(&mut self.open));
        }
        if self.open.is_empty() {
            self.open.push_str(&self.head);
        } else {
            self.open.push_str(", ");
        }
        self.open.push_str(&self.row);
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), PortError> {
        self.rejects.add(refusal)
    }
}
