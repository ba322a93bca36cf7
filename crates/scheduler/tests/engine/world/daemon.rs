//! A scheduler of the world, and the failures that are planned for its store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use millrace_operator_api::context::Clock;
use millrace_planner::Limits;
use millrace_scheduler::{Engine, EngineOptions};
use millrace_store::faults::{Fault, FaultPoint, Faults, with_faults};
use millrace_store::{Leadership, NewJob, StoreError};

use crate::stage::{HandExecutor, Stage};

pub const LEASE: TimeDelta = TimeDelta::seconds(60);

pub struct Daemon {
    pub job_id: String,
    pub executor: HandExecutor,
    pub engine: Engine,
    leadership: Option<Leadership>,
}

impl Daemon {
    /// Registers and takes the lead, which must be free; has read nothing yet. `proves`: the lock proves that the one
    /// before is dead.
    pub async fn leading(stage: &Stage, slots: usize, proves: bool) -> Self {
        let job = NewJob { kind: "scheduler".into(), hostname: "here".into(), pid: 1 };
        let job_id = stage.store.register_job(&job, stage.now()).await.unwrap();
        let leadership = stage.store.try_lead(&job_id, stage.now()).await.unwrap().expect("nobody leads");
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
        let clock = stage.clock.clone();
        let work = async {
            self.engine.take_signals(clock.now()).await?;
            if looks {
                self.engine.look_after_foreign(clock.now()).await?;
                self.engine.look_for_missed(clock.now()).await?;
            }
            self.engine.turn(&|| clock.now()).await.map(|_| ())
        };
        with_faults(faults.clone(), work).await
    }
}

#[derive(Debug, Clone, Copy)]
struct Plan {
    point: FaultPoint,
    fault: Fault,
    after: usize,
    times: usize,
}

/// One failure, or several one after another, at a chosen point of what comes.
#[derive(Default)]
pub struct PlannedFaults {
    plan: Mutex<Option<Plan>>,
    struck: AtomicBool,
}

impl PlannedFaults {
    pub fn plan(&self, point: FaultPoint, fault: Fault, after: usize, times: usize) {
        *self.plan.lock().unwrap() = Some(Plan { point, fault, after, times });
    }

    pub fn clear(&self) {
        *self.plan.lock().unwrap() = None;
    }

    pub fn begin(&self) {
        self.struck.store(false, Ordering::SeqCst);
    }

    /// Whether anything failed since `begin`.
    pub fn end(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }
}

impl Faults for PlannedFaults {
    fn strike(&self, point: FaultPoint, _attempted: &'static str) -> Option<Fault> {
        let mut planned = self.plan.lock().unwrap();
        let plan = planned.as_mut().filter(|plan| plan.point == point)?;
        if plan.after > 0 {
            plan.after -= 1;
            return None;
        }
        self.struck.store(true, Ordering::SeqCst);
        let fault = plan.fault;
        plan.times -= 1;
        if plan.times == 0 {
            *planned = None;
        }
        Some(fault)
    }
}
