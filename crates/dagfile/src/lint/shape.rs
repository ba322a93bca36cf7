//! How a DAG is cut into tasks.

use millrace_model::dag::Task;
use millrace_model::duration::Span;
use millrace_model::trigger_rule::TriggerRule;

use super::{Finding, Linted};

/// Minutes after which one task alone is long.
const LONG: u32 = 60;

pub(super) fn too_many_tasks(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let (count, most) = (linted.dag.tasks.len(), linted.options.most_tasks);
    if count > most {
        let message = format!("the DAG has {count} tasks; more than {most} are hard to look at");
        found.push(Finding::dag("tasks", message, "make several DAGs of it, by what is run again together"));
    }
}

/// Only of a DAG that says how many runs it wants: the default is no wish.
pub(super) fn more_than_slots(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let Some(slots) = linted.options.worker_slots.filter(|_| linted.says("max_active_runs")) else { return };
    let wanted = linted.dag.most_tries_at_once();
    if wanted > slots {
        let message =
            format!("{} runs at a time may want {wanted} of {slots} worker slots", linted.dag.max_active_runs);
        found.push(Finding::dag("max_active_runs", message, "lower it, or raise core.parallelism"));
    }
}

/// Only a task that says that it may be long is known to be.
pub(super) fn long_single_task(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let [task] = linted.dag.tasks.as_slice() else { return };
    if task.execution_timeout.is_some_and(|limit| limit > Span::from_minutes(LONG)) {
        let message = format!("the DAG is one task, '{}', that may run for more than an hour", task.task_id);
        let hint = "cut it into steps, so that a failure repeats only the step";
        found.push(Finding::task(task, "execution_timeout", message, hint));
    }
}

/// Does a task with this rule run although one before it failed?
fn runs_after_failure(rule: TriggerRule) -> bool {
    matches!(
        rule,
        TriggerRule::AllDone
            | TriggerRule::AllDoneMinOneSuccess
            | TriggerRule::OneDone
            | TriggerRule::OneSuccess
            | TriggerRule::Always
    )
}

pub(super) fn hidden_failure(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let dag = linted.dag;
    // Teardowns follow the others, and a run is not judged by them.
    let is_judged = |task: &&Task| !task.is_teardown;
    let has_follower = |id: &str| {
        dag.tasks.iter().filter(is_judged).any(|task| task.depends_on.iter().any(|before| before.as_str() == id))
    };
    let mut last = dag.tasks.iter().filter(is_judged).filter(|task| !has_follower(task.task_id.as_str())).peekable();
    let Some(first) = last.peek().copied() else { return };
    if last.all(|task| !task.depends_on.is_empty() && runs_after_failure(task.trigger_rule)) {
        let message = format!(
            "every last task runs although one before it failed ('{}' by {}): such a run is a success",
            first.task_id,
            first.trigger_rule.as_str()
        );
        let hint = "let one last task with the rule all_success follow those that must not fail, or make it a teardown";
        found.push(Finding::task(first, "trigger_rule", message, hint));
    }
}
