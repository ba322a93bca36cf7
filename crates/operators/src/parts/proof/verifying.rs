//! Bytes that pass through on their way to a place: counted, hashed, and compared with what they should be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use millrace_operator_api::ports::ByteStream;
use millrace_operator_api::{PortError, PortErrorKind};
use sha2::{Digest, Sha256};

use super::row_hash::Fingerprint;

/// What went through a stream; complete once the stream has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    /// Bytes as they left (compressed ones, where they are compressed).
    pub bytes: u64,
    /// `sha256:<hex>` of those bytes; `None` until the end was reached.
    pub checksum: Option<String>,
    /// Of the rows, whatever their order; `None` where bytes went by and no rows.
    pub fingerprint: Option<Fingerprint>,
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

    pub(crate) fn update(&self, change: impl FnOnce(&mut Totals)) {
        change(&mut self.lock().0);
    }

    pub(crate) fn fail(&self, error: &PortError) {
        self.lock().1 = Some(error.clone());
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

pub(crate) fn checksum_text(digest: &[u8]) -> String {
    format!("sha256:{}", hex::encode(digest))
}
