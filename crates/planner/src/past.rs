//! Tasks that look back: `depends_on_past` and `wait_for_downstream`.
//!
//! What a run sees of the one before it is read from the store when it is first asked for, and again whenever that may
//! have become another run or another answer. While the run before is active, its states are taken from the view.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_model::trigger_rule::Decision;

use crate::instance::told;
use crate::run::RunView;
use crate::turn::Turn;
use crate::view::{GroupKey, View, group_key};

/// The run before a run, by logical date: with catchup the newest that nobody started by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRun {
    pub run: RunKey,
    pub logical_date: DateTime<Utc>,
    /// The states of each task's instances there, those that were removed left out.
    pub states: BTreeMap<TaskId, Vec<TaskState>>,
    /// Tasks with an instance there that is skipped because the run was given up: they have not ended well.
    pub given_up: BTreeSet<TaskId>,
    /// Tasks without an instance there that have one in a run before it.
    pub ran_earlier: BTreeSet<TaskId>,
}

/// What a run knows of the one before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Past {
    #[default]
    NotRead,
    /// There is none, or it does not count: this is the first run of a backfill.
    Nothing,
    Run(PastRun),
}

/// Where the runs are that look back or are looked at.
#[derive(Debug, Default)]
pub(crate) struct Pasts {
    /// Active runs with tasks that look back, by date.
    lookers: BTreeMap<DagId, BTreeMap<DateTime<Utc>, RunKey>>,
    /// Active runs whose past is another active run, by that one.
    followers: BTreeMap<RunKey, BTreeSet<RunKey>>,
    /// Runs that can't go on until their past is read.
    wanted: BTreeSet<RunKey>,
}

/// Whether a task may run as far as its past goes, and the sentence that says why.
pub(crate) struct PastAnswer {
    pub ok: bool,
    pub text: String,
}

impl PastAnswer {
    fn new(ok: bool, text: String) -> Self {
        Self { ok, text }
    }
}

