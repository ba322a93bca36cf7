//! Why is this not running, in one sentence and then condition by condition: for the command line, REST and the pages.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{InstanceKey, NewRun};
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_model::state::{RunState, TaskState};
use millrace_planner::{
    About, Condition, HELD, Limits, View, conditions_of, explain as explain_task, explain_instance, explain_run,
    explain_schedule, plan,
};
use millrace_store::{ActiveRun, ActiveScope, DagRow, InstanceRow, Result, RunRow, SetAside, Store};
use serde::Serialize;

use crate::{Situation, Surroundings};

/// Tasks of a run that are answered for; the others are counted.
const MOST_TASKS: usize = 100;
/// Failed ones of which it is told what went wrong.
const MOST_FAILED: usize = 10;

/// What is asked about.
#[derive(Debug, Clone, Copy)]
pub enum Asked<'a> {
    /// When does its next scheduled run begin?
    Dag(&'a DagRow),
    Run(&'a RunRow),
    Task(&'a RunRow, &'a InstanceRow),
}

#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub dag_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dag_run_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map_index: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// The first unmet condition, or when it starts.
    pub answer: String,
    /// When it starts if nothing happens: known when all that is unmet waits for the clock.
    pub starts_at: Option<String>,
    /// In the order in which they are asked.
    pub conditions: Vec<ConditionView>,
    /// Of a run: what has not ended, each with its first unmet condition; of one that has failed, what has failed in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskAnswer>,
}

