//! Rows on their way from a reader to whoever takes them.
//!
//! The end is said, never concluded: a reader that is gone without a word (a panic, a runtime that goes down) would
//! otherwise look like one that has read everything, and a part of a table like the whole.

use futures::stream::{self, BoxStream, StreamExt};
use millrace_operator_api::ports::RowBatch;
use millrace_operator_api::{PortError, PortErrorKind};
use tokio::sync::{mpsc, oneshot};

/// Size that batches grow to where up to four readers are at work.
const BATCH_BYTES: usize = 256 * 1024;
/// However many there are, batches are worth their while.
const LEAST_BYTES: usize = 32 * 1024;
/// Batches that wait to be taken.
const WAITING: usize = 2;
/// One of so many bytes is a row of that size: nothing more is read until whoever took it asks for the next one, and so is
/// done with it. Otherwise several would be held at a time, and each of them more than once.
const LONG: usize = 4 << 20;

/// Rows as they come.
pub type Batches = BoxStream<'static, Result<RowBatch, PortError>>;

enum Item {
    Rows(RowBatch),
    /// Answered when it is its turn: what came before it was taken, and more is wanted.
    IsWanted(oneshot::Sender<()>),
    End(Result<(), PortError>),
}

/// The reader's half.
#[derive(Clone)]
pub struct Outlet {
    sender: mpsc::Sender<Item>,
    batch_bytes: usize,
}

/// Dropping the stream closes the outlet.
pub fn channel() -> (Outlet, Batches) {
    channel_beside(1)
}

/// For one of so many readers of a task, which hold less each the more they are.
pub fn channel_beside(readers: usize) -> (Outlet, Batches) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let batch_bytes = (4 * BATCH_BYTES / readers.max(1)).clamp(LEAST_BYTES, BATCH_BYTES);
    let batches = stream::unfold(Some(receiver), |receiver| async move {
        let mut receiver = receiver?;
        loop {
            return match receiver.recv().await {
                Some(Item::Rows(batch)) => Some((Ok(batch), Some(receiver))),
                Some(Item::IsWanted(answer)) => {
                    // Whoever asked may be gone, which the next item tells.
                    let _ = answer.send(());
                    continue;
                }
                Some(Item::End(Ok(()))) => None,
                Some(Item::End(Err(error))) => Some((Err(error), None)),
                None => {
                    let message = "whoever read the rows is gone without having come to their end; see the log for why";
                    Some((Err(PortError::new(PortErrorKind::Unavailable, message)), None))
                }
            };
        }
    });
    (Outlet { sender, batch_bytes }, batches.boxed())
}

impl Outlet {
    /// Size that batches grow to, and as many cells.
    pub fn batch_bytes(&self) -> usize {
        self.batch_bytes
    }

    /// The batch may leave.
    pub fn is_enough(&self, batch: &RowBatch) -> bool {
        batch.byte_len() >= self.batch_bytes || batch.len() * batch.columns() >= self.batch_bytes
    }

    /// Fails when nobody takes the rows any more. Comes back from a long row when the next one is wanted.
    pub async fn send(&self, batch: RowBatch) -> Result<(), PortError> {
        let is_long = batch.byte_len() >= LONG;
        self.sender.send(Item::Rows(batch)).await.map_err(|_| unread())?;
        if is_long {
            let (answer, is_wanted) = oneshot::channel();
            self.sender.send(Item::IsWanted(answer)).await.map_err(|_| unread())?;
            is_wanted.await.map_err(|_| unread())?;
        }
        Ok(())
    }

    /// As [`Self::send`], outside of the runtime.
    pub fn blocking_send(&self, batch: RowBatch) -> Result<(), PortError> {
        let is_long = batch.byte_len() >= LONG;
        self.sender.blocking_send(Item::Rows(batch)).map_err(|_| unread())?;
        if is_long {
            let (answer, is_wanted) = oneshot::channel();
            self.sender.blocking_send(Item::IsWanted(answer)).map_err(|_| unread())?;
            is_wanted.blocking_recv().map_err(|_| unread())?;
        }
        Ok(())
    }

    /// Everything was read, or why not.
    pub async fn end(&self, result: Result<(), PortError>) {
        let _ = self.sender.send(Item::End(result)).await;
    }

    /// As [`Self::end`], outside of the runtime.
    pub fn blocking_end(&self, result: Result<(), PortError>) {
        let _ = self.sender.blocking_send(Item::End(result));
    }

    /// Ends when nobody takes the rows any more.
    pub async fn closed(&self) {
        self.sender.closed().await;
    }
}

fn unread() -> PortError {
    PortError::new(PortErrorKind::Cancelled, "nobody reads the rows any more")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn batch() -> RowBatch {
        let mut batch = RowBatch::new(1);
        batch.push(Some(b"1"));
        batch
    }

    #[tokio::test]
    async fn a_reader_that_is_gone_is_not_the_end_of_the_rows() {
        let (outlet, mut batches) = channel();
        let reader = tokio::spawn(async move {
            outlet.send(batch()).await.expect("somebody reads");
            panic!("a defect of the reader");
        });
        assert!(batches.next().await.is_some_and(|batch| batch.is_ok()));
        let error = batches.next().await.expect("no silent end").expect_err("it broke off");
        assert_eq!(error.kind, PortErrorKind::Unavailable);
        assert!(batches.next().await.is_none());
        assert!(reader.await.is_err());
    }

    #[test]
    fn the_more_readers_the_less_each_holds() {
        let bytes = |readers| channel_beside(readers).0.batch_bytes();
        assert_eq!((bytes(1), bytes(4), bytes(8)), (BATCH_BYTES, BATCH_BYTES, BATCH_BYTES / 2));
        assert!((1..=33).all(|readers| bytes(readers) * readers <= 5 * BATCH_BYTES));
    }

    #[tokio::test]
    async fn after_a_long_row_nothing_is_read_until_more_is_wanted() {
        let long = || {
            let mut batch = RowBatch::new(1);
            batch.push(Some(&vec![b'x'; LONG]));
            batch
        };
        let (outlet, mut batches) = channel();
        let reader = tokio::spawn(async move {
            outlet.send(long()).await?;
            outlet.send(batch()).await?;
            outlet.send(long()).await?;
            outlet.end(Ok(())).await;
            Ok::<(), PortError>(())
        });
        assert_eq!(batches.next().await.unwrap().unwrap().byte_len(), LONG);
        // All that could be done was done: the row was taken, and nobody has come for more.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!reader.is_finished());
        assert!(batches.next().now_or_never().is_none(), "the next row was read before it was wanted");
        assert_eq!(batches.next().await.unwrap().unwrap().byte_len(), 1);
        assert_eq!(batches.next().await.unwrap().unwrap().byte_len(), LONG);
        assert!(batches.next().await.is_none());
        reader.await.unwrap().unwrap();

        let (outlet, mut batches) = channel();
        let reader = tokio::spawn(async move { outlet.send(long()).await });
        assert!(batches.next().await.is_some_and(|batch| batch.is_ok()));
        drop(batches);
        assert_eq!(reader.await.unwrap().unwrap_err().kind, PortErrorKind::Cancelled);
    }

    #[tokio::test]
    async fn the_end_is_said() {
        let (outlet, mut batches) = channel();
        outlet.send(batch()).await.expect("there is room");
        outlet.end(Ok(())).await;
        assert!(batches.next().await.is_some_and(|batch| batch.is_ok()));
        assert!(batches.next().await.is_none());
    }
}
