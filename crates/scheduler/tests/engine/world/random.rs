//! Random choices, random DAGs, and what becomes of a DAG whose file is edited.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use chrono_tz::Tz;
use millrace_model::alert::{Deadline, DeadlineReference, LongerThanUsual};
use millrace_model::asset::{AssetCondition, AssetName};
use millrace_model::calendar::{Calendar, CalendarRule, NamedDays, Shift};
use millrace_model::dag::{DEFAULT_POOL, Dag, Task};
use millrace_model::duration::Span;
use millrace_model::execution::KeyLimit;
use millrace_model::ids::TaskId;
use millrace_model::maintenance::MaintenanceWindow;
use millrace_model::mapping::{Expand, Items, TaskGroup};
use millrace_model::notice::Callback;
use millrace_model::schedule::{Misfire, Schedule, Timetable};
use millrace_model::trigger_rule::TriggerRule;
use serde_json::{Value, json};

use crate::stage::{dag, instant};

/// The pool that some tasks run in.
pub const POOL: &str = "shared";

/// SplitMix64: the same seed, the same world.
pub struct Dice {
    state: u64,
    /// How often DAGs have what they may have, times what is usual.
    pub riches: usize,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0xD6E8_FEB8_6659_FD93), riches: 1 }
    }

    pub fn roll(&mut self, sides: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % sides as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.roll(items.len())]
    }

    pub fn one_in(&mut self, sides: usize) -> bool {
        self.roll(sides) == 0
    }

    /// Whether a DAG has what one in so many has.
    fn has(&mut self, sides: usize) -> bool {
        self.roll(sides) < self.riches.min(sides - 1)
    }
}

/// With everything that it may ever have; [`edited`] leaves some out.
pub fn random_dag(dice: &mut Dice, number: usize) -> Dag {
    let names: Vec<String> = (0..=dice.roll(6)).map(|at| format!("t{at}")).collect();
    let mut tasks = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let upstream: Vec<&str> = names[..at].iter().filter(|_| dice.has(3)).map(String::as_str).collect();
        tasks.push(format!("{name} < {}", upstream.join(",")));
    }
    let mut made = dag(&format!("d{number}"), Value::Null, &tasks.iter().map(String::as_str).collect::<Vec<_>>());
    made.catchup = dice.has(2);
    made.misfire = dice.has(3).then(|| random_misfire(dice));
    made.max_active_runs = 1 + dice.roll(3) as u32;
    made.max_active_tasks = 1 + dice.roll(3) as u32;
    made.fail_fast = dice.has(8);
    made.dagrun_timeout = dice.has(6).then(|| Span::from_seconds(3_600 * (1 + dice.roll(3) as u32)));
    made.concurrency = dice.has(5).then(|| random_key(dice, "runs"));
    made.maintenance = dice.has(5).then(|| random_window(dice)).into_iter().collect();
    set_alerts(dice, &mut made);
    let past = dice.has(6);
    for task in &mut made.tasks {
        shape_task(dice, task, past);
        if dice.has(6) {
            task.outlets = vec![AssetName::new_unchecked(format!("a{number}"))];
        }
    }
    if dice.has(4) {
        group_some(dice, &mut made);
    }
    set_schedule(dice, &mut made, number);
    made
}

/// What is told of, and who fails too often. One is told of all.
fn set_alerts(dice: &mut Dice, dag: &mut Dag) {
    let references = [DeadlineReference::RunAfter, DeadlineReference::LogicalDate, DeadlineReference::StartDate];
    let within = Span::from_seconds(1_800 * (1 + dice.roll(6) as u32));
    dag.deadline = dice.has(3).then(|| Deadline { reference: *dice.pick(&references), within });
    let (percent, min_runs) = (100 + 50 * dice.roll(3) as u32, 1 + dice.roll(2) as u32);
    dag.longer_than_usual = dice.has(3).then_some(LongerThanUsual { percent, min_runs });
    dag.max_consecutive_failed_dag_runs = if dice.has(3) { 1 + dice.roll(3) as u32 } else { 0 };
    dag.callbacks.on_alert = vec![Callback::Command("true".to_owned())];
}