impl Explanation {
    /// All that it tells in words: a reason may quote what a try failed of, or a key that was made of params.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let conditions = self.conditions.iter_mut().map(|condition| &mut condition.text);
        let tasks = self.tasks.iter_mut().map(|task| &mut task.answer);
        conditions.chain(tasks).chain([&mut self.answer])
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct ConditionView {
    pub ok: bool,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct TaskAnswer {
    pub task_id: String,
    pub map_index: i32,
    pub state: &'static str,
    pub answer: String,
}

impl TaskAnswer {
    /// `load`, or `load[2]`.
    pub fn name(&self) -> String {
        if self.map_index < 0 { self.task_id.clone() } else { format!("{}[{}]", self.task_id, self.map_index) }
    }
}

/// Reads what bears on the question and asks the planner: the DAG itself, its active runs, and for tasks whatever holds
/// slots. What other DAGs are like plays no part, unless they hold the run's key.
pub async fn explain(
    store: &Store,
    asked: Asked<'_>,
    surroundings: &Surroundings,
    now: DateTime<Utc>,
) -> Result<Explanation> {
    let mut situation = Situation::new(store.clone()).with_maintenance(surroundings.maintenance.clone());
    match asked {
        Asked::Dag(row) => situation.read_dag(&row.dag_id, ActiveScope::OfDag(&row.dag_id)).await?,
        Asked::Run(run) | Asked::Task(run, _) => {
            situation.read_dag(&run.dag_id, ActiveScope::OfDagAndHolders(&run.dag_id)).await?;
            if situation.view.wanted_pasts().any(|wanted| wanted == run.key) {
                situation.read_past(run.key).await?;
            }
            for other in situation.view.dags_holding_key_of(run.key) {
                if let Some(row) = store.scheduler_dag(&other).await? {
                    situation.put_dag(row).await?;
                }
            }
        }
    }
    let view = situation.view;
    let (dag_id, run) = match asked {
        Asked::Dag(row) => (&row.dag_id, None),
        Asked::Run(run) | Asked::Task(run, _) => (&run.dag_id, Some(run.key)),
    };
    // A run goes on when its DAG gets no new ones.
    let is_it = |it: &SetAside| if run.is_some() { it.run == run } else { it.dag_id.as_ref() == Some(dag_id) };
    let desk = Desk {
        store,
        now,
        limits: limits(&view, surroundings.parallelism),
        view,
        is_led: store.is_led().await?,
        refused: store.set_aside().await?.into_iter().find(is_it).map(|it| it.reason),
    };
    match asked {
        Asked::Dag(row) => desk.dag(row).await,
        Asked::Run(run) => desk.run(run).await,
        Asked::Task(run, instance) => {
            let said = match instance.state {
                TaskState::Deferred => last_said(store, instance).await?,
                _ => None,
            };
            let mut explanation = desk.task(run, &with_error(store, instance).await?);
            if let Some(said) = said {
                explanation.answer.push_str("; ");
                explanation.answer.push_str(&said);
            }
            Ok(explanation)
        }
    }
}

/// With what went wrong behind the reason of one that has failed.
async fn with_error(store: &Store, instance: &InstanceRow) -> Result<InstanceRow> {
    let mut told = instance.clone();
    if matches!(instance.state, TaskState::Failed | TaskState::UpForRetry) {
        let last = store.tries(instance.key).await?.pop().filter(|last| last.try_number == instance.try_number);
        let error = last.and_then(|last| last.error).unwrap_or_default();
        let line = first_line(&error);
        if let Some(reason) = told.state_reason.as_mut().filter(|_| !line.is_empty()) {
            *reason = [reason.as_str(), &line].join(": ");
        }
    }
    Ok(told)
}

/// The first line of an error that says something. One that announces what a program printed has the last of that behind it.
/// Not shortened: what hides secrets knows whole ones only.
pub fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.next_back().filter(|_| first.ends_with(':')) {
        Some(last) => [first, last].join(" "),
        None => first.to_owned(),
    }
}

/// What the try said last while it worked.
async fn last_said(store: &Store, instance: &InstanceRow) -> Result<Option<String>> {
    let checkpoints = store.checkpoints(instance.key, Some(instance.try_number)).await?;
    Ok(checkpoints.last().map(|last| [last.checkpoint.name.as_str(), &last.checkpoint.message].join(" ")))
}

/// What keeps a task from being started now, with what each is about. One that has ended is looked at as though it had
/// not, and so is its run.
pub async fn unmet(
    store: &Store,
    (run, instance): (&RunRow, &InstanceRow),
    surroundings: &Surroundings,
    now: DateTime<Utc>,
) -> Result<Vec<(About, String)>> {
    let mut situation = Situation::new(store.clone()).with_maintenance(surroundings.maintenance.clone());
    situation.read_dag(&run.dag_id, ActiveScope::OfDagAndHolders(&run.dag_id)).await?;
    situation.read_pasts().await?;
    if run.state.is_finished() || instance.state.is_finished() {
        let state = if run.state.is_finished() { RunState::Running } else { run.state };
        let mut instances = store.instances(run.key).await?;
        let is_open = |it: &&mut InstanceRow| it.was_left_out() || it.key == instance.key && it.state.is_finished();
        for it in instances.iter_mut().filter(is_open) {
            it.state = TaskState::None;
        }
        situation.put_run(&ActiveRun { row: RunRow { state, ..run.clone() }, instances }).await?;
        situation.read_pasts().await?;
    }
    Ok(unmet_in(&situation.view, instance.key, surroundings, now))
}

/// As [`unmet`], for a run that nobody has made yet. None: the DAG has no such version or task any more.
pub async fn unmet_of_new(
    store: &Store,
    (run, task_id, map_index): (&NewRun, &str, i32),
    surroundings: &Surroundings,
    now: DateTime<Utc>,
) -> Result<Option<Vec<(About, String)>>> {
    let mut situation = Situation::new(store.clone()).with_maintenance(surroundings.maintenance.clone());
    situation.read_dag(&run.dag_id, ActiveScope::OfDagAndHolders(&run.dag_id)).await?;
    // Keys that no row has.
    let keys: Vec<InstanceKey> = (1..=run.tasks.len() as i64).map(|place| -place).collect();
    let asked = run.tasks.iter().position(|it| it.task_id.as_str() == task_id && it.map_index == map_index);
    let Some(asked) = asked.filter(|_| situation.view.put_created(run, -1, &keys, now)) else { return Ok(None) };
    situation.read_pasts().await?;
    Ok(Some(unmet_in(&situation.view, keys[asked], surroundings, now)))
}

fn unmet_in(
    view: &View,
    instance: InstanceKey,
    surroundings: &Surroundings,
    now: DateTime<Utc>,
) -> Vec<(About, String)> {
    let conditions = conditions_of(view, instance, now, &limits(view, surroundings.parallelism));
    conditions.into_iter().filter(|(_, it)| !it.ok).map(|(about, it)| (about, it.text)).collect()
}

fn limits(view: &View, parallelism: usize) -> Limits {
    Limits {
        free_slots: parallelism.saturating_sub(view.occupied_slots() as usize),
        owner: String::new(),
        lease_ttl: TimeDelta::zero(),
        is_draining: false,
    }
}

struct Desk<'a> {
    store: &'a Store,
    view: View,
    limits: Limits,
    now: DateTime<Utc>,
    is_led: bool,
    /// Why the scheduler leaves the DAG or the run alone.
    refused: Option<String>,
}

