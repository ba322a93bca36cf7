//! A small world in which anything may happen next: turns, tries that end well, badly or never, kills, a second
//! scheduler, failures of the store at every point, pauses, triggers, clears, marks, backfills, and the passing of time
//! in both directions, chosen by a seed. What must always hold is looked at after each step.
//!
//! `MILLRACE_WORLD_SEEDS` says how many worlds there are, `MILLRACE_WORLD_FIRST` which is the first; a failure names its
//! own.

pub mod daemon;
mod random;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use millrace_model::change::{Executor, InstanceKey, RunKey, TryOutcome};
use millrace_model::choice::Choice;
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_planner::{BackfillRange, DagVersion, FENCED_REASON, SHUTDOWN_REASON, backfill_runs};
use millrace_store::faults::{Fault, FaultPoint};
use millrace_store::{ClearRequest, MarkRequest, MarkRunRequest, NewBackfill, PoolRow, Reprocess, RunRow, Selection};

use self::daemon::{Daemon, PlannedFaults};
use self::random::{Dice, POOL, random_dag};
use crate::stage::Stage;

const STEPS: usize = 60;

struct World {
    seed: u64,
    dice: Dice,
    stage: Stage,
    slots: usize,
    dags: BTreeMap<String, Dag>,
    pool_slots: i64,
    /// Used when it was made smaller; what runs goes on.
    pool_allowed: i64,
    faults: Arc<PlannedFaults>,
    leader: Daemon,
    /// Has lost the lead and does not know it.
    late: Option<Daemon>,
    /// The leader's last turn came to its end.
    is_calm: bool,
    /// Nobody has asked for anything since the leader's last turn.
    hears_everything: bool,
    /// Instances whose success was committed and that nobody has touched since.
    succeeded: BTreeSet<InstanceKey>,
    /// Successes that were reported to a scheduler which has lived since, by their tokens.
    owed: BTreeMap<String, InstanceKey>,
    log: Vec<String>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let slots = 1 + dice.roll(5);
        let stage = Stage::new(slots).await;
        let pool_slots = 1 + dice.roll(3) as i64;
        let row = PoolRow { name: POOL.into(), slots: pool_slots, description: None, include_deferred: false };
        stage.store.put_pool(&row, "world", stage.now()).await.unwrap();
        let mut dags = BTreeMap::new();
        for number in 0..=dice.roll(3) {
            let made = random_dag(&mut dice, number);
            stage.put(&made).await;
            dags.insert(made.dag_id.to_string(), made);
        }
        let leader = Daemon::leading(&stage, slots, true).await;
        let mut world = Self {
            seed,
            dice,
            stage,
            slots,
            dags,
            pool_slots,
            pool_allowed: pool_slots,
            faults: Arc::new(PlannedFaults::default()),
            leader,
            late: None,
            is_calm: false,
            hears_everything: false,
            succeeded: BTreeSet::new(),
            owed: BTreeMap::new(),
            log: Vec::new(),
        };
        world.turn().await;
        world
    }

    fn place(&self) -> String {
        format!("MILLRACE_WORLD_SEEDS=1 MILLRACE_WORLD_FIRST={} after the steps {}", self.seed, self.log.join(", "))
    }

    fn note(&mut self, step: impl Into<String>) {
        self.hears_everything = false;
        self.log.push(step.into());
    }

    async fn step(&mut self) {
        match self.dice.roll(35) {
            0..=9 => self.end_one().await,
            10..=13 => self.pass_time().await,
            14 => self.kill().await,
            15 => self.usurp().await,
            16 | 17 => self.late_one_acts().await,
            18 => self.pause().await,
            19..=21 => self.trigger().await,
            22 | 23 => self.clear().await,
            24 => self.mark().await,
            25 => self.mark_run().await,
            26 => self.backfill().await,
            27 => self.change_pool().await,
            28..=30 => self.plan_fault(),
            31 => self.cut_off().await,
            _ => {
                self.note("turn");
                self.turn().await;
            }
        }
        self.check().await;
    }

    /// The leader takes what there is and has a turn; what fails is tried again later.
    async fn turn(&mut self) {
        let looks = self.dice.roll(4) == 0;
        self.faults.begin();
        let result = self.leader.turn(&self.stage, &self.faults, looks).await;
        let struck = self.faults.end();
        match &result {
            Ok(()) => {}
            Err(error) => {
                assert!(struck, "{}: a turn failed by itself: {error:?}", self.place());
                self.note("it failed");
            }
        }
        self.is_calm = result.is_ok();
        self.hears_everything = true;
        self.settle_debts().await;
    }

    async fn end_one(&mut self) {
        let of_late = self.late.is_some() && self.dice.roll(3) == 0;
        let Some(daemon) = (if of_late { self.late.as_mut() } else { Some(&mut self.leader) }) else { return };
        let running = daemon.executor.running();
        if running.is_empty() {
            self.note("turn");
            self.turn().await;
            return;
        }
        let assignment = self.dice.pick(&running).clone();
        let outcome = match daemon.executor.stopping(&assignment.token) {
            Some(reason) if self.dice.roll(4) > 0 => TryOutcome::Cancelled { reason },
            _ => match self.dice.roll(7) {
                0 => TryOutcome::Failed { reason: "boom".into(), retry: true },
                1 => TryOutcome::Failed { reason: "boom".into(), retry: false },
                2 => TryOutcome::Skipped { reason: "nothing to do".into() },
                _ => TryOutcome::Success,
            },
        };
        self.end(of_late, assignment.instance, outcome).await;
    }

    async fn end(&mut self, of_late: bool, instance: InstanceKey, outcome: TryOutcome) {
        self.note(format!("{} of {instance}{}", outcome_name(&outcome), if of_late { " (late)" } else { "" }));
        let is_success = outcome == TryOutcome::Success;
        let follow = Choice::Follow(vec![format!("t{}", self.dice.roll(6))]);
        let choice = self.dice.pick(&[follow, Choice::SkipChildren, Choice::SkipDescendants]).clone();
        let choice = Some(choice).filter(|_| self.dice.roll(8) == 0);
        let now = self.stage.now();
        let Some(daemon) = (if of_late { self.late.as_mut() } else { Some(&mut self.leader) }) else { return };
        let mut completion = daemon.executor.end(instance, outcome, now);
        if is_success {
            // What tasks are mapped over.
            let items: Vec<usize> = (0..instance as usize % 4).collect();
            completion.results.push(("return_value".to_owned(), items.into()));
            completion.choice = choice;
        }
        let token = completion.token.clone();
        daemon.engine.complete(completion);
        let row = self.stage.store.instance_by_key(instance).await.unwrap().unwrap();
        let counts = row.state == TaskState::Running && row.lease.is_some_and(|lease| lease.token == token);
        if is_success && counts {
            self.owed.insert(token, instance);
        }
        // A leader that is told of several ends at once.
        if !of_late && self.dice.roll(4) > 0 {
            self.turn().await;
        }
    }

    async fn pass_time(&mut self) {
        let back = self.dice.roll(8) == 0;
        let minutes = 1 + self.dice.roll(90) as i64;
        self.note(format!("{}{minutes} min", if back { "-" } else { "+" }));
        self.stage.clock.advance(TimeDelta::minutes(if back { -minutes } else { minutes }));
        self.beat().await;
        self.turn().await;
    }

    /// Who lives says so before anybody looks at a lease: in truth that happens every few seconds.
    async fn beat(&mut self) {
        for daemon in [Some(&self.leader), self.late.as_ref()].into_iter().flatten() {
            let now = self.stage.now();
            self.stage.store.heartbeat(&daemon.job_id, now, now + daemon::LEASE).await.unwrap();
        }
    }

    async fn kill(&mut self) {
        self.note("kill");
        self.leader.executor.die();
        self.leader.release();
        // What it was told and could not write down is gone with it.
        let job = self.leader.job_id.clone();
        self.owed.retain(|token, _| !token.starts_with(&job));
        // A late one that lives still holds its leases: the lock proves nothing of it.
        let proves = self.late.is_none();
        self.leader = Daemon::leading(&self.stage, self.slots, proves).await;
        self.turn().await;
    }

    async fn usurp(&mut self) {
        if self.late.is_some() {
            return;
        }
        self.note("usurp");
        self.leader.release();
        let new = Daemon::leading(&self.stage, self.slots, false).await;
        self.late = Some(std::mem::replace(&mut self.leader, new));
        self.turn().await;
    }

    /// The late one cannot extend its leases: it stops its tries while they hold, and then they run out.
    async fn cut_off(&mut self) {
        let Some(late) = self.late.as_mut() else { return };
        let now = self.stage.now();
        late.executor.fence(FENCED_REASON, Duration::ZERO);
        for running in late.executor.running() {
            let reason = FENCED_REASON.to_owned();
            late.engine.complete(late.executor.end(running.instance, TryOutcome::Cancelled { reason }, now));
        }
        self.note("cut off");
        self.stage.clock.advance(daemon::LEASE * 3);
        let now = self.stage.now();
        self.stage.store.heartbeat(&self.leader.job_id, now, now + daemon::LEASE).await.unwrap();
        self.turn().await;
        self.check().await;
        // What it was told before and could not write down counts for nothing once others have its tries.
        let Some(late) = &self.late else { return };
        self.owed.retain(|token, _| !token.starts_with(&late.job_id));
    }

    /// Whatever it wants to write is refused; then it stops its tries, hands over what ended, and is gone.
    async fn late_one_acts(&mut self) {
        let Some(mut late) = self.late.take() else { return };
        self.note("the late one acts");
        self.faults.begin();
        let result = late.turn(&self.stage, &self.faults, false).await;
        let struck = self.faults.end();
        let is_deposed = match result {
            Ok(()) => self.dice.roll(2) == 0,
            Err(error) => {
                let is_deposed = millrace_scheduler::Engine::is_deposed(&error);
                assert!(struck || is_deposed, "{}: {error:?}", self.place());
                is_deposed
            }
        };
        if !is_deposed {
            self.late = Some(late);
            return;
        }
        self.note("it stands down");
        late.engine.cancel_all(SHUTDOWN_REASON);
        let now = self.stage.now();
        for running in late.executor.running() {
            let reason = SHUTDOWN_REASON.to_owned();
            let completion = late.executor.end(running.instance, TryOutcome::Cancelled { reason }, now);
            late.engine.complete(completion);
        }
        self.faults.begin();
        let handed = millrace_store::faults::with_faults(self.faults.clone(), late.engine.hand_over(now)).await;
        let struck = self.faults.end();
        assert!(handed.is_ok() || struck, "{}: {handed:?}", self.place());
        self.stage.store.end_job(&late.job_id, now).await.unwrap();
        if handed.is_err() {
            self.owed.retain(|token, _| !token.starts_with(&late.job_id));
        }
    }

    async fn pause(&mut self) {
        let dag_id = self.any_dag();
        let paused = self.dice.roll(2) == 0;
        self.note(format!("{} {dag_id}", if paused { "pause" } else { "unpause" }));
        self.stage.store.set_paused(&dag_id, paused, "world", self.stage.now()).await.unwrap();
    }

    async fn trigger(&mut self) {
        let dag_id = self.any_dag();
        self.note(format!("trigger {dag_id}"));
        self.stage.clock.advance(TimeDelta::microseconds(1 + self.dice.roll(2_000_000) as i64));
        let taken = self.stage.store.run_at(dag_id.as_str(), self.stage.now()).await.unwrap();
        if taken.is_none() {
            self.stage.trigger(dag_id.as_str()).await;
        }
    }

    async fn any_run(&mut self) -> Option<(RunRow, Vec<TaskId>)> {
        let runs = self.stage.runs().await;
        if runs.is_empty() {
            return None;
        }
        let run = self.dice.pick(&runs).clone();
        let tasks: Vec<TaskId> = self.dags[run.dag_id.as_str()].tasks.iter().map(|task| task.task_id.clone()).collect();
        let first = self.dice.roll(tasks.len());
        let named = tasks.into_iter().enumerate().filter(|(at, _)| *at == first || self.dice.roll(2) == 0);
        let named = named.map(|(_, task_id)| task_id).collect();
        Some((run, named))
    }

    /// Some tasks of a run, whatever their state; the scheduler hears of it with its next turn.
    async fn clear(&mut self) {
        let Some((run, task_ids)) = self.any_run().await else { return };
        self.note(format!("clear of run {}", run.key));
        let mut request = ClearRequest::of_run(run.key, &task_ids, "world");
        request.selection.only_failed = self.dice.roll(4) == 0;
        request.selection.past = self.dice.roll(6) == 0;
        request.selection.future = self.dice.roll(6) == 0;
        let report = self.stage.store.clear_instances(&request, self.stage.now()).await.unwrap();
        self.touched(report.cleared.iter().map(|it| it.instance));
    }

    async fn mark(&mut self) {
        let Some((run, task_ids)) = self.any_run().await else { return };
        let to = *self.dice.pick(&[TaskState::Success, TaskState::Failed, TaskState::Skipped]);
        self.note(format!("mark {to} in run {}", run.key));
        let request = mark_request(run.key, task_ids, to);
        let report = self.stage.store.mark_instances(&request, self.stage.now()).await.unwrap();
        self.touched(report.marked.iter().chain(&report.cleared).map(|it| it.instance));
    }

    async fn mark_run(&mut self) {
        let Some((run, _)) = self.any_run().await else { return };
        let to = *self.dice.pick(&[RunState::Success, RunState::Failed]);
        self.note(format!("mark run {} {to}", run.key));
        let request = MarkRunRequest { run: run.key, to, note: None, dry_run: false, actor: "world".into() };
        let report = self.stage.store.mark_run(&request, self.stage.now()).await.unwrap();
        self.touched(report.marked.iter().chain(&report.cleared).map(|it| it.instance));
    }

    fn touched(&mut self, instances: impl Iterator<Item = InstanceKey>) {
        let instances: BTreeSet<InstanceKey> = instances.collect();
        self.succeeded.retain(|instance| !instances.contains(instance));
        self.owed.retain(|_, instance| !instances.contains(instance));
    }

    async fn backfill(&mut self) {
        let dag_id = self.any_dag();
        if self.dice.roll(4) == 0 {
            if let Some(active) = self.stage.store.active_backfills().await.unwrap().first() {
                self.note(format!("cancel backfill {}", active.key));
                self.stage.store.cancel_backfill(active.key, "world", self.stage.now()).await.unwrap();
            }
            return;
        }
        self.note(format!("backfill {dag_id}"));
        let row = self.stage.store.scheduler_dag(&dag_id).await.unwrap().unwrap();
        let version = DagVersion::new(row.version_key, row.dag).unwrap();
        let to = self.stage.now() - TimeDelta::minutes(self.dice.roll(600) as i64);
        let range = BackfillRange {
            version: &version,
            from: to - TimeDelta::minutes(1 + self.dice.roll(300) as i64),
            to,
            includes_end: false,
            ignores_bounds: true,
            last_interval: None,
            conf: Default::default(),
        };
        let Ok(runs) = backfill_runs(&range, self.stage.now()) else { return };
        let new = NewBackfill {
            dag_id,
            from: range.from,
            to,
            reprocess: *self.dice.pick(Reprocess::ALL),
            max_active_runs: 1 + self.dice.roll(3) as u32,
            is_reversed: self.dice.roll(4) == 0,
            part: None,
            conf: Default::default(),
            runs,
            dry_run: false,
            actor: "world".into(),
        };
        // One is active already: refused.
        let Ok(report) = self.stage.store.create_backfill(&new, self.stage.now()).await else { return };
        for run in report.dates.iter().filter_map(|date| date.run) {
            let rows = self.stage.store.instances(run).await.unwrap();
            self.touched(rows.iter().filter(|row| row.state != TaskState::Success).map(|row| row.key));
        }
    }

    async fn change_pool(&mut self) {
        self.pool_allowed = self.pool_slots.max(self.pool_used().await);
        self.pool_slots = self.dice.roll(4) as i64;
        self.note(format!("{} slots", self.pool_slots));
        let row = PoolRow { name: POOL.into(), slots: self.pool_slots, description: None, include_deferred: false };
        self.stage.store.put_pool(&row, "world", self.stage.now()).await.unwrap();
    }

    fn plan_fault(&mut self) {
        let point = *self.dice.pick(&[FaultPoint::Statement, FaultPoint::BeforeCommit, FaultPoint::AfterCommit]);
        let fault = if self.dice.roll(4) == 0 { Fault::Refusal } else { Fault::Outage };
        // Whatever is refused was not committed.
        let fault = if point == FaultPoint::AfterCommit { Fault::Outage } else { fault };
        let after = self.dice.roll(if point == FaultPoint::Statement { 25 } else { 2 });
        let times = 1 + self.dice.roll(3);
        self.note(format!("{times} x {fault:?} at {point:?} number {after}"));
        self.faults.plan(point, fault, after, times);
    }

    fn any_dag(&mut self) -> DagId {
        let names: Vec<String> = self.dags.keys().cloned().collect();
        DagId::new_unchecked(self.dice.pick(&names).clone())
    }

    /// Lets everything come to its end.
    async fn settle(&mut self) {
        self.note("settling");
        self.faults.clear();
        for dag_id in self.dags.keys() {
            let dag_id = DagId::new_unchecked(dag_id.clone());
            self.stage.store.set_paused(&dag_id, false, "world", self.stage.now()).await.unwrap();
        }
        self.pool_allowed = self.pool_allowed.max(4);
        self.pool_slots = 4;
        let row = PoolRow { name: POOL.into(), slots: 4, description: None, include_deferred: false };
        self.stage.store.put_pool(&row, "world", self.stage.now()).await.unwrap();
        while self.late.is_some() {
            self.late_one_acts().await;
        }
        self.turn().await;
        let last = self.stage.runs().await.iter().map(|run| run.key).max().unwrap_or(0);
        for round in 0..3_000 {
            if round % 50 == 49 && self.has_past_dependence() {
                self.forgive_the_past().await;
            }
            match self.leader.executor.running().first() {
                Some(running) => self.end(false, running.instance, TryOutcome::Success).await,
                None => {
                    // Only retries, leases and schedules are left to wait for.
                    self.stage.clock.advance(TimeDelta::minutes(5));
                    self.beat().await;
                    self.turn().await;
                }
            }
            let active = self.stage.store.active_runs(self.stage.now()).await.unwrap();
            if active.iter().all(|run| run.row.key > last) {
                self.turn().await;
                self.check().await;
                return;
            }
        }
        panic!("{}: runs that never end: {:#?}", self.place(), self.what_waits().await);
    }
}

