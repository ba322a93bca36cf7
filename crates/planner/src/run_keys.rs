//! Keys that whole runs hold: so many runs at a time, of any DAG, whose keys come to the same text.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use millrace_model::change::{RunFacts, RunKey};
use millrace_model::state::RunState;

use crate::run::RunView;
use crate::turn::Turn;
use crate::version::{DagVersion, KeyFacts};
use crate::view::{GroupKey, View, group_key};

/// What a run holds while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HeldKey {
    None,
    Key {
        text: Arc<str>,
        limit: u32,
    },
    /// Its key has no text, so that it can't start.
    Broken(String),
}

impl HeldKey {
    pub fn of(version: &DagVersion, run: &RunFacts) -> Self {
        let Some(concurrency) = &version.dag.concurrency else { return Self::None };
        let facts = KeyFacts { template: &concurrency.key, dag: &version.dag, task: None, run, map_index: -1 };
        match (version.render_key)(&facts) {
            Ok(text) => Self::Key { text: text.into(), limit: concurrency.limit },
            Err(error) => Self::Broken(error),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct RunKeys {
    /// Running runs by the text of their key.
    running: BTreeMap<Arc<str>, u32>,
    /// Who has a queued run that waits for it.
    waiting: BTreeMap<Arc<str>, BTreeSet<GroupKey>>,
}

impl RunKeys {
    pub fn used(&self, text: &str) -> u32 {
        self.running.get(text).copied().unwrap_or(0)
    }
}

impl View {
    /// A run begins to run.
    pub(crate) fn take_key(&mut self, held: &HeldKey) {
        if let HeldKey::Key { text, .. } = held {
            *self.run_keys.running.entry(text.clone()).or_default() += 1;
        }
    }

    /// A run has stopped running: who waits for its key is looked at again.
    pub(crate) fn free_key(&mut self, held: &HeldKey) {
        let HeldKey::Key { text, .. } = held else { return };
        if let Some(count) = self.run_keys.running.get_mut(text) {
            *count -= 1;
            if *count == 0 {
                self.run_keys.running.remove(text);
            }
        }
        self.dirty_groups.extend(self.run_keys.waiting.remove(text).unwrap_or_default());
    }

    /// Whether a queued run's key lets it start. If not, its DAG or backfill is looked at again when it does.
    pub(crate) fn key_lets_start(&mut self, run: RunKey) -> bool {
        let Some(run) = self.runs.get(&run) else { return false };
        match &run.key_held {
            HeldKey::None => true,
            HeldKey::Broken(_) => false,
            HeldKey::Key { text, limit } if self.run_keys.used(text) >= *limit => {
                let group = group_key(run);
                self.run_keys.waiting.entry(text.clone()).or_default().insert(group);
                false
            }
            HeldKey::Key { .. } => true,
        }
    }

    /// Whether the key lets `waiting` start in the place of `running`.
    pub(crate) fn key_lets_swap(&self, waiting: RunKey, running: RunKey) -> bool {
        let (Some(waiting), Some(running)) = (self.runs.get(&waiting), self.runs.get(&running)) else { return false };
        match &waiting.key_held {
            HeldKey::None => true,
            HeldKey::Broken(_) => false,
            HeldKey::Key { text, limit } => waiting.key_held == running.key_held || self.run_keys.used(text) < *limit,
        }
    }

    /// The groups that wait for a run's key are looked at again: one of theirs may take it.
    pub(crate) fn offer_key(&mut self, key: RunKey) {
        let Some(HeldKey::Key { text, .. }) = self.runs.get(&key).map(|run| &run.key_held) else { return };
        self.dirty_groups.extend(self.run_keys.waiting.get(text).into_iter().flatten().cloned());
    }

    /// Who holds the key that a queued run waits for, though it only waits itself, and for an earlier run: the last one of
    /// those of the same DAG that come after the queued one.
    fn idle_holder(&self, waiting: RunKey) -> Option<RunKey> {
        let run = self.runs.get(&waiting)?;
        let HeldKey::Key { text, limit } = &run.key_held else { return None };
        if self.run_keys.used(text) > *limit {
            return None;
        }
        let holds = |other: &RunView| matches!(&other.key_held, HeldKey::Key { text: held, .. } if held == text);
        let is_idle = |other: &RunView| other.state == RunState::Running && other.only_waits_for_past();
        let later = self.later_lookers(&run.dag_id, run.facts.logical_date);
        later.rev().find(|key| {
            !self.frozen.contains(key) && self.runs.get(key).is_some_and(|other| holds(other) && is_idle(other))
        })
    }
}

impl Turn<'_> {
    /// For a queued run whose key is taken: a later run of its DAG that holds the key and only waits for one before it
    /// goes back into the queue, or the two might wait for each other for ever. Returns whether the key is free now.
    pub(crate) fn take_key_back(&mut self, waiting: RunKey) -> bool {
        let Some(holder) = self.view.idle_holder(waiting) else { return false };
        self.view.dirty_groups.extend(self.view.runs.get(&holder).map(group_key));
        self.queue_run_again(holder, "the run before it runs first");
        true
    }
}
