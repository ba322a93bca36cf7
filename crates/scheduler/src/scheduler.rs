//! The daemon's life: stands by, leads, and stands by again when another leads. Nothing that happens to its database
//! ends it.

mod fence;
mod term;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_model::change::{Executor, Report};
use millrace_store::{Backend, Leadership, NewJob, Store, StoreError};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::fence::Fence;
use crate::dags_folder::FolderError;
use crate::options::SchedulerOptions;

/// Between attempts to take the lead.
const LEAD_AGAIN: Duration = Duration::from_secs(1);
/// How long the database may take for a last word.
const LAST_WORD: Duration = Duration::from_secs(2);
/// Between attempts to do what failed.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);

#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error("the scheduler cannot work with its metadata database")]
    Store(#[from] StoreError),
    #[error("the scheduler cannot read its DAGs")]
    Folder(#[from] FolderError),
    #[error(
        "stopped while the metadata database was out of reach: the end of {0} tries could not be recorded; they run again at the next start"
    )]
    Unrecorded(usize),
}

/// One scheduler. It leads, or waits to lead, from [`Scheduler::run`] until it is stopped.
pub struct Scheduler {
    store: Store,
    executor: Arc<dyn Executor>,
    completions: UnboundedReceiver<Report>,
    options: SchedulerOptions,
}

/// Ends with the scheduler, whatever ends it.
struct Background(JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Grows with each failure that follows another.
struct Patience(Duration);

impl Patience {
    fn new() -> Self {
        Self(AGAIN)
    }

    fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (self.0 * 2).min(AGAIN_AT_MOST);
        pause
    }
}

/// How leading, or waiting to lead, ended.
enum End {
    Stopped,
    /// Another leads.
    Deposed,
}

impl Scheduler {
    /// `completions` is the other end of the channel on which `executor` reports what becomes of tries.
    pub fn new(
        store: Store,
        executor: Arc<dyn Executor>,
        completions: UnboundedReceiver<Report>,
        options: SchedulerOptions,
    ) -> Self {
        Self { store, executor, completions, options }
    }

