//! A scheduler of the world.

use std::sync::Arc;

use chrono::TimeDelta;
use millrace_operator_api::context::Clock;
use millrace_planner::Limits;
use millrace_scheduler::{Engine, EngineOptions};
use millrace_store::faults::with_faults;
use millrace_store::{Leadership, NewJob, StoreError};

use super::failures::PlannedFaults;
use crate::stage::{HandExecutor, Stage};

pub const LEASE: TimeDelta = TimeDelta::seconds(60);

pub struct Daemon {
    pub job_id: String,
    pub executor: HandExecutor,
    pub engine: Engine,
    leadership: Option<Leadership>,
}

impl Daemon {
    /// Registers and takes the lead, which must be free, and tries until it has it; has read nothing yet. `proves`: the
    /// lock proves that the one before is dead.
    pub async fn leading(stage: &Stage, slots: usize, proves: bool, faults: &Arc<PlannedFaults>) -> Self {
        let (job_id, leadership) = loop {
            faults.begin();
            match with_faults(faults.clone(), take_lead(stage)).await {
                Ok(taken) => break taken,
                Err(error) => assert!(faults.end().is_some(), "the lead was not taken: {error:?}"),
            }
        };
        let options = EngineOptions {
            job_id: job_id.clone(),
            epoch: leadership.epoch,
            previous_owner_is_dead: proves,
            lease_ttl: LEASE,
            maintenance: Default::default(),
            max_map_length: 1024,
        };
        let executor = HandExecutor::new(slots);
        let engine = Engine::new(stage.store.clone(), Arc::new(executor.clone()), options);
        Self { job_id, executor, engine, leadership: Some(leadership) }
    }

    /// As the engine has them, for whoever explains.
    pub fn limits(&self) -> Limits {
        Limits { free_slots: self.engine.free_slots(), owner: "nobody".into(), lease_ttl: LEASE, is_draining: false }
    }

    /// Gives up the lock, and nothing else.
    pub fn release(&mut self) {
        self.leadership = None;
    }

    pub async fn turn(&mut self, stage: &Stage, faults: &Arc<PlannedFaults>, looks: bool) -> Result<(), StoreError> {
        self.hear(stage, faults, looks).await?;
        self.decide(stage, faults).await
    }

    pub async fn hear(&mut self, stage: &Stage, faults: &Arc<PlannedFaults>, looks: bool) -> Result<(), StoreError> {
        let clock = stage.clock.clone();
        let work = async {
            self.engine.take_signals(clock.now()).await?;
            if looks {
                self.engine.look_after_foreign(clock.now()).await?;
                self.engine.look_for_missed(clock.now()).await?;
            }
            Ok(())
        };
        with_faults(faults.clone(), work).await
    }

    pub async fn decide(&mut self, stage: &Stage, faults: &Arc<PlannedFaults>) -> Result<(), StoreError> {
        let clock = stage.clock.clone();
        let work = async { self.engine.turn(&|| clock.now()).await.map(|_| ()) };
        with_faults(faults.clone(), work).await
    }
}

async fn take_lead(stage: &Stage) -> Result<(String, Leadership), StoreError> {
    let job = NewJob { kind: "scheduler".into(), hostname: "here".into(), pid: 1 };
    let job_id = stage.store.register_job(&job, stage.now()).await?;
    let leadership = stage.take_lead(&stage.store, &job_id).await?;
    Ok((job_id, leadership))
}
