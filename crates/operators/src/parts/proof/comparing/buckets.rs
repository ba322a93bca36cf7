//! The rows of one side, counted and hashed by bucket.

use std::ops::RangeInclusive;

use futures::StreamExt;
use millrace_operator_api::ports::{CanonicalForm, RowBatch, RowHashing, RowStream};
use millrace_operator_api::{PortError, PortErrorKind};

use super::{Side, Tell};
use crate::parts::proof::canonical::{Scratch, canonical};
use crate::parts::proof::row_hash::{Fingerprint, RowHasher};

/// One bucket of five million rows is read in no time, and so many sums are no burden for any engine.
pub const BUCKETS: u16 = 4096;

/// Rows between two messages while rows are read.
const TELL_ROWS: u64 = 500_000;
/// Rows that are asked for at once where an answer arrives whole: it stands in memory, and the Data API ends at 100 MB.
const ROWS_OF_WHOLE_ANSWER: u64 = 50_000;

/// What decides a row's bucket. Both engines, and we, must come to the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bucketing {
    /// The remainder of a whole number.
    Number(usize),
    /// The remainder of the hash of these columns.
    Key(Vec<usize>),
    /// The remainder of the hash of the whole row.
    Row,
}

#[derive(Debug, Clone)]
pub struct Digest {
    buckets: Vec<Fingerprint>,
    pub in_sql: bool,
}

impl Digest {
    fn new(in_sql: bool) -> Self {
        Self { buckets: vec![Fingerprint::default(); usize::from(BUCKETS)], in_sql }
    }

    pub fn of(&self, bucket: u16) -> Fingerprint {
        self.buckets[usize::from(bucket)]
    }

    pub fn total(&self) -> Fingerprint {
        let mut total = Fingerprint::default();
        self.buckets.iter().for_each(|bucket| total.merge(*bucket));
        total
    }
}

/// The SQL of a side that can hash: for a row its hash and its bucket.
struct Expressions {
    hash: String,
    bucket: String,
}

fn expressions(
    hashing: &dyn RowHashing,
    side: &Side,
    forms: &[CanonicalForm],
    bucketing: &Bucketing,
) -> Result<Expressions, String> {
    let mut texts = Vec::with_capacity(forms.len());
    for (column, form) in side.columns.iter().zip(forms) {
        let text = hashing.canonical(column, *form);
        texts.push(text.ok_or_else(|| format!("column {} ({})", column.name, column.type_name))?);
    }
    let hash = hashing.hash(&texts);
    let bucket = bucket_by_key(hashing, side, forms, bucketing)
        .unwrap_or_else(|| format!("COALESCE(MOD({hash}, {BUCKETS}), 0)"));
    Ok(Expressions { hash, bucket })
}

/// A row's bucket where its key decides it, whatever the other columns are; `None` where SQL can't say it.
fn bucket_by_key(
    hashing: &dyn RowHashing,
    side: &Side,
    forms: &[CanonicalForm],
    bucketing: &Bucketing,
) -> Option<String> {
    let number = match bucketing {
        Bucketing::Number(key) => {
            format!("ABS(MOD({}, {BUCKETS}))", side.source.quote(&side.columns[*key].name))
        }
        Bucketing::Key(keys) => {
            let text = |key: &usize| hashing.canonical(&side.columns[*key], forms[*key]);
            format!("MOD({}, {BUCKETS})", hashing.hash(&keys.iter().map(text).collect::<Option<Vec<_>>>()?))
        }
        Bucketing::Row => return None,
    };
    Some(format!("COALESCE({number}, 0)"))
}

/// Ranges of buckets, each of about as many rows as may be asked for at once, and the SQL by which a row is in one. `None`
/// where one question is enough, or there is no way to ask for a part.
async fn ranges(
    side: &Side,
    forms: &[CanonicalForm],
    bucketing: &Bucketing,
) -> Result<Option<(String, Vec<RangeInclusive<u16>>)>, PortError> {
    if !side.source.answers_whole() || side.repeated.is_some() {
        return Ok(None);
    }
    let hashing = side.source.row_hashing();
    let Some(bucket) = hashing.and_then(|hashing| bucket_by_key(hashing, side, forms, bucketing)) else {
        return Ok(None);
    };
    let mut answer = side.source.query(&format!("SELECT COUNT(*) FROM {}", from(side))).await?;
    let rows: u64 = match answer.batches.next().await {
        Some(batch) => number(&batch?, 0, 0)?,
        None => 0,
    };
    let parts = rows.div_ceil(ROWS_OF_WHOLE_ANSWER).clamp(1, u64::from(BUCKETS));
    let step = u64::from(BUCKETS).div_ceil(parts) as u16;
    let ranges = (0..BUCKETS).step_by(usize::from(step)).map(|first| first..=first + (step - 1)).collect();
    Ok((parts > 1).then_some((bucket, ranges)))
}

