//! Rows on their way through an object store, for a warehouse that fetches them by itself faster than it takes them.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_operator_api::ports::{
    CsvFormat, ObjectPlace, ObjectRows, ObjectStore, RowStream, SourceColumn, Staging, ValueType, Warehouse,
};
use millrace_operator_api::{PortError, PortErrorKind, TaskContext, TaskError, WorkId};

use crate::parts::files::encoding::{Files, Limits, Proof};
use crate::parts::files::mark::{Compression, FileShape, Format};
use crate::parts::files::publishing::{Destination, Known, publish};
use crate::parts::report::{Expected, Meter, Progress, unless_cancelled, while_doing};

/// Of a file: several are fetched beside each other.
const FILE_BYTES: u64 = 64 << 20;

/// Rows that are more than this are not few, however many there are.
const FEW_BYTES: usize = 1 << 20;

/// Where the rows of a task are put.
pub struct StagingPlace {
    store: Arc<dyn ObjectStore>,
    place: ObjectPlace,
}

/// Files of one copy.
pub struct StagedFiles {
    pub rows: ObjectRows,
    pub format: CsvFormat,
}

impl StagingPlace {
    pub async fn open(context: &TaskContext, staging: &Staging) -> Result<Self, TaskError> {
        let address = &staging.address;
        let rest = address.strip_prefix("s3://").unwrap_or_default().trim_end_matches('/');
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || prefix.is_empty() {
            return Err(TaskError::Fail(format!(
                "s3_staging: '{address}' is no s3://bucket/prefix; a prefix is needed, under which nothing else is kept"
            )));
        }
        let store = context.ports.objects(context, &staging.conn_id).await?;
        Ok(Self { store, place: ObjectPlace { bucket: bucket.to_owned(), key: prefix.to_owned() } })
    }

    /// The keys of one work begin with it, whichever try writes them.
    fn folder(&self, work: &WorkId) -> String {
        format!("{}/{}-{}/", self.place.key, work.short_hash(), work.generation)
    }

    /// Writes the rows into files, as many as it takes and at least one.
    pub async fn put(&self, context: &TaskContext, work: &WorkId, rows: RowStream) -> Result<StagedFiles, TaskError> {
        let folder = self.folder(work);
        let marker = format!("millrace-null-{}", work.short_hash());
        let shape = FileShape {
            format: Format::Csv,
            delimiter: ',',
            header: false,
            null_marker: marker.clone(),
            compression: Compression::Gzip,
            columns: rows.columns.iter().map(|column| column.name.clone()).collect(),
            types: rows.columns.iter().map(|column| column.value.clone()).collect(),
            personal: std::collections::BTreeMap::new(),
        };
        let meter = Meter::new(Progress::start(context, "stage", Expected::default()));
        let limits = Limits { rows: None, bytes: Some(FILE_BYTES) };
        let mut files = Files::new(rows, &shape, limits, Proof::Left, meter.clone(), 1);
        let mut objects = Vec::new();
        while let Some(file) = unless_cancelled(context, async { Ok(files.next(true).await?) }).await? {
            let to = Destination {
                store: &*self.store,
                bucket: self.place.bucket.clone(),
                key: format!("{folder}{}-{:05}{}", context.try_number, objects.len() + 1, shape.extension()),
                replace: true,
            };
            let known = Known { shape: Some(&shape), ..Known::default() };
            objects.push(publish(context, &to, false, file, known).await?.0);
        }
        meter.finish();
        let format = CsvFormat { null_as: Some(marker), gzip: true, ..CsvFormat::default() };
        let manifest_prefix = (self.place.bucket.clone(), folder);
        Ok(StagedFiles { rows: ObjectRows { objects, store: Arc::clone(&self.store), manifest_prefix }, format })
    }

