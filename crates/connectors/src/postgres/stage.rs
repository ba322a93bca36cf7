//! Rows into the temporary table of a load, or into its target, by COPY.
//!
//! PostgreSQL takes a COPY as a whole or not at all. Where some rows may be refused, rows go in pieces: a piece that fails
//! is sent again without the row that the server named, which costs no more than sending it twice.

use std::collections::VecDeque;
use std::pin::Pin;

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use millrace_operator_api::PortError;
use millrace_operator_api::ports::{CsvFormat, FileKind, LoadRows, ObjectInfo, ObjectRows, RejectedRow, RowBatch};
use tokio_postgres::CopyInSink;

use super::copy_text::{CopyTextReader, write_cell};
use super::refusal::{copy_place, refusal};
use crate::parts::batches::Batches;
use crate::parts::csv_rows::CsvRows;
use crate::parts::failure::{data, while_doing};
use crate::parts::files::{changed, open_unchanged};
use crate::parts::parquet_rows;
use crate::parts::rows::{CellKind, DirectRows, LoadColumn, Refusal, Rejects, Row, RowSink, Shaper, row_text};
use crate::parts::sql::{list, quote};
use crate::parts::upsert::SEQUENCE;
use crate::parts::wire::WireClient;

pub const STAGING: &str = "pg_temp.millrace_staging";
/// COPY data sent at once.
const CHUNK: usize = 64 * 1024;
/// COPY data of one piece where rows may be refused.
const PIECE: usize = 256 * 1024;

/// What has come out of the staging.
#[derive(Debug, Default, Clone, Copy)]
pub struct Staged {
    /// Refused rows included.
    pub rows: u64,
    pub bytes: Option<u64>,
}

/// What is loaded, and how.
pub struct Staging<'a> {
    pub client: &'a WireClient,
    /// The table that is filled, quoted.
    pub into: &'a str,
    /// Of the rows, in their order.
    pub fields: &'a [LoadColumn],
    /// Those that the table takes.
    pub columns: &'a [LoadColumn],
    pub format: &'a CsvFormat,
}

impl Staging<'_> {
    pub async fn fill(&self, rows: &LoadRows, rejects: &mut Rejects) -> Result<Staged, PortError> {
        match rows {
            LoadRows::Objects(files) => {
                let mut staged = Staged::default();
                for object in &files.objects {
                    let url = object.url();
                    rejects.enter(&url);
                    staged.rows += self
                        .file(files, object, rejects)
                        .await
                        .map_err(|error| while_doing(&format!("loading {url}"), error))?;
                }
                Ok(staged)
            }
            LoadRows::Direct(stream) => {
                rejects.enter(RejectedRow::OF_SOURCE);
                self.batches(&mut stream.take()?.batches, rejects).await
            }
        }
    }

    /// Where rows may be refused later, each has its number before it.
    fn copy(&self, is_numbered: bool) -> String {
        let number = if is_numbered { format!("{}, ", quote(SEQUENCE)) } else { String::new() };
        format!("COPY {} ({number}{}) FROM STDIN", self.into, list(self.columns.iter().map(|column| &column.name)))
    }

    async fn open(&self, rejects: &mut Rejects) -> Result<Copying<'_>, PortError> {
        let is_whole = !rejects.are_allowed();
        let mut copying = Copying {
            client: self.client,
            copy: self.copy(!is_whole),
            whole: None,
            failed: None,
            sent: 0,
            columns: self.columns,
        };
        if is_whole {
            copying.whole = Some(copying.begin().await?);
        }
        Ok(copying)
    }

    async fn file(&self, files: &ObjectRows, object: &ObjectInfo, rejects: &mut Rejects) -> Result<u64, PortError> {
        if self.format.kind == FileKind::Parquet {
            let mut batches = parquet_rows::open(files, object, self.fields.len()).await?;
            return Ok(self.batches(&mut batches, rejects).await?.rows);
        }
        let url = object.url();
        let mut copying = self.open(rejects).await?;
        let mut rows = CsvRows::new(self.format, self.fields, &url)?.without_nul();
        let mut buffer = Buffer::new(self.columns, rejects);
        let mut body = open_unchanged(files, object).await?;
        let mut seen: u64 = 0;
        while let Some(chunk) = body.try_next().await? {
            seen += chunk.len() as u64;
            for piece in chunk.chunks(CHUNK) {
                rows.feed(piece, &mut buffer)?;
                copying.send(&mut buffer, false).await?;
            }
            if copying.failed.is_some() {
                break;
            }
        }
        if copying.failed.is_none() {
            if seen != object.size {
                return Err(changed(&url));
            }
            rows.finish(&mut buffer)?;
            copying.send(&mut buffer, true).await?;
        }
        copying.finish(&mut buffer).await?;
        Ok(rows.rows)
    }

    async fn batches(&self, batches: &mut Batches, rejects: &mut Rejects) -> Result<Staged, PortError> {
        let mut copying = self.open(rejects).await?;
        let mut shaper = Shaper::of_stream(self.format, self.fields);
        shaper.refuses_nul = true;
        let mut rows = DirectRows::new(shaper);
        let mut buffer = Buffer::new(self.columns, rejects);
        while let Some(batch) = batches.try_next().await? {
            rows.feed(&batch, &mut buffer)?;
            drop(batch);
            copying.send(&mut buffer, false).await?;
            if copying.failed.is_some() {
                break;
            }
        }
        if copying.failed.is_none() {
            copying.send(&mut buffer, true).await?;
        }
        copying.finish(&mut buffer).await?;
        Ok(Staged { rows: rows.rows, bytes: Some(rows.bytes) })
    }
}

