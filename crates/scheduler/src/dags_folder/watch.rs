//! Tells when something in the folder changed.

use std::path::Path;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches while it lives.
pub struct FolderWatch {
    _watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
}

impl FolderWatch {
    /// The folder must exist.
    pub fn new(folder: &Path) -> notify::Result<Self> {
        // One waiting event says it all: whoever receives it looks at the whole folder.
        let (sender, events) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too, and must not cause another reading.
            let matters = event.map_or(true, |event| !matches!(event.kind, EventKind::Access(_)));
            if matters {
                let _ = sender.try_send(());
            }
        })?;
        watcher.watch(folder, RecursiveMode::Recursive)?;
        Ok(Self { _watcher: watcher, events })
    }

    /// Waits for the next change. Never ends when the watcher has died; the slow scan is there for that.
    pub async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}
