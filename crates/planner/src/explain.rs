//! Why is this not running? The planner's own conditions, asked one by one and answered with numbers.

use chrono::{DateTime, Utc};
use millrace_model::asset::{AssetCondition, AssetName};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_model::state::{RunState, TaskState};
use millrace_model::trigger_rule::Decision;

use crate::condition::Condition;
use crate::holders::held_by;
use crate::instance::{InstanceView, told};
use crate::lines::{Lane, LimitKey};
use crate::run::RunView;
use crate::run_keys::HeldKey;
use crate::turn::Limits;
use crate::view::{DagFacts, View, group_key};
use crate::windows;

/// What a condition of a task is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// It runs, or has ended.
    Done,
    /// Whether its DAG and its run let anything start.
    Start,
    /// The time before a retry or the next look.
    Retry,
    /// What the tasks before it came to.
    Upstream,
    /// How the run before went.
    Past,
    /// The limits of the run, the task, its key, and its pool.
    Room,
    /// The scheduler's worker slots.
    Slots,
}

/// The conditions of one task of an active run, in the order in which they are asked; the first that is not `ok` is why
/// it does not run. All `ok`: it starts with the next turn. Empty: there is no such active run or task.
pub fn explain(view: &View, run: RunKey, task_id: &str, now: DateTime<Utc>, limits: &Limits) -> Vec<Condition> {
    let Some(task) = view.runs.get(&run).and_then(|run| run.version.dag.task_index(task_id)) else { return Vec::new() };
    let place = view.runs.get(&run).and_then(|run| run.instances_of(task).next());
    place.map_or_else(Vec::new, |place| plain(explain_place(view, run, (task, place), now, limits)))
}

/// As [`explain`], for one instance: of a mapped task there are several.
pub fn explain_instance(view: &View, instance: InstanceKey, now: DateTime<Utc>, limits: &Limits) -> Vec<Condition> {
    let Some((run, place)) = view.places.get(&instance).copied() else { return Vec::new() };
    let task = view.runs.get(&run).map(|run| run.instances[place].task);
    task.map_or_else(Vec::new, |task| plain(explain_place(view, run, (task, place), now, limits)))
}

/// As [`explain_instance`], with what each condition is about: for whoever starts a task and may leave some out.
pub fn conditions_of(
    view: &View,
    instance: InstanceKey,
    now: DateTime<Utc>,
    limits: &Limits,
) -> Vec<(About, Condition)> {
    let Some((run, place)) = view.places.get(&instance).copied() else { return Vec::new() };
    let task = view.runs.get(&run).map(|run| run.instances[place].task);
    task.map_or_else(Vec::new, |task| explain_place(view, run, (task, place), now, limits))
}

fn plain(conditions: Vec<(About, Condition)>) -> Vec<Condition> {
    conditions.into_iter().map(|(_, condition)| condition).collect()
}

/// What must hold before a run starts. Empty: there is no such active run.
pub fn explain_run(view: &View, run: RunKey, now: DateTime<Utc>) -> Vec<Condition> {
    view.runs.get(&run).map_or_else(Vec::new, |run| {
        let mut conditions = holds(view, run, now);
        conditions.push(run_start(view, run, now));
        conditions.extend(run_key(view, run));
        conditions
    })
}