impl View {
    /// Runs whose past must be read before they can go on.
    pub fn wanted_pasts(&self) -> impl Iterator<Item = RunKey> + '_ {
        self.pasts.wanted.iter().copied()
    }

    /// What is needed to read a run's past: its DAG, its date, and whether runs that were started by hand count. None: it is not active, or it
    /// was the first of its backfill when that was made. What became of that one's other runs since (another backfill has
    /// taken them over) makes no other run its first.
    pub fn past_question(&self, run: RunKey) -> Option<PastQuestion> {
        let run = self.runs.get(&run).filter(|run| run.backfill_ordinal != Some(0))?;
        Some(PastQuestion {
            dag_id: run.dag_id.clone(),
            logical_date: run.facts.logical_date,
            without_manual: run.version.dag.catchup,
            tasks: run.version.past_tasks().map(|task| run.version.dag.tasks[task].task_id.clone()).collect(),
        })
    }

    /// The answer to [`View::past_question`]; `None`: there is no run before, or it does not count.
    pub fn put_past(&mut self, key: RunKey, past: Option<PastRun>) {
        self.pasts.wanted.remove(&key);
        if !self.runs.contains_key(&key) {
            return;
        }
        if let Some(past) = &past
            && self.runs.contains_key(&past.run)
        {
            self.pasts.followers.entry(past.run).or_default().insert(key);
            // The run before may be queued behind this very one.
            self.dirty_groups.extend(self.runs.get(&past.run).map(group_key));
        }
        self.set_past(key, past.map_or(Past::Nothing, Past::Run));
    }

    fn set_past(&mut self, key: RunKey, past: Past) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        if past == Past::NotRead && run.state == RunState::Running {
            self.pasts.wanted.insert(key);
        }
        let before = std::mem::replace(&mut run.past, past);
        if let (Past::Run(before), Past::NotRead) = (&before, &run.past) {
            self.unfollow(before.run, key);
        }
        self.look_back_again(key);
    }

    fn unfollow(&mut self, past: RunKey, follower: RunKey) {
        if let Some(followers) = self.pasts.followers.get_mut(&past) {
            followers.remove(&follower);
            if followers.is_empty() {
                self.pasts.followers.remove(&past);
            }
        }
    }

    /// The tasks of a run that look back must be looked at.
    fn look_back_again(&mut self, key: RunKey) {
        let Some(run) = self.runs.get_mut(&key) else { return };
        for task in run.version.clone().past_tasks() {
            run.pending.insert(run.version.position[task]);
        }
        if run.state == RunState::Running {
            self.dirty_runs.insert(key);
        }
    }

    /// A run was added: it may be the past of those after it, and may look back itself.
    pub(crate) fn add_to_pasts(&mut self, run: &RunView) {
        if !run.version.looks_back() {
            return;
        }
        self.pasts.lookers.entry(run.dag_id.clone()).or_default().insert(run.facts.logical_date, run.key());
        if run.state == RunState::Running {
            self.pasts.wanted.insert(run.key());
        }
    }

    /// A run of this date was created, read again or changed: whoever has it as its past, or should have, reads anew.
    pub(crate) fn past_changed(&mut self, dag_id: &DagId, date: DateTime<Utc>) {
        let Some(lookers) = self.pasts.lookers.get(dag_id) else { return };
        let after = (std::ops::Bound::Excluded(date), std::ops::Bound::Unbounded);
        let mut affected = Vec::new();
        for key in lookers.range(after).map(|(_, key)| *key) {
            let Some(run) = self.runs.get(&key) else { continue };
            affected.push(key);
            if !run.version.dag.catchup || run.facts.run_type != RunType::Manual {
                break;
            }
        }
        for key in affected {
            self.set_past(key, Past::NotRead);
        }
    }

    /// Runs of the DAG may have been deleted: whoever has one as its past that is not active reads anew.
    pub fn pasts_may_be_gone(&mut self, dag_id: &DagId) {
        let Some(lookers) = self.pasts.lookers.get(dag_id) else { return };
        let is_over = |past: &PastRun| !self.runs.contains_key(&past.run);
        let looks_at_it =
            |key: &RunKey| self.runs.get(key).is_some_and(|run| matches!(&run.past, Past::Run(past) if is_over(past)));
        for key in lookers.values().copied().filter(looks_at_it).collect::<Vec<_>>() {
            self.set_past(key, Past::NotRead);
        }
    }

    /// A run is no longer active. What it was when it ended is kept for those after it.
    pub(crate) fn remove_from_pasts(&mut self, run: &RunView, has_ended: bool) {
        let key = run.key();
        self.pasts.wanted.remove(&key);
        if let Past::Run(past) = &run.past {
            self.unfollow(past.run, key);
        }
        if let Some(lookers) = self.pasts.lookers.get_mut(&run.dag_id)
            && lookers.get(&run.facts.logical_date) == Some(&key)
        {
            lookers.remove(&run.facts.logical_date);
            if lookers.is_empty() {
                self.pasts.lookers.remove(&run.dag_id);
            }
        }
        for follower in self.pasts.followers.remove(&key).unwrap_or_default() {
            let Some(Past::Run(past)) = self.runs.get(&follower).map(|run| &run.past) else { continue };
            let past = if has_ended {
                Past::Run(PastRun { states: run.states_by_task(), given_up: run.given_up_tasks(), ..past.clone() })
            } else {
                Past::NotRead
            };
            self.set_past(follower, past);
        }
    }

    /// Tasks of this run have moved: whoever waits for them looks again.
    pub(crate) fn tell_followers(&mut self, key: RunKey) {
        for follower in self.pasts.followers.get(&key).cloned().unwrap_or_default() {
            self.look_back_again(follower);
        }
    }

    /// A run that only waits for another one may have to make way for it.
    pub(crate) fn offer_way(&mut self, key: RunKey) {
        if let Some(run) = self.runs.get(&key).filter(|run| run.only_waits_for_past()) {
            self.dirty_groups.insert(group_key(run));
            self.offer_key(key);
        }
    }

    /// The runs of a DAG that look back and come after a date, by their dates.
    pub(crate) fn later_lookers(
        &self,
        dag_id: &DagId,
        date: DateTime<Utc>,
    ) -> impl DoubleEndedIterator<Item = RunKey> + '_ {
        let after = (std::ops::Bound::Excluded(date), std::ops::Bound::Unbounded);
        self.pasts.lookers.get(dag_id).into_iter().flat_map(move |lookers| lookers.range(after).map(|(_, key)| *key))
    }

    /// None for a task that does not look back.
    pub(crate) fn past_answer(&self, run: &RunView, task: usize) -> Option<PastAnswer> {
        let version = &run.version;
        if !version.looks_back_at(task) {
            return None;
        }
        let model = &version.dag.tasks[task];
        let past = match &run.past {
            Past::NotRead => {
                return Some(PastAnswer::new(false, "depends_on_past: the run before is being looked up".to_owned()));
            }
            Past::Nothing => {
                let text = "depends_on_past: there is no run before this one that counts".to_owned();
                return Some(PastAnswer::new(true, text));
            }
            Past::Run(past) => past,
        };
        let date = short_date(past.logical_date);
        let live = self.runs.get(&past.run);
        let states = |task_id: &TaskId| match live {
            Some(live) => live.states_of(task_id),
            None => past.states.get(task_id).cloned().unwrap_or_default(),
        };
        let was_given_up = |task_id: &TaskId| match live {
            Some(live) => live.was_given_up(task_id),
            None => past.given_up.contains(task_id),
        };
        let own = states(&model.task_id);
        if own.is_empty() {
            let name = &model.task_id;
            return Some(if past.ran_earlier.contains(name) {
                let text = format!(
                    "depends_on_past: the run of {date} has no {name}, which ran before it; give that run the newest \
                     version (`millrace dags repin`)"
                );
                PastAnswer::new(false, text)
            } else {
                PastAnswer::new(true, format!("depends_on_past: {name} is new since the run of {date}"))
            });
        }
        if was_given_up(&model.task_id) {
            let text = format!("depends_on_past: {} of {date} was given up with its run", model.task_id);
            return Some(PastAnswer::new(false, text));
        }
        if let Some(state) = own.iter().find(|state| !ended_well(**state)) {
            let text = format!("depends_on_past: {} of {date} is {}", model.task_id, told(*state));
            return Some(PastAnswer::new(false, text));
        }
        if model.wait_for_downstream {
            for child in &version.graph.downstream[task] {
                let name = &version.dag.tasks[*child].task_id;
                if was_given_up(name) {
                    let text = format!("wait_for_downstream: {name} of {date} was given up with its run");
                    return Some(PastAnswer::new(false, text));
                }
                if let Some(state) = states(name).iter().find(|state| !ended_well(**state)) {
                    let text = format!("wait_for_downstream: {name} of {date} is {}", told(*state));
                    return Some(PastAnswer::new(false, text));
                }
            }
        }
        Some(PastAnswer::new(true, format!("depends_on_past: {} of {date} is {}", model.task_id, own[0])))
    }
}

