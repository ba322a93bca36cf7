//! A stream of rows as one or several streams of bytes, counted and hashed on the way, in constant memory.

use std::sync::Arc;

use bytes::Bytes;
use futures::lock::Mutex;
use futures::stream::{self, StreamExt};
use millrace_operator_api::ports::{ByteStream, RowBatch, RowStream, SourceColumn};
use millrace_operator_api::{BoxStream, PortError, TaskContext};
use sha2::{Digest, Sha256};

use crate::parts::files::mark::FileShape;
use crate::parts::files::writing::Writer;
use crate::parts::proof::canonical::form_as_read;
use crate::parts::proof::row_hash::{Fingerprint, RowHasher};
use crate::parts::proof::verifying::{Tally, checksum_text};
use crate::parts::report::Meter;

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
            let next = encoding.lock().await.next_piece().await;
            match next {
                Ok(Some(piece)) => Some((Ok(piece), Some(encoding))),
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
    beside: usize,
    meter: Meter,
    /// Rows in the files before.
    rows_before: u64,
    file: Option<OpenFile>,
}

struct OpenFile {
    writer: Writer,
    rows: u64,
    /// Nothing is written any more; what was written may have to leave yet.
    is_sealed: bool,
    proving: Option<(RowHasher, Fingerprint)>,
    hash: Sha256,
    tally: Tally,
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
            beside,
            meter,
            rows_before: 0,
            file: None,
        }
    }

    fn begin_file(&mut self) -> Result<Tally, PortError> {
        let writer = Writer::begin(&self.shape, &self.columns, self.rows_before, self.beside)?;
        let tally = Tally::default();
        self.file = Some(OpenFile {
            writer,
            rows: 0,
            is_sealed: false,
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

    async fn next_piece(&mut self) -> Result<Option<Bytes>, PortError> {
        while let Some(file) = &mut self.file {
            // Before a row is asked for: a long one is held by nobody then.
            if let Some(piece) = file.next_piece().await? {
                self.meter.add(0, piece.len() as u64);
                return Ok(Some(piece));
            }
            if file.is_sealed {
                file.close();
                self.rows_before += file.rows;
                self.file = None;
                break;
            }
            if file.is_full(self.limits) || !self.has_rows().await? {
                self.seal()?;
                continue;
            }
            self.write_rows()?;
        }
        Ok(None)
    }

    fn seal(&mut self) -> Result<(), PortError> {
        let Some(file) = &mut self.file else { return Ok(()) };
        file.is_sealed = true;
        file.writer.seal()
    }

    /// Of the rows that wait, those for which the file has room.
    fn write_rows(&mut self) -> Result<(), PortError> {
        let (Some(file), Some(mut batch)) = (&mut self.file, self.waiting.take()) else { return Ok(()) };
        let room = self.limits.rows.map_or(u64::MAX, |rows| rows.saturating_sub(file.rows));
        if (batch.len() as u64) > room {
            self.waiting = Some(batch.split_off(room as usize));
        }
        self.meter.add(batch.len() as u64, 0);
        file.write(batch)
    }
}

impl OpenFile {
    fn write(&mut self, batch: RowBatch) -> Result<(), PortError> {
        if let Some((hasher, fingerprint)) = &mut self.proving {
            hasher.add(&batch, fingerprint);
        }
        let rows = batch.len() as u64;
        self.writer.write(batch)?;
        self.rows += rows;
        self.tally.update(|totals| totals.rows += rows);
        Ok(())
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, PortError> {
        let piece = self.writer.next_piece().await?;
        if let Some(piece) = &piece {
            self.hash.update(piece);
            self.tally.update(|totals| totals.bytes += piece.len() as u64);
        }
        Ok(piece)
    }

    fn is_full(&self, limits: Limits) -> bool {
        let size = self.tally.totals().bytes + self.writer.ready() as u64;
        self.rows > 0
            && (limits.rows.is_some_and(|most| self.rows >= most) || limits.bytes.is_some_and(|most| size >= most))
    }

    /// When everything has left.
    fn close(&mut self) {
        let digest = std::mem::take(&mut self.hash).finalize();
        let fingerprint = self.proving.as_ref().map(|(_, fingerprint)| *fingerprint);
        self.tally.update(|totals| {
            totals.checksum = Some(checksum_text(&digest));
            totals.fingerprint = fingerprint;
        });
    }
}

/// Names the columns and says how many there are.
pub fn announce_columns(context: &TaskContext, rows: &RowStream, shape: &mut FileShape) {
    shape.columns = rows.columns.iter().map(|column| column.name.clone()).collect();
    shape.types = rows.columns.iter().map(|column| column.value.clone()).collect();
    context.info(format!("reading {} columns: {}", shape.columns.len(), shape.columns.join(", ")));
}
