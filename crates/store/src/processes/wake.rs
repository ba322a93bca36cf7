//! How the scheduler learns that somebody wrote a signal.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::Watcher;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::database::connecting::CONNECT_TIMEOUT;
use crate::{Backend, Result, Store, StoreError, Tx, sql};

/// In the home; its content means nothing, being written does.
const WAKE_FILE: &str = "scheduler.wake";
const CHANNEL: &str = "millrace_wake";
/// Between attempts to listen again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Wake {
    notify: Arc<Notify>,
    /// Begun by the first call of [`Store::woken`].
    ears: tokio::sync::OnceCell<()>,
    listener: Mutex<Option<AbortHandle>>,
    watcher: Mutex<Option<notify::RecommendedWatcher>>,
}

impl Wake {
    pub(crate) fn stop(&self) {
        if let Some(listener) = self.listener.lock().unwrap_or_else(PoisonError::into_inner).take() {
            listener.abort();
        }
        drop(self.watcher.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Store {
    /// Resolves when a signal may have been written since the last call: by this process at once, by another through
    /// LISTEN/NOTIFY (PostgreSQL) or a touched file in the home (SQLite). May resolve for nothing. One waits at a time.
    pub async fn woken(&self) {
        self.listen().await;
        self.inner.wake.notify.notified().await;
    }

    /// Begins to listen to other processes; the first [`Store::woken`] does it too. What is written between this call
    /// and the next `woken` is not missed.
    pub async fn listen(&self) {
        let begin = async || match self.backend() {
            Backend::Sqlite => self.watch_file(),
            Backend::Postgres => self.listen_to_postgres().await,
        };
        self.inner.wake.ears.get_or_init(begin).await;
    }

    /// Wakes whoever waits in [`Store::woken`], here and in other processes.
    pub async fn wake(&self) {
        if let Some(writer) = &self.inner.writer
            && self.backend() == Backend::Postgres
            && let Err(error) = notify_postgres(writer).await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot wake other processes");
        }
        self.wake_after_commit();
    }

    /// PostgreSQL sends its notification with the commit; the file is ours to touch.
    pub(crate) fn wake_after_commit(&self) {
        self.inner.wake.notify.notify_one();
        if self.backend() == Backend::Sqlite
            && let Some(home) = &self.inner.home
            && let Err(error) = std::fs::write(home.join(WAKE_FILE), b"woken\n")
        {
            tracing::warn!(%error, "cannot wake other processes");
        }
    }

    fn watch_file(&self) {
        let Some(home) = &self.inner.home else { return };
        match watch(home, Arc::clone(&self.inner.wake.notify)) {
            Ok(watcher) => {
                *self.inner.wake.watcher.lock().unwrap_or_else(PoisonError::into_inner) = Some(watcher);
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "other processes cannot wake the scheduler");
            }
        }
    }

    async fn listen_to_postgres(&self) {
        let Some(options) = self.inner.postgres.clone() else { return };
        let notify = Arc::clone(&self.inner.wake.notify);
        // The first connection is made here, so that nothing written after this call is missed.
        let mut listener = connect_listener(&options).await;
        let task = tokio::spawn(async move {
            loop {
                if let Some(heard) = &mut listener {
                    // Not `recv`: it makes a new connection in silence, and what was said in between would be missed.
                    while let Ok(Some(_)) = heard.try_recv().await {
                        notify.notify_one();
                    }
                    tracing::debug!("lost the connection that other processes wake the scheduler over");
                    tokio::time::sleep(LISTEN_AGAIN / 10).await;
                }
                listener = connect_listener(&options).await;
                if listener.is_none() {
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    continue;
                }
                // Something may have been said while nobody listened.
                notify.notify_one();
            }
        });
        *self.inner.wake.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Tx {
    /// With the commit of this transaction, whoever waits in [`Store::woken`] is woken.
    pub(crate) async fn wake(&self) -> Result<()> {
        let was_set = self.wakes.swap(true, std::sync::atomic::Ordering::Relaxed);
        if !was_set && self.store.backend() == Backend::Postgres {
            notify_postgres(&self.inner).await?;
        }
        Ok(())
    }
}

async fn notify_postgres(connection: &impl sea_orm::ConnectionTrait) -> Result<()> {
    sql::run(connection, "wake the scheduler", format!("NOTIFY {CHANNEL}"), vec![]).await.map(|_| ())
}

async fn connect_listener(options: &sqlx::postgres::PgConnectOptions) -> Option<PgListener> {
    let pool = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await.ok()?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await.ok()?;
    Some(listener)
}

fn watch(home: &Path, notify: Arc<Notify>) -> Result<notify::RecommendedWatcher> {
    let path = home.join(WAKE_FILE);
    let failed = |source: std::io::Error| StoreError::Home { path: path.clone(), source };
    std::fs::OpenOptions::new().create(true).append(true).open(&path).map_err(failed)?;
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if !matches!(&event, Ok(event) if event.kind.is_access()) {
            notify.notify_one();
        }
    })
    .map_err(|error| failed(std::io::Error::other(error)))?;
    watcher.watch(&path, notify::RecursiveMode::NonRecursive).map_err(|error| failed(std::io::Error::other(error)))?;
    Ok(watcher)
}
