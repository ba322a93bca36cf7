//! A file of rows while it is written: rows go in, and pieces of its bytes come out.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver as WorkReceiver, Sender as WorkSender, channel as work_channel};

use bytes::Bytes;
use futures::channel::mpsc::{Receiver, Sender, channel};
use futures::executor::block_on;
use futures::{SinkExt, StreamExt};
use millrace_operator_api::ports::{RowBatch, SourceColumn};
use millrace_operator_api::{PortError, PortErrorKind};
use parquet::errors::ParquetError;

use crate::parts::files::csv::CsvEncoder;
use crate::parts::files::mark::{FileShape, Format};
use crate::parts::files::packing::Packer;
use crate::parts::files::parquet::{EncodeError, ParquetEncoder};

/// Bytes in one piece, about; of all files of a task that are written at a time, together.
const PIECE: usize = 1 << 20;
/// However many are written at a time, a piece is worth its while.
const LEAST_PIECE: usize = 64 << 10;
/// So many files have room for whole pieces.
const WHOLE_PIECES: usize = 4;
/// As the system shows it.
const THREAD: &str = "parquet-writer";

pub enum Writer {
    Csv(CsvWriter),
    Parquet(ParquetWriter),
}

impl Writer {
    /// Errors count the rows of the files before. `beside` is how many files are written at a time, this one among them.
    pub fn begin(
        shape: &FileShape,
        columns: &[SourceColumn],
        rows_before: u64,
        beside: usize,
    ) -> Result<Self, PortError> {
        let piece = (WHOLE_PIECES * PIECE / beside.max(1)).clamp(LEAST_PIECE, PIECE);
        Ok(match shape.format {
            Format::Csv => Self::Csv(CsvWriter::begin(shape, columns, rows_before, piece)?),
            Format::Parquet => Self::Parquet(ParquetWriter::begin(shape, columns, rows_before, beside, piece)?),
        })
    }

    /// When [`Self::next_piece`] has given all that could leave.
    pub fn write(&mut self, batch: RowBatch) -> Result<(), PortError> {
        match self {
            Self::Csv(csv) => csv.encoder.encode(&batch, &mut csv.buffer).map_err(|error| invalid(&error)),
            Self::Parquet(parquet) => parquet.hand_over(Work::Rows(batch)),
        }
    }

    /// No rows follow.
    pub fn seal(&mut self) -> Result<(), PortError> {
        match self {
            Self::Csv(csv) => {
                csv.end = End::Near;
                Ok(())
            }
            Self::Parquet(parquet) => parquet.hand_over(Work::End),
        }
    }

    /// `None` when rows are wanted first, and when everything has left of what was sealed.
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, PortError> {
        match self {
            Self::Csv(csv) => csv.next_piece(),
            Self::Parquet(parquet) => parquet.next_piece().await,
        }
    }

    /// Bytes that wait until they are worth a piece.
    pub fn ready(&self) -> usize {
        match self {
            Self::Csv(csv) => csv.buffer.len(),
            Self::Parquet(parquet) => parquet.ready,
        }
    }
}

pub struct CsvWriter {
    encoder: CsvEncoder,
    buffer: Vec<u8>,
    packer: Box<Packer>,
    piece: usize,
    end: End,
}

#[derive(PartialEq)]
enum End {
    Far,
    /// What is there is the last piece.
    Near,
    Reached,
}

impl CsvWriter {
    fn begin(shape: &FileShape, columns: &[SourceColumn], rows_before: u64, piece: usize) -> Result<Self, PortError> {
        let encoder = CsvEncoder::new(shape.csv_options(), columns).after(rows_before);
        let mut buffer = Vec::with_capacity(piece + piece / 2);
        encoder.begin(&mut buffer);
        let packer = Box::new(Packer::new(shape.compression).map_err(|error| packing(&error))?);
        Ok(Self { encoder, buffer, packer, piece, end: End::Far })
    }

    fn next_piece(&mut self) -> Result<Option<Bytes>, PortError> {
        let is_last = self.end == End::Near;
        if self.end == End::Reached || (self.buffer.len() < self.piece && !is_last) {
            return Ok(None);
        }
        let capacity = if is_last { 0 } else { self.piece + self.piece / 2 };
        if is_last {
            self.end = End::Reached;
        }
        let packed = self.packer.pack(&mut self.buffer, capacity, is_last).map_err(|error| packing(&error))?;
        // What is packed may stay within the packer.
        Ok(Some(Bytes::from(packed)).filter(|packed| !packed.is_empty()))
    }
}

/// Encodes on a thread of its own, which waits while nobody takes the pieces: a row group, and a long row, would otherwise
/// be there once more as the bytes of the file.
pub struct ParquetWriter {
    work: WorkSender<Work>,
    answers: Receiver<Answer>,
    is_at_work: bool,
    ready: usize,
}

enum Work {
    Rows(RowBatch),
    End,
}

enum Answer {
    Piece(Bytes),
    /// The work is done, and so many bytes wait for more.
    Done(Result<usize, EncodeError>),
}