fn shape_task(dice: &mut Dice, task: &mut Task, past: bool) {
    task.retries = dice.roll(3) as u32;
    task.retry_delay = Span::from_seconds(60 * dice.roll(5) as u32);
    task.retry_exponential_backoff = dice.has(4).then_some(2.0);
    task.is_inline = dice.has(8);
    task.priority_weight = dice.roll(5) as i32;
    if dice.has(3) {
        task.trigger_rule = *dice.pick(TriggerRule::ALL);
    }
    if dice.has(3) {
        POOL.clone_into(&mut task.pool);
        task.pool_slots = 1 + dice.roll(2) as u32;
    }
    task.max_active_tis_per_dag = dice.has(6).then(|| 1 + dice.roll(2) as u32);
    task.max_active_tis_per_dagrun = dice.has(6).then(|| 1 + dice.roll(2) as u32);
    task.concurrency = dice.has(6).then(|| random_key(dice, "tries"));
    task.depends_on_past = past && dice.has(2);
    task.wait_for_downstream = past && dice.has(3);
    let producer = task.depends_on.first().filter(|_| dice.has(5)).cloned();
    task.expand = producer.map(|producer| Expand::Each(Items::ResultsOf(producer)));
    if task.expand.is_none() && dice.has(10) {
        task.expand = Some(Expand::Each(random_list(dice)));
    }
    (task.is_setup, task.is_teardown) = (dice.has(10), dice.has(10));
    task.is_teardown &= !task.is_setup;
}

/// How many may hold a key of a concurrency at a time. The keys are the same in all DAGs.
pub fn limit_of_key(key: &str) -> u32 {
    if key.ends_with('1') { 1 } else { 2 }
}

fn random_key(dice: &mut Dice, kind: &str) -> KeyLimit {
    let key = format!("{kind}-{}", 1 + dice.roll(2));
    KeyLimit { limit: limit_of_key(&key), key }
}

fn random_list(dice: &mut Dice) -> Items {
    Items::List((0..dice.roll(4)).map(Value::from).collect())
}

fn random_misfire(dice: &mut Dice) -> Misfire {
    let within = dice.has(2).then(|| Span::from_seconds(3_600 * (1 + dice.roll(6) as u32)));
    let bounded = Misfire::Bounded { within, max: dice.has(2).then(|| 1 + dice.roll(3) as u32) };
    *dice.pick(&[Misfire::All, Misfire::Latest, Misfire::None, bounded])
}

fn random_window(dice: &mut Dice) -> MaintenanceWindow {
    let from = dice.roll(22);
    let text = format!("{from:02}:{:02}..{:02}:30", dice.roll(60), from + 1 + dice.roll(2));
    MaintenanceWindow::parse(&text, Tz::UTC).unwrap()
}

/// Neighbours in the file become a group, often one that is mapped as a whole.
fn group_some(dice: &mut Dice, dag: &mut Dag) {
    let from = dice.roll(dag.tasks.len());
    let to = (from + 1 + dice.roll(3)).min(dag.tasks.len());
    let producer = (from > 0).then(|| dag.tasks[dice.roll(from)].task_id.clone());
    let items = match dice.roll(3) {
        0 => None,
        1 => Some(random_list(dice)),
        _ => producer.map(Items::ResultsOf),
    };
    let group_id = TaskId::new_unchecked("g");
    for task in &mut dag.tasks[from..to] {
        task.group = Some(group_id.clone());
        let Some(items) = &items else { continue };
        (task.expand, task.is_setup, task.is_teardown) = (None, false, false);
        if let Items::ResultsOf(producer) = items
            && !task.depends_on.contains(producer)
        {
            task.depends_on.push(producer.clone());
        }
    }
    dag.groups = vec![TaskGroup { group_id, parent: None, description: None, expand: items.map(Expand::Each) }];
}

