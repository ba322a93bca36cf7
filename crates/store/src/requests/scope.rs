//! Which task instances a person means: tasks, their relatives, and the runs they are wanted in.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_model::selection::{SelectedTasks, TaskChoice, TaskSelection};
use millrace_model::state::{RunState, TaskState};

use crate::requests::repin::is_partial;
use crate::runs::instance::{HAS_FAILED, read_instance};
use crate::runs::run::{RUN_SELECT, read_run, run_in};
use crate::sql::{Kind, opt_micros, values};
use crate::{InstanceRow, Result, RunRow, Store, StoreError, Tx, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunChoice {
    One(RunKey),
    /// Logical dates from the first to before the second; none: without an end.
    Between {
        dag_id: DagId,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
    },
}

/// What a change by hand is about.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    pub runs: RunChoice,
    /// Also the same tasks in the DAG's runs of earlier logical dates.
    pub past: bool,
    /// Also the same tasks in the DAG's runs of later logical dates.
    pub future: bool,
    pub tasks: TaskSelection,
    /// Only those that failed or never got their chance; all of them in a failed run that has none such.
    pub only_failed: bool,
    pub only_running: bool,
}

impl Selection {
    /// Tasks of one run, without relatives.
    pub fn of_run(run: RunKey, tasks: TaskChoice) -> Self {
        Self::of(RunChoice::One(run), tasks)
    }

    pub fn of(runs: RunChoice, tasks: TaskChoice) -> Self {
        Self { runs, past: false, future: false, tasks: tasks.into(), only_failed: false, only_running: false }
    }

    /// Every task of its runs, whatever their states.
    pub(crate) fn is_whole(&self) -> bool {
        self.tasks.tasks == TaskChoice::All && !self.only_failed && !self.only_running
    }
}

/// A run of a selection, with all of its instances.
pub(crate) struct ScopedRun {
    pub row: RunRow,
    /// The version it is judged by.
    pub dag: Arc<Dag>,
    pub instances: Vec<InstanceRow>,
    pub tasks: SelectedTasks,
    /// Setups and teardowns that go with what has failed of `tasks`, when only that is meant; in whatever state they are.
    companions: SelectedTasks,
    /// The version is a part of the DAG: it says nothing of other tasks.
    is_part: bool,
    /// It has failed, and no task of it has: what it failed of (a deadlock) concerns all of them.
    has_failed_whole: bool,
}

impl ScopedRun {
    pub fn is_selected(&self, selection: &Selection, instance: &InstanceRow) -> bool {
        self.is_meant(selection, instance) || self.companions.has_task(&instance.task_id)
    }

    /// What has failed can't run again without its setup, nor be left without its teardown.
    fn with_companions(mut self, selection: &Selection) -> Self {
        if selection.only_failed && !self.has_failed_whole {
            let meant = self.instances.iter().filter(|it| self.is_meant(selection, it)).map(|it| it.task_id.clone());
            self.companions = meant.collect::<SelectedTasks>().setups_and_teardowns(&self.dag);
        }
        self
    }

    fn is_meant(&self, selection: &Selection, instance: &InstanceRow) -> bool {
        let named = match self.dag.task(instance.task_id.as_str()) {
            Some(_) => self.tasks.contains(&instance.task_id, instance.map_index),
            None => !self.is_part && selection.tasks.names_gone(&instance.task_id),
        };
        named
            && (!selection.only_failed || instance.has_failed() || self.has_failed_whole)
            && (!selection.only_running || instance.state == TaskState::Running)
    }
}

/// Of many runs only some are worth reading; one that is named is read whatever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Any,
    Active,
    /// It has failed, or something in it has.
    WithFailures,
}

impl Which {
    fn condition(self) -> String {
        match self {
            Self::Any => "1 = 1".to_owned(),
            Self::Active => "r.state IN ('queued', 'running')".to_owned(),
            Self::WithFailures => format!(
                "(r.state = 'failed' OR EXISTS (SELECT 1 FROM task_instance i WHERE i.run_id = r.id AND {HAS_FAILED}))"
            ),
        }
    }
}

impl Selection {
    pub(crate) fn which(&self) -> Which {
        if self.only_failed { Which::WithFailures } else { Which::Any }
    }
}

