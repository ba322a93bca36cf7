//! Reading the log of a try: whole, in pages, and while it grows.

use std::io::{self, ErrorKind, SeekFrom};
use std::time::Duration;

use futures::{Stream, StreamExt};
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

    /// The lines from a byte offset on, about 256 KiB of them; the first is the next that begins, for half a line may hold
    /// half a secret, which no mask knows. `None` when the try has written no log. Once the try is
    /// over its last line needs no end: it may have been killed in the middle of it.
    pub async fn read_page(&self, id: &TryId, offset: u64, is_over: bool) -> io::Result<Option<LogPage>> {
        let Some(mut file) = self.open_to_read(id).await? else { return Ok(None) };
        match begin_of_line(&mut file, offset).await? {
            Some(begin) => read_lines(&mut file, begin, is_over).await.map(Some),
            None => Ok(Some(LogPage { next_offset: offset, is_at_end: true, ..LogPage::default() })),
        }
    }

    async fn open_to_read(&self, id: &TryId) -> io::Result<Option<File>> {
        match File::open(self.path(id)).await {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Pages of new lines as they come, beginning at `offset`. Ends once `is_over` has said true (asked before each
    /// look, so that what was written before the end is always seen) and everything was read.
    pub fn follow<F, Fut>(self, id: TryId, offset: u64, is_over: F) -> impl Stream<Item = io::Result<LogPage>> + Send
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = bool> + Send,
    {
        let start = Following { folder: self, id, offset, has_begun: false, is_over };
        futures::stream::unfold(Some(start), |state| async move {
            let mut state = state?;
            loop {
                let over = (state.is_over)().await;
                match state.next(over).await {
                    Ok(page) => {
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
        // Who compresses what is sent asks once more after the end.
        .fuse()
    }
}

struct Following<F> {
    folder: LogFolder,
    id: TryId,
    offset: u64,
    /// `offset` is where the last page ended, and nobody's wish.
    has_begun: bool,
    is_over: F,
}

impl<F> Following<F> {
    async fn next(&mut self, is_over: bool) -> io::Result<LogPage> {
        let nothing = LogPage { next_offset: self.offset, is_at_end: true, ..LogPage::default() };
        let Some(mut file) = self.folder.open_to_read(&self.id).await? else { return Ok(nothing) };
        if !self.has_begun {
            let Some(begin) = begin_of_line(&mut file, self.offset).await? else { return Ok(nothing) };
            (self.offset, self.has_begun) = (begin, true);
        }
        read_lines(&mut file, self.offset, is_over).await
    }
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

/// Where the next line begins, at `offset` or behind it; none when the one that is there has not ended. A line that is
/// longer than [`LONGEST_LINE`] begins again where a page ended within it.
async fn begin_of_line(file: &mut File, offset: u64) -> io::Result<Option<u64>> {
    let Some(before) = offset.checked_sub(1) else { return Ok(Some(0)) };
    let mut bytes = vec![0; 1];
    file.seek(SeekFrom::Start(before)).await?;
    if file.read(&mut bytes).await? == 0 || bytes == b"\n" {
        return Ok(Some(offset));
    }
    let (mut begin, mut at) = (0, offset);
    while at > 0 && begin == 0 {
        let from = at.saturating_sub(PAGE as u64);
        bytes.resize(usize::try_from(at - from).unwrap_or(PAGE), 0);
        file.seek(SeekFrom::Start(from)).await?;
        file.read_exact(&mut bytes).await?;
        begin = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| from + last as u64 + 1);
        at = from;
    }
    if (offset - begin).is_multiple_of(LONGEST_LINE as u64) {
        return Ok(Some(offset));
    }
    file.seek(SeekFrom::Start(offset)).await?;
    let mut at = offset;
    bytes.resize(PAGE, 0);
    loop {
        let count = file.read(&mut bytes).await?;
        match bytes[..count].iter().position(|byte| *byte == b'\n') {
            Some(end) => return Ok(Some(at + end as u64 + 1)),
            None if count == 0 => return Ok(None),
            None => at += count as u64,
        }
    }
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
    async fn a_page_begins_where_a_line_does() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = LogFolder::new(temporary.path());
        folder.open(&id(), Arc::new(str::to_owned)).write(Utc::now(), Level::Info, "it begins");
        let path = folder.path(&id());
        let long = "x".repeat(LONGEST_LINE + 10);
        std::fs::write(&path, format!("first\na secret here\nthird\n{long}\nlast")).unwrap();
        let texts = async |offset: u64| {
            let page = folder.read_page(&id(), offset, true).await.unwrap().unwrap();
            page.lines.into_iter().map(|line| line.text).collect::<Vec<_>>()
        };
        assert_eq!(texts(6).await[0], "a secret here");
        for within in [7, 10, 19] {
            assert_eq!(texts(within).await[0], "third", "{within}");
        }
        let end = std::fs::metadata(&path).unwrap().len();
        assert_eq!(texts(end - 2).await, [""; 0], "what comes after the last line is nothing");
        assert_eq!(texts(end + 2).await, [""; 0]);
        let pages: Vec<_> = folder.clone().follow(id(), 0, async || true).map(Result::unwrap).collect().await;
        let lengths: Vec<_> = pages.iter().flat_map(|page| &page.lines).map(|line| line.text.len()).collect();
        assert_eq!(lengths, [5, 13, 5, LONGEST_LINE, 10, 4], "a line of any length is read to its end");
        let resumed = 6 + 14 + 6 + LONGEST_LINE as u64;
        assert_eq!((texts(resumed).await[0].len(), texts(resumed - 1).await[0].as_str()), (10, "last"));
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