impl Desk<'_> {
    fn with_scheduler(&self, conditions: Vec<Condition>) -> Vec<Condition> {
        let mut all = Vec::with_capacity(conditions.len() + 2);
        if !self.is_led {
            let text = "no scheduler is running: start `millrace scheduler` or `millrace standalone`".to_owned();
            all.push(Condition { ok: false, text, until: None });
        }
        if let Some(reason) = &self.refused {
            let text = format!(
                "the database refused what the scheduler wrote of it, so it is set aside; tried again every five minutes: {reason}"
            );
            all.push(Condition { ok: false, text, until: None });
        }
        all.extend(conditions);
        all
    }

    async fn dag(mut self, row: &DagRow) -> Result<Explanation> {
        self.point(row).await?;
        let mut conditions = self.with_scheduler(explain_schedule(&self.view, &row.dag_id, self.now));
        conditions.extend(self.dates_to_come(&row.dag_id).await?);
        let (answer, starts_at) = answer(&conditions, "the next run");
        let answer = match answer.strip_prefix(FINE) {
            Some(rest) if row.has_import_error => {
                format!(
                    "{} cannot be read as it is now, so its last good version ({}) serves: {rest}",
                    row.file_path, row.version_number
                )
            }
            _ => answer,
        };
        Ok(Explanation {
            dag_id: row.dag_id.to_string(),
            dag_run_id: None,
            task_id: None,
            map_index: None,
            state: None,
            answer,
            starts_at,
            conditions: shown(conditions),
            tasks: Vec::new(),
        })
    }

    /// A clock that was ahead, be it for a second, has dealt with all dates until then.
    async fn dates_to_come(&self, dag_id: &DagId) -> Result<Option<Condition>> {
        let last = self.view.dag(dag_id).and_then(|facts| facts.last_interval).filter(|last| last.end > self.now);
        let Some(last) = last else { return Ok(None) };
        let end = format_utc_micros(last.end);
        let mut text = format!("its schedule stands still until {end}, as a clock was ahead");
        if let [(_, run_id), ..] = self.store.runs_to_come(Some(dag_id), self.now).await?.as_slice() {
            text.push(';');
            text += &format!(" delete each run of a date to come: `millrace dags delete {dag_id} --run-id {run_id}`");
        }
        Ok(Some(Condition { ok: false, text, until: None }))
    }

    /// A DAG that no scheduler has looked at yet has no next run in the store: the planner names it, on a view of its own.
    async fn point(&mut self, row: &DagRow) -> Result<()> {
        if self.view.dag(&row.dag_id).is_none_or(|facts| facts.pointer.is_some()) {
            return Ok(());
        }
        let Some(stored) = self.store.scheduler_dag(&row.dag_id).await? else { return Ok(()) };
        let mut alone = Situation::new(self.store.clone());
        alone.put_dag(stored).await?;
        // Nothing is created: it is looked at as though it were paused.
        if let Some(facts) = alone.view.dag(&row.dag_id).cloned() {
            let is_paused = facts.is_paused;
            alone.view.put_dag(millrace_planner::DagFacts { is_paused: true, ..facts });
            plan(&mut alone.view, self.now, &self.limits);
            if let Some(facts) = alone.view.dag(&row.dag_id).cloned() {
                self.view.put_dag(millrace_planner::DagFacts { is_paused, ..facts });
            }
        }
        Ok(())
    }

    async fn run(self, run: &RunRow) -> Result<Explanation> {
        let mut tasks = Vec::new();
        let instances = self.store.instances(run.key).await?;
        let (conditions, (answer, starts_at)) = if run.state.is_finished() {
            let failed = instances.iter().filter(|one| run.state == RunState::Failed && one.state == TaskState::Failed);
            for instance in failed.take(MOST_FAILED) {
                tasks.push(self.task_answer(run, &with_error(self.store, instance).await?));
            }
            (Vec::new(), (ended_run(run), None))
        } else {
            let waiting: Vec<&InstanceRow> = instances.iter().filter(|one| !one.state.is_finished()).collect();
            let mut conditions = self.with_scheduler(explain_run(&self.view, run.key, self.now));
            let ended = instances.len() - waiting.len();
            conditions.push(Condition {
                ok: true,
                text: format!("{ended} of {} tasks have ended", instances.len()),
                until: None,
            });
            tasks.extend(waiting.iter().take(MOST_TASKS).map(|instance| self.task_answer(run, instance)));
            let answer = match answer(&conditions, "the run") {
                (_, None) if conditions.iter().all(|condition| condition.ok) && run.state == RunState::Running => {
                    conditions.extend(held_up(&tasks));
                    (in_progress(&tasks), None)
                }
                other => other,
            };
            (conditions, answer)
        };
        Ok(Explanation {
            dag_id: run.dag_id.to_string(),
            dag_run_id: Some(run.run_id.to_string()),
            task_id: None,
            map_index: None,
            state: Some(run.state.as_str()),
            answer,
            starts_at,
            conditions: shown(conditions),
            tasks,
        })
    }

    fn conditions(&self, run: &RunRow, instance: &InstanceRow) -> Vec<Condition> {
        let of_instance = explain_instance(&self.view, instance.key, self.now, &self.limits);
        if of_instance.is_empty() {
            return explain_task(&self.view, run.key, instance.task_id.as_str(), self.now, &self.limits);
        }
        of_instance
    }

    fn task_answer(&self, run: &RunRow, instance: &InstanceRow) -> TaskAnswer {
        let (answer, _) = Self::answer_of(run, instance, &self.conditions(run, instance));
        TaskAnswer {
            task_id: instance.task_id.to_string(),
            map_index: instance.map_index,
            state: instance.state.as_str(),
            answer,
        }
    }

    fn answer_of(run: &RunRow, instance: &InstanceRow, conditions: &[Condition]) -> (String, Option<String>) {
        if instance.state.is_finished() {
            let reason = instance.state_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            return (format!("it has ended: {}{reason}", instance.state), None);
        }
        if conditions.is_empty() && run.state.is_finished() {
            return (format!("{}; clear the task to run it", ended_run(run)), None);
        }
        match conditions {
            // One that runs has a single condition: that it does.
            [only] if only.ok => (only.text.clone(), None),
            _ => match (answer(conditions, "the task"), &instance.state_reason) {
                ((_, Some(at)), Some(reason)) if instance.state == TaskState::UpForReschedule => {
                    (format!("it waits: {reason}; it looks again after {at}"), Some(at))
                }
                ((_, Some(at)), Some(reason)) if instance.state == TaskState::UpForRetry => {
                    let text =
                        format!("try {} has failed ({reason}); it is tried again after {at}", instance.try_number);
                    (text, Some(at))
                }
                (other, _) => other,
            },
        }
    }

    fn task(self, run: &RunRow, instance: &InstanceRow) -> Explanation {
        let mut conditions = self.conditions(run, instance);
        if !instance.state.is_finished() && !run.state.is_finished() {
            conditions = self.with_scheduler(conditions);
        }
        let (answer, starts_at) = Self::answer_of(run, instance, &conditions);
        Explanation {
            dag_id: run.dag_id.to_string(),
            dag_run_id: Some(run.run_id.to_string()),
            task_id: Some(instance.task_id.to_string()),
            map_index: Some(instance.map_index),
            state: (instance.state != TaskState::None).then(|| instance.state.as_str()),
            answer,
            starts_at,
            conditions: shown(conditions),
            tasks: Vec::new(),
        }
    }
}