impl ParquetWriter {
    fn begin(
        shape: &FileShape,
        columns: &[SourceColumn],
        rows_before: u64,
        beside: usize,
        piece: usize,
    ) -> Result<Self, PortError> {
        let (answer, answers) = channel(0);
        let pieces = Pieces { buffer: Vec::new(), piece, answer: answer.clone() };
        let encoder = ParquetEncoder::new(pieces, columns, shape.compression, rows_before, beside);
        let encoder = encoder.map_err(|error| invalid(&error))?;
        let (work, to_do) = work_channel();
        let run = move || encode(encoder, &to_do, answer);
        std::thread::Builder::new().name(THREAD.to_owned()).spawn(run).map_err(|error| {
            PortError::new(PortErrorKind::Unavailable, format!("no thread to write Parquet with: {error}"))
        })?;
        Ok(Self { work, answers, is_at_work: false, ready: 0 })
    }

    fn hand_over(&mut self, work: Work) -> Result<(), PortError> {
        self.is_at_work = true;
        self.work.send(work).map_err(|_| broken_off())
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, PortError> {
        if !self.is_at_work {
            return Ok(None);
        }
        match self.answers.next().await {
            Some(Answer::Piece(piece)) => Ok(Some(piece)),
            Some(Answer::Done(done)) => {
                self.is_at_work = false;
                self.ready = done.map_err(|error| invalid(&error))?;
                Ok(None)
            }
            None => Err(broken_off()),
        }
    }
}

/// Until the end, or until whoever gives the work is gone.
fn encode(mut encoder: ParquetEncoder<Pieces>, work: &WorkReceiver<Work>, mut answer: Sender<Answer>) {
    while let Ok(Work::Rows(batch)) = work.recv() {
        let done = encoder.encode(batch).and_then(|()| Ok(encoder.sink()?.buffer.len()));
        if block_on(answer.send(Answer::Done(done))).is_err() {
            return;
        }
    }
    // Nobody may be there for the end any more.
    let end = encoder.finish().and_then(|mut pieces| Ok(pieces.hand_over().map_err(ParquetError::from)?));
    let _ = block_on(answer.send(Answer::Done(end.map(|()| 0))));
}

/// Hands bytes over in pieces.
struct Pieces {
    buffer: Vec<u8>,
    piece: usize,
    answer: Sender<Answer>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.reserve_exact(self.piece - self.buffer.len());
        let taken = &bytes[..bytes.len().min(self.piece - self.buffer.len())];
        self.buffer.extend_from_slice(taken);
        if self.buffer.len() == self.piece {
            self.hand_over()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Pieces {
    fn hand_over(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.buffer);
        if piece.is_empty() {
            return Ok(());
        }
        let handed = block_on(self.answer.send(Answer::Piece(Bytes::from(piece))));
        handed.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

fn invalid(error: &impl ToString) -> PortError {
    PortError::new(PortErrorKind::Invalid, error.to_string())
}

fn packing(error: &io::Error) -> PortError {
    PortError::new(PortErrorKind::Other, format!("compressing: {error}"))
}

fn broken_off() -> PortError {
    PortError::new(PortErrorKind::Unavailable, "the writing of Parquet has broken off; see the log for why")
}

#[cfg(test)]
mod tests {
    use millrace_operator_api::ports::ValueType;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;
    use crate::parts::files::mark::Compression;

    fn writer(format: Format) -> Writer {
        let shape = FileShape { format, compression: Compression::None, ..FileShape::default() };
        let note = SourceColumn { name: "note".to_owned(), type_name: String::new(), value: ValueType::TEXT };
        Writer::begin(&shape, &[note], 0, 1).unwrap()
    }

    fn long(bytes: usize) -> RowBatch {
        let mut batch = RowBatch::new(1);
        batch.push(Some(&vec![b'x'; bytes]));
        batch
    }

    #[test]
    fn a_long_row_of_parquet_leaves_in_pieces() {
        let mut writer = writer(Format::Parquet);
        let mut bytes = Vec::new();
        let mut take = |writer: &mut Writer| {
            while let Some(piece) = block_on(writer.next_piece()).unwrap() {
                assert!(piece.len() <= PIECE);
                bytes.extend_from_slice(&piece);
            }
            bytes.len() + writer.ready()
        };
        for rows in 1..=2 {
            writer.write(long(20 << 20)).unwrap();
            let left = take(&mut writer);
            assert!(left >= rows * (20 << 20), "{left} bytes of {rows} rows");
        }
        writer.seal().unwrap();
        take(&mut writer);
        assert!(block_on(writer.next_piece()).unwrap().is_none());
        let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
        assert_eq!(reader.metadata().file_metadata().num_rows(), 2);
        assert_eq!(
            reader.get_row_iter(None).unwrap().last().unwrap().unwrap().to_string().matches('x').count(),
            20 << 20
        );
    }

    #[test]
    fn a_file_that_is_given_up_keeps_no_thread() {
        let Writer::Parquet(mut writer) = writer(Format::Parquet) else { panic!("asked for Parquet") };
        writer.hand_over(Work::Rows(long(20 << 20))).unwrap();
        assert!(block_on(writer.next_piece()).unwrap().is_some());
        let work = writer.work.clone();
        drop(writer);
        while work.send(Work::End).is_ok() {
            std::thread::yield_now();
        }
    }
}
