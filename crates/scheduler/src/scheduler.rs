//! The daemon's loop: leads, waits for whatever happens first, takes everything that has happened, has a turn.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{Completion, Executor};
use millrace_planner::SHUTDOWN_REASON;
use millrace_store::{Leadership, NewJob, Store, StoreError};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::dags_folder::{DagsFolder, FolderError};
use crate::engine::{Engine, EngineOptions};
use crate::options::SchedulerOptions;

/// Between attempts to take the lead.
const LEAD_AGAIN: Duration = Duration::from_secs(1);
/// How long cancelled tries may take to report that they stopped.
const CANCEL_GRACE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    #[error("the scheduler cannot work with its metadata database")]
    Store(#[from] StoreError),
    #[error("the scheduler cannot read its DAGs")]
    Folder(#[from] FolderError),
    #[error("the connection that proves the lead of this scheduler was lost; another one may lead now")]
    LeadLost,
}

/// One scheduler. It leads, or waits to lead, from [`Scheduler::run`] until it is stopped.
pub struct Scheduler {
    store: Store,
    executor: Arc<dyn Executor>,
    completions: UnboundedReceiver<Completion>,
    options: SchedulerOptions,
}

/// Ends with the scheduler, whatever ends it.
struct Background(JoinHandle<()>);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Scheduler {
    /// `completions` is the other end of the channel on which `executor` reports finished tries.
    pub fn new(
        store: Store,
        executor: Arc<dyn Executor>,
        completions: UnboundedReceiver<Completion>,
        options: SchedulerOptions,
    ) -> Self {
        Self { store, executor, completions, options }
    }

    /// Runs until `stop`; then nothing new starts, running tries may end until `drain_timeout`, and the rest is cancelled
    /// and given again at the next start.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), SchedulerError> {
        let clock = self.options.clock.clone();
        let job =
            NewJob { kind: "scheduler".to_owned(), hostname: self.options.hostname.clone(), pid: std::process::id() };
        let job_id = self.store.register_job(&job, clock.now()).await?;
        let _heartbeat = self.start_heartbeat(&job_id);
        let result = match self.take_lead(&job_id, &stop).await {
            Ok(Some(leadership)) => self.lead(&job_id, leadership, &stop).await,
            Ok(None) => Ok(()),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = self.store.end_job(&job_id, clock.now()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot note that the scheduler has ended");
        }
        result
    }

    async fn take_lead(&self, job_id: &str, stop: &CancellationToken) -> Result<Option<Leadership>, StoreError> {
        let mut is_waiting = false;
        loop {
            if let Some(leadership) = self.store.try_lead(job_id, self.options.clock.now()).await? {
                tracing::info!(epoch = leadership.epoch, "this scheduler leads");
                return Ok(Some(leadership));
            }
            if !std::mem::replace(&mut is_waiting, true) {
                tracing::info!("another scheduler leads; standing by");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(LEAD_AGAIN) => {}
            }
        }
    }

    async fn lead(
        &mut self,
        job_id: &str,
        mut leadership: Leadership,
        stop: &CancellationToken,
    ) -> Result<(), SchedulerError> {
        let on_lead = std::mem::replace(&mut self.options.on_lead, Box::new(|| ()));
        tokio::task::spawn_blocking(on_lead).await.ok();
        self.store.listen().await;
        let mut folder = DagsFolder::new(self.options.folder.clone());
        // Seen before the first reading, so that nothing that changes in between is missed.
        let mut changes = folder.watch();
        let report = folder.sync(&self.store, self.options.clock.now()).await?;
        tracing::info!(
            files = report.files,
            changed = report.stored,
            errors = report.broken.len(),
            "read the DAG files"
        );
        let options = EngineOptions {
            job_id: job_id.to_owned(),
            epoch: leadership.epoch,
            previous_owner_is_dead: leadership.previous_owner_is_dead,
            lease_ttl: TimeDelta::from_std(self.options.lease_timeout).unwrap_or(TimeDelta::days(1)),
        };
        let engine =
            Engine::start(self.store.clone(), self.executor.clone(), options, self.options.clock.now()).await?;
        let (store, clock, rescan) = (self.store.clone(), self.options.clock.clone(), self.options.rescan_interval);
        let _folder = Background(tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = changes.settled() => {}
                    () = tokio::time::sleep(rescan) => folder.forget_stamps(),
                }
                if let Err(error) = folder.sync(&store, clock.now()).await {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot read the DAG files");
                }
            }
        }));
        self.work(engine, &mut leadership, stop).await
    }

    async fn work(
        &mut self,
        mut engine: Engine,
        leadership: &mut Leadership,
        stop: &CancellationToken,
    ) -> Result<(), SchedulerError> {
        let clock = self.options.clock.clone();
        let mut wake_at = engine.turn(&|| clock.now()).await?;
        let mut looked_at = Instant::now();
        while !stop.is_cancelled() {
            let pause = self.pause(wake_at);
            let is_signalled = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(completion) = self.completions.recv() => {
                    engine.complete(completion);
                    false
                }
                () = self.store.woken() => true,
                () = tokio::time::sleep(pause) => false,
            };
            self.take_completions(&mut engine);
            if is_signalled {
                engine.take_signals(clock.now()).await?;
            }
            if looked_at.elapsed() >= self.options.slow_tick {
                looked_at = Instant::now();
                if !leadership.still_held().await {
                    return Err(SchedulerError::LeadLost);
                }
                engine.take_signals(clock.now()).await?;
                engine.look_after_foreign(clock.now()).await?;
                engine.look_for_missed(clock.now()).await?;
            }
            wake_at = engine.turn(&|| clock.now()).await?;
        }
        self.drain(engine).await
    }

    /// How long to wait at most. The clock may jump: a distant moment is looked at again with each slow tick.
    fn pause(&self, wake_at: Option<DateTime<Utc>>) -> Duration {
        let until = wake_at.map(|at| (at - self.options.clock.now()).to_std().unwrap_or(Duration::ZERO));
        until.unwrap_or(self.options.slow_tick).min(self.options.slow_tick)
    }

    fn take_completions(&mut self, engine: &mut Engine) {
        while let Ok(completion) = self.completions.try_recv() {
            engine.complete(completion);
        }
    }

    async fn drain(&mut self, mut engine: Engine) -> Result<(), SchedulerError> {
        let clock = self.options.clock.clone();
        engine.drain();
        engine.turn(&|| clock.now()).await?;
        tracing::info!(running = engine.in_flight(), "stopping: nothing new starts");
        let drained = Instant::now() + self.options.drain_timeout;
        self.finish_until(&mut engine, drained).await?;
        if engine.in_flight() > 0 {
            tracing::warn!(running = engine.in_flight(), "stopping the tries that still run; they are given again");
            engine.cancel_all(SHUTDOWN_REASON);
            self.finish_until(&mut engine, Instant::now() + CANCEL_GRACE).await?;
        }
        Ok(())
    }

    async fn finish_until(&mut self, engine: &mut Engine, deadline: Instant) -> Result<(), SchedulerError> {
        let clock = self.options.clock.clone();
        while engine.in_flight() > 0 {
            tokio::select! {
                Some(completion) = self.completions.recv() => engine.complete(completion),
                () = tokio::time::sleep_until(deadline) => return Ok(()),
            }
            self.take_completions(engine);
            engine.turn(&|| clock.now()).await?;
        }
        Ok(())
    }

    /// Beats beside the loop, so that a long turn costs no lease.
    fn start_heartbeat(&self, job_id: &str) -> Background {
        let (store, clock, job_id) = (self.store.clone(), self.options.clock.clone(), job_id.to_owned());
        let (every, timeout) = (self.options.heartbeat_interval, self.options.lease_timeout);
        Background(tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let now = clock.now();
                if let Err(error) = store.heartbeat(&job_id, now, now + timeout).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot note that the scheduler lives");
                }
            }
        }))
    }
}
