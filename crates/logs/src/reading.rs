//! Reading the log of a try: whole, in pages, and while it grows.

use std::io::{self, ErrorKind, SeekFrom};
use std::time::Duration;

use futures::Stream;
use serde::Serialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::folder::{LogFolder, TryId};
use crate::line::LogLine;

/// Bytes read at once.
const PAGE: usize = 256 * 1024;
/// A line without an end is shown after this many bytes.
const LONGEST_LINE: usize = 1024 * 1024;
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// Some lines, and where the next ones begin.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Byte offset after the last whole line.
    pub next_offset: u64,
    /// True when nothing was left to read.
    pub is_at_end: bool,
}

impl LogFolder {
    /// The whole text, or `None` when the try has written no log.
    pub async fn read_text(&self, id: &TryId) -> io::Result<Option<String>> {
        match tokio::fs::read(self.path(id)).await {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The lines from a byte offset on, about 256 KiB of them. `None` when the try has written no log. Once the try is
    /// over its last line needs no end: it may have been killed in the middle of it.
    pub async fn read_page(&self, id: &TryId, offset: u64, is_over: bool) -> io::Result<Option<LogPage>> {
        let mut file = match File::open(self.path(id)).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        read_lines(&mut file, offset, is_over).await.map(Some)
    }

    /// Pages of new lines as they come, beginning at `offset`. Ends once `is_over` has said true (asked before each
    /// look, so that what was written before the end is always seen) and everything was read.
    pub fn follow<F, Fut>(self, id: TryId, offset: u64, is_over: F) -> impl Stream<Item = io::Result<LogPage>> + Send
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send,
    {
        let start = Following { folder: self, id, offset, is_over };
        futures::stream::unfold(Some(start), |state| async move {
            let mut state = state?;
            loop {
                let over = (state.is_over)().await;
                match state.folder.read_page(&state.id, state.offset, over).await {
                    Ok(page) => {
                        let page = page.unwrap_or(LogPage {
                            next_offset: state.offset,
                            is_at_end: true,
                            ..LogPage::default()
                        });
                        state.offset = page.next_offset;
                        if over && page.is_at_end {
                            return Some((Ok(page), None));
                        }
                        if !page.lines.is_empty() {
                            return Some((Ok(page), Some(state)));
                        }
                    }
                    Err(error) => return Some((Err(error), None)),
                }
                tokio::time::sleep(FOLLOW_INTERVAL).await;
            }
        })
    }
}

struct Following<F> {
    folder: LogFolder,
    id: TryId,
    offset: u64,
    is_over: F,
}

async fn read_lines(file: &mut File, offset: u64, is_over: bool) -> io::Result<LogPage> {
    file.seek(SeekFrom::Start(offset)).await?;
    let mut bytes = Vec::new();
    let mut taken = file.take((PAGE) as u64);
    taken.read_to_end(&mut bytes).await?;
    let mut is_at_end = bytes.len() < PAGE;
    // A line longer than a page: read on until it ends, up to a bound.
    while !bytes.contains(&b'\n') && !is_at_end && bytes.len() < LONGEST_LINE {
        taken.set_limit(PAGE as u64);
        is_at_end = taken.read_to_end(&mut bytes).await? < PAGE;
    }
    let whole = match bytes.iter().rposition(|byte| *byte == b'\n') {
        _ if is_over && is_at_end => bytes.len(),
        Some(last) => last + 1,
        None if bytes.len() >= LONGEST_LINE => bytes.len(),
        None => 0,
    };
    let text = String::from_utf8_lossy(&bytes[..whole]);
    Ok(LogPage { lines: text.lines().map(LogLine::parse).collect(), next_offset: offset + whole as u64, is_at_end })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use chrono::Utc;
    use futures::StreamExt;

    use super::*;
    use crate::line::Level;

    fn id() -> TryId {
        TryId { dag_id: "d".into(), run_id: "r".into(), task_id: "t".into(), map_index: -1, try_number: 1 }
    }

    #[tokio::test]
    async fn what_is_written_is_masked_and_read_in_pages() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(temporary.path());
        assert_eq!(folder.read_page(&id(), 0, false).await.unwrap(), None);
        let log = folder.open(&id(), Arc::new(|text: &str| text.replace("hunter22", "***")));
        log.write(Utc::now(), Level::Info, "password is hunter22");
        let first = folder.read_page(&id(), 0, false).await.unwrap().unwrap();
        assert_eq!(first.lines.len(), 1);
        assert_eq!(first.lines[0].text, "password is ***");
        log.write(Utc::now(), Level::Error, &"x".repeat(300 * 1024));
        let second = folder.read_page(&id(), first.next_offset, false).await.unwrap().unwrap();
        assert_eq!(second.lines.len(), 1);
        assert_eq!(second.lines[0].text.len(), 300 * 1024);
        assert!(folder.read_page(&id(), second.next_offset, false).await.unwrap().unwrap().lines.is_empty());
    }

    #[tokio::test]
    async fn the_last_line_of_a_try_that_is_over_needs_no_end() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(temporary.path());
        folder.open(&id(), Arc::new(str::to_owned)).write(Utc::now(), Level::Info, "it begins");
        let path = folder.path(&id());
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{text}killed in the mid")).unwrap();
        let texts = |page: LogPage| page.lines.into_iter().map(|line| line.text).collect::<Vec<_>>();
        let page = folder.read_page(&id(), 0, false).await.unwrap().unwrap();
        assert_eq!((page.next_offset, texts(page)), (text.len() as u64, vec!["it begins".to_owned()]));
        let page = folder.read_page(&id(), 0, true).await.unwrap().unwrap();
        assert_eq!(texts(page), ["it begins", "killed in the mid"]);
        let pages: Vec<_> = folder.follow(id(), 0, async || true).map(Result::unwrap).collect().await;
        assert_eq!(pages.into_iter().flat_map(texts).collect::<Vec<_>>(), ["it begins", "killed in the mid"]);
    }

    #[tokio::test]
    async fn following_sees_every_line_and_ends() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(temporary.path());
        let log = folder.open(&id(), Arc::new(str::to_owned));
        let over = Arc::new(AtomicBool::new(false));
        let asked = over.clone();
        let stream = folder.clone().follow(id(), 0, move || {
            let over = asked.load(Ordering::SeqCst);
            async move { over }
        });
        let reading = tokio::spawn(async move {
            let pages: Vec<LogPage> = stream.map(Result::unwrap).collect().await;
            pages.into_iter().flat_map(|page| page.lines).map(|line| line.text).collect::<Vec<_>>()
        });
        for number in 0..50 {
            log.write(Utc::now(), Level::Info, &number.to_string());
            tokio::task::yield_now().await;
        }
        over.store(true, Ordering::SeqCst);
        assert_eq!(reading.await.unwrap(), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}