fn explain_place(
    view: &View,
    run: RunKey,
    (task, place): (usize, usize),
    now: DateTime<Utc>,
    limits: &Limits,
) -> Vec<(About, Condition)> {
    let Some(run) = view.runs.get(&run) else { return Vec::new() };
    let instance = &run.instances[place];
    match instance.state {
        TaskState::Running | TaskState::Queued | TaskState::Restarting => {
            let text = format!("try {} is {}", instance.try_number, instance.state);
            return under_way(text, instance);
        }
        TaskState::Deferred => {
            let Some(lane) = &instance.stands_in else {
                let text = format!("try {} waits for something outside and holds no slot", instance.try_number);
                return under_way(text, instance);
            };
            // What lets a task begin is asked no more: neither a pause nor its own limits hold it up.
            let text = format!("what try {} waited for has come; it goes on when it gets a slot", instance.try_number);
            let back = [(About::Done, Condition::new(true, text))];
            return back.into_iter().chain(room(view, run, lane)).chain([slots(view, limits)]).collect();
        }
        state if state.is_finished() => {
            let text = if instance.given_up {
                format!("it was given up with its run, after {}; clear it to run it", tries(instance.try_number))
            } else {
                format!("it has ended: {state} after {}", tries(instance.try_number))
            };
            return vec![(About::Done, Condition::new(true, text))];
        }
        _ => {}
    }
    let starts = holds(view, run, now).into_iter().chain([run_start(view, run, now)]).chain(run_key(view, run));
    let mut conditions: Vec<(About, Condition)> = starts.map(|condition| (About::Start, condition)).collect();
    if let Some(at) = instance.next_try_at {
        let at_text = format_utc_micros(at);
        let wait = match instance.put_offs {
            Some(put_offs) => {
                let times = if put_offs.count == 1 { "once".to_owned() } else { format!("{} times", put_offs.count) };
                let since = format_utc_micros(put_offs.first_start);
                format!(
                    "what it waits for was not there: it has looked {times} since {since} and looks again after {at_text}"
                )
            }
            None => format!("try {} may start after {at_text}", instance.try_number + 1),
        };
        conditions.push((About::Retry, Condition::at(at, at < now, wait)));
    }
    conditions.push((About::Upstream, dependencies(run, task, place)));
    let list = run.list_answer(task, view.max_map_length());
    conditions.extend(list.map(|(ok, text)| (About::Upstream, Condition::new(ok, text))));
    let veto = run.veto(task, instance.map_index);
    conditions.extend(veto.map(|veto| (About::Upstream, Condition::new(false, veto.reason))));
    let past = view.past_answer(run, task);
    conditions.extend(past.map(|answer| (About::Past, Condition::new(answer.ok, answer.text))));
    conditions.extend(room(view, run, &instance.lane));
    conditions.push(slots(view, limits));
    conditions
}

/// The limits of the run, of the task and of its key, and the pool's slots.
fn room(view: &View, run: &RunView, lane: &Lane) -> Vec<(About, Condition)> {
    let (occupying, limit) = (run.occupying(), run.version.dag.max_active_tasks);
    let text = format!("{occupying} of {limit} tasks of the run are active (max_active_tasks)");
    let of_run = Condition::new(occupying < limit, text);
    let of_task = lane.limits.iter().map(|(limit, most)| limited(view, limit, *most));
    let all = [of_run].into_iter().chain(of_task).chain([pool(view, &lane.pool, lane.slots)]);
    all.map(|condition| (About::Room, condition)).collect()
}

fn slots(view: &View, limits: &Limits) -> (About, Condition) {
    let used = view.occupied_slots() as usize;
    let total = used + limits.free_slots;
    let text = format!("{used} of {total} worker slots are in use");
    (About::Slots, Condition::new(limits.free_slots > 0, text))
}

fn under_way(text: String, instance: &InstanceView) -> Vec<(About, Condition)> {
    let moved = instance.held.as_ref().filter(|it| (&it.pool, it.slots) != (&instance.lane.pool, instance.lane.slots));
    let text = match moved {
        Some(Lane { pool, slots, .. }) => {
            format!("{text}; it began with {slots} of the slots of pool {pool}, which it holds until it has ended")
        }
        None => text,
    };
    let text = match instance.held.as_ref().map(|held| (held.key(), instance.lane.key())) {
        None | Some((None, None)) => text,
        Some((Some(held), Some(next))) => format!(
            "{text}; it began with the key '{held}', which counts until it has ended, and its next try takes '{next}' (concurrency)"
        ),
        Some((Some(held), None)) => format!(
            "{text}; it began with the key '{held}', which counts until it has ended, and its next try takes none (concurrency)"
        ),
        Some((None, Some(next))) => {
            format!("{text}; it began without a key, and its next try takes '{next}' (concurrency)")
        }
    };
    vec![(About::Done, Condition::new(true, text))]
}

/// When the DAG's next scheduled run is created, and what holds it up.
pub fn explain_schedule(view: &View, dag_id: &DagId, now: DateTime<Utc>) -> Vec<Condition> {
    let Some(facts) = view.dags.get(dag_id) else {
        return vec![Condition::new(false, format!("there is no DAG {dag_id}"))];
    };
    if let Some(condition) = facts.version.dag.assets.as_ref().filter(|_| facts.pointer.is_none()) {
        return explain_assets(view, facts, condition, now);
    }
    let [file, paused] = standing(facts);
    let Some(next) = facts.pointer else {
        let none = Condition::new(false, "its schedule has no further run; it runs when triggered");
        return vec![file, none, paused];
    };
    let begins =
        format!("the run for {} starts at {}", format_utc_micros(next.logical_date), format_utc_micros(next.run_after));
    let mut conditions = vec![
        file,
        paused,
        room_for_runs(view, dag_id, now),
        Condition::at(next.run_after, next.run_after <= now, begins),
    ];
    conditions.extend(windows::condition_at(view, &facts.version.dag, (now, next.run_after)));
    if let Some(condition) = &facts.version.dag.assets {
        conditions.push(Condition::new(true, format!("besides: {}", assets_text(view, facts, condition))));
    }
    conditions
}

