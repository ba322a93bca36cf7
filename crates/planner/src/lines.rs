//! Who is next: what is ready, in lines by what it needs, and what holds a line up.
//!
//! Everything that needs the same of a pool and of the other limits stands in one line, so that what does not fit never
//! hides what does. Within a DAG the heavier goes first. Between DAGs weights say nothing, because by the usual rule they
//! grow with the number of tasks: what is more urgent by the weights that were written goes first, and of what is equally
//! urgent that of the DAG of which least is running. A DAG with a thousand ready tasks gets the same share as one with two.
//! What a backfill runs takes what is left.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, TaskId};

/// What only so many tries may hold at a time, whatever their pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum LimitKey {
    /// A task in all runs of its DAG.
    Task(DagId, TaskId),
    /// A task in one run, by its index.
    TaskInRun(RunKey, usize),
    /// The text that `concurrency` came to, in all DAGs.
    Key(Arc<str>),
}

/// What a ready instance needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Lane {
    pub pool: Arc<str>,
    pub slots: u32,
    /// With how many may hold each.
    pub limits: Arc<[(LimitKey, u32)]>,
    /// Of tries that were under way and want a slot again: also a paused DAG's go on.
    pub is_way_back: bool,
}

/// What a try holds that began when its run had another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub pool: String,
    pub pool_slots: u32,
    /// The text of its `concurrency` key, if it had one.
    pub key: Option<String>,
}

impl Lane {
    fn class(&self) -> Class {
        Class { pool: self.pool.clone(), slots: self.slots }
    }

    /// The text of its `concurrency` key.
    pub fn key(&self) -> Option<&Arc<str>> {
        self.limits.iter().find_map(|(limit, _)| match limit {
            LimitKey::Key(text) => Some(text),
            LimitKey::Task(..) | LimitKey::TaskInRun(..) => None,
        })
    }

    /// What a try of it holds that began with something else. How many may hold its key is said by whoever else wants it.
    pub fn begun_with(&self, begun: &Begun) -> Self {
        let mut held = Self { pool: begun.pool.as_str().into(), slots: begun.pool_slots, ..self.clone() };
        let key = begun.key.as_deref();
        if self.key().map(|own| &**own) != key {
            let of_task = self.limits.iter().filter(|(limit, _)| !matches!(limit, LimitKey::Key(_))).cloned();
            held.limits = of_task.chain(key.map(|key| (LimitKey::Key(key.into()), u32::MAX))).collect();
        }
        held
    }
}

/// What a ready instance needs of a pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Class {
    pub pool: Arc<str>,
    pub slots: u32,
}

/// The order among the ready of a DAG: normal before backfill, heavy before light, first in a backfill before last, old
/// before new, first in the graph before last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub is_backfill: bool,
    pub weight: Reverse<i32>,
    /// Of its run in its backfill, which may go from new to old.
    pub place: i64,
    pub logical_date: DateTime<Utc>,
    pub run: RunKey,
    pub position: u32,
    /// Index into the run's instances.
    pub instance: usize,
    /// Counts between DAGs.
    pub urgency: Reverse<i32>,
}

/// What a DAG puts forward in a class.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Front {
    pub is_backfill: bool,
    pub urgency: Reverse<i32>,
    /// Tries of the DAG that hold slots.
    pub running: u32,
    pub rank: Rank,
    pub dag_id: DagId,
}

/// The first of each run, of those that need the same.
#[derive(Debug, Default)]
struct Line {
    heads: BTreeSet<Rank>,
    is_open: bool,
}

#[derive(Debug, Default)]
struct DagLines {
    running: u32,
    lanes: BTreeMap<Lane, Line>,
    classes: BTreeMap<Class, DagClass>,
}

#[derive(Debug, Default)]
struct DagClass {
    /// The first of each open line.
    fronts: BTreeSet<(Rank, Lane)>,
    published: Option<Front>,
}

#[derive(Debug, Default)]
struct LimitUse {
    used: u32,
    /// The lines that need it.
    lines: BTreeSet<(DagId, Lane)>,
}

#[derive(Debug, Default)]
pub(crate) struct Lines {
    dags: HashMap<DagId, DagLines>,
    classes: BTreeMap<Class, BTreeSet<Front>>,
    limits: HashMap<LimitKey, LimitUse>,
}

impl Lines {
    /// The best of each class.
    pub fn fronts(&self) -> impl Iterator<Item = (&Class, &Front)> {
        self.classes.iter().filter_map(|(class, fronts)| fronts.first().map(|front| (class, front)))
    }

