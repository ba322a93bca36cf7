//! Are the rows of two places the same? And if not, which of them are not?
//!
//! Both sides are cut into buckets by the key, each bucket's rows are counted and hashed (in SQL where the engine can, so
//! that no row moves), and only the rows of buckets that differ are read and compared, value by value.

mod buckets;
mod rows;

use std::sync::Arc;

use futures::future::try_join;
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{CanonicalForm, RowHashing, SourceColumn, SqlSource, ValueType};

use super::canonical::form_of_pair;
use super::row_hash::Fingerprint;
use crate::parts::reads::treatment::Repeated;
pub use buckets::BUCKETS;
use buckets::{Bucketing, Digest};
pub use rows::{Difference, Kind};

/// Rows of differing buckets that are read at the most, unless a single bucket holds more.
const MOST_ROWS: u64 = 500_000;

/// One of the two places.
#[derive(Clone)]
pub struct Side {
    /// For messages: `mysql_prod`, `pg_dw: public.nps`.
    pub label: String,
    pub source: Arc<dyn SqlSource>,
    /// What stands behind FROM: a table's name, or `(SELECT …) AS q`.
    pub relation: String,
    /// Which rows of it are meant, as SQL.
    pub filter: Option<String>,
    /// The columns compared; those of the other side stand in the same order.
    pub columns: Vec<SourceColumn>,
    /// Read the rows although SQL could hash them.
    pub is_streamed: bool,
    /// What was done to the rows when they were moved, to be done again: `columns` are those that come of it. Such rows are
    /// read.
    pub repeated: Option<Repeated>,
}

impl Side {
    /// What hashes the rows where they are.
    fn hashing(&self) -> Option<&dyn RowHashing> {
        self.source.row_hashing().filter(|_| !self.is_streamed && self.repeated.is_none())
    }
}

pub struct Comparison {
    pub source: Side,
    pub target: Side,
    /// Positions of the key's columns; without them rows are told apart by all they hold.
    pub keys: Vec<usize>,
    /// Differing rows that are named at the most.
    pub most: usize,
}

/// Told while it goes on: the side's label and what was done.
pub type Tell<'a> = &'a (dyn Fn(&str, &str) + Send + Sync);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub source: Fingerprint,
    pub target: Fingerprint,
    /// At the most as many as were asked for.
    pub differences: Vec<Difference>,
    /// Rows that differ, among those that were looked at.
    pub rows_different: u64,
    /// True when there are more buckets that differ than were looked at.
    pub is_partial: bool,
    /// Which sides were hashed by their own SQL.
    pub in_sql: (bool, bool),
    /// The hashes differed, but all rows of the differing buckets are equal when they are read.
    pub is_equal_when_read: bool,
}

impl Verdict {
    pub fn is_equal(&self) -> bool {
        self.source == self.target || self.is_equal_when_read
    }
}

impl Comparison {
    fn forms(&self) -> Vec<CanonicalForm> {
        self.source
            .columns
            .iter()
            .zip(&self.target.columns)
            .map(|(source, target)| form_of_pair(source, target))
            .collect()
    }

    fn bucketing(&self) -> Bucketing {
        let is_integer = |column: &SourceColumn| matches!(column.value, ValueType::Integer { .. });
        match self.keys[..] {
            [] => Bucketing::Row,
            [key] if is_integer(&self.source.columns[key]) && is_integer(&self.target.columns[key]) => {
                Bucketing::Number(key)
            }
            _ => Bucketing::Key(self.keys.clone()),
        }
    }

    pub async fn run(&self, tell: Tell<'_>) -> Result<Verdict, PortError> {
        let (forms, bucketing) = (self.forms(), self.bucketing());
        let (source, target) = try_join(
            buckets::digest(&self.source, &forms, &bucketing, tell),
            buckets::digest(&self.target, &forms, &bucketing, tell),
        )
        .await?;
        let mut verdict = Verdict {
            source: source.total(),
            target: target.total(),
            differences: Vec::new(),
            rows_different: 0,
            is_partial: false,
            in_sql: (source.in_sql, target.in_sql),
            is_equal_when_read: false,
        };
        let (chosen, rows, differ) = differing(&source, &target);
        if chosen.is_empty() {
            return Ok(verdict);
        }
        let is_partial = chosen.len() < differ;
        tell("both", &format!("{differ} of {BUCKETS} parts differ; reading {rows} rows of {} of them", chosen.len()));
        let read = |side| buckets::read(side, &forms, &bucketing, &chosen);
        let (of_source, of_target) = try_join(read(&self.source), read(&self.target)).await?;
        let names: Vec<&str> = self.source.columns.iter().map(|column| column.name.as_str()).collect();
        let found = rows::compare(of_source, of_target, &names, &self.keys, self.most);
        verdict.is_partial = is_partial;
        verdict.is_equal_when_read = found.different == 0 && !is_partial && verdict.source.rows == verdict.target.rows;
        verdict.rows_different = found.different;
        verdict.differences = found.named;
        Ok(verdict)
    }
}

/// The rows of one side, summed up by its own SQL where that can be.
pub async fn fingerprint(side: &Side, forms: &[CanonicalForm]) -> Result<Fingerprint, PortError> {
    Ok(buckets::digest(side, forms, &Bucketing::Row, &|_, _| {}).await?.total())
}

/// The buckets to look at, about how many rows they hold, and how many differ: not all of them may be looked at.
fn differing(source: &Digest, target: &Digest) -> (Vec<u16>, u64, usize) {
    let (mut chosen, mut rows, mut differ) = (Vec::new(), 0, 0);
    for bucket in 0..BUCKETS {
        let (a, b) = (source.of(bucket), target.of(bucket));
        if a == b {
            continue;
        }
        differ += 1;
        let more = a.rows.max(b.rows);
        if chosen.len() + 1 < differ || (!chosen.is_empty() && rows + more > MOST_ROWS) {
            continue;
        }
        rows += more;
        chosen.push(bucket);
    }
    (chosen, rows, differ)
}
