//! A small world in which anything may happen next: turns, tries that end well, badly, later or never, kills, a second
//! scheduler, failures of the store at every point, edited files, pauses, triggers, clears, marks, backfills, DAGs that fail
//! until they are paused, runs that are late, requests between what a leader reads and what it decides, and the passing of
//! time in both directions, chosen by a seed, which also says how often each comes. What must always hold is looked at
//! after each step.
//!
//! `MILLRACE_WORLD_SEEDS` says how many worlds there are, `MILLRACE_WORLD_FIRST` which is the first; a failure names its
//! own. Most live on SQLite, which is quicker; `MILLRACE_WORLD_SEEDS_ON_POSTGRES` says how many live on PostgreSQL. Every place of the store's code that these worlds came by fails in one of them: a place that chance has spared is
//! struck in a world that comes by, lived once more.

mod alerts;
pub mod daemon;
mod dates;
mod dependencies;
pub mod failures;
mod leaders;
mod odds;
mod random;
mod requests;
mod rules;
mod settle;
mod tries;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_store::faults::{Fault, FaultPoint};
use millrace_store::{PoolRow, StoreError};

use self::alerts::Before;
use self::daemon::Daemon;
use self::failures::{Coverage, Place, PlannedFaults};
use self::odds::{Act, Odds};
use self::random::{Dice, POOL, random_dag};
use crate::stage::{Blank, Stage};

const STEPS: usize = 60;
const SEEDS: &str = "MILLRACE_WORLD_SEEDS";
const SEEDS_ON_POSTGRES: &str = "MILLRACE_WORLD_SEEDS_ON_POSTGRES";
/// So many worlds live on PostgreSQL unless the test is told.
const FEW: u64 = 4;
/// So many worlds come by all that the test asks for.
const MANY: u64 = 24;
/// Places that one world is to strike.
const TARGETS: usize = 20;
/// A world takes far less.
const LONGEST: Duration = Duration::from_mins(5);

struct World {
    seed: u64,
    /// Struck at the first chance.
    targets: Vec<Place>,
    dice: Dice,
    odds: Odds,
    stage: Stage,
    slots: usize,
    /// As their files say now.
    dags: BTreeMap<String, Dag>,
    /// With all that their files may ever say.
    whole: BTreeMap<String, Dag>,
    /// What runs are pinned to.
    versions: BTreeMap<i64, Dag>,
    pool_slots: i64,
    /// What more than the limits was there when somebody had asked for something, and may go on: in the pool, runs of DAGs,
    /// tasks of runs.
    pool_allowed: i64,
    runs_allowed: BTreeMap<String, usize>,
    tasks_allowed: BTreeMap<RunKey, u32>,
    /// Tries that wait outside hold the pool's slots.
    counts_deferred: bool,
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
    /// Tries that wait for a slot to come back to, or have got it.
    asked_back: BTreeSet<String>,
    /// Tries that had been given when it was last looked at.
    begun: BTreeSet<String>,
    /// Runs that were running then.
    running: BTreeSet<RunKey>,
    /// Runs that were queued then.
    waiting: BTreeSet<RunKey>,
    /// Runs that were there then.
    known: BTreeSet<RunKey>,
    /// Of each backfill, by its number, the run that was the first when it was made.
    firsts: BTreeSet<(i64, RunKey)>,
    before: Before,
    log: Vec<String>,
}