fn mark_request(run: RunKey, task_ids: Vec<TaskId>, to: TaskState) -> MarkRequest {
    let selection = Selection::of_run(run, TaskChoice::tasks(task_ids));
    MarkRequest { selection, to, note: None, dry_run: false, actor: "world".into() }
}

fn outcome_name(outcome: &TryOutcome) -> &'static str {
    match outcome {
        TryOutcome::Success => "success",
        TryOutcome::Skipped { .. } => "skip",
        TryOutcome::Failed { .. } => "failure",
        TryOutcome::Cancelled { .. } => "stop",
        _ => "loss",
    }
}

async fn live(seed: u64) {
    let mut world = Box::pin(World::new(seed)).await;
    for _ in 0..STEPS {
        Box::pin(world.step()).await;
    }
    Box::pin(world.settle()).await;
}

#[tokio::test]
async fn whatever_happens_the_rules_hold_and_every_run_ends() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (seeds, first) = (number("MILLRACE_WORLD_SEEDS").unwrap_or(40), number("MILLRACE_WORLD_FIRST").unwrap_or(0));
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        // The panic has said what was wrong; the other worlds are worth knowing too.
        let lived = tokio::spawn(tokio::time::timeout(Duration::from_mins(1), live(seed))).await;
        if !matches!(lived, Ok(Ok(()))) {
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "worlds that failed, by their seeds: {failed:?}");
}
