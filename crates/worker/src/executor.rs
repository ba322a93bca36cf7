//! Tries on this machine: so many at a time, each a task of the runtime.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use millrace_logs::{Level, LogFolder, TryId};
use millrace_model::change::{Assignment, Executor, InstanceKey, LostTry, Report};
use millrace_model::ledger::Checkpoint;
use millrace_operator_api::context::{NoTriggers, Runs, Triggers};
use millrace_store::Store;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::attempt::run_attempt;
use crate::cancel::Cancel;
use crate::equipment::{AttemptIo, Equipment};
use crate::journal::{StoreJournal, StoreResults};
use crate::note::{LOGS, Note, Notebook};
use crate::report::{AttemptLog, LogSink};
use crate::slot::Seat;
use crate::told::Told;
use crate::triggers::StoreTriggers;

pub struct LocalExecutorOptions {
    pub equipment: Arc<Equipment>,
    pub store: Store,
    pub logs: LogFolder,
    /// Where tries see how other DAGs' runs are getting on.
    pub runs: Arc<dyn Runs>,
    /// Tries at the same time.
    pub slots: usize,
    /// Where the scheduler hears of the ends of tries, and of their slots.
    pub completions: mpsc::UnboundedSender<Report>,
}

/// Runs tries as tasks of the runtime it was made in.
pub struct LocalExecutor {
    shared: Arc<Shared>,
    runtime: Handle,
}

struct Shared {
    options: LocalExecutorOptions,
    /// May change while tries run.
    slots: AtomicUsize,
    busy: Arc<AtomicUsize>,
    running: Mutex<HashMap<InstanceKey, (Arc<Seat>, Cancel)>>,
    /// Why nothing may run now, and when what runs must be gone.
    fence: Mutex<Option<(String, Instant)>>,
    notes: mpsc::UnboundedSender<(Arc<Notebook>, Note)>,
}

impl LocalExecutor {
    /// Must be called inside a tokio runtime.
    pub fn new(options: LocalExecutorOptions) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(write_notes(receiver));
        let slots = AtomicUsize::new(options.slots);
        let shared = Shared {
            options,
            slots,
            busy: Arc::default(),
            running: Mutex::default(),
            fence: Mutex::default(),
            notes: sender,
        };
        Self { shared: Arc::new(shared), runtime: Handle::current() }
    }

    /// From now on. Fewer than are busy stops nothing: no try starts until there are fewer.
    pub fn set_slots(&self, slots: usize) {
        self.shared.slots.store(slots, Ordering::SeqCst);
    }
}

/// One writer, so that the notes of a try stay in order and no try waits for the database.
async fn write_notes(mut receiver: mpsc::UnboundedReceiver<(Arc<Notebook>, Note)>) {
    while let Some((notebook, note)) = receiver.recv().await {
        notebook.try_write(&note).await;
    }
}

impl Shared {
    /// The map stays usable whatever panicked while it was held: entries are put and removed whole.
    fn running(&self) -> MutexGuard<'_, HashMap<InstanceKey, (Arc<Seat>, Cancel)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fence(&self) -> MutexGuard<'_, Option<(String, Instant)>> {
        self.fence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, assignment: &Assignment, runtime: Handle) -> Arc<AttemptLog> {
        let options = &self.options;
        let id = TryId {
            dag_id: assignment.dag.dag_id.to_string(),
            run_id: assignment.run.run_id.to_string(),
            task_id: assignment.task().task_id.to_string(),
            map_index: assignment.map_index,
            try_number: assignment.try_number,
        };
        let (notes, notebook) = (self.notes.clone(), Arc::new(Notebook::of(options.store.clone(), assignment)));
        Arc::new(AttemptLog::new(&options.logs, &id, runtime, move |note| {
            // The receiver ends with the runtime only; nobody is left to read it then.
            let _ = notes.send((notebook.clone(), note));
        }))
    }

    fn io(&self, assignment: &Assignment, log: Arc<AttemptLog>, seat: Arc<Seat>, cancel: Cancel) -> AttemptIo {
        let options = &self.options;
        AttemptIo {
            log,
            journal: Arc::new(StoreJournal {
                store: options.store.clone(),
                clock: options.equipment.clock.clone(),
                instance: assignment.instance,
                generation: assignment.generation,
            }),
            results: Arc::new(StoreResults::new(options.store.clone(), assignment)),
            runs: options.runs.clone(),
            triggers: self.triggers(assignment),
            slot: seat,
            cancel,
        }
    }
}