    /// Runs until `stop`; then nothing new starts, running tries may end until `drain_timeout`, and the rest is cancelled
    /// and given again at the next start. A database that is away, full or only readable ends nothing: what runs goes
    /// on, its results are kept, and the work is taken up when the database is back.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SchedulerError> {
        loop {
            // A job of its own for each time it leads: a job that has ended holds nothing any more.
            let Some(job_id) = self.register(&stop).await? else { return Ok(()) };
            let heartbeat = self.start_heartbeat(&job_id);
            let ended = match self.take_lead(&job_id, &stop).await {
                Ok(Some(leadership)) => self.lead(&job_id, leadership, &stop).await,
                Ok(None) => Ok(End::Stopped),
                Err(error) => Err(error.into()),
            };
            drop(heartbeat);
            self.end_job(&job_id).await;
            match ended? {
                End::Stopped => return Ok(()),
                End::Deposed => {}
            }
        }
    }

    async fn register(&self, stop: &CancellationToken) -> Result<Option<String>, StoreError> {
        let job =
            NewJob { kind: "scheduler".to_owned(), hostname: self.options.hostname.clone(), pid: std::process::id() };
        let mut patience = Patience::new();
        loop {
            match self.store.register_job(&job, self.options.clock.now()).await {
                Err(error) if error.is_transient() => self.trouble("scheduler", Some(&error)),
                other => {
                    self.trouble("scheduler", None);
                    return other.map(Some);
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(patience.next()) => {}
            }
        }
    }

    async fn end_job(&self, job_id: &str) {
        let ended = tokio::time::timeout(LAST_WORD, self.store.end_job(job_id, self.options.clock.now())).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("cannot note that this scheduler has ended its work");
        }
    }

    async fn take_lead(&self, job_id: &str, stop: &CancellationToken) -> Result<Option<Leadership>, StoreError> {
        let mut is_waiting = false;
        let mut watch = LeaderWatch::default();
        let mut unseated_at: Option<Instant> = None;
        loop {
            match self.store.try_lead(job_id, self.options.clock.now()).await {
                Ok(Some(leadership)) => {
                    self.trouble("scheduler", None);
                    tracing::info!(epoch = leadership.epoch, "this scheduler leads");
                    return Ok(Some(leadership));
                }
                Ok(None) => {
                    self.trouble("scheduler", None);
                    if !std::mem::replace(&mut is_waiting, true) {
                        tracing::info!("another scheduler leads; standing by");
                    }
                    if self.look_after_leader(&mut watch).await {
                        unseated_at = Some(Instant::now());
                    }
                }
                Err(error) if error.is_transient() => {
                    self.trouble("scheduler", Some(&error));
                    watch = LeaderWatch::default();
                }
                Err(error) => return Err(error),
            }
            // A session that was closed lets go of its lock within moments.
            let is_free_soon = unseated_at.is_some_and(|at| at.elapsed() < LEAD_AGAIN);
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(if is_free_soon { AGAIN } else { LEAD_AGAIN }) => {}
            }
        }
    }

    /// A leader that hangs, or whose machine went away without a word, keeps its lock: when it has given no sign of life
    /// for `leader_timeout`, its session is closed. Measured by this process, so that clocks need not agree. Returns whether
    /// one was closed.
    async fn look_after_leader(&self, watch: &mut LeaderWatch) -> bool {
        let Ok(leader) = self.store.leader().await else { return false };
        let sign = (leader.epoch, leader.heartbeat_at);
        match watch.0 {
            Some((known, since)) if known == sign => {
                if since.elapsed() >= self.options.leader_timeout {
                    *watch = LeaderWatch::default();
                    match self.store.unseat_leader().await {
                        Ok(true) => {
                            tracing::warn!(
                                silent = self.options.leader_timeout.as_secs(),
                                "the leading scheduler gives no sign of life; its lock was taken away"
                            );
                            return true;
                        }
                        Ok(false) => {}
                        Err(error) => tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the leading scheduler gives no sign of life, and its lock cannot be taken away"
                        ),
                    }
                }
            }
            _ => watch.0 = Some((sign, Instant::now())),
        }
        false
    }

    /// Beats beside the loop, so that a long turn costs no lease, and often enough for a standby. On PostgreSQL, whose
    /// leader's lock proves nothing of processes, also stops what runs here in time when no beat gets through.
    fn start_heartbeat(&self, job_id: &str) -> Background {
        let (store, clock, job_id) = (self.store.clone(), self.options.clock.clone(), job_id.to_owned());
        let timeout = self.options.lease_timeout;
        // On SQLite nobody takes a lock away.
        let is_watched = store.backend() == Backend::Postgres;
        let every = self.options.heartbeat_interval;
        let every = if is_watched { every.min(self.options.leader_timeout / 4) } else { every };
        let executor = self.executor.clone();
        executor.lift_fence();
        Background(tokio::spawn(async move {
            let mut fence = is_watched.then(|| Fence::new(timeout));
            let mut pause = every;
            loop {
                let beat = async {
                    tokio::time::sleep(pause).await;
                    let (begun, now) = (Instant::now(), clock.now());
                    // One that hangs, because its connection leads nowhere, must not keep the next from being tried.
                    (begun, tokio::time::timeout(timeout / 6, store.heartbeat(&job_id, now)).await)
                };
                tokio::select! {
                    (begun, beat) = beat => {
                        let is_written = matches!(beat, Ok(Ok(())));
                        if is_written && fence.as_mut().is_some_and(|fence| fence.extend(begun, &*executor)) {
                            store.wake().await;
                        }
                        // What failed is tried again soon: leases run out.
                        pause = if is_written { every } else { every.min(Duration::from_secs(1)) };
                        if let Ok(beat) = beat {
                            note_trouble(&store, "heartbeat", beat.as_ref().err());
                        }
                    }
                    () = Fence::is_due(fence.as_ref()) => {
                        if let Some(fence) = &mut fence {
                            fence.put_up(&*executor);
                        }
                    }
                }
            }
        }))
    }

    fn trouble(&self, part: &'static str, error: Option<&StoreError>) {
        note_trouble(&self.store, part, error);
    }
}

/// The leader's last sign of life, and when this process first saw it.
#[derive(Default)]
struct LeaderWatch(Option<(Sign, Instant)>);

/// The leader's epoch and its heartbeat.
type Sign = (i64, Option<DateTime<Utc>>);

/// Said once when it begins and once when it is over, whatever is tried in between.
fn note_trouble(store: &Store, part: &'static str, error: Option<&StoreError>) {
    let is_news = store.set_trouble(part, error.map(reason));
    match error {
        Some(error) if is_news => tracing::error!(
            part,
            error = error as &dyn std::error::Error,
            "the metadata database cannot be used; what runs goes on, and everything is tried again until it works"
        ),
        None if is_news => tracing::info!(part, "the metadata database can be used again"),
        _ => {}
    }
}

fn reason(error: &StoreError) -> String {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .last()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