fn set_schedule(dice: &mut Dice, dag: &mut Dag, number: usize) {
    let instants = json!({"at": ["2024-01-01T01:00:00Z", "2024-01-01T03:30:00Z", "2024-01-02T00:00:00Z"]});
    let periodic = [
        json!("@hourly"),
        json!({"every": "40m"}),
        json!("@daily"),
        instants,
        json!(["15 */6 * * *", "30 3 * * mon"]),
        json!({"every": "1mo"}),
    ];
    let schedule = match dice.roll(10) {
        0..=2 => Value::Null,
        3 => json!("@once"),
        4 => json!("@continuous"),
        _ => dice.pick(&periodic).clone(),
    };
    let schedule = Schedule::from_value(&schedule).unwrap();
    if schedule == Schedule::Continuous {
        dag.max_active_runs = 1;
        // A run of it that needs nobody would be followed by the next at once, and so on.
        let first = &mut dag.tasks[0];
        (first.is_inline, first.expand, first.is_setup, first.is_teardown) = (false, None, false, false);
        first.trigger_rule = TriggerRule::AllSuccess;
        dag.groups.clear();
        dag.tasks.iter_mut().for_each(|task| task.group = None);
    }
    let make = if dice.has(3) { Timetable::trigger } else { Timetable::interval };
    // Half an hour off the others: a day there is no day of UTC.
    dag.timetable = make(schedule, Tz::America__St_Johns);
    if matches!(&dag.timetable.schedule, Schedule::Delta(step) if step.months() > 0) {
        // Long before the world began: of months it sees one or two.
        dag.start_date = Some(instant("2023-07-31T04:00:00Z"));
    }
    dag.end_date = dice.has(8).then(|| instant("2024-01-01T00:00:00Z") + TimeDelta::hours(dice.roll(72) as i64));
    if dag.timetable.is_periodic() && dice.has(5) {
        dag.calendar = Some(random_calendar(dice));
    }
    // Those of DAGs before it, so that no run calls for another for ever.
    if number > 0 && dice.has(3) {
        let awaited: Vec<_> = (0..number).map(|at| AssetName::new_unchecked(format!("a{at}"))).collect();
        let parts = awaited.into_iter().map(AssetCondition::Asset).collect();
        dag.assets = Some(if dice.has(2) { AssetCondition::All(parts) } else { AssetCondition::Any(parts) });
        if dag.timetable.schedule != Schedule::Continuous && dice.has(2) {
            (dag.timetable, dag.calendar) = (Timetable::interval(Schedule::None, Tz::UTC), None);
        }
    }
}

fn random_calendar(dice: &mut Dice) -> CalendarRule {
    let day = *dice.pick(&["mon", "tue", "2024-01-01..2024-01-02", "1st wed of jan"]);
    let days = vec![NamedDays { rule: day.parse().unwrap(), name: None }];
    let calendar = Calendar { name: "closed".into(), description: None, days, include: vec![], except: vec![] };
    let shift = *dice.pick(&[Shift::Skip, Shift::NextBusinessDay]);
    CalendarRule { exclude: vec![calendar], shift, ..CalendarRule::default() }
}

/// The file was edited: some of its tasks are gone or back, and what can change from one version to the next has changed.
pub fn edited(dice: &mut Dice, whole: &Dag) -> Dag {
    let mut dag = whole.clone();
    let kept = 1 + dice.roll(dag.tasks.len());
    // Its first task is what keeps a continuous one from running on and on.
    let first = usize::from(dag.timetable.schedule == Schedule::Continuous);
    while dag.tasks.len() > kept {
        let gone = dag.tasks.remove(first + dice.roll(dag.tasks.len() - first)).task_id;
        without(&mut dag, &gone);
    }
    let producers: BTreeSet<TaskId> =
        dag.tasks.iter().filter_map(|task| dag.expand_of(task)).flat_map(Expand::producers).cloned().collect();
    dag.max_active_tasks = 1 + dice.roll(3) as u32;
    dag.fail_fast = dice.one_in(8);
    for task in &mut dag.tasks {
        if dice.one_in(4) {
            task.retries = dice.roll(3) as u32;
            task.priority_weight = dice.roll(5) as i32;
            task.concurrency = dice.one_in(3).then(|| random_key(dice, "tries"));
            let pool = if dice.one_in(2) { POOL } else { DEFAULT_POOL };
            (task.pool, task.pool_slots) = (pool.to_owned(), 1 + dice.roll(2) as u32);
        }
        if dice.one_in(6) {
            let upstream = dice.roll(task.depends_on.len() + 1);
            let (bound, free): (Vec<_>, Vec<_>) =
                task.depends_on.iter().cloned().partition(|it| producers.contains(it));
            task.depends_on = bound.into_iter().chain(free.into_iter().take(upstream)).collect();
        }
    }
    dag
}

/// Nothing names a task that is gone. What was mapped over its results is not mapped any more.
fn without(dag: &mut Dag, gone: &TaskId) {
    let is_lost = |expand: &Option<Expand>| expand.iter().any(|it| it.producers().any(|id| id == gone));
    for task in &mut dag.tasks {
        task.depends_on.retain(|id| id != gone);
        if is_lost(&task.expand) {
            task.expand = None;
        }
    }
    for group in &mut dag.groups {
        if is_lost(&group.expand) {
            group.expand = None;
        }
    }
    let named: BTreeSet<_> = dag.tasks.iter().filter_map(|task| task.group.clone()).collect();
    dag.groups.retain(|group| named.contains(&group.group_id));
}
