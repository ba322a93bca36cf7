//! What a backfill that somebody asks for would run, and why it may not.

use chrono::{DateTime, Utc};
use millrace_model::change::{NewInstance, NewRun};
use millrace_model::dag::{Dag, Task};
use millrace_model::ids::TaskId;
use millrace_model::mapping::Expand;
use millrace_model::selection::{SelectedTasks, TaskSelection};

use crate::requests::{BackfillRange, RequestError, backfill_runs};
use crate::version::DagVersion;

/// A range of dates, and how to run them.
#[derive(Debug, Clone)]
pub struct BackfillWish<'a> {
    pub range: BackfillRange<'a>,
    /// The newest date first.
    pub is_reversed: bool,
    /// Dates that have a finished run may be run again.
    pub reprocesses: bool,
    /// Only these tasks; none: all.
    pub tasks: Option<TaskSelection>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct BackfillPlan {
    /// In the order in which they are to run.
    pub runs: Vec<NewRun>,
    pub part: Option<BackfillPart>,
}

/// A backfill that runs some tasks of its DAG only.
#[derive(Debug, Clone, PartialEq)]
pub struct BackfillPart {
    /// The DAG with nothing but these tasks: what they waited for outside of them counts as done.
    pub dag: Dag,
    /// The other tasks.
    pub left_out: Vec<NewInstance>,
    /// Tasks that nobody chose and that run all the same, each with a task that is mapped over its result.
    pub lists: Vec<(TaskId, TaskId)>,
}

/// Errors: no date to run, or an order in which tasks that look at the run before could not run.
pub fn plan_backfill(wish: &BackfillWish<'_>, now: DateTime<Utc>) -> Result<BackfillPlan, RequestError> {
    let version = wish.range.version;
    let part = wish.tasks.as_ref().map(|tasks| part_of(version, tasks)).transpose()?;
    let tasks = part.as_ref().map_or(&version.dag.tasks, |part| &part.dag.tasks);
    let mut runs = backfill_runs(&wish.range, now)?;
    check_past(wish, tasks)?;
    if let Some(part) = &part {
        let is_in = |task: &NewInstance| part.dag.task(task.task_id.as_str()).is_some();
        for run in &mut runs {
            run.tasks.retain(is_in);
        }
    }
    if wish.is_reversed {
        runs.reverse();
    }
    Ok(BackfillPlan { runs, part })
}

fn check_past(wish: &BackfillWish<'_>, tasks: &[Task]) -> Result<(), RequestError> {
    let looks_back = |task: &&Task| task.depends_on_past || task.wait_for_downstream;
    let Some(task) = tasks.iter().find(looks_back) else { return Ok(()) };
    let (dag_id, task_id) = (wish.range.version.dag.dag_id.clone(), task.task_id.clone());
    if wish.is_reversed {
        return Err(RequestError::ReversedPast { dag_id, task_id });
    }
    if !wish.reprocesses {
        return Err(RequestError::PastWithoutReprocess { dag_id, task_id });
    }
    Ok(())
}

fn part_of(version: &DagVersion, tasks: &TaskSelection) -> Result<BackfillPart, RequestError> {
    let dag = &version.dag;
    let mut chosen = tasks.of(dag).with_setups_and_teardowns(dag);
    if chosen.is_empty() {
        return Err(RequestError::NoTasks { dag_id: dag.dag_id.clone() });
    }
    // Without its list a mapped task could not even be told how often to run.
    let mut lists = Vec::new();
    loop {
        let missing = missing_lists(dag, &chosen);
        if missing.is_empty() {
            break;
        }
        let producers = missing.iter().map(|(producer, _)| producer);
        let more: SelectedTasks = chosen.names().chain(producers).cloned().collect();
        chosen = more.with_setups_and_teardowns(dag);
        lists.extend(missing);
    }
    let left_out = version.new_instances().into_iter().filter(|task| !chosen.has_task(&task.task_id)).collect();
    Ok(BackfillPart { dag: chosen.part_of(dag), left_out, lists })
}

/// What chosen tasks are mapped over and that is not chosen, each once, with the first task that needs it.
fn missing_lists(dag: &Dag, chosen: &SelectedTasks) -> Vec<(TaskId, TaskId)> {
    let mut missing: Vec<(TaskId, TaskId)> = Vec::new();
    for task in dag.tasks.iter().filter(|task| chosen.has_task(&task.task_id)) {
        for producer in dag.expand_of(task).into_iter().flat_map(Expand::producers) {
            if !chosen.has_task(producer) && missing.iter().all(|(known, _)| known != producer) {
                missing.push((producer.clone(), task.task_id.clone()));
            }
        }
    }
    missing
}