/// Whether `max_active_runs` lets the DAG have another run.
pub(crate) fn room_for_runs(view: &View, dag_id: &DagId, now: DateTime<Utc>) -> Condition {
    let group = (dag_id.clone(), None);
    let (active, limit) = (view.active_normal_runs(dag_id, now), view.max_active_runs(&group));
    let said = format!("{active} of {limit} runs of the DAG are active (max_active_runs)");
    if active < limit {
        return Condition::new(true, said);
    }
    let counts = |run: &RunView| run.holds_place || run.state == RunState::Queued && run.facts.run_after <= now;
    Condition::new(false, held_by(said, &view.holders_of_group(&group, counts)))
}

/// Whether the DAG gets any runs at all: it has a file, and is not paused.
fn standing(facts: &DagFacts) -> [Condition; 2] {
    let (paused, file) = (
        if facts.is_paused { "the DAG is paused" } else { "the DAG is not paused" },
        if facts.is_stale { "the DAG's file is gone" } else { "the DAG's file is there" },
    );
    [Condition::new(!facts.is_stale, file), Condition::new(!facts.is_paused, paused)]
}

/// What has to change for a run, and what of it has.
fn assets_text(view: &View, facts: &DagFacts, condition: &AssetCondition) -> String {
    let dag_id = &facts.version.dag.dag_id;
    let events = view.asset_events.get(dag_id).map_or(&[][..], Vec::as_slice);
    let (changed, still): (Vec<_>, Vec<_>) =
        condition.names().into_iter().partition(|name| events.iter().any(|event| event.asset == **name));
    let list = |names: &[&AssetName]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    match (changed.as_slice(), still.as_slice()) {
        ([], _) => format!("it runs when {condition} have changed; none has since its last run"),
        (_, []) => format!("{condition} have changed"),
        _ => format!("it runs when {condition} have changed; {} did, {} did not", list(&changed), list(&still)),
    }
}

fn explain_assets(view: &View, facts: &DagFacts, condition: &AssetCondition, now: DateTime<Utc>) -> Vec<Condition> {
    let dag_id = &facts.version.dag.dag_id;
    let text = assets_text(view, facts, condition);
    let [file, paused] = standing(facts);
    vec![file, paused, Condition::new(view.is_called_by_assets(facts), text), room_for_runs(view, dag_id, now)]
}

fn tries(count: u32) -> String {
    if count == 1 { "1 try".to_owned() } else { format!("{count} tries") }
}

/// What keeps a DAG's runs from going on: it is paused, a window is open.
fn holds(view: &View, run: &RunView, now: DateTime<Utc>) -> Vec<Condition> {
    let facts = view.dags.get(&run.dag_id);
    let pause = if view.is_held_by_pause(run) {
        Condition::new(false, format!("DAG {} is paused", run.dag_id))
    } else {
        Condition::new(true, format!("DAG {} does not hold this run back", run.dag_id))
    };
    let window = facts.and_then(|facts| windows::condition(view, &facts.version.dag, now));
    [pause].into_iter().chain(window).collect()
}

/// A run that runs holds its key already.
fn run_key(view: &View, run: &RunView) -> Option<Condition> {
    if run.state != RunState::Queued {
        return None;
    }
    match &run.key_held {
        HeldKey::None => None,
        HeldKey::Broken(error) => {
            Some(Condition::new(false, format!("the key of the DAG's 'concurrency' can't be made: {error}")))
        }
        HeldKey::Key { text, limit } => {
            let used = view.run_keys.used(text);
            let said = format!("{used} of {limit} runs with the key '{text}' are running (concurrency)");
            let is_free = used < *limit;
            Some(Condition::new(is_free, if is_free { said } else { held_by(said, &view.holders_of_run_key(text)) }))
        }
    }
}