/// What an answer begins with where nothing but the clock, or the scheduler's next turn, is waited for.
const FINE: &str = "everything is fine: ";

/// The sentence, and the moment of the start when only the clock is waited for.
fn answer(conditions: &[Condition], what: &str) -> (String, Option<String>) {
    let unmet = || conditions.iter().filter(|condition| !condition.ok);
    if let Some(held) = unmet().find(|condition| condition.until.is_none()) {
        return (held.text.clone(), None);
    }
    match unmet().filter_map(|condition| Some((condition.until?, &condition.text))).max_by_key(|(at, _)| *at) {
        Some((at, text)) => {
            let at = format_utc_micros(at);
            // A window may stay open for hours: nobody who asks why nothing moves is to read that all is well.
            let answer = if text.starts_with(HELD) {
                format!("{what} is {text}")
            } else {
                format!("everything is fine: {what} starts at {at}")
            };
            (answer, Some(at))
        }
        None => (format!("everything is fine: {what} starts with the scheduler's next turn"), None),
    }
}

fn is_working(task: &TaskAnswer) -> bool {
    task.state == "running" || task.state == "queued"
}

/// Of a run in which nothing runs: what its first task waits for.
fn held_up(tasks: &[TaskAnswer]) -> Option<Condition> {
    let waiting = tasks.first().filter(|_| !tasks.iter().any(is_working))?;
    Some(Condition { ok: false, text: format!("{} waits: {}", waiting.task_id, waiting.answer), until: None })
}