impl Shared {
    /// A log that lacks lines cannot say so itself: nothing can be written to it.
    fn tell_of_lost_lines(&self, log: &AttemptLog, at: DateTime<Utc>) {
        match log.lost_lines() {
            0 if log.is_whole() && self.options.store.set_trouble(LOGS, None) => {
                tracing::info!("logs of tries can be written again");
            }
            0 => {}
            lost => log.note(Note::Checkpoint(Checkpoint::of_lost_lines(lost, at))),
        }
    }

    /// A test records nothing that others could start.
    fn triggers(&self, assignment: &Assignment) -> Arc<dyn Triggers> {
        if self.options.equipment.is_test {
            return Arc::new(NoTriggers);
        }
        let (store, clock) = (self.options.store.clone(), self.options.equipment.clock.clone());
        Arc::new(StoreTriggers::new(store, clock, assignment))
    }
}

impl Executor for LocalExecutor {
    fn free_slots(&self) -> usize {
        if self.shared.fence().is_some() {
            return 0;
        }
        self.shared.slots.load(Ordering::SeqCst).saturating_sub(self.shared.busy.load(Ordering::SeqCst))
    }

    fn start(&self, assignments: Vec<Assignment>) {
        for assignment in assignments {
            let (shared, instance, token) = (self.shared.clone(), assignment.instance, assignment.token.clone());
            let reports = shared.options.completions.clone();
            let seat = Arc::new(Seat::take(instance, token.clone(), shared.busy.clone(), reports));
            let cancel = Cancel::new();
            shared.running().insert(instance, (seat.clone(), cancel.clone()));
            if let Some((reason, at)) = &*shared.fence() {
                cancel.cut_off(reason, *at);
            }
            let log = shared.log(&assignment, self.runtime.clone());
            let io = shared.io(&assignment, log.clone(), seat.clone(), cancel);
            let told = Told::of(&assignment);
            self.runtime.spawn(async move {
                let completion = run_attempt(shared.options.equipment.clone(), assignment, io).await;
                {
                    let mut running = shared.running();
                    // A newer try of the same instance must not lose its entry.
                    if running.get(&instance).is_some_and(|(current, _)| current.has(&token)) {
                        running.remove(&instance);
                    }
                }
                // The slot is free before the scheduler hears of the end, so that it can be given away at once.
                seat.stand_up();
                shared.tell_of_lost_lines(&log, completion.ended_at);
                if let Some(told) = told {
                    told.tell(&shared.options.store, &completion, log.lost_lines());
                }
                if shared.options.completions.send(completion.into()).is_err() {
                    tracing::warn!(
                        instance,
                        "a try ended after the scheduler had stopped; it will be found at the next start"
                    );
                }
            });
        }
    }

    fn cancel(&self, instance: InstanceKey, token: &str, reason: &str) {
        let cancel =
            self.shared.running().get(&instance).filter(|(current, _)| current.has(token)).map(|(_, c)| c.clone());
        if let Some(cancel) = cancel {
            cancel.fire(reason);
        }
    }

    fn tell_of_loss(&self, lost: &LostTry) {
        let id = TryId {
            dag_id: lost.dag_id.to_string(),
            run_id: lost.run_id.to_string(),
            task_id: lost.task_id.to_string(),
            map_index: lost.map_index,
            try_number: lost.try_number,
        };
        let log = self.shared.options.logs.open(&id, Arc::new(str::to_owned));
        log.write(lost.at, Level::Error, &lost.text);
    }

    fn fence(&self, reason: &str, grace: Duration) {
        let at = Instant::now() + grace;
        *self.shared.fence() = Some((reason.to_owned(), at));
        for (_, cancel) in self.shared.running().values() {
            cancel.cut_off(reason, at);
        }
    }

    fn lift_fence(&self) {
        *self.shared.fence() = None;
    }

    fn resume(&self, instance: InstanceKey, token: &str) {
        let seat =
            self.shared.running().get(&instance).filter(|(seat, _)| seat.has(token)).map(|(seat, _)| seat.clone());
        if let Some(seat) = seat {
            seat.sit_down();
        }
    }
}
