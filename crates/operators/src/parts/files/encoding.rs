//! A stream of rows as one or several streams of bytes, counted and hashed on the way, in constant memory.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::lock::Mutex;
use futures::stream::{self, StreamExt};
use millrace_operator_api::ports::{ByteStream, RowBatch, RowStream, SourceColumn};
use millrace_operator_api::{BoxStream, PortError, PortErrorKind, TaskContext};
use sha2::{Digest, Sha256};

use crate::parts::files::csv::CsvEncoder;
use crate::parts::files::mark::{FileShape, Format};
use crate::parts::files::packing::Packer;
use crate::parts::files::parquet::ParquetEncoder;
use crate::parts::proof::canonical::form_as_read;
use crate::parts::proof::row_hash::{Fingerprint, RowHasher};
use crate::parts::proof::verifying::{Tally, checksum_text};
use crate::parts::report::Meter;

/// Bytes in one piece of the stream, about; of all streams of a task that are written at a time, together.
const CHUNK: usize = 1 << 20;
/// However many are written at a time, a piece is worth its while.
const LEAST_CHUNK: usize = 64 << 10;
/// So many streams have room for whole pieces.
const WHOLE_CHUNKS: usize = 4;

/// When a file is full and the next one begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub rows: Option<u64>,
    /// Bytes as they leave; a file grows past it by a batch of rows at most, and a Parquet file by a row group.
    pub bytes: Option<u64>,
}

/// Whether what each row holds is hashed as it goes by, for a database to be asked for the same later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    Taken,
    Left,
}

/// Encodes rows in `shape` as one file.
pub fn encode_rows(
    rows: RowStream,
    shape: &FileShape,
    proof: Proof,
    meter: Meter,
) -> Result<(ByteStream, Tally), PortError> {
    let mut encoding = Encoding::new(rows, shape.clone(), Limits::default(), proof, meter, 1);
    let tally = encoding.begin_file()?;
    Ok((stream_of(Arc::new(Mutex::new(encoding)), tally.clone()), tally))
}

/// One answer as several files, one after another.
pub struct Files {
    encoding: Arc<Mutex<Encoding>>,
    is_first: bool,
}

impl Files {
    /// `beside` is how many of these are written at a time, this one among them: they share what one may hold.
    pub fn new(rows: RowStream, shape: &FileShape, limits: Limits, proof: Proof, meter: Meter, beside: usize) -> Self {
        let encoding = Encoding::new(rows, shape.clone(), limits, proof, meter, beside);
        Self { encoding: Arc::new(Mutex::new(encoding)), is_first: true }
    }

    /// The next file, to be drained before the one after it is asked for; `None` when every row is written. The first is
    /// there even without rows when `even_empty`.
    pub async fn next(&mut self, even_empty: bool) -> Result<Option<(ByteStream, Tally)>, PortError> {
        let is_wanted = std::mem::take(&mut self.is_first) && even_empty;
        let mut encoding = self.encoding.lock().await;
        if !encoding.has_rows().await? && !is_wanted {
            return Ok(None);
        }
        let tally = encoding.begin_file()?;
        drop(encoding);
        Ok(Some((stream_of(Arc::clone(&self.encoding), tally.clone()), tally)))
    }
}

fn stream_of(encoding: Arc<Mutex<Encoding>>, tally: Tally) -> ByteStream {
    stream::unfold(Some(encoding), move |encoding| {
        let seen = tally.clone();
        async move {
            let encoding = encoding?;
            let next = encoding.lock().await.next_chunk().await;
            match next {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(encoding))),
                Ok(None) => None,
                Err(error) => {
                    seen.fail(&error);
                    Some((Err(error), None))
                }
            }
        }
    })
    .boxed()
}

struct Encoding {
    batches: BoxStream<'static, Result<RowBatch, PortError>>,
    /// Rows that came and are in no file yet.
    waiting: Option<RowBatch>,
    is_ended: bool,
    columns: Vec<SourceColumn>,
    shape: FileShape,
    limits: Limits,
    proof: Proof,
    /// Bytes in one piece.
    chunk: usize,
    beside: usize,
    meter: Meter,
    /// Rows in the files before.
    rows_before: u64,
    file: Option<OpenFile>,
}

struct OpenFile {
    writer: Writer,
    rows: u64,
    proving: Option<(RowHasher, Fingerprint)>,
    hash: Sha256,
    tally: Tally,
}

enum Writer {
    Csv { encoder: CsvEncoder, buffer: Vec<u8>, packer: Box<Packer> },
    Parquet(Box<ParquetEncoder>),
}

impl Encoding {
    fn new(rows: RowStream, shape: FileShape, limits: Limits, proof: Proof, meter: Meter, beside: usize) -> Self {
        Self {
            batches: rows.batches,
            waiting: None,
            is_ended: false,
            columns: rows.columns,
            shape,
            limits,
            proof,
            chunk: (WHOLE_CHUNKS * CHUNK / beside.max(1)).clamp(LEAST_CHUNK, CHUNK),
            beside,
            meter,
            rows_before: 0,
            file: None,
        }
    }

