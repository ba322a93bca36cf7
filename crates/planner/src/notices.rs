//! Whom a turn tells how tries begin, and how they and runs have ended.

use millrace_model::change::RunKey;
use millrace_model::notice::{Notice, NoticeEvent, NoticeTry};

use crate::turn::Turn;

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
        let notices = run.version.dag.callbacks.of(event).iter().map(|callback| Notice {
            run: key,
            dag_id: run.dag_id.clone(),
            run_id: run.facts.run_id.clone(),
            logical_date: run.facts.logical_date,
            of_try: None,
            event,
            reason: reason.map(str::to_owned),
            callback: callback.clone(),
            at: self.now,
        });
        self.plan.batch.notices.extend(notices);
    }
}