impl World {
    async fn new(blank: &Blank, seed: u64, targets: Vec<Place>) -> Self {
        let mut dice = Dice::new(seed);
        let odds = Odds::new(&mut dice);
        let slots = 1 + dice.roll(5);
        let stage = Stage::on(blank, slots).await;
        let (pool_slots, counts_deferred) = (1 + dice.roll(3) as i64, dice.roll(3) == 0);
        let row =
            PoolRow { name: POOL.into(), slots: pool_slots, description: None, include_deferred: counts_deferred };
        stage.store.put_pool(&row, "world", stage.now()).await.unwrap();
        let (mut dags, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for number in 0..=dice.roll(3) {
            let made = random_dag(&mut dice, number);
            stage.put(&made).await;
            let row = stage.store.scheduler_dag(&made.dag_id).await.unwrap().unwrap();
            versions.insert(row.version_key, made.clone());
            dags.insert(made.dag_id.to_string(), made);
        }
        let faults = Arc::new(PlannedFaults::default());
        for place in &targets {
            faults.plan_at(*place, Fault::Outage, 0, 1);
        }
        let leader = Daemon::leading(&stage, slots, true, &faults).await;
        let mut world = Self {
            seed,
            targets,
            dice,
            odds,
            stage,
            slots,
            whole: dags.clone(),
            dags,
            versions,
            pool_slots,
            pool_allowed: 0,
            runs_allowed: BTreeMap::new(),
            tasks_allowed: BTreeMap::new(),
            counts_deferred,
            faults,
            leader,
            late: None,
            is_calm: false,
            hears_everything: false,
            succeeded: BTreeSet::new(),
            owed: BTreeMap::new(),
            asked_back: BTreeSet::new(),
            begun: BTreeSet::new(),
            running: BTreeSet::new(),
            waiting: BTreeSet::new(),
            known: BTreeSet::new(),
            firsts: BTreeSet::new(),
            before: Before::default(),
            log: Vec::new(),
        };
        world.turn().await;
        // What began now began before anybody could pause it.
        world.check().await;
        world
    }

    fn place(&self) -> String {
        let (steps, targets) = (self.log.join(", "), &self.targets);
        let targets = if targets.is_empty() { String::new() } else { format!(" with failures at {targets:?}") };
        let seeds = if self.stage.is_on_postgres() { SEEDS_ON_POSTGRES } else { SEEDS };
        format!("{seeds}=1 MILLRACE_WORLD_FIRST={}{targets} after the steps {steps}", self.seed)
    }

    fn note(&mut self, step: impl Into<String>) {
        self.hears_everything = false;
        self.log.push(step.into());
    }

    async fn step(&mut self) {
        match self.odds.act(&mut self.dice) {
            Act::End => self.end_one().await,
            Act::StepOutside => self.step_outside().await,
            Act::PassTime => self.pass_time().await,
            Act::Kill => self.kill().await,
            Act::Usurp => self.usurp().await,
            Act::LateOneActs => self.late_one_acts().await,
            Act::CutOff => self.cut_off().await,
            Act::Pause => self.pause().await,
            Act::Trigger => self.trigger().await,
            Act::Clear => self.clear().await,
            Act::Mark => self.mark().await,
            Act::MarkRun => self.mark_run().await,
            Act::Backfill => self.backfill().await,
            Act::ChangePool => self.change_pool().await,
            Act::Edit => self.edit().await,
            Act::Repin => self.repin().await,
            Act::Asset => self.asset().await,
            Act::PlanFault => self.plan_fault(),
            Act::Turn => {
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
        let heard = self.leader.hear(&self.stage, &self.faults, looks).await;
        let struck = self.faults.end();
        self.is_calm = self.is_well(&heard, struck);
        self.hears_everything = true;
        if self.is_calm {
            if self.odds.interruptions.is_some_and(|turns| self.dice.one_in(turns)) {
                Box::pin(self.interrupt()).await;
            }
            self.faults.begin();
            let decided = self.leader.decide(&self.stage, &self.faults).await;
            let struck = self.faults.end();
            self.is_calm = self.is_well(&decided, struck);
        }
        assert!(!self.leader.engine.is_endless(), "{}: the turn came to no end", self.place());
        self.settle_debts().await;
    }

    fn is_well(&mut self, result: &Result<(), StoreError>, struck: Option<FaultPoint>) -> bool {
        if let Err(error) = result {
            assert!(struck.is_some(), "{}: a turn failed by itself: {error:?}", self.place());
            self.note("it failed");
        }
        result.is_ok()
    }

    /// Somebody asks for something that the leader has not heard of when it decides.
    async fn interrupt(&mut self) {
        self.note("meanwhile");
        match self.dice.roll(6) {
            0 => self.trigger().await,
            1 => self.clear().await,
            2 => self.mark().await,
            3 => self.mark_run().await,
            4 => self.asset().await,
            _ => self.backfill_anew().await,
        }
        // A leader's decision is held against what became of the same run, not of those before it.
        self.known.clear();
        self.waiting.clear();
    }

    async fn pass_time(&mut self) {
        let back = self.dice.roll(8) == 0;
        let minutes = if self.dice.roll(8) == 0 { 60 * 24 } else { 90 };
        let minutes = 1 + self.dice.roll(minutes) as i64;
        self.note(format!("{}{minutes} min", if back { "-" } else { "+" }));
        self.stage.clock.advance(TimeDelta::minutes(if back { -minutes } else { minutes }));
        self.beat().await;
        self.turn().await;
    }

    fn touched(&mut self, instances: impl Iterator<Item = InstanceKey>) {
        let instances: BTreeSet<InstanceKey> = instances.collect();
        self.succeeded.retain(|instance| !instances.contains(instance));
        self.owed.retain(|_, instance| !instances.contains(instance));
    }

    /// At the so-manieth point that comes, whatever it is for, or at a place that this world has come by.
    fn plan_fault(&mut self) {
        let points = [FaultPoint::Begin, FaultPoint::Statement, FaultPoint::BeforeCommit, FaultPoint::AfterCommit];
        let fault = if self.dice.one_in(self.odds.refusals) { Fault::Refusal } else { Fault::Outage };
        let times = 1 + self.dice.roll(3);
        let came: Vec<Place> = self.faults.came().into_iter().collect();
        let place = if came.is_empty() || self.dice.roll(3) == 0 { None } else { Some(*self.dice.pick(&came)) };
        let point = place.map_or_else(|| *self.dice.pick(&points), |(point, _)| point);
        // Whatever is refused was not committed.
        let fault = if point == FaultPoint::AfterCommit { Fault::Outage } else { fault };
        if let Some(place) = place {
            let after = self.dice.roll(2);
            self.note(format!("{times} x {fault:?} at {place:?} number {after}"));
            self.faults.plan_at(place, fault, after, times);
        } else {
            let after = self.dice.roll(if point == FaultPoint::Statement { 60 } else { 4 });
            self.note(format!("{times} x {fault:?} at {point:?} number {after}"));
            self.faults.plan(point, fault, after, times);
        }
    }

    fn any_dag(&mut self) -> DagId {
        let names: Vec<String> = self.dags.keys().cloned().collect();
        DagId::new_unchecked(self.dice.pick(&names).clone())
    }
}

/// The places that a world came by, those that were struck, and what people were told.
type Lived = (BTreeSet<Place>, BTreeSet<Place>, BTreeSet<&'static str>);

async fn live(blank: Arc<Blank>, seed: u64, targets: Vec<Place>) -> Lived {
    let mut world = Box::pin(World::new(&blank, seed, targets)).await;
    for _ in 0..STEPS {
        Box::pin(world.step()).await;
    }
    let (came, struck) = (world.faults.came(), world.faults.struck());
    Box::pin(world.settle()).await;
    (came, struck, world.told().await)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

async fn live_all(blank: &Arc<Blank>, seeds: u64) -> Coverage {
    let first = number("MILLRACE_WORLD_FIRST").unwrap_or(0);
    let (mut failed, mut coverage) = (Vec::new(), Coverage::default());
    for seed in first..first + seeds {
        // The panic has said what was wrong; the other worlds are worth knowing too.
        match tokio::spawn(tokio::time::timeout(LONGEST, live(blank.clone(), seed, Vec::new()))).await {
            Ok(Ok((came, struck, told))) => {
                coverage.add(seed, came, struck);
                coverage.tell(told);
            }
            _ => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "worlds that failed, by their seeds: {failed:?}");
    coverage
}

#[tokio::test]
async fn whatever_happens_the_rules_hold_and_every_run_ends() {
    let seeds = number(SEEDS).unwrap_or(MANY);
    let blank = Arc::new(Blank::Sqlite);
    let mut coverage = live_all(&blank, seeds).await;
    if seeds < MANY {
        return;
    }
    let by_chance = coverage.len();
    // The first failure of such a world comes where it came by before; what follows may be another story.
    while let Some((seed, places)) = coverage.missing(TARGETS) {
        let lived = tokio::spawn(tokio::time::timeout(LONGEST, live(blank.clone(), seed, places.clone()))).await;
        let (_, struck, _) = lived.expect("the rules hold").expect("it ends in time");
        let is_one = places.iter().any(|place| struck.contains(place));
        assert!(is_one, "world {seed} comes by none of {places:?} any more");
        coverage.add(seed, BTreeSet::new(), struck);
    }
    eprintln!("{} places of the store were struck, {by_chance} of them by chance", coverage.len());
    coverage.check();
}

#[tokio::test]
async fn whatever_happens_on_postgres_the_rules_hold_and_every_run_ends() {
    let blank = Arc::new(Blank::postgres().await);
    let coverage = live_all(&blank, number(SEEDS_ON_POSTGRES).unwrap_or(FEW)).await;
    eprintln!("{} places of the store were struck by chance", coverage.len());
}