    pub fn insert(&mut self, dag_id: &DagId, lane: &Lane, head: Rank) {
        let dag = self.dags.entry(dag_id.clone()).or_default();
        if !dag.lanes.contains_key(lane) {
            let is_open = Self::is_open(&self.limits, lane);
            dag.lanes.insert(lane.clone(), Line { heads: BTreeSet::new(), is_open });
            for (limit, _) in lane.limits.iter() {
                self.limits.entry(limit.clone()).or_default().lines.insert((dag_id.clone(), lane.clone()));
            }
        }
        self.change_line(dag_id, lane, |line| {
            line.heads.insert(head);
        });
    }

    pub fn remove(&mut self, dag_id: &DagId, lane: &Lane, head: &Rank) {
        self.change_line(dag_id, lane, |line| {
            line.heads.remove(head);
        });
        let Some(dag) = self.dags.get_mut(dag_id) else { return };
        if dag.lanes.get(lane).is_some_and(|line| line.heads.is_empty()) {
            dag.lanes.remove(lane);
            for (limit, _) in lane.limits.iter() {
                if let Some(found) = self.limits.get_mut(limit) {
                    found.lines.remove(&(dag_id.clone(), lane.clone()));
                }
                self.forget_limit(limit);
            }
            self.forget_dag(dag_id);
        }
    }

    /// A try has begun to hold, or no longer holds, slots.
    pub fn note_running(&mut self, dag_id: &DagId, begins: bool) {
        let dag = self.dags.entry(dag_id.clone()).or_default();
        dag.running = step(dag.running, begins);
        let classes: Vec<Class> = dag.classes.keys().cloned().collect();
        for class in classes {
            self.publish(dag_id, &class);
        }
        self.forget_dag(dag_id);
    }

    /// A try has begun to hold, or no longer holds, its limits.
    pub fn note_limits(&mut self, lane: &Lane, begins: bool) {
        for (limit, _) in lane.limits.iter() {
            let found = self.limits.entry(limit.clone()).or_default();
            found.used = step(found.used, begins);
            let lines: Vec<(DagId, Lane)> = found.lines.iter().cloned().collect();
            for (dag_id, lane) in lines {
                let is_open = Self::is_open(&self.limits, &lane);
                self.change_line(&dag_id, &lane, |line| line.is_open = is_open);
            }
            self.forget_limit(limit);
        }
    }

    /// How many tries hold it now.
    pub fn used(&self, limit: &LimitKey) -> u32 {
        self.limits.get(limit).map_or(0, |found| found.used)
    }

    fn is_open(limits: &HashMap<LimitKey, LimitUse>, lane: &Lane) -> bool {
        lane.limits.iter().all(|(limit, most)| limits.get(limit).is_none_or(|found| found.used < *most))
    }

    /// Changes a line and what its DAG puts forward because of it.
    fn change_line(&mut self, dag_id: &DagId, lane: &Lane, change: impl FnOnce(&mut Line)) {
        let Some(dag) = self.dags.get_mut(dag_id) else { return };
        let Some(line) = dag.lanes.get_mut(lane) else { return };
        let front = |line: &Line| line.heads.first().copied().filter(|_| line.is_open);
        let before = front(line);
        change(line);
        let after = front(line);
        if before == after {
            return;
        }
        let class = lane.class();
        let fronts = &mut dag.classes.entry(class.clone()).or_default().fronts;
        if let Some(rank) = before {
            fronts.remove(&(rank, lane.clone()));
        }
        if let Some(rank) = after {
            fronts.insert((rank, lane.clone()));
        }
        self.publish(dag_id, &class);
    }

    fn publish(&mut self, dag_id: &DagId, class: &Class) {
        let Some(dag) = self.dags.get_mut(dag_id) else { return };
        let running = dag.running;
        let Some(own) = dag.classes.get_mut(class) else { return };
        let front = own.fronts.first().map(|(rank, _)| Front {
            is_backfill: rank.is_backfill,
            urgency: rank.urgency,
            running,
            rank: *rank,
            dag_id: dag_id.clone(),
        });
        if front == own.published {
            return;
        }
        let fronts = self.classes.entry(class.clone()).or_default();
        if let Some(old) = std::mem::replace(&mut own.published, front.clone()) {
            fronts.remove(&old);
        }
        match front {
            Some(front) => {
                fronts.insert(front);
            }
            None => {
                dag.classes.remove(class);
            }
        }
        if fronts.is_empty() {
            self.classes.remove(class);
        }
    }

    fn forget_dag(&mut self, dag_id: &DagId) {
        if self.dags.get(dag_id).is_some_and(|dag| dag.running == 0 && dag.lanes.is_empty()) {
            self.dags.remove(dag_id);
        }
    }

    fn forget_limit(&mut self, limit: &LimitKey) {
        if self.limits.get(limit).is_some_and(|found| found.used == 0 && found.lines.is_empty()) {
            self.limits.remove(limit);
        }
    }
}

fn step(count: u32, begins: bool) -> u32 {
    if begins { count + 1 } else { count.saturating_sub(1) }
}
