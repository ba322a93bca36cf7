//! Changes in the folder, as they happen.

use std::path::Path;
use std::time::Duration;

use notify::Watcher;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// An editor writes a file in several steps (a new file, a rename): they are one change.
const SETTLE: Duration = Duration::from_millis(10);
/// A folder that is written all the time is read nevertheless.
const SETTLE_AT_MOST: Duration = Duration::from_millis(200);
/// How often the folder is looked at where it cannot be watched.
const WITHOUT_WATCHING: Duration = Duration::from_secs(5);

/// Tells when the folder has changed.
pub struct FolderChanges {
    events: UnboundedReceiver<()>,
    /// None: the folder cannot be watched.
    _watcher: Option<notify::RecommendedWatcher>,
}

impl FolderChanges {
    /// Resolves shortly after something in the folder was changed.
    pub async fn settled(&mut self) {
        if self.events.recv().await.is_none() {
            tokio::time::sleep(WITHOUT_WATCHING).await;
            return;
        }
        let deadline = tokio::time::Instant::now() + SETTLE_AT_MOST;
        while tokio::time::Instant::now() < deadline {
            match tokio::time::timeout(SETTLE, self.events.recv()).await {
                Ok(Some(())) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

pub(super) fn watch(folder: &Path) -> FolderChanges {
    let (sender, events) = unbounded_channel();
    let begin = || -> notify::Result<notify::RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading is no change; what the watcher lost or could not read may be one.
            if !matches!(&event, Ok(event) if event.kind.is_access()) {
                let _ = sender.send(());
            }
        })?;
        watcher.watch(folder, notify::RecursiveMode::Recursive)?;
        Ok(watcher)
    };
    let watcher = begin();
    if let Err(error) = &watcher {
        tracing::warn!(folder = %folder.display(), %error, "the DAGs folder cannot be watched; it is looked at every few seconds");
    }
    FolderChanges { events, _watcher: watcher.ok() }
}
