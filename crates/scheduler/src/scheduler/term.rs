//! One time of leading: waits for whatever happens first, takes everything that has happened, has a turn.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_planner::SHUTDOWN_REASON;
use millrace_store::{Leadership, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AGAIN, Background, End, LAST_WORD, Patience, Scheduler, SchedulerError};
use crate::dags_folder::{DagsFolder, FolderChanges};
use crate::engine::{Engine, EngineOptions};

/// How long cancelled tries may take to report that they stopped.
const CANCEL_GRACE: Duration = Duration::from_secs(3);
/// Between attempts to read the folder of DAG files after one failed.
const FOLDER_AGAIN: Duration = Duration::from_secs(5);

/// The lead, and whether its lock is still held. The epoch alone decides what is committed: without the lock a leader
/// goes on until another has taken the next epoch.
struct Seat {
    epoch: i64,
    leadership: Option<Leadership>,
}

/// After what the folder of DAG files is read.
struct Ears {
    changes: FolderChanges,
    /// The pools are others.
    pools: Arc<Notify>,
    /// Somebody asked.
    asked: Arc<Notify>,
}

impl Scheduler {
    pub(super) async fn lead(
        &mut self,
        job_id: &str,
        leadership: Leadership,
        stop: &CancellationToken,
    ) -> Result<End, SchedulerError> {
        let end_leftovers = self.options.end_leftovers.clone();
        tokio::task::spawn_blocking(move || end_leftovers(&[])).await.ok();
        self.store.listen().await;
        let mut folder = DagsFolder::new(self.options.folder.clone());
        // Seen before the first reading, so that nothing that changes in between is missed.
        let changes = folder.watch();
        let mut is_read = true;
        match folder.sync(&self.store, self.options.clock.now()).await {
            Ok(report) => tracing::info!(
                files = report.files,
                changed = report.stored,
                errors = report.broken.len(),
                "read the DAG files"
            ),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "cannot read the DAG files");
                is_read = false;
            }
        }
        let options = EngineOptions {
            job_id: job_id.to_owned(),
            epoch: leadership.epoch,
            previous_owner_is_dead: leadership.previous_owner_is_dead,
            maintenance: self.options.maintenance.borrow().clone(),
            max_map_length: self.options.folder.defaults.max_map_length,
            lease_ttl: TimeDelta::from_std(self.options.lease_timeout).unwrap_or(TimeDelta::days(1)),
        };
        let mut engine = Engine::new(self.store.clone(), self.executor.clone(), options);
        engine.end_leftovers_with(self.options.hostname.clone(), self.options.end_leftovers.clone());
        let ears = Ears { changes, pools: engine.pools_changed(), asked: engine.files_asked() };
        let _folder = self.follow_folder(folder, ears, is_read);
        let seat = Seat { epoch: leadership.epoch, leadership: Some(leadership) };
        self.work(job_id, engine, seat, stop).await
    }

    /// Reads what is changed for as long as this leads.
    fn follow_folder(
        &self,
        mut folder: DagsFolder,
        Ears { mut changes, pools, asked }: Ears,
        is_read: bool,
    ) -> Background {
        let (store, clock, mut tuning) = (self.store.clone(), self.options.clock.clone(), self.options.tuning.clone());
        Background(tokio::spawn(async move {
            let mut failed = !is_read;
            loop {
                let rescan = tuning.borrow_and_update().rescan_interval;
                tokio::select! {
                    () = changes.settled() => {}
                    () = pools.notified() => {}
                    // A sender that is gone changes nothing any more.
                    Ok(()) = tuning.changed() => continue,
                    () = tokio::time::sleep(FOLDER_AGAIN), if failed => {}
                    () = asked.notified() => folder.forget_stamps(),
                    () = tokio::time::sleep(rescan) => folder.forget_stamps(),
                }
                match folder.sync(&store, clock.now()).await {
                    Ok(_) => failed = false,
                    Err(error) => {
                        if !std::mem::replace(&mut failed, true) {
                            tracing::error!(error = &error as &dyn std::error::Error, "cannot read the DAG files");
                        }
                    }
                }
            }
        }))
    }

    async fn work(
        &mut self,
        job_id: &str,
        mut engine: Engine,
        mut seat: Seat,
        stop: &CancellationToken,
    ) -> Result<End, SchedulerError> {
        let clock = self.options.clock.clone();
        let mut wake_at = Some(clock.now());
        let mut looked_at = Instant::now();
        let mut patience = Patience::new();
        // Set while the database fails.
        let mut again_at: Option<Instant> = None;
        let mut is_signalled = false;
        // What others hold is looked at soon at first, then ever more seldom: a leader that does not last has watched it too.
        let (mut watches_at, mut watch_again) = (Instant::now() + AGAIN, Patience::new());
        let mut maintenance = self.options.maintenance.clone();
        while !stop.is_cancelled() {
            let until = |at: Instant| at.saturating_duration_since(Instant::now());
            let pause = match again_at {
                Some(at) => until(at),
                None if engine.watches_foreign() => self.pause(wake_at).min(until(watches_at)),
                None => self.pause(wake_at),
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(report) = self.completions.recv() => engine.complete(report),
                () = self.store.woken() => is_signalled = true,
                () = tokio::time::sleep(pause) => {}
            }
            self.take_completions(&mut engine);
            if again_at.is_some_and(|at| Instant::now() < at) {
                continue;
            }
            if maintenance.has_changed().unwrap_or(false) {
                engine.set_maintenance(maintenance.borrow_and_update().clone());
            }
            let is_slow = looked_at.elapsed() >= self.options.tuning().slow_tick;
            let watches = is_slow || Instant::now() >= watches_at;
            let step = async {
                if is_slow || again_at.is_some() {
                    self.look_after_seat(job_id, &mut engine, &mut seat).await?;
                }
                if is_slow || is_signalled {
                    engine.take_signals(clock.now()).await?;
                }
                if watches {
                    engine.look_after_foreign(clock.now()).await?;
                }
                if is_slow {
                    engine.look_for_missed(clock.now()).await?;
                }
                let began = Instant::now();
                let next = engine.turn(&|| clock.now()).await?;
                self.store.count_turn(began.elapsed());
                Ok(next)
            };
            // A database that does not answer must not keep the process from stopping.
            let stepped = tokio::select! {
                stepped = step => stepped,
                () = async { stop.cancelled().await; tokio::time::sleep(LAST_WORD).await } => break,
            };
            match stepped {
                Ok(next) => {
                    (wake_at, is_signalled, again_at) = (next, false, None);
                    patience = Patience::new();
                    if is_slow {
                        looked_at = Instant::now();
                    }
                    if watches {
                        watches_at = Instant::now() + watch_again.next();
                    }
                    self.trouble("scheduler", None);
                    self.store.set_trouble("set aside", engine.set_aside());
                    let endless =
                        || "a turn of the scheduler came to no end, and is tried again with the next".to_owned();
                    self.store.set_trouble("turn", engine.is_endless().then(endless));
                }
                Err(error) if Engine::is_deposed(&error) => return self.stand_down(engine, &error, stop).await,
                Err(error) => {
                    self.trouble("scheduler", Some(&error));
                    again_at = Some(Instant::now() + patience.next());
                }
            }
        }
        self.drain(engine).await
    }

    /// Takes the lock again when it was lost with its connection. Fails when another has led since.
    async fn look_after_seat(&self, job_id: &str, engine: &mut Engine, seat: &mut Seat) -> Result<(), StoreError> {
        if let Some(leadership) = &mut seat.leadership {
            if leadership.still_held().await {
                return Ok(());
            }
            tracing::warn!("the connection that holds the leader's lock was lost; taking it again");
            seat.leadership = None;
        }
        match self.store.try_lead(job_id, self.options.clock.now()).await? {
            Some(leadership) => {
                tracing::info!(epoch = leadership.epoch, "this scheduler leads again");
                seat.epoch = leadership.epoch;
                engine.lead_again(leadership.epoch);
                seat.leadership = Some(leadership);
            }
            None => {
                let current = self.store.leader().await?.epoch;
                if current != seat.epoch {
                    return Err(StoreError::StaleEpoch { held: seat.epoch, current });
                }
            }
        }
        Ok(())
    }

    /// How long to wait at most. The clock may jump: a distant moment is looked at again with each slow tick.
    fn pause(&self, wake_at: Option<DateTime<Utc>>) -> Duration {
        let until = wake_at.map(|at| (at - self.options.clock.now()).to_std().unwrap_or(Duration::ZERO));
        let longest = self.options.tuning().slow_tick;
        until.unwrap_or(longest).min(longest)
    }

    fn take_completions(&mut self, engine: &mut Engine) {
        while let Ok(report) = self.completions.try_recv() {
            engine.complete(report);
        }
    }

    /// Another leads. Every try is stopped before this scheduler says that it holds nothing any more: only then may what
    /// it held be given to others before its leases run out.
    async fn stand_down(
        &mut self,
        mut engine: Engine,
        error: &StoreError,
        stop: &CancellationToken,
    ) -> Result<End, SchedulerError> {
        tracing::warn!(running = engine.running(), "{error}; stopping what runs here, and standing by");
        engine.cancel_all(SHUTDOWN_REASON);
        while engine.running() > 0 {
            tokio::select! {
                Some(report) = self.completions.recv() => engine.complete(report),
                () = async { stop.cancelled().await; tokio::time::sleep(CANCEL_GRACE).await } => return Ok(End::Stopped),
            }
        }
        let handed = tokio::time::timeout(LAST_WORD * 5, engine.hand_over(self.options.clock.now())).await;
        if !matches!(handed, Ok(Ok(()))) {
            tracing::warn!("what ended here could not be handed over; its leases run out");
        }
        self.trouble("scheduler", None);
        self.store.set_trouble("set aside", None);
        self.store.set_trouble("turn", None);
        Ok(End::Deposed)
    }

    async fn drain(&mut self, mut engine: Engine) -> Result<End, SchedulerError> {
        engine.drain();
        tracing::info!(running = engine.in_flight(), "stopping: nothing new starts");
        self.finish_until(&mut engine, Instant::now() + self.options.tuning().drain_timeout).await;
        if engine.running() > 0 {
            tracing::warn!(running = engine.running(), "stopping the tries that still run; they are given again");
            engine.cancel_all(SHUTDOWN_REASON);
        }
        if engine.in_flight() > 0 {
            self.finish_until(&mut engine, Instant::now() + CANCEL_GRACE).await;
        }
        match engine.in_flight() - engine.running() {
            0 => Ok(End::Stopped),
            unrecorded => Err(SchedulerError::Unrecorded(unrecorded)),
        }
    }

    /// Has turns until nothing runs and everything is committed, or until the deadline.
    async fn finish_until(&mut self, engine: &mut Engine, deadline: Instant) {
        let clock = self.options.clock.clone();
        let now = || clock.now();
        let mut patience = Patience::new();
        loop {
            let at_most = deadline.max(Instant::now() + LAST_WORD);
            let again = match tokio::time::timeout_at(at_most, engine.turn(&now)).await {
                Ok(Ok(_)) if engine.in_flight() == 0 => return,
                Ok(Ok(_)) => deadline,
                Ok(Err(error)) if Engine::is_deposed(&error) => return,
                Ok(Err(error)) => {
                    self.trouble("scheduler", Some(&error));
                    deadline.min(Instant::now() + patience.next())
                }
                Err(_) => return,
            };
            tokio::select! {
                Some(report) = self.completions.recv() => engine.complete(report),
                () = tokio::time::sleep_until(again) => {
                    if Instant::now() >= deadline {
                        return;
                    }
                }
            }
            self.take_completions(engine);
        }
    }
}
