//! A stream of rows as a stream of bytes, counted and hashed on the way, in constant memory.

use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flate2::write::GzEncoder;
use futures::stream::{self, StreamExt};
use millrace_operator_api::ports::{ByteStream, RowBatch, RowStream};
use millrace_operator_api::{BoxStream, PortError, PortErrorKind};
use millrace_template::Template;
use sha2::{Digest, Sha256};

use super::csv::CsvEncoder;
use super::mark::{Compression, FileShape};
use super::parameter::written;
use super::report::Progress;
use millrace_operator_api::{Problems, TaskContext, TaskError};

/// Bytes in one piece of the stream, about.
const CHUNK: usize = 1 << 20;

/// What went through a stream; complete once the stream has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    /// Bytes as they left (compressed ones, where they are compressed).
    pub bytes: u64,
    /// `sha256:<hex>` of those bytes; `None` until the end was reached.
    pub checksum: Option<String>,
}

/// Sees through a stream that somebody else drains.
#[derive(Clone, Default)]
pub struct Tally(Arc<Mutex<(Totals, Option<PortError>)>>);

impl Tally {
    fn lock(&self) -> MutexGuard<'_, (Totals, Option<PortError>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn totals(&self) -> Totals {
        self.lock().0.clone()
    }

    /// The error that ended the stream, in its own words: whoever drains the stream may wrap it in others.
    pub fn error(&self) -> Option<PortError> {
        self.lock().1.clone()
    }

    fn update(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.lock().0);
    }

    fn fail(&self, error: &PortError) {
        self.lock().1 = Some(error.clone());
    }
}

/// Encodes rows as CSV in `shape`.
pub fn encode_rows(rows: RowStream, shape: &FileShape, progress: Progress) -> (ByteStream, Tally) {
    let encoder = CsvEncoder::new(shape.csv_options(), &rows.columns);
    let mut buffer = Vec::with_capacity(CHUNK + CHUNK / 2);
    encoder.begin(&mut buffer);
    let gzip = match shape.compression {
        Compression::None => None,
        Compression::Gzip => Some(GzEncoder::new(Vec::new(), flate2::Compression::fast())),
    };
    let tally = Tally::default();
    let state = Encoding {
        batches: rows.batches,
        encoder,
        buffer,
        gzip,
        hash: Sha256::new(),
        tally: tally.clone(),
        progress,
        is_done: false,
    };
    let seen = tally.clone();
    let chunks = stream::unfold(Some(state), move |state| {
        let seen = seen.clone();
        async move {
            let mut state = state?;
            match state.next_chunk().await {
                Ok(Some(chunk)) => Some((Ok(chunk), Some(state))),
                Ok(None) => None,
                Err(error) => {
                    seen.fail(&error);
                    Some((Err(error), None))
                }
            }
        }
    });
    (chunks.boxed(), tally)
}

struct Encoding {
    batches: BoxStream<'static, Result<RowBatch, PortError>>,
    encoder: CsvEncoder,
    buffer: Vec<u8>,
    gzip: Option<GzEncoder<Vec<u8>>>,
    hash: Sha256,
    tally: Tally,
    progress: Progress,
    is_done: bool,
}

impl Encoding {
    async fn next_chunk(&mut self) -> Result<Option<Bytes>, PortError> {
        while !self.is_done {
            match self.batches.next().await {
                Some(batch) => {
                    self.encoder
                        .encode(&batch?, &mut self.buffer)
                        .map_err(|error| PortError::new(PortErrorKind::Invalid, error.to_string()))?;
                    let rows = self.encoder.rows();
                    self.tally.update(|totals| totals.rows = rows);
                    let bytes = self.tally.totals().bytes + self.buffer.len() as u64;
                    self.progress.tick(rows, bytes);
                }
                None => self.is_done = true,
            }
            if self.is_done || self.buffer.len() >= CHUNK {
                let chunk = self.seal()?;
                self.hash.update(&chunk);
                self.tally.update(|totals| totals.bytes += chunk.len() as u64);
                if self.is_done {
                    let digest = std::mem::take(&mut self.hash).finalize();
                    let totals = self.tally.totals();
                    self.tally.update(|totals| totals.checksum = Some(checksum_text(&digest)));
                    self.progress.finish(totals.rows, totals.bytes);
                }
                if !chunk.is_empty() {
                    return Ok(Some(chunk));
                }
            }
        }
        Ok(None)
    }

    fn seal(&mut self) -> Result<Bytes, PortError> {
        let gzip_error =
            |error: std::io::Error| PortError::new(PortErrorKind::Other, format!("compressing with gzip: {error}"));
        let Some(gzip) = &mut self.gzip else {
            let capacity = if self.is_done { 0 } else { CHUNK + CHUNK / 2 };
            return Ok(Bytes::from(std::mem::replace(&mut self.buffer, Vec::with_capacity(capacity))));
        };
        gzip.write_all(&self.buffer).map_err(gzip_error)?;
        self.buffer.clear();
        if self.is_done {
            gzip.try_finish().map_err(gzip_error)?;
        }
        Ok(Bytes::from(std::mem::take(gzip.get_mut())))
    }
}

