//! Maintenance windows: while one is open, nothing of the DAGs that it counts for starts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_model::maintenance::Maintenance;

use crate::condition::Condition;
use crate::turn::Turn;
use crate::view::View;

/// What the text of a condition that an open window breaks begins with.
pub const HELD: &str = "held by the maintenance window";

/// What the view knows of windows.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// Those of the installation.
    pub everyones: Arc<Maintenance>,
    /// DAGs with an open window.
    pub open: BTreeSet<DagId>,
    /// DAGs that were added or replaced.
    pub unseen: BTreeSet<DagId>,
    /// When the next window of a DAG opens or closes.
    changes: BTreeSet<(DateTime<Utc>, DagId)>,
    change_of: BTreeMap<DagId, DateTime<Utc>>,
    /// When the windows were looked at.
    seen_at: Option<DateTime<Utc>>,
}

impl Windows {
    fn set_change(&mut self, dag_id: &DagId, at: Option<DateTime<Utc>>) {
        let before = match at {
            Some(at) => self.change_of.insert(dag_id.clone(), at),
            None => self.change_of.remove(dag_id),
        };
        if let Some(before) = before {
            self.changes.remove(&(before, dag_id.clone()));
        }
        if let Some(at) = at {
            self.changes.insert((at, dag_id.clone()));
        }
    }

    /// A DAG is new, or another version of it is.
    pub fn look_at(&mut self, dag_id: &DagId, dag: &Dag) {
        let may_hold = !dag.maintenance.is_empty() || !self.everyones.windows.is_empty();
        if may_hold || self.change_of.contains_key(dag_id) || self.open.contains(dag_id) {
            self.unseen.insert(dag_id.clone());
        }
    }

    pub fn forget(&mut self, dag_id: &DagId) {
        self.set_change(dag_id, None);
        self.open.remove(dag_id);
        self.unseen.remove(dag_id);
    }

    pub fn next_change(&self) -> Option<DateTime<Utc>> {
        self.changes.first().map(|(at, _)| *at)
    }
}

/// The window that is open longest for a DAG, and until when.
pub(crate) fn open_window(everyones: &Maintenance, dag: &Dag, now: DateTime<Utc>) -> Option<(String, DateTime<Utc>)> {
    everyones
        .of(&dag.maintenance, &dag.tags)
        .filter_map(|window| Some((window.to_string(), window.open_until(now)?)))
        .max_by_key(|(_, until)| *until)
}

/// That no window holds the DAG, when it has any.
pub(crate) fn condition(view: &View, dag: &Dag, now: DateTime<Utc>) -> Option<Condition> {
    let everyones = &view.windows.everyones;
    if let Some((window, until)) = open_window(everyones, dag, now) {
        let text = format!("{HELD} {window} until {}", format_utc_micros(until));
        return Some(Condition::at(until, false, text));
    }
    let next = everyones.of(&dag.maintenance, &dag.tags).filter_map(|window| window.next_change(now)).min()?;
    let text = format!("no maintenance window is open; the next one opens at {}", format_utc_micros(next));
    Some(Condition::new(true, text))
}

/// As [`condition`], for what is due at a moment that may lie ahead: a window that is closed again by then holds nothing up.
pub(crate) fn condition_at(view: &View, dag: &Dag, (now, due): (DateTime<Utc>, DateTime<Utc>)) -> Option<Condition> {
    let is_open_at = |at| open_window(&view.windows.everyones, dag, at).is_some();
    let is_free_then = due > now && is_open_at(now) && !is_open_at(due);
    let at = if due > now && is_open_at(due) { due } else { now };
    condition(view, dag, at).filter(|_| !is_free_then)
}

impl View {
    /// Replaces the windows of the installation.
    pub fn set_maintenance(&mut self, maintenance: Arc<Maintenance>) {
        if self.windows.everyones != maintenance {
            self.windows.everyones = maintenance;
            self.windows.unseen.extend(self.dags.keys().cloned());
        }
    }
}

impl Turn<'_> {
    /// Holds the DAGs whose windows have opened, and lets go of those whose windows have closed.
    pub(crate) fn keep_windows(&mut self) {
        let windows = &mut self.view.windows;
        if windows.seen_at.is_some_and(|seen| seen > self.now) {
            // The clock was set back: what was passed may be ahead again.
            windows.unseen.extend(windows.change_of.keys().cloned());
            windows.unseen.extend(windows.open.iter().cloned());
        }
        windows.seen_at = Some(self.now);
        while let Some((_, dag_id)) = windows.changes.first().filter(|(at, _)| *at <= self.now).cloned() {
            windows.set_change(&dag_id, None);
            windows.unseen.insert(dag_id);
        }
        while let Some(dag_id) = self.view.windows.unseen.pop_first() {
            let Some(facts) = self.view.dags.get(&dag_id) else { continue };
            let dag = facts.version.dag.clone();
            let everyones = self.view.windows.everyones.clone();
            let is_open = open_window(&everyones, &dag, self.now).is_some();
            let next = everyones.of(&dag.maintenance, &dag.tags).filter_map(|it| it.next_change(self.now)).min();
            self.view.windows.set_change(&dag_id, next);
            let was_open = if is_open {
                !self.view.windows.open.insert(dag_id.clone())
            } else {
                self.view.windows.open.remove(&dag_id)
            };
            if is_open != was_open {
                self.view.hold_runs(&dag_id);
                self.view.mark_groups(&dag_id);
            }
        }
    }
}