    fn begin_file(&mut self) -> Result<Tally, PortError> {
        let writer = match self.shape.format {
            Format::Csv => {
                let encoder = CsvEncoder::new(self.shape.csv_options(), &self.columns).after(self.rows_before);
                let mut buffer = Vec::with_capacity(self.chunk + self.chunk / 2);
                encoder.begin(&mut buffer);
                let packer = Box::new(Packer::new(self.shape.compression).map_err(|error| packing(&error))?);
                Writer::Csv { encoder, buffer, packer }
            }
            Format::Parquet => Writer::Parquet(Box::new(
                ParquetEncoder::new(&self.columns, self.shape.compression, self.rows_before, self.beside)
                    .map_err(|error| invalid(error.to_string()))?,
            )),
        };
        let tally = Tally::default();
        self.file = Some(OpenFile {
            writer,
            rows: 0,
            proving: (self.proof == Proof::Taken)
                .then(|| (RowHasher::new(self.columns.iter().map(form_as_read).collect()), Fingerprint::default())),
            hash: Sha256::new(),
            tally: tally.clone(),
        });
        Ok(tally)
    }

    async fn has_rows(&mut self) -> Result<bool, PortError> {
        while self.waiting.is_none() && !self.is_ended {
            match self.batches.next().await {
                Some(batch) => self.waiting = Some(batch?).filter(|batch| !batch.is_empty()),
                None => self.is_ended = true,
            }
        }
        Ok(self.waiting.is_some())
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, PortError> {
        while self.file.is_some() {
            let mut is_full = !self.has_rows().await?;
            let (limits, meter, chunk_bytes) = (self.limits, self.meter.clone(), self.chunk);
            let Some(file) = &mut self.file else { break };
            if let Some(mut batch) = self.waiting.take() {
                let room = limits.rows.map_or(u64::MAX, |rows| rows.saturating_sub(file.rows));
                if (batch.len() as u64) > room {
                    self.waiting = Some(batch.split_off(room as usize));
                }
                let rows = batch.len() as u64;
                file.rows += rows;
                file.write(batch)?;
                file.tally.update(|totals| totals.rows += rows);
                let size = file.tally.totals().bytes + file.ready() as u64;
                is_full =
                    limits.rows.is_some_and(|most| file.rows >= most) || limits.bytes.is_some_and(|most| size >= most);
                meter.add(rows, 0);
            }
            if is_full || file.ready() >= chunk_bytes {
                let chunk = file.seal(is_full, chunk_bytes)?;
                meter.add(0, chunk.len() as u64);
                if is_full {
                    self.rows_before += file.rows;
                    self.file = None;
                }
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
            }
        }
        Ok(None)
    }
}

impl OpenFile {
    fn write(&mut self, batch: RowBatch) -> Result<(), PortError> {
        if let Some((hasher, fingerprint)) = &mut self.proving {
            hasher.add(&batch, fingerprint);
        }
        match &mut self.writer {
            Writer::Csv { encoder, buffer, .. } => {
                encoder.encode(&batch, buffer).map_err(|error| invalid(error.to_string()))
            }
            Writer::Parquet(encoder) => encoder.encode(batch).map_err(|error| invalid(error.to_string())),
        }
    }

    /// Bytes that wait to leave.
    fn ready(&self) -> usize {
        match &self.writer {
            Writer::Csv { buffer, .. } => buffer.len(),
            Writer::Parquet(encoder) => encoder.ready(),
        }
    }

    /// `next` is how large the next piece will be.
    fn seal(&mut self, is_last: bool, next: usize) -> Result<Bytes, PortError> {
        let chunk = match &mut self.writer {
            Writer::Csv { buffer, packer, .. } => {
                let capacity = if is_last { 0 } else { next + next / 2 };
                packer.pack(buffer, capacity, is_last).map_err(|error| packing(&error))?
            }
            Writer::Parquet(encoder) => encoder.take(is_last).map_err(|error| invalid(error.to_string()))?,
        };
        self.hash.update(&chunk);
        self.tally.update(|totals| totals.bytes += chunk.len() as u64);
        if is_last {
            let digest = std::mem::take(&mut self.hash).finalize();
            let fingerprint = self.proving.as_ref().map(|(_, fingerprint)| *fingerprint);
            self.tally.update(|totals| {
                totals.checksum = Some(checksum_text(&digest));
                totals.fingerprint = fingerprint;
            });
        }
        Ok(Bytes::from(chunk))
    }
}

fn invalid(message: String) -> PortError {
    PortError::new(PortErrorKind::Invalid, message)
}

fn packing(error: &io::Error) -> PortError {
    PortError::new(PortErrorKind::Other, format!("compressing: {error}"))
}

/// Names the columns and says how many there are.
pub fn announce_columns(context: &TaskContext, rows: &RowStream, shape: &mut FileShape) {
    shape.columns = rows.columns.iter().map(|column| column.name.clone()).collect();
    shape.types = rows.columns.iter().map(|column| column.value.clone()).collect();
    context.info(format!("reading {} columns: {}", shape.columns.len(), shape.columns.join(", ")));
}
