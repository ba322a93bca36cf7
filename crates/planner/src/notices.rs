//! Whom a turn tells how tries begin, and how they and runs have ended.

use millrace_model::change::RunKey;
use millrace_model::notice::{Notice, NoticeEvent, NoticeTry};
use millrace_model::state::TaskState;

use crate::evaluate::TASK_FAILURE;
use crate::run::RunView;
use crate::turn::Turn;

/// Failed tasks that a notice names; the others are counted.
const MOST_NAMED: usize = 5;

/// Why a run has failed, with what has failed in it: whoever is told need not look.
fn with_failed_tasks(run: &RunView) -> String {
    let mut failed: Vec<&str> = Vec::new();
    for instance in run.instances.iter().filter(|it| it.state == TaskState::Failed) {
        let task_id = run.version.dag.tasks[instance.task].task_id.as_str();
        if failed.last() != Some(&task_id) {
            failed.push(task_id);
        }
    }
    let named = failed.iter().take(MOST_NAMED).copied().collect::<Vec<_>>().join(", ");
    match failed.len() {
        0 => TASK_FAILURE.to_owned(),
        count if count > MOST_NAMED => format!("{TASK_FAILURE}: {named} and {} more", count - MOST_NAMED),
        _ => format!("{TASK_FAILURE}: {named}"),
    }
}

impl Turn<'_> {
    /// Tells the task's callbacks.
    pub(crate) fn tell_of_try(
        &mut self,
        key: RunKey,
        place: usize,
        event: NoticeEvent,
        try_number: u32,
        reason: Option<&str>,
    ) {
        let Some(run) = self.view.runs.get(&key) else { return };
        let (task, instance) = (run.task(place), &run.instances[place]);
        let notices = task.callbacks.of(event).iter().map(|callback| Notice {
            run: key,
            dag_id: run.dag_id.clone(),
            run_id: run.facts.run_id.clone(),
            logical_date: run.facts.logical_date,
            of_try: Some(NoticeTry {
                instance: instance.key,
                task_id: task.task_id.clone(),
                map_index: instance.map_index,
                try_number,
            }),
            event,
            reason: reason.map(str::to_owned),
            callback: callback.clone(),
            at: self.now,
        });
        self.plan.batch.notices.extend(notices);
    }

    /// Tells the callbacks of the DAG, in the version that the run keeps to.
    pub(crate) fn tell_of_run(&mut self, key: RunKey, event: NoticeEvent, reason: Option<&str>) {
        let Some(run) = self.view.runs.get(&key) else { return };
        let reason = reason.map(|reason| match reason {
            TASK_FAILURE => with_failed_tasks(run),
            other => other.to_owned(),
        });
        let notices = run.version.dag.callbacks.of(event).iter().map(|callback| Notice {
            run: key,
            dag_id: run.dag_id.clone(),
            run_id: run.facts.run_id.clone(),
            logical_date: run.facts.logical_date,
            of_try: None,
            event,
            reason: reason.clone(),
            callback: callback.clone(),
            at: self.now,
        });
        self.plan.batch.notices.extend(notices);
    }
}