/// Passes bytes on, counts and hashes them, and compares them with what is expected before the last piece is let
/// through: a stream of other bytes ends in an error, so that they are never published.
pub fn verify_bytes(body: ByteStream, expected: Option<String>, expected_bytes: Option<u64>) -> (ByteStream, Tally) {
    let tally = Tally::default();
    let state = Some((body, Sha256::new(), None::<Bytes>));
    let seen = tally.clone();
    let chunks = stream::unfold(state, move |state| {
        let (seen, expected) = (seen.clone(), expected.clone());
        async move {
            // One piece is held back until the next one, or the end, is known.
            let (mut body, mut hash, mut held) = state?;
            loop {
                match body.next().await {
                    Some(Ok(chunk)) => {
                        hash.update(&chunk);
                        seen.update(|totals| totals.bytes += chunk.len() as u64);
                        if let Some(ready) = held.replace(chunk) {
                            return Some((Ok(ready), Some((body, hash, held))));
                        }
                    }
                    Some(Err(error)) => {
                        seen.fail(&error);
                        return Some((Err(error), None));
                    }
                    None => {
                        let checksum = checksum_text(&hash.finalize());
                        let bytes = seen.totals().bytes;
                        if expected.as_ref().is_some_and(|expected| *expected != checksum)
                            || expected_bytes.is_some_and(|expected| expected != bytes)
                        {
                            let message = format!(
                                "the file is not what the task that wrote it reported: {bytes} bytes with {checksum}, \
                                 expected {} bytes with {}",
                                expected_bytes.map_or_else(|| "some".to_owned(), |bytes| bytes.to_string()),
                                expected.unwrap_or_default()
                            );
                            let error = PortError::new(PortErrorKind::Invalid, message);
                            seen.fail(&error);
                            return Some((Err(error), None));
                        }
                        seen.update(|totals| totals.checksum = Some(checksum));
                        return held.map(|last| (Ok(last), None));
                    }
                }
            }
        }
    });
    (chunks.boxed(), tally)
}

fn checksum_text(digest: &[u8]) -> String {
    digest.iter().fold("sha256:".to_owned(), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

/// Finds mistakes in the parameters that make a [`FileShape`].
pub fn check_shape(delimiter: &Template<String>, null_marker: &Template<String>, problems: &mut Problems) {
    if let Some(text) = written(delimiter)
        && let Err(problem) = delimiter_of(&text)
    {
        problems.add("delimiter", problem);
    }
    if let Some(text) = written(null_marker)
        && let Err(problem) = check_marker(&text, written(delimiter).as_deref())
    {
        problems.add("null_marker", problem);
    }
}

/// The shape without its columns, which only the query's answer knows.
pub fn rendered_shape(
    delimiter: &Template<String>,
    null_marker: &Template<String>,
    header: bool,
    compression: Compression,
) -> Result<FileShape, TaskError> {
    let delimiter_text = super::parameter::rendered("delimiter", delimiter)?;
    let null_marker = super::parameter::rendered("null_marker", null_marker)?;
    let delimiter = delimiter_of(&delimiter_text).map_err(|e| TaskError::Fail(format!("parameter delimiter: {e}")))?;
    check_marker(&null_marker, Some(&delimiter_text))
        .map_err(|e| TaskError::Fail(format!("parameter null_marker: {e}")))?;
    Ok(FileShape { delimiter, header, null_marker, compression, columns: Vec::new() })
}

fn delimiter_of(text: &str) -> Result<char, String> {
    let text = if text == "\\t" { "\t" } else { text };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) if only.is_ascii() && !matches!(only, '"' | '\n' | '\r' | '\0' | '\\') => Ok(only),
        _ => Err(format!("'{text}' is not one ASCII character other than a quote, a backslash or a line end")),
    }
}

fn check_marker(text: &str, delimiter: Option<&str>) -> Result<(), String> {
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("'{text}' may hold visible ASCII characters only (a load passes it on to the warehouse)"));
    }
    if text.contains(['"', '\'']) || delimiter.is_some_and(|delimiter| text.contains(delimiter)) {
        return Err(format!("'{text}' must hold neither a quote nor the delimiter"));
    }
    Ok(())
}

/// Names the columns and says how many there are.
pub fn announce_columns(context: &TaskContext, rows: &RowStream) -> Vec<String> {
    let names: Vec<String> = rows.columns.iter().map(|column| column.name.clone()).collect();
    context.info(format!("reading {} columns: {}", names.len(), names.join(", ")));
    names
}