fn run_start(view: &View, run: &RunView, now: DateTime<Utc>) -> Condition {
    if run.state != RunState::Queued {
        return Condition::new(run.state == RunState::Running, format!("the run is {}", run.state));
    }
    if run.holds_place {
        return Condition::new(false, "the run is queued: it begins when its try that still runs has stopped");
    }
    let key = group_key(run);
    if let Some(backfill) = key.1.filter(|backfill| view.backfills.get(backfill).is_some_and(|facts| facts.is_paused)) {
        return Condition::new(false, format!("the run is queued: backfill {backfill} is paused"));
    }
    let running = view.groups.get(&key).map_or(0, |group| group.running);
    let limit = view.max_active_runs(&key);
    if running < limit && run.facts.run_after > now {
        let text = format!("the run is queued: it starts at {}", format_utc_micros(run.facts.run_after));
        return Condition::at(run.facts.run_after, false, text);
    }
    let of = if key.1.is_some() { "the backfill" } else { "the DAG" };
    let still_stops =
        |other: &&RunView| other.holds_place && other.state != RunState::Running && group_key(other) == key;
    let text = match view.runs.values().filter(still_stops).count() {
        0 => format!("the run is queued: {running} of {limit} runs of {of} are running (max_active_runs)"),
        stopping => format!(
            "the run is queued: {running} of {limit} runs of {of} are running, {stopping} of them until the last try of an ended one has stopped (max_active_runs)"
        ),
    };
    let is_free = running < limit;
    let holders = || view.holders_of_group(&key, |other| other.holds_place);
    Condition::new(is_free, if is_free { text } else { held_by(text, &holders()) })
}

fn dependencies(run: &RunView, task: usize, place: usize) -> Condition {
    let rule = run.version.dag.tasks[task].trigger_rule;
    // In a mapped group each instance depends on those of its own item.
    let upstream: Vec<_> = if run.instances[place].map_index >= 0 {
        run.upstream_of_instance(place).collect()
    } else {
        run.upstream_instances(task).collect()
    };
    let counts = run.counts_of(upstream.iter().copied());
    if counts.total == 0 {
        return Condition::new(true, "it depends on no other task");
    }
    let decision = rule.decide(&counts);
    let mut text = format!("{}: {} of {} upstream tasks have ended", rule.as_str(), counts.finished(), counts.total);
    let waiting: Vec<String> = upstream
        .iter()
        .filter(|instance| !instance.state.is_finished())
        .take(3)
        .map(|instance| format!("{} is {}", run.version.dag.tasks[instance.task].task_id, told(instance.state)))
        .collect();
    if decision == Decision::Wait && !waiting.is_empty() {
        text.push_str(&format!(" ({})", waiting.join(", ")));
    }
    Condition::new(decision == Decision::Run, text)
}

fn limited(view: &View, limit: &LimitKey, most: u32) -> Condition {
    let used = view.lines.used(limit);
    let text = match limit {
        LimitKey::Task(..) => {
            format!("{used} of {most} tries of the task are active in all runs (max_active_tis_per_dag)")
        }
        LimitKey::TaskInRun(..) => {
            format!("{used} of {most} tries of the task are active in this run (max_active_tis_per_dagrun)")
        }
        LimitKey::Key(key) => format!("{used} of {most} tries with the key '{key}' are active (concurrency)"),
    };
    let is_free = used < most;
    Condition::new(is_free, if is_free { text } else { held_by(text, &view.holders_of_limit(limit)) })
}

fn pool(view: &View, name: &str, needed: u32) -> Condition {
    let Some(facts) = view.pools.get(name) else {
        return Condition::new(false, format!("there is no pool {name}"));
    };
    if facts.slots < 0 {
        return Condition::new(true, format!("pool {name} has no limit"));
    }
    if i64::from(needed) > facts.slots {
        return Condition::new(
            false,
            format!("pool {name} has {} of the {needed} slots that the task needs, which can never run", facts.slots),
        );
    }
    let used = view.pool_use(name);
    let mut text = format!("pool {name}: {used} of {} slots are in use, the task needs {needed}", facts.slots);
    if used < facts.slots && used + i64::from(needed) > facts.slots {
        text.push_str(" at once; what needs fewer starts before it");
    }
    let fits = used + i64::from(needed) <= facts.slots;
    Condition::new(fits, if fits { text } else { held_by(text, &view.holders_of_pool(name)) })
}