/// Rows in COPY's text form, waiting to be sent.
struct Buffer<'a> {
    columns: &'a [LoadColumn],
    rejects: &'a mut Rejects,
    out: BytesMut,
    /// Bytes that went off before `out` in one whole COPY.
    gone: usize,
    /// The last of them.
    last: Last,
    /// For each row its end, counted from the first byte, and its line.
    ends: Vec<(usize, u64)>,
    /// Lines of the rows that went off in one whole COPY and could be asked about.
    taken: u64,
}

/// The last bytes that went off, for the message about a row of them: the server speaks of it when others are on their way.
#[derive(Default)]
struct Last {
    /// Each with its place in all that was sent.
    chunks: VecDeque<(usize, Bytes)>,
    held: usize,
}

/// Bytes of rows that are kept for a message.
const MOST_KEPT: usize = 4 << 20;

impl Last {
    fn keep(&mut self, place: usize, chunk: Bytes) {
        self.held += chunk.len();
        self.chunks.push_back((place, chunk));
        while self.held > MOST_KEPT
            && let Some((_, oldest)) = self.chunks.pop_front()
        {
            self.held -= oldest.len();
        }
    }

    fn row(&self, start: usize, end: usize) -> Option<Bytes> {
        let (place, chunk) = self.chunks.iter().find(|(place, chunk)| *place <= start && end <= place + chunk.len())?;
        Some(chunk.slice(start - place..end - place))
    }
}

impl<'a> Buffer<'a> {
    fn new(columns: &'a [LoadColumn], rejects: &'a mut Rejects) -> Self {
        let out = BytesMut::with_capacity(CHUNK * 2);
        Self { columns, rejects, out, gone: 0, last: Last::default(), ends: Vec::new(), taken: 0 }
    }

    /// What is there, on its way. After a long row a new buffer begins: what is left of a split one would hold the row's
    /// whole memory.
    fn leave(&mut self) -> Bytes {
        if self.out.len() > 2 * PIECE {
            std::mem::replace(&mut self.out, BytesMut::with_capacity(CHUNK * 2)).freeze()
        } else {
            self.out.split().freeze()
        }
    }
}

impl RowSink for Buffer<'_> {
    fn take(&mut self, row: &Row<'_>) -> Result<(), PortError> {
        if self.rejects.are_allowed() {
            let number = self.rejects.number(row.line).to_string();
            self.out.put_slice(number.as_bytes());
            self.out.put_u8(b'\t');
        }
        for (index, cell) in row.cells().enumerate() {
            if index > 0 {
                self.out.put_u8(b'\t');
            }
            if let Some(hex) = cell
                && self.columns[index].kind == CellKind::Bytes
                && !hex.starts_with(b"\\x")
            {
                self.out.put_slice(b"\\\\x");
            }
            write_cell(&mut self.out, cell);
        }
        self.out.put_u8(b'\n');
        self.taken += 1;
        self.ends.push((self.gone + self.out.len(), row.line));
        Ok(())
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), PortError> {
        self.rejects.add(refusal)
    }
}

/// One COPY for everything, or one for each piece.
struct Copying<'a> {
    client: &'a WireClient,
    columns: &'a [LoadColumn],
    copy: String,
    whole: Option<Pin<Box<CopyInSink<Bytes>>>>,
    /// Sending failed; the server's own words come with the end of the COPY.
    failed: Option<tokio_postgres::Error>,
    /// Rows that the server has taken.
    sent: u64,
}

/// The lines of rows already sent are kept for the message about one of them: at most so many, from the last on.
const LINES_KEPT: usize = 100_000;

