//! Setups, teardowns and choices: what holds a task back, or skips it, before its trigger rule is asked.

use millrace_model::change::RunKey;
use millrace_model::choice::{Choice, children_named};
use millrace_model::dag::Task;
use millrace_model::state::TaskState;
use millrace_model::trigger_rule::Decision;

use crate::instance::told;
use crate::run::RunView;
use crate::turn::Turn;

/// What is decided before the trigger rule, and the sentence that says why.
pub(crate) struct Veto {
    pub decision: Decision,
    pub reason: String,
}

impl RunView {
    /// A task whose instance has ended with a choice: who is not to run because of it.
    pub(crate) fn note_choice(&mut self, place: usize, choice: Option<Choice>) {
        let task = self.instances[place].task;
        if choice == Some(Choice::SkipDescendants) {
            for other in self.version.graph.reachable(task, false) {
                self.cut_off.entry(other).or_default().insert(task);
                self.pending.insert(self.version.position[other]);
            }
        }
        self.instances[place].choice = choice;
    }

    /// Why an instance (of map index -1: the task as a whole) must not run yet or at all, whatever its trigger rule says.
    pub(crate) fn veto(&self, task: usize, map_index: i32) -> Option<Veto> {
        let model = &self.version.dag.tasks[task];
        if model.is_teardown {
            return self.scope_veto(task);
        }
        self.choice_veto(task, map_index).or_else(|| self.setup_veto(task))
    }

    fn choice_veto(&self, task: usize, map_index: i32) -> Option<Veto> {
        let skipped = |reason: String| Veto { decision: Decision::Mark(TaskState::Skipped), reason };
        let name = |parent: usize| &self.version.dag.tasks[parent].task_id;
        for cut in self.cut_off.get(&task).into_iter().flatten() {
            if self.all_chose(task, *cut, map_index, |choice| *choice == Choice::SkipDescendants) {
                return Some(skipped(format!("short_circuit: {} let nothing after it run", name(*cut))));
            }
        }
        for parent in &self.version.graph.upstream[task] {
            let siblings = || -> Vec<&Task> {
                self.version.graph.downstream[*parent].iter().map(|child| &self.version.dag.tasks[*child]).collect()
            };
            let task_id = name(task);
            let is_followed = |names: &[String]| {
                names.iter().any(|name| children_named(&siblings(), name).iter().any(|child| child.task_id == *task_id))
            };
            let passes_by = |choice: &Choice| match choice {
                Choice::Follow(names) => !is_followed(names),
                Choice::SkipChildren | Choice::SkipDescendants => true,
            };
            if self.all_chose(task, *parent, map_index, passes_by) {
                let kind = if self.all_chose(task, *parent, map_index, |it| matches!(it, Choice::Follow(_))) {
                    "branch: not followed by"
                } else {
                    "short_circuit: skipped by"
                };
                return Some(skipped(format!("{kind} {}", name(*parent))));
            }
        }
        None
    }

    /// Whether all instances of a task that concern one of another have chosen so.
    fn all_chose(&self, task: usize, chooser: usize, map_index: i32, so: impl Fn(&Choice) -> bool) -> bool {
        let is_together = map_index >= 0 && self.version.mapping.is_together(task, chooser);
        let mut concerned = self
            .instances_of(chooser)
            .map(|place| &self.instances[place])
            .filter(|instance| instance.state != TaskState::Removed)
            .filter(|instance| !is_together || instance.map_index == map_index)
            .peekable();
        concerned.peek().is_some()
            && concerned
                .all(|instance| instance.state == TaskState::Success && instance.choice.as_ref().is_some_and(&so))
    }

    fn setup_veto(&self, task: usize) -> Option<Veto> {
        let mut waits = None;
        for setup in self.version.roles.setups.get(&task)? {
            let name = &self.version.dag.tasks[*setup].task_id;
            for place in self.instances_of(*setup) {
                let instance = &self.instances[place];
                let decision = match instance.counts_as() {
                    TaskState::Failed | TaskState::UpstreamFailed => Decision::Mark(TaskState::UpstreamFailed),
                    TaskState::Skipped => Decision::Mark(TaskState::Skipped),
                    state if state.is_finished() => continue,
                    _ => Decision::Wait,
                };
                let veto = Veto { decision, reason: format!("setup {name} is {}", instance.standing()) };
                if decision != Decision::Wait {
                    return Some(veto);
                }
                waits = Some(veto);
            }
        }
        waits
    }

    fn scope_veto(&self, teardown: usize) -> Option<Veto> {
        let scope = self.version.roles.scopes.get(&teardown)?;
        let places = scope.iter().flat_map(|task| self.instances_of(*task));
        let unfinished = places.map(|place| &self.instances[place]).find(|instance| !instance.state.is_finished())?;
        let name = &self.version.dag.tasks[unfinished.task].task_id;
        let reason = format!("teardown: {name} is {}", told(unfinished.state));
        Some(Veto { decision: Decision::Wait, reason })
    }
}

impl Turn<'_> {
    /// What follows for an instance from all that it depends on, its trigger rule having said `rule`; and why, when the
    /// rule was not what decided.
    pub(crate) fn decide(
        &mut self,
        key: RunKey,
        (task, map_index): (usize, i32),
        rule: Decision,
    ) -> (Decision, Option<String>) {
        let Some(run) = self.view.runs.get(&key) else { return (rule, None) };
        match run.veto(task, map_index) {
            Some(Veto { decision: Decision::Wait, .. }) if matches!(rule, Decision::Mark(_)) => (rule, None),
            Some(Veto { decision, reason }) => (self.with_past(key, task, decision), Some(reason)),
            None => (self.with_past(key, task, rule), None),
        }
    }
}
