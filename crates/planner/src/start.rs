//! Which queued runs begin.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use millrace_model::change::{RunKey, RunMove};
use millrace_model::state::RunState;

use crate::turn::Turn;
use crate::view::{GroupKey, group_key, start_order};

impl Turn<'_> {
    /// Starts runs where there is room, until none follows: a run of inline tasks ends at once and makes room again.
    pub(crate) fn start_runs(&mut self) {
        while self.view.later_groups.first().is_some_and(|(at, _)| *at <= self.now) {
            if let Some((_, group)) = self.view.later_groups.pop_first() {
                self.view.dirty_groups.insert(group);
            }
        }
        // A key that several wait for goes round: first comes whoever has started no run for the longest time, and of a DAG
        // that has started none its normal runs before those of backfills, `None` sorts first.
        let mut line: BTreeSet<(u64, GroupKey)> = BTreeSet::new();
        loop {
            for group in std::mem::take(&mut self.view.dirty_groups) {
                line.insert((self.view.last_starts.get(&group).copied().unwrap_or(0), group));
            }
            let Some((_, group)) = line.pop_first() else { return };
            if let Some(key) = self.next_to_start(&group) {
                self.start_run(&group, key);
                self.evaluate_runs();
                self.view.dirty_groups.insert(group);
            } else if group.1.is_none() {
                self.refresh_due(&group.0);
                self.view.look_at_assets(&group.0);
            }
        }
    }

    fn next_to_start(&mut self, group: &GroupKey) -> Option<RunKey> {
        let members = self.view.groups.get(group)?;
        let (mut run_after, mut place, mut date, mut key) = members.queued.first().copied()?;
        if members.running >= self.view.max_active_runs(group) {
            return self.make_way(group);
        }
        loop {
            if self.view.runs.get(&key)?.is_held {
                return None;
            }
            if run_after > self.now {
                self.view.later_groups.insert((run_after, group.clone()));
                return None;
            }
            // One that is set aside holds up nobody, nor does one whose key is taken hold up others with another key.
            if !self.view.frozen.contains(&key) && (self.view.key_lets_start(key) || self.take_key_back(key)) {
                return Some(key);
            }
            let behind = (Bound::Excluded((run_after, place, date, key)), Bound::Unbounded);
            (run_after, place, date, key) = self.view.groups.get(group)?.queued.range(behind).next().copied()?;
        }
    }

    pub(crate) fn queue_run_again(&mut self, key: RunKey, reason: &str) {
        self.view.hide(key);
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        (run.state, run.holds_place) = (RunState::Queued, false);
        Arc::make_mut(&mut run.facts).start_date = None;
        let (group, order) = (group_key(run), start_order(run));
        let held = run.key_held.clone();
        self.view.free_key(&held);
        self.view.dirty_runs.remove(&key);
        if let Some(members) = self.view.groups.get_mut(&group) {
            members.running -= 1;
            members.queued.insert(order);
        }
        self.plan.batch.run_moves.push(RunMove {
            run: key,
            from: RunState::Running,
            to: RunState::Queued,
            reason: Some(reason.to_owned()),
        });
    }

    fn start_run(&mut self, group: &GroupKey, key: RunKey) {
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        let order = start_order(run);
        (run.state, run.holds_place) = (RunState::Running, true);
        Arc::make_mut(&mut run.facts).start_date = Some(self.now);
        run.look_at_everything();
        let held = run.key_held.clone();
        self.view.take_key(&held);
        if let Some(members) = self.view.groups.get_mut(group) {
            members.queued.remove(&order);
            members.running += 1;
        }
        self.view.starts_made += 1;
        self.view.last_starts.insert(group.clone(), self.view.starts_made);
        self.view.note_timeout(key);
        self.view.dirty_runs.insert(key);
        self.view.watch(key);
        self.plan.batch.run_moves.push(RunMove {
            run: key,
            from: RunState::Queued,
            to: RunState::Running,
            reason: None,
        });
    }
}