impl Turn<'_> {
    /// `decision`, unless the past holds the task back. Notes that it does: a run that waits for another is no deadlock.
    pub(crate) fn with_past(&mut self, key: RunKey, task: usize, decision: Decision) -> Decision {
        let Some(run) = self.view.runs.get(&key) else { return decision };
        if !run.version.looks_back_at(task) {
            return decision;
        }
        let may_begin = run.instances_of(task).any(|place| run.instances[place].may_begin(self.now));
        let is_held = match decision {
            Decision::Run => true,
            Decision::Mark(TaskState::Skipped) => run.version.dag.tasks[task].wait_for_past_depends_before_skipping,
            _ => false,
        };
        let is_allowed = !is_held || !may_begin || self.view.past_answer(run, task).is_none_or(|answer| answer.ok);
        if let Some(run) = self.view.runs.get_mut(&key) {
            if is_allowed {
                run.held_by_past.remove(&task);
            } else {
                run.held_by_past.insert(task);
                if run.past == Past::NotRead {
                    self.view.pasts.wanted.insert(key);
                }
            }
        }
        if is_allowed { decision } else { Decision::Wait }
    }

    /// A queued run that a running one of the same group waits for, while the group is full: the one that waits goes back
    /// into the queue, or both would wait for ever. Should the queued one not be due yet, or its key be taken, the group is
    /// looked at again when that is over.
    pub(crate) fn make_way(&mut self, group: &GroupKey) -> Option<RunKey> {
        let view = &self.view;
        let of_group = |key: &RunKey, state: RunState| {
            let run = view.runs.get(key).filter(|run| run.state == state && !view.frozen.contains(key))?;
            (group_key(run) == *group).then_some(run)
        };
        let waits = |key: &&RunKey| of_group(key, RunState::Running).is_some_and(RunView::only_waits_for_past);
        let mut waiting = Vec::new();
        for (past, followers) in &view.pasts.followers {
            let Some(run) = of_group(past, RunState::Queued).filter(|run| !run.is_held) else { continue };
            waiting.extend(followers.iter().filter(waits).map(|follower| (run.facts.run_after, *past, *follower)));
        }
        for (run_after, past, follower) in waiting {
            if run_after > self.now {
                self.view.later_groups.insert((run_after, group.clone()));
            } else if self.view.key_lets_swap(past, follower) {
                self.queue_run_again(follower, "the run before it runs first");
                return Some(past);
            } else {
                self.view.key_lets_start(past);
            }
        }
        None
    }
}

/// What must be known of a run's past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastQuestion {
    pub dag_id: DagId,
    pub logical_date: DateTime<Utc>,
    pub without_manual: bool,
    /// The tasks that look back.
    pub tasks: Vec<TaskId>,
}

fn ended_well(state: TaskState) -> bool {
    matches!(state, TaskState::Success | TaskState::Skipped)
}

/// Midnights without their time.
fn short_date(at: DateTime<Utc>) -> String {
    let text = at.format("%Y-%m-%dT%H:%M:%S%.fZ").to_string();
    text.strip_suffix("T00:00:00Z").map(str::to_owned).unwrap_or(text)
}