/// The runs of a choice, oldest first.
pub(crate) async fn runs_of(
    tx: &Tx,
    choice: &RunChoice,
    (past, future): (bool, bool),
    which: Which,
) -> Result<Vec<RunRow>> {
    let (dag_id, from, to) = match choice {
        RunChoice::One(key) => {
            let run = run_in(&tx.inner, *key).await?;
            if !past && !future {
                return Ok(vec![run]);
            }
            let (from, to) = (run.logical_date, run.logical_date + chrono::TimeDelta::microseconds(1));
            (run.dag_id, Some(from), Some(to))
        }
        RunChoice::Between { dag_id, from, to } => (dag_id.clone(), *from, *to),
    };
    let (from, to) = (from.filter(|_| !past), to.filter(|_| !future));
    let sql = format!(
        "{RUN_SELECT} WHERE r.dag_id = $1 AND r.logical_date >= $2 AND r.logical_date < $3 AND {} \
         ORDER BY r.logical_date",
        which.condition()
    );
    let (from, to) = (opt_micros(from).unwrap_or(i64::MIN), opt_micros(to).unwrap_or(i64::MAX));
    let rows = sql::all(&tx.inner, "read the runs of a selection", sql, values![dag_id.as_str(), from, to]).await?;
    rows.iter().map(read_run).collect()
}

/// The instances of several runs, in the order of their runs.
pub(crate) async fn instances_of(tx: &Tx, runs: &[RunKey]) -> Result<HashMap<RunKey, Vec<InstanceRow>>> {
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!("SELECT i.* FROM {source} CROSS JOIN task_instance i WHERE i.run_id = x_id ORDER BY i.id");
    let rows = sql::all(&tx.inner, "read task instances", sql, vec![sql::column(runs.iter().copied())]).await?;
    let mut found: HashMap<RunKey, Vec<InstanceRow>> = HashMap::with_capacity(runs.len());
    for row in &rows {
        let instance = read_instance(row)?;
        found.entry(instance.run).or_default().push(instance);
    }
    Ok(found)
}

/// What a selection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Setups and teardowns come along.
    Clear,
    /// Teardowns are left to run.
    Mark,
}

impl Store {
    /// The runs of a selection with what is meant in each. Errors: `NotFound` for a named task that none of them has.
    pub(crate) async fn scope(&self, tx: &Tx, selection: &Selection, purpose: Purpose) -> Result<Vec<ScopedRun>> {
        let which = if purpose == Purpose::Clear { selection.which() } else { Which::Any };
        let rows = runs_of(tx, &selection.runs, (selection.past, selection.future), which).await?;
        let keys: Vec<RunKey> = rows.iter().map(|run| run.key).collect();
        let mut instances = instances_of(tx, &keys).await?;
        let mut known: HashMap<i64, (Arc<Dag>, SelectedTasks, bool)> = HashMap::new();
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            let (dag, tasks, is_part) = match known.get(&row.version_key) {
                Some(found) => found.clone(),
                None => {
                    let dag = self.dag_version_in(&tx.inner, row.version_key).await?;
                    let named = selection.tasks.of(&dag);
                    let tasks = match purpose {
                        Purpose::Clear => named.with_setups_and_teardowns(&dag),
                        Purpose::Mark => named.without_teardowns(&dag, &selection.tasks.tasks),
                    };
                    let found = (dag.clone(), tasks, is_partial(tx, row.version_key).await?);
                    known.insert(row.version_key, found.clone());
                    found
                }
            };
            let instances = instances.remove(&row.key).unwrap_or_default();
            let run = ScopedRun {
                companions: SelectedTasks::default(),
                has_failed_whole: purpose == Purpose::Clear
                    && row.state == RunState::Failed
                    && !instances.iter().any(InstanceRow::has_failed),
                instances,
                row,
                dag,
                tasks,
                is_part,
            };
            runs.push(if purpose == Purpose::Clear { run.with_companions(selection) } else { run });
        }
        check_names(&runs, selection)?;
        Ok(runs)
    }
}

fn check_names(runs: &[ScopedRun], selection: &Selection) -> Result<()> {
    let TaskChoice::Named(names) = &selection.tasks.tasks else { return Ok(()) };
    let is_known = |(name, index): &(millrace_model::ids::TaskId, Option<i32>)| {
        let is_it = |it: &InstanceRow| it.task_id == *name && index.is_none_or(|index| it.map_index == index);
        runs.iter().any(|run| run.instances.iter().any(is_it))
    };
    match names.iter().find(|name| !is_known(name)) {
        Some((name, index)) if !runs.is_empty() => {
            let index = index.map(|index| format!(" [{index}]")).unwrap_or_default();
            Err(StoreError::NotFound { kind: "selected run with a task", name: format!("{name}{index}") })
        }
        _ => Ok(()),
    }
}
