//! COPY as it runs: objects -> records -> checked values -> PostgreSQL's COPY, all as a stream.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::pin::Pin;

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use tokio_postgres::{Client, CopyInSink};

use super::answer::{SqlError, from_postgres, with_causes};
use super::convert::{Column, FieldError, Kind, append_value, convert};
use super::copy_options::{CopyStatement, Format, Location};
use super::load_errors::{History, LoadErrors};
use super::parquet_rows;
use super::records::{Record, RecordReader};
use super::tokens::quote_identifier;
use crate::objects::{ObjectBytes, ObjectError, ObjectSource};

/// Sent to PostgreSQL at a time.
const BUFFER: usize = 64 * 1024;
/// Decompressed at a time, so that a small chunk cannot become a huge one at once.
const PACKED_SLICE: usize = 16 * 1024;
/// A manifest is read whole.
const LARGEST_MANIFEST: usize = 64 * 1024 * 1024;

/// One COPY about to run, inside a transaction of `client`.
pub(super) struct CopyRun<'a> {
    pub(super) client: &'a Client,
    pub(super) objects: &'a dyn ObjectSource,
    pub(super) statement: &'a CopyStatement,
    pub(super) query_id: i64,
    pub(super) pid: i32,
}

/// What a COPY did, whether it failed or not.
pub(super) struct CopyOutcome {
    pub(super) result: Result<i64, SqlError>,
    /// `None` when it failed before any file was looked at.
    pub(super) history: Option<(History, LoadErrors)>,
}

/// Takes compressed bytes in and gives plain ones out.
enum Unpacker {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Vec<u8>>>),
}

impl Unpacker {
    fn of(statement: &CopyStatement) -> std::io::Result<Option<Self>> {
        Ok(if statement.gzip {
            Some(Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))))
        } else if statement.zstd {
            Some(Self::Zstd(Box::new(zstd::stream::write::Decoder::new(Vec::new())?)))
        } else {
            None
        })
    }

    fn refusal(&self) -> &'static str {
        match self {
            Self::Gzip(_) => "Invalid GZIP file",
            Self::Zstd(_) => "Invalid ZSTD file",
        }
    }

    fn feed(&mut self, packed: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => {
                decoder.write_all(packed)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd(decoder) => {
                decoder.write_all(packed)?;
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }

    fn finish(self) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => decoder.finish(),
            Self::Zstd(mut decoder) => {
                decoder.flush()?;
                Ok(std::mem::take(decoder.get_mut()))
            }
        }
    }
}

struct Target {
    relid: u32,
    columns: Vec<Column>,
}

struct File {
    url: String,
    location: Location,
    /// Declared in the manifest.
    length: Option<u64>,
    size: u64,
}