impl Copying<'_> {
    async fn begin(&self) -> Result<Pin<Box<CopyInSink<Bytes>>>, PortError> {
        self.client.set_busy(true);
        let sink = self
            .client
            .client
            .copy_in::<_, Bytes>(&self.copy)
            .await
            .map_err(|error| self.client.config.failure("COPY was refused", &error))?;
        Ok(Box::pin(sink))
    }

    async fn send(&mut self, buffer: &mut Buffer<'_>, is_last: bool) -> Result<(), PortError> {
        if let Some(sink) = &mut self.whole {
            if buffer.out.len() >= CHUNK || (is_last && !buffer.out.is_empty()) {
                let chunk = buffer.leave();
                buffer.last.keep(buffer.gone, chunk.clone());
                buffer.gone += chunk.len();
                self.failed = send_in_pieces(sink.as_mut(), chunk).await.err();
                if buffer.ends.len() > 2 * LINES_KEPT {
                    buffer.ends.drain(..buffer.ends.len() - LINES_KEPT);
                }
            }
            return Ok(());
        }
        if buffer.out.len() >= PIECE || (is_last && !buffer.out.is_empty()) {
            self.piece(buffer).await?;
        }
        Ok(())
    }

    /// Sends what is there, without the rows that the server refuses.
    async fn piece(&mut self, buffer: &mut Buffer<'_>) -> Result<(), PortError> {
        let bytes = buffer.leave();
        let ends = std::mem::take(&mut buffer.ends);
        let start_of = |row: usize| if row == 0 { 0 } else { ends[row - 1].0 };
        let mut next = 0;
        while next < ends.len() {
            let Err(error) = self.copy_rows(bytes.slice(start_of(next)..)).await? else {
                self.sent += (ends.len() - next) as u64;
                break;
            };
            let place = error.as_db_error().and_then(|db| db.where_()).and_then(copy_place);
            let refused = place.as_ref().and_then(|place| usize::try_from(place.row).ok()).map(|row| next + row - 1);
            let (Some(place), Some(refused)) = (place, refused.filter(|row| *row < ends.len())) else {
                return Err(self.client.config.failure("COPY failed", &error));
            };
            if !is_about_data(&error) {
                return Err(self.client.config.failure("COPY failed", &error));
            }
            if refused > next
                && let Err(error) = self.copy_rows(bytes.slice(start_of(next)..start_of(refused))).await?
            {
                return Err(self.client.config.failure("COPY failed", &error));
            }
            self.sent += (refused - next) as u64;
            let row = &bytes[start_of(refused)..ends[refused].0];
            let number = memchr::memchr(b'\t', row).map_or(0, |end| end + 1);
            let row = self.text_of(&row[number..]);
            buffer.rejects.add(Refusal { row, ..refusal(&error, place, ends[refused].1, self.columns) })?;
            next = refused + 1;
        }
        Ok(())
    }

    /// A row of what was sent, for people; `None` should it not be one.
    fn text_of(&self, line: &[u8]) -> Option<String> {
        let mut batch = RowBatch::new(self.columns.len());
        let is_bytes = self.columns.iter().map(|column| column.kind == CellKind::Bytes).collect();
        CopyTextReader::new(is_bytes).read(line, &mut batch).ok()?;
        let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        (batch.len() == 1).then(|| row_text(&names, (0..names.len()).map(|column| batch.cell(0, column))))
    }

    async fn copy_rows(&self, bytes: Bytes) -> Result<Result<u64, tokio_postgres::Error>, PortError> {
        let mut sink = self.begin().await?;
        // The server's own words come with the end of the COPY.
        let sent = send_in_pieces(sink.as_mut(), bytes).await;
        let finished = sink.as_mut().finish().await;
        self.client.set_busy(false);
        Ok(match (finished, sent) {
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(rows), Ok(())) => Ok(rows),
        })
    }

    async fn finish(mut self, buffer: &mut Buffer<'_>) -> Result<(), PortError> {
        let Some(mut sink) = self.whole.take() else { return Ok(()) };
        let finished = sink.as_mut().finish().await;
        self.client.set_busy(false);
        let error = match (finished, self.failed.take()) {
            (Ok(copied), None) if copied == buffer.taken => return Ok(()),
            (Ok(copied), None) => {
                return Err(data(format!("{} rows were sent, but {copied} were copied", buffer.taken)));
            }
            (Err(error), _) | (Ok(_), Some(error)) => error,
        };
        let plain = self.client.config.failure("COPY failed", &error);
        let Some(place) = error.as_db_error().and_then(|db| db.where_()).and_then(copy_place) else {
            return Err(plain);
        };
        if !is_about_data(&error) {
            return Err(plain);
        }
        // `ends` has the lines of the last rows.
        let from_end = buffer.taken.saturating_sub(place.row);
        let index = usize::try_from(from_end).ok().and_then(|back| buffer.ends.len().checked_sub(back + 1));
        let line = index.map_or(place.row, |index| buffer.ends[index].1);
        let start =
            if place.row == 1 { Some(0) } else { index.and_then(|at| Some(buffer.ends.get(at.checked_sub(1)?)?.0)) };
        let row = index.zip(start).and_then(|(index, start)| buffer.last.row(start, buffer.ends[index].0));
        let row = row.and_then(|row| self.text_of(&row));
        let said = buffer.rejects.add(Refusal { row, ..refusal(&error, place, line, self.columns) });
        Err(said.err().map_or(plain.clone(), |error| PortError { code: plain.code, ..error }))
    }
}

/// What is sent at once is copied as a whole on its way.
async fn send_in_pieces(mut sink: Pin<&mut CopyInSink<Bytes>>, mut bytes: Bytes) -> Result<(), tokio_postgres::Error> {
    let is_long = bytes.len() > 2 * PIECE;
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(PIECE));
        // The last pieces wait on the way when all are sent, and would hold a long row's whole memory.
        sink.send(if is_long { Bytes::copy_from_slice(&piece) } else { piece }).await?;
    }
    Ok(())
}

fn is_about_data(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|db| matches!(db.code().code().get(..2), Some("22" | "23" | "54")))
}