    /// Removes what this try and those before it have put there.
    pub async fn clear(&self, work: &WorkId) -> Result<(), TaskError> {
        let folder = self.folder(work);
        let attempted = format!("removing s3://{}/{folder}", self.place.bucket);
        let found: Vec<String> = self
            .store
            .list(&self.place.bucket, &folder)
            .map_ok(|object| object.key)
            .try_collect()
            .await
            .map_err(|error| while_doing(&attempted, error))?;
        if found.is_empty() {
            return Ok(());
        }
        let report = self.store.delete(&self.place.bucket, found).await;
        match report.map_err(|error| while_doing(&attempted, error))?.errors.first() {
            None => Ok(()),
            Some((key, message)) => Err(TaskError::Retry(format!("{attempted}: {key}: {message}"))),
        }
    }
}

/// Reads a few rows ahead: all of them again, and whether there are no more than so many, and no more than a megabyte.
pub async fn look_ahead(mut rows: RowStream, most: u64) -> Result<(RowStream, bool), PortError> {
    let (mut ahead, mut count, mut bytes) = (Vec::new(), 0, 0);
    let are_few = loop {
        if count > most || bytes > FEW_BYTES {
            break false;
        }
        match rows.batches.try_next().await? {
            None => break true,
            Some(batch) => {
                count += batch.len() as u64;
                bytes += batch.byte_len();
                ahead.push(Ok(batch));
            }
        }
    };
    // A stream that has ended must not be asked again.
    let rest = if are_few { stream::empty().boxed() } else { rows.batches };
    let batches = stream::iter(ahead).chain(rest).boxed();
    Ok((RowStream { columns: rows.columns, batches }, are_few))
}

/// The columns of bytes, a value without any of which a bulk load of texts would take for NULL.
pub fn columns_of_bytes(columns: &[SourceColumn]) -> impl Iterator<Item = (usize, &SourceColumn)> {
    columns.iter().enumerate().filter(|(_, column)| matches!(column.value, ValueType::Bytes { .. }))
}

/// The same rows, of which none has such a value: nobody had one when they were looked for.
pub fn without_empty_bytes(rows: RowStream) -> RowStream {
    let bytes: Vec<(usize, String)> =
        columns_of_bytes(&rows.columns).map(|(at, column)| (at, column.name.clone())).collect();
    if bytes.is_empty() {
        return rows;
    }
    let batches = rows.batches.map(move |batch| {
        let batch = batch?;
        let is_empty = |at: usize| (0..batch.len()).any(|row| batch.cell(row, at) == Some(b""));
        match bytes.iter().find(|(at, _)| is_empty(*at)) {
            None => Ok(batch),
            Some((_, name)) => Err(PortError::new(
                PortErrorKind::Unavailable,
                format!("a value of no bytes came into {name} while the rows were read; the next try inserts them without S3"),
            )),
        }
    });
    RowStream { columns: rows.columns, batches: batches.boxed() }
}

/// The first column whose values a bulk load of texts might change without a word, where they are not `looked_at` before:
/// digits behind the point and parts of a second where the target's type is narrower. What is refused aloud (a text too long, a number out of range) is no reason.
pub fn may_be_cut<'a>(
    warehouse: &dyn Warehouse,
    columns: &'a [SourceColumn],
    types: &[Option<String>],
    looked_at: bool,
) -> Option<&'a SourceColumn> {
    let is_refused_aloud = |type_name: &str| {
        let name = type_name.to_ascii_lowercase();
        let first = name.split(['(', ' ']).next().unwrap_or_default();
        name.contains("char") || matches!(first, "smallint" | "integer" | "int" | "bigint" | "int2" | "int4" | "int8")
    };
    let mut pairs = columns.iter().zip(types);
    pairs
        .find(|(column, type_name)| {
            let is_narrower = || {
                type_name
                    .as_deref()
                    .is_some_and(|name| !warehouse.holds(name, &column.value) && !is_refused_aloud(name))
            };
            !looked_at && is_narrower()
        })
        .map(|(column, _)| column)
}