fn from(side: &Side) -> String {
    match &side.filter {
        Some(filter) => format!("{} WHERE {filter}", side.relation),
        None => side.relation.clone(),
    }
}

pub async fn digest(
    side: &Side,
    forms: &[CanonicalForm],
    bucketing: &Bucketing,
    tell: Tell<'_>,
) -> Result<Digest, PortError> {
    if let Some(hashing) = side.hashing() {
        match expressions(hashing, side, forms, bucketing) {
            Ok(expressions) => match digest_in_sql(side, &expressions).await {
                Ok(digest) => {
                    tell(&side.label, &format!("{} rows counted and hashed in SQL", digest.total().rows));
                    return Ok(digest);
                }
                // An old server without a function, one that forbids MD5, a row too long to hash.
                Err(error) if !matches!(error.kind, PortErrorKind::Cancelled | PortErrorKind::Unavailable) => {
                    tell(&side.label, &format!("its SQL can't hash the rows, so they are read: {}", error.message));
                }
                Err(error) => return Err(error),
            },
            Err(what) => tell(&side.label, &format!("its SQL can't hash {what}, so the rows are read")),
        }
    }
    digest_by_reading(side, forms, bucketing, tell).await
}

async fn digest_in_sql(side: &Side, expressions: &Expressions) -> Result<Digest, PortError> {
    let sql = format!(
        "SELECT b, COUNT(*) AS n, SUM(h) AS s FROM (SELECT {} AS b, {} AS h FROM {}) AS x GROUP BY b",
        expressions.bucket,
        expressions.hash,
        from(side)
    );
    let mut answer = side.source.query(&sql).await?;
    let mut digest = Digest::new(true);
    while let Some(batch) = answer.batches.next().await {
        let batch = batch?;
        for row in 0..batch.len() {
            let bucket: u16 = number(&batch, row, 0)?;
            let sum = Fingerprint { rows: number(&batch, row, 1)?, sum: number(&batch, row, 2)? };
            let Some(known) = digest.buckets.get_mut(usize::from(bucket)) else {
                return Err(PortError::new(PortErrorKind::Other, format!("the engine gave {bucket} for a remainder")));
            };
            known.merge(sum);
        }
    }
    Ok(digest)
}

fn number<T: std::str::FromStr>(batch: &RowBatch, row: usize, column: usize) -> Result<T, PortError> {
    let text = batch.cell(row, column).map(String::from_utf8_lossy).unwrap_or_default();
    let whole = text.split('.').next().unwrap_or_default();
    whole
        .parse()
        .map_err(|_| PortError::new(PortErrorKind::Other, format!("the engine gave '{text}' for a whole number")))
}

/// Reads the columns compared, in their order, as they were moved.
async fn open(side: &Side, condition: Option<String>) -> Result<RowStream, PortError> {
    let columns: Vec<String> = side.columns.iter().map(|column| side.source.quote(&column.name)).collect();
    let conditions: Vec<String> = side.filter.iter().map(|filter| format!("({filter})")).chain(condition).collect();
    let filter = if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
    let rows = side.source.query(&format!("SELECT {} FROM {}{filter}", columns.join(", "), side.relation)).await?;
    match &side.repeated {
        Some(repeated) => repeated.apply(rows),
        None => Ok(rows),
    }
}

/// Hashes and buckets of the rows of a batch.
struct Sorter<'a> {
    bucketing: &'a Bucketing,
    rows: RowHasher,
    keys: RowHasher,
    columns: Vec<usize>,
}

impl<'a> Sorter<'a> {
    fn new(forms: &[CanonicalForm], bucketing: &'a Bucketing) -> Self {
        let of_keys = match bucketing {
            Bucketing::Key(keys) => keys.iter().map(|key| forms[*key]).collect(),
            _ => Vec::new(),
        };
        Self {
            bucketing,
            rows: RowHasher::new(forms.to_vec()),
            keys: RowHasher::new(of_keys),
            columns: (0..forms.len()).collect(),
        }
    }

    fn hashes(&mut self, batch: &RowBatch) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(batch.len());
        self.rows.hash_picked(batch, &self.columns, &mut hashes);
        hashes
    }

    fn buckets(&mut self, batch: &RowBatch, hashes: &[u64]) -> Vec<u16> {
        let remainder = |hash: u64| (hash % u64::from(BUCKETS)) as u16;
        match self.bucketing {
            Bucketing::Row => hashes.iter().copied().map(remainder).collect(),
            Bucketing::Key(keys) => {
                let mut hashes = Vec::with_capacity(batch.len());
                self.keys.hash_picked(batch, keys, &mut hashes);
                hashes.into_iter().map(remainder).collect()
            }
            Bucketing::Number(key) => (0..batch.len())
                .map(|row| {
                    let text = batch.cell(row, *key).and_then(|cell| std::str::from_utf8(cell).ok());
                    let number: i128 = text.and_then(|text| text.parse().ok()).unwrap_or(0);
                    (number.unsigned_abs() % u128::from(BUCKETS)) as u16
                })
                .collect(),
        }
    }
}

