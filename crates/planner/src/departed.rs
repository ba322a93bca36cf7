//! Tries of tasks that their run does not have any more: it was given to a version without them.
//!
//! Nothing is decided about such a task, and its try is asked to stop; until it has, it holds what it held.

use millrace_model::change::Completion;
use millrace_model::ids::DagId;
use millrace_model::state::TaskState;

use crate::instance::InstanceSnapshot;
use crate::lines::{Lane, LimitKey};
use crate::run::RunView;
use crate::view::{View, note_state};

#[derive(Debug)]
pub(crate) struct Departed {
    pub snapshot: InstanceSnapshot,
    lane: Lane,
}

impl Departed {
    /// None: it has no try, or one that somebody must end first.
    pub fn of(snapshot: InstanceSnapshot, dag_id: &DagId) -> Option<Self> {
        if snapshot.token.is_none() || !snapshot.state.is_finished() {
            return None;
        }
        // How many may hold them is said by the versions that have the task, and by whoever else has the key.
        let of_task = LimitKey::Task(dag_id.clone(), snapshot.task_id.clone());
        let begun = snapshot.begun.as_ref();
        let of_key = begun.and_then(|begun| begun.key.as_deref()).map(|key| LimitKey::Key(key.into()));
        let limits = std::iter::once(of_task).chain(of_key).map(|limit| (limit, u32::MAX));
        let lane = Lane {
            pool: begun.map_or(&snapshot.pool, |begun| &begun.pool).as_str().into(),
            slots: begun.map_or(snapshot.pool_slots, |begun| begun.pool_slots),
            limits: limits.collect(),
            is_way_back: false,
        };
        Some(Self { snapshot, lane })
    }

    pub fn lane(&self) -> &Lane {
        &self.lane
    }

    /// What it holds, as though nobody had taken its task away.
    pub fn holding(&self) -> TaskState {
        if self.snapshot.is_outside { TaskState::Deferred } else { TaskState::Running }
    }
}

impl View {
    /// Counts what a run's departed tries hold, or no longer counts it.
    pub(crate) fn note_departed(&mut self, run: &RunView, is_there: bool) {
        for (instance, departed) in &run.departed {
            let change = if is_there {
                self.departed.insert(*instance, run.key());
                (TaskState::None, departed.holding())
            } else {
                self.departed.remove(instance);
                (departed.holding(), TaskState::None)
            };
            let place = (&run.dag_id, &departed.lane);
            note_state(&mut self.used, &mut self.deferred, &mut self.lines, place, change);
        }
    }

    /// The departed try has stopped. Returns false when it is none.
    pub(crate) fn let_departed_go(&mut self, completion: &Completion) -> bool {
        let Some(key) = self.departed.get(&completion.instance).copied() else { return false };
        self.hide(key);
        let Some(run) = self.runs.get_mut(&key) else { return false };
        let is_it = |it: &Departed| it.snapshot.token.as_deref() == Some(completion.token.as_str());
        if run.departed.get(&completion.instance).is_some_and(is_it)
            && let Some(departed) = run.departed.remove(&completion.instance)
        {
            self.departed.remove(&completion.instance);
            let change = (departed.holding(), TaskState::None);
            let place = (&run.dag_id, &departed.lane);
            note_state(&mut self.used, &mut self.deferred, &mut self.lines, place, change);
        }
        self.try_has_stopped(key);
        true
    }
}
