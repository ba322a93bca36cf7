//! A small world in which anything may happen next: turns, tries that end well, badly or never, kills, pauses, triggers,
//! clears and the passing of time, chosen by a seed. What must always hold is looked at after each step.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use millrace_model::change::{InstanceKey, TryOutcome};
use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::state::{RunState, TaskState};
use millrace_model::trigger_rule::TriggerRule;
use millrace_store::ClearRequest;
use serde_json::{Value, json};

use crate::stage::{Stage, dag};

/// SplitMix64: the same seed, the same world.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.roll(items.len())]
    }
}

fn random_dag(dice: &mut Dice, number: usize) -> Dag {
    let names: Vec<String> = (0..=dice.roll(5)).map(|at| format!("t{at}")).collect();
    let mut tasks = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let upstream: Vec<&str> = names[..at].iter().filter(|_| dice.roll(3) == 0).map(String::as_str).collect();
        tasks.push(format!("{name} < {}", upstream.join(",")));
    }
    let schedule = [Value::Null, json!("@hourly"), json!({"every": "40m"})][dice.roll(3)].clone();
    let mut made = dag(&format!("d{number}"), schedule, &tasks.iter().map(String::as_str).collect::<Vec<_>>());
    made.catchup = dice.roll(2) == 0;
    made.max_active_runs = 1 + dice.roll(3) as u32;
    made.max_active_tasks = 1 + dice.roll(3) as u32;
    for task in &mut made.tasks {
        task.retries = dice.roll(3) as u32;
        task.retry_delay = Span::from_seconds(60 * dice.roll(5) as u32);
        task.is_inline = dice.roll(8) == 0;
        if dice.roll(3) == 0 {
            task.trigger_rule = *dice.pick(TriggerRule::ALL);
        }
    }
    made
}

