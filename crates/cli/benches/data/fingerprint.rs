//! What the proof costs that is taken of the rows as they go by.

use std::io::{BufRead, BufReader};

use millrace_operator_api::ports::{RowBatch, SourceColumn, ValueType};
use millrace_operators::parts::proof::canonical::natural_form;
use millrace_operators::parts::proof::row_hash::{Fingerprint, RowHasher};

use crate::figure::Target;
use crate::home::timed;
use crate::moves::Bench;

/// Part of an extract.
const MOST: f64 = 0.05;
/// Rows that are hashed at once, about as many as come from a source at once.
const BATCH: usize = 1_000;

impl Bench {
    /// The rows are hashed alone and without anything else, and the extract does that and all it does besides.
    pub fn fingerprint(&mut self, table: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        self.sources.copy_out(table, Some(file.path()));
        let values = values_of(table);
        let forms = values.iter().map(|value| natural_form(&column(value))).collect();
        let (mut hasher, mut sum, mut took) = (RowHasher::new(forms), Fingerprint::default(), 0.0);
        let mut batch = RowBatch::new(values.len());
        let mut hash = |batch: &mut RowBatch| {
            took += timed(|| hasher.add(batch, &mut sum));
            *batch = RowBatch::new(values.len());
        };
        for line in BufReader::new(file.reopen().unwrap()).split(b'\n') {
            let line = line.unwrap();
            line.split(|byte| *byte == b'\t').for_each(|cell| batch.push((cell != b"\\N").then_some(cell)));
            if batch.len() == BATCH {
                hash(&mut batch);
            }
        }
        hash(&mut batch);
        assert_eq!(sum.rows, self.sources.rows.of(table));
        let extract = (0..3).map(|_| self.moved(&format!("mariadb_{table}"), None).took).fold(f64::INFINITY, f64::min);
        let name = format!("fingerprint of MariaDB {table} (its extract to S3)");
        self.figures.say(&name, took, "s", Some(extract), Target::AtMost(extract * MOST));
    }
}

fn column(value: &ValueType) -> SourceColumn {
    SourceColumn { name: String::new(), type_name: value.to_string(), value: value.clone() }
}

/// As MariaDB's catalogue gives them.
fn values_of(table: &str) -> Vec<ValueType> {
    let integer = |bits| ValueType::Integer { bits, signed: true };
    let moment = |zoned| ValueType::Timestamp { zoned };
    if table == "nps" {
        return vec![integer(32), moment(true), integer(16)];
    }
    let money = || ValueType::Decimal { precision: Some(12), scale: Some(2) };
    let mut values = vec![integer(64), integer(32), ValueType::Integer { bits: 64, signed: false }, integer(16)];
    values.extend([money(), money()]);
    values.extend(vec![ValueType::TEXT; 6]);
    values.extend([ValueType::Date, moment(false), moment(false), integer(8), integer(8)]);
    values.extend([ValueType::Float { bits: 64 }, ValueType::TEXT, ValueType::Json]);
    values
}