impl CopyRun<'_> {
    /// Loads all files or nothing.
    pub(super) async fn run(self) -> CopyOutcome {
        let started = chrono::Utc::now().naive_utc();
        let prepared = async {
            let target = self.target().await?;
            let files = self.files().await?;
            Ok((target, files))
        };
        let (target, files) = match prepared.await {
            Ok(prepared) => prepared,
            Err(error) => return CopyOutcome { result: Err(error), history: None },
        };
        let mut errors = LoadErrors::default();
        let result = self.load(&target, &files, &mut errors).await;
        let history = History {
            query_id: self.query_id,
            session_id: self.pid,
            table: self.statement.table.table().to_owned(),
            table_id: target.relid,
            started,
            source: format!("s3://{}/{}", self.statement.from.bucket, self.statement.from.key),
            format: match self.statement.format {
                Format::Csv { .. } => "csv",
                Format::Delimited => "text",
                Format::Parquet => "parquet",
            },
            loaded_rows: result.as_ref().copied().unwrap_or(0),
            files: files.len() as i32,
            file_bytes: files.iter().map(|file| file.size as i64).sum(),
            failed: result.is_err(),
        };
        CopyOutcome { result, history: Some((history, errors)) }
    }

    /// The table's columns that the files fill, in the files' order.
    async fn target(&self) -> Result<Target, SqlError> {
        let name = self.statement.table.quoted();
        let rows = self
            .client
            .query(
                "SELECT c.oid, a.attname::text, t.typname::text, a.atttypmod, a.attnotnull, a.attidentity::text, a.atthasdef \
                 FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                 WHERE c.oid = $1::text::regclass AND c.relkind = 'r' ORDER BY a.attnum",
                &[&name],
            )
            .await
            .map_err(|error| from_postgres(&error))?;
        let relid = rows.first().map(|row| row.get(0)).ok_or_else(|| {
            SqlError::new(format!("Cannot COPY into \"{}\": it is not a table", self.statement.table.table()))
        })?;
        let mut all = Vec::new();
        for row in &rows {
            let type_name: String = row.get(2);
            let column = Column {
                name: row.get(1),
                kind: kind(&type_name, row.get(3))
                    .ok_or_else(|| SqlError::not_emulated(&format!("COPY into a column of type {type_name}")))?,
                not_null: row.get(4),
            };
            let identity: String = row.get(5);
            all.push((column, identity, row.get::<_, bool>(6)));
        }
        let explicit_ids = self.statement.explicit_ids;
        let Some(wanted) = &self.statement.columns else {
            // Without a list: all columns in order, IDENTITY columns only with EXPLICIT_IDS.
            let columns = all.into_iter().filter(|(_, identity, _)| explicit_ids || identity != "a");
            return Ok(Target { relid, columns: columns.map(|(column, _, _)| column).collect() });
        };
        let mut columns = Vec::new();
        for name in wanted {
            let Some((column, identity, _)) = all.iter().find(|(column, _, _)| column.name == *name) else {
                let table = self.statement.table.table();
                return Err(SqlError::new(format!("column \"{name}\" of relation \"{table}\" does not exist")));
            };
            if identity == "a" && !explicit_ids {
                return Err(SqlError::new(format!(
                    "cannot set an identity column to a value: {name} needs EXPLICIT_IDS"
                )));
            }
            if columns.iter().any(|column: &Column| column.name == *name) {
                return Err(SqlError::new(format!("column \"{name}\" specified more than once")));
            }
            columns.push(column.clone());
        }
        for (column, identity, has_default) in &all {
            let left_out = !wanted.contains(&column.name);
            if left_out && column.not_null && identity.is_empty() && !has_default {
                return Err(SqlError::new(format!(
                    "NOT NULL column without DEFAULT must be included in column list: {}",
                    column.name
                )));
            }
        }
        Ok(Target { relid, columns })
    }

    /// A manifest names its files; anything else is a *prefix* of keys.
    async fn files(&self) -> Result<Vec<File>, SqlError> {
        let from = &self.statement.from;
        if self.statement.manifest {
            return self.manifest_files().await;
        }
        let found = self.objects.list(&from.bucket, &from.key).await.map_err(|error| object_error(&error))?;
        if found.is_empty() {
            return Err(SqlError::new(format!("The specified S3 prefix '{}' does not exist", from.key)));
        }
        Ok(found
            .into_iter()
            .map(|object| File {
                url: format!("s3://{}/{}", from.bucket, object.key),
                location: Location { bucket: from.bucket.clone(), key: object.key },
                length: None,
                size: object.size,
            })
            .collect())
    }

    async fn manifest_files(&self) -> Result<Vec<File>, SqlError> {
        let from = &self.statement.from;
        let problem = |what: &str| SqlError::new(format!("Problem reading manifest file - {what}"));
        let mut body =
            self.objects.open(&from.bucket, &from.key).await.map_err(|error| problem(&with_causes(&error)))?;
        let mut text = Vec::new();
        while let Some(chunk) = body.next().await {
            text.extend_from_slice(&chunk.map_err(|error| problem(&error.to_string()))?);
            if text.len() > LARGEST_MANIFEST {
                return Err(problem("it is too large"));
            }
        }
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| problem(&error.to_string()))?;
        if manifest.entries.is_empty() {
            return Err(problem("it names no file"));
        }
        let mut files = Vec::new();
        let mut listed: BTreeMap<(String, String), Option<u64>> = BTreeMap::new();
        for entry in manifest.entries {
            let location = Location::parse(&entry.url)?;
            let place = (location.bucket.clone(), location.key.clone());
            let size = match listed.get(&place) {
                Some(size) => *size,
                None => {
                    let found = self.objects.list(&location.bucket, &location.key).await;
                    let found = found.map_err(|error| object_error(&error))?;
                    let size = found.iter().find(|object| object.key == location.key).map(|object| object.size);
                    listed.insert(place, size);
                    size
                }
            };
            match size {
                Some(size) => {
                    let length = entry.meta.and_then(|meta| meta.content_length);
                    files.push(File { url: entry.url, location, length, size });
                }
                None if entry.mandatory => {
                    return Err(problem(&format!("the mandatory file {} does not exist", entry.url)));
                }
                // As in Redshift: what is not mandatory is left out without a word.
                None => {}
            }
        }
        Ok(files)
    }

    async fn load(&self, target: &Target, files: &[File], errors: &mut LoadErrors) -> Result<i64, SqlError> {
        let table = self.statement.table.quoted();
        let columns: Vec<String> = target.columns.iter().map(|column| quote_identifier(&column.name)).collect();
        let sql = format!("COPY {table} ({}) FROM STDIN", columns.join(", "));
        let lock = format!("LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE");
        self.client.batch_execute(&lock).await.map_err(|error| from_postgres(&error))?;
        let sink: CopyInSink<Bytes> = self.client.copy_in(&sql).await.map_err(|error| from_postgres(&error))?;
        let mut sink = Box::pin(sink);
        let mut buffer = Vec::with_capacity(BUFFER * 2);
        for file in files {
            if file.length.is_some_and(|length| length != file.size) {
                return Err(SqlError::new(format!(
                    "Problem reading manifest file - content_length of {} is {} in the manifest and {} in S3",
                    file.url,
                    file.length.unwrap_or_default(),
                    file.size
                )));
            }
            self.load_file(target, file, errors, &mut buffer, &mut sink).await?;
            if errors.count > self.statement.max_errors {
                // Dropping the sink takes back what was sent.
                return Err(SqlError::new(format!(
                    "Load into table '{}' failed.  Check 'sys_load_error_detail' system table for details.",
                    self.statement.table.table()
                )));
            }
        }
        // With NOLOAD there is nothing in it. A sink that is dropped would end the transaction.
        if !buffer.is_empty() {
            sink.send(Bytes::from(std::mem::take(&mut buffer))).await.map_err(|error| from_postgres(&error))?;
        }
        let rows = sink.as_mut().finish().await.map_err(|error| from_postgres(&error))?;
        Ok(rows as i64)
    }

    async fn load_file(
        &self,
        target: &Target,
        file: &File,
        errors: &mut LoadErrors,
        buffer: &mut Vec<u8>,
        sink: &mut Pin<Box<CopyInSink<Bytes>>>,
    ) -> Result<(), SqlError> {
        let broken = |what: &str| SqlError::new(format!("{what}: {}", file.url));
        let mut body =
            self.objects.open(&file.location.bucket, &file.location.key).await.map_err(|error| object_error(&error))?;
        if self.statement.format == Format::Parquet {
            return self.load_parquet(target, file, body, buffer, sink).await;
        }
        let mut reader =
            RecordReader::new(self.statement.format, self.statement.delimiter, self.statement.ignore_header);
        let mut unpacker = Unpacker::of(self.statement).map_err(|error| broken(&error.to_string()))?;
        let mut records = Vec::new();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| broken(&format!("S3ServiceException: {error}")))?;
            match &mut unpacker {
                None => {
                    reader.feed(&chunk, &mut records);
                    self.take(target, file, &mut records, errors, buffer, sink).await?;
                }
                Some(unpacker) => {
                    for slice in chunk.chunks(PACKED_SLICE) {
                        let plain = unpacker.feed(slice).map_err(|_| broken(unpacker.refusal()))?;
                        reader.feed(&plain, &mut records);
                        self.take(target, file, &mut records, errors, buffer, sink).await?;
                    }
                }
            }
            if errors.count > self.statement.max_errors {
                return Ok(());
            }
        }
        if let Some(unpacker) = unpacker {
            let refusal = unpacker.refusal();
            let rest = unpacker.finish().map_err(|_| broken(refusal))?;
            reader.feed(&rest, &mut records);
        }
        reader.finish(&mut records);
        self.take(target, file, &mut records, errors, buffer, sink).await
    }

    async fn load_parquet(
        &self,
        target: &Target,
        file: &File,
        body: ObjectBytes,
        buffer: &mut Vec<u8>,
        sink: &mut Pin<Box<CopyInSink<Bytes>>>,
    ) -> Result<(), SqlError> {
        if self.statement.manifest && file.length.is_none() {
            return Err(SqlError::new(format!(
                "Problem reading manifest file - content_length of {} is missing, which columnar formats need",
                file.url
            )));
        }
        let mut rows = parquet_rows::open(&file.url, body, &target.columns).await?;
        while let Some(batch) = rows.recv().await {
            for row in batch? {
                for (at, (column, value)) in target.columns.iter().zip(&row).enumerate() {
                    if at > 0 {
                        buffer.push(b'\t');
                    }
                    let converted = match value {
                        Some(text) => convert(column, text.as_bytes(), self.statement),
                        None => convert(column, self.statement.null_as.as_bytes(), self.statement),
                    };
                    let value = converted.map_err(|error| {
                        let what = format!("Column '{}': {}", column.name, error.message);
                        SqlError::new(format!("Spectrum Scan Error. {what}: {}", file.url))
                    })?;
                    append_value(buffer, value.as_deref());
                }
                buffer.push(b'\n');
                if self.statement.no_load {
                    buffer.clear();
                }
                if buffer.len() >= BUFFER {
                    let full = std::mem::replace(buffer, Vec::with_capacity(BUFFER * 2));
                    sink.send(Bytes::from(full)).await.map_err(|error| from_postgres(&error))?;
                }
            }
        }
        Ok(())
    }

    async fn take(
        &self,
        target: &Target,
        file: &File,
        records: &mut Vec<Record>,
        errors: &mut LoadErrors,
        buffer: &mut Vec<u8>,
        sink: &mut Pin<Box<CopyInSink<Bytes>>>,
    ) -> Result<(), SqlError> {
        for record in records.drain(..) {
            if self.statement.ignore_blank_lines && record.raw.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let before = buffer.len();
            if let Err((column, error)) = self.append_record(target, &record, buffer) {
                buffer.truncate(before);
                let empty: &[u8] = &[];
                let shown = column
                    .map(|at| (&target.columns[at], record.fields.get(at).map_or(empty, |field| field.as_slice())));
                errors.add(&file.url, &record, shown, error);
                if errors.count > self.statement.max_errors {
                    return Ok(());
                }
            }
            if self.statement.no_load {
                buffer.clear();
            }
            if buffer.len() >= BUFFER {
                let full = std::mem::replace(buffer, Vec::with_capacity(BUFFER * 2));
                sink.send(Bytes::from(full)).await.map_err(|error| from_postgres(&error))?;
            }
        }
        Ok(())
    }

    /// One line for PostgreSQL, or which column failed and why.
    fn append_record(
        &self,
        target: &Target,
        record: &Record,
        buffer: &mut Vec<u8>,
    ) -> Result<(), (Option<usize>, FieldError)> {
        let whole = |code: i32, message: &str| (None, FieldError { code, message: message.to_owned(), position: 0 });
        if let Some(message) = record.malformed {
            return Err(whole(1216, message));
        }
        if record.fields.len() > target.columns.len() {
            return Err(whole(1202, "Extra column(s) found"));
        }
        if record.fields.len() < target.columns.len() && !self.statement.fill_record {
            return Err((
                Some(record.fields.len()),
                FieldError { code: 1214, message: "Delimiter not found".to_owned(), position: 0 },
            ));
        }
        for (at, column) in target.columns.iter().enumerate() {
            if at > 0 {
                buffer.push(b'\t');
            }
            // FILLRECORD: an empty field, which is '' in a string column and NULL in any other.
            let field = record.fields.get(at).map_or(&b""[..], |field| field.as_slice());
            let value = convert(column, field, self.statement).map_err(|error| (Some(at), error))?;
            append_value(buffer, value.as_deref());
        }
        buffer.push(b'\n');
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
struct Manifest {
    entries: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    url: String,
    #[serde(default)]
    mandatory: bool,
    meta: Option<Meta>,
}

#[derive(Debug, Deserialize)]
struct Meta {
    content_length: Option<u64>,
}

/// From PostgreSQL's type and its modifier.
fn kind(type_name: &str, modifier: i32) -> Option<Kind> {
    let length = usize::try_from(modifier - 4).unwrap_or(65_535);
    Some(match type_name {
        "int2" => Kind::Integer(2),
        "int4" => Kind::Integer(4),
        "int8" => Kind::Integer(8),
        "numeric" if modifier < 4 => Kind::Decimal { precision: 38, scale: 10 },
        "numeric" => Kind::Decimal { precision: length >> 16 & 0xffff, scale: length & 0x7ff },
        "float4" | "float8" => Kind::Float,
        "bool" => Kind::Boolean,
        "varchar" | "text" => Kind::Varchar(length),
        "bpchar" => Kind::Char(length),
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timetz" => Kind::TimeWithZone,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::TimestampWithZone,
        "jsonb" => Kind::Super,
        "bytea" => Kind::Varbyte,
        _ => return None,
    })
}

pub(super) fn object_error(error: &ObjectError) -> SqlError {
    let code = match error {
        ObjectError::NoSuchBucket { .. } => "NoSuchBucket",
        ObjectError::NoSuchKey { .. } => "NoSuchKey",
        ObjectError::Io { .. } => "InternalError",
    };
    SqlError::new(format!("S3ServiceException:{},Status 404,Error {code}", with_causes(error)))
}
