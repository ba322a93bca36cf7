//! Random choices and random DAGs.

use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::mapping::{Expand, Items};
use millrace_model::trigger_rule::TriggerRule;
use serde_json::{Value, json};

use crate::stage::dag;

/// The pool that some tasks run in.
pub const POOL: &str = "shared";

/// SplitMix64: the same seed, the same world.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.roll(items.len())]
    }

    fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }
}

pub fn random_dag(dice: &mut Dice, number: usize) -> Dag {
    let names: Vec<String> = (0..=dice.roll(6)).map(|at| format!("t{at}")).collect();
    let mut tasks = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let upstream: Vec<&str> = names[..at].iter().filter(|_| dice.one_in(3)).map(String::as_str).collect();
        tasks.push(format!("{name} < {}", upstream.join(",")));
    }
    let schedule = dice.pick(&[Value::Null, json!("@hourly"), json!({"every": "40m"}), json!("*/90 * * * *")]).clone();
    let schedule = if schedule == json!("*/90 * * * *") { json!("@daily") } else { schedule };
    let mut made = dag(&format!("d{number}"), schedule, &tasks.iter().map(String::as_str).collect::<Vec<_>>());
    made.catchup = dice.one_in(2);
    made.max_active_runs = 1 + dice.roll(3) as u32;
    made.max_active_tasks = 1 + dice.roll(3) as u32;
    made.fail_fast = dice.one_in(8);
    made.dagrun_timeout = dice.one_in(6).then(|| Span::from_seconds(3_600 * (1 + dice.roll(3) as u32)));
    let past = dice.one_in(6);
    for task in &mut made.tasks {
        task.retries = dice.roll(3) as u32;
        task.retry_delay = Span::from_seconds(60 * dice.roll(5) as u32);
        if dice.one_in(4) {
            task.retry_exponential_backoff = Some(2.0);
        }
        task.is_inline = dice.one_in(8);
        task.priority_weight = dice.roll(5) as i32;
        if dice.one_in(3) {
            task.trigger_rule = *dice.pick(TriggerRule::ALL);
        }
        if dice.one_in(3) {
            POOL.clone_into(&mut task.pool);
            task.pool_slots = 1 + dice.roll(2) as u32;
        }
        if dice.one_in(6) {
            task.max_active_tis_per_dag = Some(1 + dice.roll(2) as u32);
        }
        task.depends_on_past = past && dice.one_in(2);
        let producer = task.depends_on.first().filter(|_| dice.one_in(5)).cloned();
        task.expand = producer.map(|producer| Expand::Each(Items::ResultsOf(producer)));
        (task.is_setup, task.is_teardown) = (dice.one_in(10), dice.one_in(10));
        task.is_teardown &= !task.is_setup;
    }
    made
}