struct World {
    seed: u64,
    dice: Dice,
    stage: Stage,
    dags: BTreeMap<String, Dag>,
    /// Instances whose success was committed.
    succeeded: BTreeSet<InstanceKey>,
    log: Vec<String>,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let stage = Stage::new(1 + dice.roll(4)).await;
        let mut dags = BTreeMap::new();
        for number in 0..=dice.roll(2) {
            let made = random_dag(&mut dice, number);
            stage.put(&made).await;
            dags.insert(made.dag_id.to_string(), made);
        }
        let mut world = Self { seed, dice, stage, dags, succeeded: BTreeSet::new(), log: Vec::new() };
        world.stage.lead().await;
        world
    }

    async fn step(&mut self) {
        let what = self.dice.roll(22);
        self.log.push(format!("{what}"));
        match what {
            0..=7 => self.end_one().await,
            8..=11 => {
                let minutes = 1 + self.dice.roll(90) as i64;
                self.stage.clock.advance(TimeDelta::minutes(minutes));
                self.stage.turn().await;
            }
            12 => {
                self.stage.kill();
                self.stage.lead().await;
            }
            13 => {
                let dag_id = self.any_dag();
                let paused = self.dice.roll(2) == 0;
                self.stage.store.set_paused(&dag_id, paused, "world", self.stage.now()).await.unwrap();
            }
            14 | 15 => {
                let dag_id = self.any_dag();
                self.stage.clock.advance(TimeDelta::seconds(1));
                self.stage.trigger(dag_id.as_str()).await;
            }
            16 => {
                // Ended, but the daemon dies before it could write that down.
                if let Some(running) = self.stage.executor.running().first() {
                    self.stage.executor.end(running.instance, TryOutcome::Success, self.stage.now());
                    self.stage.kill();
                    self.stage.lead().await;
                }
            }
            17 | 18 => self.clear_something().await,
            _ => {
                self.stage.turn().await;
            }
        }
        self.check().await;
    }

    /// Some tasks of a run, whatever their state; the scheduler hears of it with its next turn.
    async fn clear_something(&mut self) {
        let runs = self.stage.runs().await;
        if runs.is_empty() {
            return;
        }
        let run = self.dice.pick(&runs).clone();
        let tasks = &self.dags[run.dag_id.as_str()].tasks;
        let named = tasks.iter().filter(|_| self.dice.roll(2) == 0).map(|task| task.task_id.clone());
        let named: Vec<TaskId> = named.collect();
        let request = ClearRequest::of_run(run.key, &named, "world");
        let report = self.stage.store.clear_instances(&request, self.stage.now()).await.unwrap();
        for cleared in report.cleared {
            self.succeeded.remove(&cleared.instance);
        }
    }

    fn any_dag(&mut self) -> DagId {
        let ids: Vec<String> = self.dags.keys().cloned().collect();
        DagId::new_unchecked(self.dice.pick(&ids).clone())
    }

    async fn end_one(&mut self) {
        let running = self.stage.executor.running();
        if running.is_empty() {
            self.stage.turn().await;
            return;
        }
        let instance = self.dice.pick(&running).instance;
        let outcome = match self.dice.roll(6) {
            0 => TryOutcome::Failed { reason: "boom".into(), retry: true },
            1 => TryOutcome::Failed { reason: "boom".into(), retry: false },
            2 => TryOutcome::Skipped { reason: "nothing to do".into() },
            _ => TryOutcome::Success,
        };
        self.end(instance, outcome).await;
    }

    async fn end(&mut self, instance: InstanceKey, outcome: TryOutcome) {
        let is_success = outcome == TryOutcome::Success;
        let completion = self.stage.executor.end(instance, outcome, self.stage.now());
        self.stage.engine.as_mut().unwrap().complete(completion);
        self.stage.turn().await;
        // Cleared meanwhile: then it counts for nothing.
        if is_success && self.stage.state_of(instance).await == TaskState::Success {
            assert!(self.succeeded.insert(instance), "{}: a success was repeated", self.place());
        }
    }

    fn place(&self) -> String {
        format!("seed {} after steps {}", self.seed, self.log.join(" "))
    }

    async fn check(&self) {
        let place = self.place();
        let runs = self.stage.runs().await;
        let mut dates = BTreeSet::new();
        for run in &runs {
            assert!(dates.insert((run.dag_id.clone(), run.logical_date)), "{place}: two runs for one date");
        }
        for (dag_id, dag) in &self.dags {
            let running = runs.iter().filter(|run| run.dag_id.as_str() == dag_id && run.state == RunState::Running);
            let count = running.count();
            assert!(count <= dag.max_active_runs as usize, "{place}: {count} runs of {dag_id} are running");
        }
        let keys: Vec<i64> = runs.iter().map(|run| run.key).collect();
        let rows = self.stage.store.instances_of_runs(&keys).await.unwrap();
        let mut active: BTreeMap<i64, u32> = BTreeMap::new();
        let mut held = BTreeSet::new();
        for row in &rows {
            if row.state.occupies_slot() {
                *active.entry(row.run).or_default() += 1;
                held.insert((row.key, row.lease.as_ref().map(|lease| lease.token.clone())));
            }
            if self.succeeded.contains(&row.key) {
                assert_eq!(row.state, TaskState::Success, "{place}: a success was lost");
            }
        }
        for run in &runs {
            let limit = self.dags[run.dag_id.as_str()].max_active_tasks;
            let count = active.get(&run.key).copied().unwrap_or(0);
            assert!(count <= limit, "{place}: {count} tasks of a run are active");
        }
        // What the database says is running is exactly what the executor runs.
        let running = self.stage.executor.running();
        let running: BTreeSet<_> = running.into_iter().map(|it| (it.instance, Some(it.token))).collect();
        assert_eq!(held, running, "{place}");
    }

    /// Lets everything come to its end.
    async fn settle(&mut self) {
        for dag_id in self.dags.keys() {
            let dag_id = DagId::new_unchecked(dag_id.clone());
            self.stage.store.set_paused(&dag_id, false, "world", self.stage.now()).await.unwrap();
        }
        self.stage.turn().await;
        let last = self.stage.runs().await.iter().map(|run| run.key).max().unwrap_or(0);
        for _ in 0..5_000 {
            let running = self.stage.executor.running();
            match running.first() {
                Some(running) => self.end(running.instance, TryOutcome::Success).await,
                None => {
                    // Only retries and schedules are left to wait for.
                    self.stage.clock.advance(TimeDelta::minutes(5));
                    self.stage.turn().await;
                }
            }
            if self.stage.runs().await.iter().filter(|run| run.key <= last).all(|run| run.state.is_finished()) {
                self.check().await;
                return;
            }
        }
        let stuck: Vec<_> = self.stage.runs().await.into_iter().filter(|run| !run.state.is_finished()).collect();
        panic!("{}: runs that never end: {stuck:#?}", self.place());
    }
}

#[tokio::test]
async fn whatever_happens_the_rules_hold_and_every_run_ends() {
    let seeds: u64 = std::env::var("MILLRACE_WORLD_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(40);
    let first: u64 = std::env::var("MILLRACE_WORLD_FIRST").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    for seed in first..first + seeds {
        let mut world = World::new(seed).await;
        for _ in 0..40 {
            world.step().await;
        }
        world.settle().await;
    }
}