fn in_progress(tasks: &[TaskAnswer]) -> String {
    match (tasks.iter().filter(|task| is_working(task)).count(), tasks.iter().find(|task| !is_working(task))) {
        (0, None) => "the run has nothing left to do: it ends with the scheduler's next turn".to_owned(),
        (0, Some(waiting)) => format!("nothing of it runs: {} waits: {}", waiting.task_id, waiting.answer),
        (1, _) => "the run is in progress: 1 task runs".to_owned(),
        (count, _) => format!("the run is in progress: {count} tasks run"),
    }
}

fn ended_run(run: &RunRow) -> String {
    let reason = run.state_reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!("the run has ended: {}{reason}", run.state)
}

fn shown(conditions: Vec<Condition>) -> Vec<ConditionView> {
    let view = |Condition { ok, text, until }| ConditionView { ok, text, until: until.map(format_utc_micros) };
    conditions.into_iter().map(view).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(ok: bool, text: &str, until: Option<&str>) -> Condition {
        Condition { ok, text: text.to_owned(), until: until.map(|at| at.parse().unwrap_or_default()) }
    }

    #[test]
    fn the_first_that_does_not_wait_for_the_clock_is_the_answer() {
        let clock = condition(false, "it starts at noon", Some("2024-01-01T12:00:00Z"));
        let later = condition(false, "and a lock ends at one", Some("2024-01-01T13:00:00Z"));
        let held = condition(false, "the DAG is paused", None);
        let met = condition(true, "fine", None);
        assert_eq!(answer(&[met.clone(), clock.clone(), held], "it").0, "the DAG is paused");
        let (text, at) = answer(&[clock, met.clone(), later], "it");
        assert_eq!(text, "everything is fine: it starts at 2024-01-01T13:00:00.000000Z");
        assert_eq!(at.as_deref(), Some("2024-01-01T13:00:00.000000Z"));
        assert_eq!(answer(&[met], "it").1, None);
    }

    #[test]
    fn a_maintenance_window_is_named_by_the_answer_when_it_is_what_ends_last() {
        let clock = condition(false, "it starts at noon", Some("2024-01-01T12:00:00Z"));
        let window = condition(
            false,
            "held by the maintenance window 00:00..13:00 UTC until 13:00",
            Some("2024-01-01T13:00:00Z"),
        );
        let (text, at) = answer(&[window.clone(), clock], "the task");
        assert_eq!(text, "the task is held by the maintenance window 00:00..13:00 UTC until 13:00");
        assert_eq!(at.as_deref(), Some("2024-01-01T13:00:00.000000Z"));
        let later = condition(false, "it starts at two", Some("2024-01-01T14:00:00Z"));
        assert_eq!(answer(&[window, later], "it").0, "everything is fine: it starts at 2024-01-01T14:00:00.000000Z");
    }
}