async fn digest_by_reading(
    side: &Side,
    forms: &[CanonicalForm],
    bucketing: &Bucketing,
    tell: Tell<'_>,
) -> Result<Digest, PortError> {
    let conditions: Vec<Option<String>> = match ranges(side, forms, bucketing).await? {
        None => vec![None],
        Some((bucket, ranges)) => {
            ranges.iter().map(|range| Some(format!("{bucket} BETWEEN {} AND {}", range.start(), range.end()))).collect()
        }
    };
    let (mut digest, mut sorter) = (Digest::new(false), Sorter::new(forms, bucketing));
    let (mut rows, mut told, parts) = (0_u64, 0, conditions.len());
    for condition in conditions {
        let mut answer = open(side, condition).await?;
        while let Some(batch) = answer.batches.next().await {
            let batch = batch?;
            let hashes = sorter.hashes(&batch);
            for (bucket, hash) in sorter.buckets(&batch, &hashes).into_iter().zip(&hashes) {
                digest.buckets[usize::from(bucket)].add(*hash);
            }
            rows += batch.len() as u64;
            if rows - told >= TELL_ROWS {
                told = rows;
                tell(&side.label, &format!("{rows} rows read"));
            }
        }
    }
    let in_parts = if parts > 1 { format!(", in {parts} parts") } else { String::new() };
    tell(&side.label, &format!("{rows} rows read and hashed{in_parts}"));
    Ok(digest)
}

/// A row's values in canonical form.
pub type Row = Vec<Option<Vec<u8>>>;

/// The rows of the chosen buckets.
pub async fn read(
    side: &Side,
    forms: &[CanonicalForm],
    bucketing: &Bucketing,
    chosen: &[u16],
) -> Result<Vec<Row>, PortError> {
    let conditions: Vec<Option<String>> = match ranges(side, forms, bucketing).await? {
        Some((bucket, ranges)) => {
            let parts = ranges.iter().map(|range| chosen.iter().copied().filter(|of| range.contains(of)));
            parts.filter_map(|part| is_one_of(&bucket, part)).map(Some).collect()
        }
        None => {
            let bucket = side.hashing().and_then(|hashing| {
                let of_key = bucket_by_key(hashing, side, forms, bucketing);
                of_key.or_else(|| Some(expressions(hashing, side, forms, bucketing).ok()?.bucket))
            });
            vec![bucket.and_then(|bucket| is_one_of(&bucket, chosen.iter().copied()))]
        }
    };
    let mut sorter = Sorter::new(forms, bucketing);
    let mut wanted = vec![false; usize::from(BUCKETS)];
    for bucket in chosen {
        wanted[usize::from(*bucket)] = true;
    }
    let mut rows = Vec::new();
    for condition in conditions {
        let mut answer = open(side, condition).await?;
        while let Some(batch) = answer.batches.next().await {
            let batch = batch?;
            let hashes = if *bucketing == Bucketing::Row { sorter.hashes(&batch) } else { Vec::new() };
            let buckets = sorter.buckets(&batch, &hashes);
            for (row, bucket) in buckets.into_iter().enumerate() {
                if wanted[usize::from(bucket)] {
                    rows.push(canonical_row(&batch, row, forms));
                }
            }
        }
    }
    Ok(rows)
}

/// `None` without any.
fn is_one_of(bucket: &str, buckets: impl Iterator<Item = u16>) -> Option<String> {
    let list = buckets.map(|bucket| bucket.to_string()).collect::<Vec<_>>().join(", ");
    (!list.is_empty()).then(|| format!("{bucket} IN ({list})"))
}

fn canonical_row(batch: &RowBatch, row: usize, forms: &[CanonicalForm]) -> Row {
    let mut scratch = Scratch::default();
    let cell = |(column, form): (usize, &CanonicalForm)| {
        batch.cell(row, column).and_then(|cell| canonical(cell, *form, &mut scratch)).map(<[u8]>::to_vec)
    };
    forms.iter().enumerate().map(cell).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{MOST_ROWS, differing};
    use super::*;

    #[test]
    fn all_that_differ_are_counted_though_not_all_are_looked_at() {
        let (mut source, target) = (Digest::new(true), Digest::new(true));
        for (bucket, rows) in [(0, MOST_ROWS - 1), (7, 5), (9, 1)] {
            source.buckets[bucket].rows = rows;
        }
        assert_eq!(differing(&source, &target), (vec![0], MOST_ROWS - 1, 3));
        source.buckets[7].rows = 1;
        assert_eq!(differing(&source, &target), (vec![0, 7], MOST_ROWS, 3));
        assert_eq!(differing(&target, &target), (vec![], 0, 0));
    }
}
