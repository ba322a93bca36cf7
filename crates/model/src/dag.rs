//! A DAG as everything but its file knows it: checked, defaults applied, serialisable.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::alert::{Deadline, LongerThanUsual};
use crate::asset::{AssetCondition, AssetName};
use crate::calendar::{CalendarRule, Fate};
use crate::duration::Span;
use crate::execution::{KeyLimit, WeightRule};
use crate::ids::{DagId, TaskId};
use crate::maintenance::MaintenanceWindow;
use crate::mapping::{Expand, TaskGroup};
use crate::notice::Callbacks;
use crate::schedule::{Misfire, PlannedRun, Schedule, Timetable, Window};
use crate::trigger_rule::TriggerRule;

/// The version of the serialised form below. A reader refuses a larger one.
pub const DAG_SCHEMA_VERSION: u32 = 1;

pub const DEFAULT_POOL: &str = "default_pool";

/// Invariants, kept by whoever makes one (the DAG file reader): task ids are unique, every `depends_on` names a task of
/// this DAG, there is no cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dag {
    pub schema_version: u32,
    pub dag_id: DagId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Schedule, kind of timetable and time zone.
    pub timetable: Timetable,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<DateTime<Utc>>,
    /// Inclusive, compared with the logical date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<DateTime<Utc>>,
    pub catchup: bool,
    /// What is made of missed dates; absent: as `catchup` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub misfire: Option<Misfire>,
    /// On which days the schedule starts runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<CalendarRule>,
    /// When nothing of it starts, beside the windows of the installation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<MaintenanceWindow>,
    pub max_active_runs: u32,
    /// Per run.
    pub max_active_tasks: u32,
    /// A run that has been running for longer is failed, and what of it is running is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dagrun_timeout: Option<Span>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Defaults of `{{ params.x }}`; a run's conf overrides them.
    #[serde(default)]
    pub params: Map<String, Value>,
    /// Their names as the file has them, unless that is by the alphabet: whoever is asked for them is asked in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params_order: Vec<String>,
    /// The first task that fails for good ends the run: what runs is stopped, what waits is skipped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fail_fast: bool,
    /// In the order of the file, each before the groups within it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<TaskGroup>,
    /// Besides the timetable: which assets' changes make a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assets: Option<AssetCondition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longer_than_usual: Option<LongerThanUsual>,
    /// The DAG is paused after so many failed runs in a row; 0: never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_consecutive_failed_dag_runs: u32,
    /// Runs at a time among all runs, of any DAG, whose keys come to the same text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<KeyLimit>,
    #[serde(default, skip_serializing_if = "Callbacks::is_empty")]
    pub callbacks: Callbacks,
    /// In the order of the file.
    pub tasks: Vec<Task>,
}

/// What lists show of a DAG: kept beside its row, so that a list of a thousand reads none of them whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DagHead {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// As [`Dag::schedule_text`].
    pub schedule: String,
    pub timezone: String,
    /// Whether it has a timetable, which may have a next date.
    pub has_timetable: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub task_id: TaskId,
    /// The operator's canonical name.
    pub operator: String,
    #[serde(default)]
    pub depends_on: Vec<TaskId>,
    /// The innermost group that it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<TaskId>,
    /// Its own items; a group around it may have some too (see [`Dag::expand_of`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expand: Option<Expand>,
    /// Names the instances of a mapped task for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub map_index_template: Option<String>,
    pub trigger_rule: TriggerRule,
    /// Tries after the first; attempts = retries + 1.
    pub retries: u32,
    pub retry_delay: Span,
    /// Each further wait is so many times the one before; without it all are `retry_delay`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_exponential_backoff: Option<f64>,
    /// No wait is longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retry_delay: Option<Span>,
    pub pool: String,
    pub pool_slots: u32,
    pub priority_weight: i32,
    #[serde(default, skip_serializing_if = "WeightRule::is_default")]
    pub weight_rule: WeightRule,
    /// Tries of this task at a time, over all runs of the DAG.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_tis_per_dag: Option<u32>,
    /// Tries of this task at a time within a run: matters to a mapped task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_active_tis_per_dagrun: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<KeyLimit>,
    /// Per try, from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_timeout: Option<Span>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The operator's parameters under their canonical names, templates not yet rendered.
    pub parameters: Value,
    /// Never reaches a worker: the scheduler marks it success when its dependencies are met (`empty`).
    #[serde(default)]
    pub is_inline: bool,
    /// Runs only when the same task of the run before ended well.
    #[serde(default, skip_serializing_if = "is_false")]
    pub depends_on_past: bool,
    /// As `depends_on_past`, and the tasks directly after it there must have ended well too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait_for_downstream: bool,
    /// It is not skipped either before its past lets it run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub wait_for_past_depends_before_skipping: bool,
    /// Prepares what the tasks after it need. Until its teardown has run they wait for its success, whatever their rule.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_setup: bool,
    /// Cleans up: runs when a setup before it succeeded, however the work in between ended.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_teardown: bool,
    /// Of a teardown: its failure fails the run, which it otherwise does not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub on_failure_fail_dagrun: bool,
    /// Assets that are up to date once the task has succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outlets: Vec<AssetName>,
    #[serde(default, skip_serializing_if = "Callbacks::is_empty")]
    pub callbacks: Callbacks,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

impl Dag {
    /// A DAG without schedule and tasks, with the defaults of everything else.
    pub fn new(dag_id: DagId) -> Self {
        Self {
            schema_version: DAG_SCHEMA_VERSION,
            dag_id,
            description: None,
            timetable: Timetable::interval(Schedule::None, chrono_tz::Tz::UTC),
            start_date: None,
            end_date: None,
            catchup: false,
            misfire: None,
            calendar: None,
            maintenance: Vec::new(),
            max_active_runs: 16,
            max_active_tasks: 16,
            dagrun_timeout: None,
            tags: Vec::new(),
            owner: None,
            params: Map::new(),
            params_order: Vec::new(),
            fail_fast: false,
            groups: Vec::new(),
            assets: None,
            deadline: None,
            longer_than_usual: None,
            max_consecutive_failed_dag_runs: 0,
            concurrency: None,
            callbacks: Callbacks::default(),
            tasks: Vec::new(),
        }
    }

    /// As the file has them.
    pub fn params_in_order(&self) -> impl Iterator<Item = (&String, &Value)> {
        let named = self.params_order.iter().filter_map(|name| self.params.get_key_value(name));
        named.chain(self.params.iter().filter(|(name, _)| !self.params_order.contains(name)))
    }

    pub fn task(&self, task_id: &str) -> Option<&Task> {
        self.tasks.iter().find(|task| task.task_id.as_str() == task_id)
    }

    pub fn task_index(&self, task_id: &str) -> Option<usize> {
        self.tasks.iter().position(|task| task.task_id.as_str() == task_id)
    }

    /// What makes it run, in words: `every day at 02:00 (UTC)`, `when orders and customers have changed`.
    pub fn describe_schedule(&self) -> String {
        match (&self.assets, &self.timetable.schedule) {
            (None, _) => self.timetable.describe(),
            (Some(assets), Schedule::None) => format!("when {assets} have changed"),
            (Some(assets), _) => format!("when {assets} have changed, or {}", self.timetable.describe()),
        }
    }

    /// What makes it run, in its user's own notation, on one line.
    pub fn schedule_text(&self) -> String {
        match (&self.assets, &self.timetable.schedule) {
            (None, schedule) => schedule.display_text(),
            (Some(assets), Schedule::None) => assets.to_string(),
            (Some(assets), schedule) => format!("{assets}, or {}", schedule.display_text()),
        }
    }

    pub fn head(&self) -> DagHead {
        DagHead {
            description: self.description.clone(),
            owner: self.owner.clone(),
            tags: self.tags.clone(),
            schedule: self.schedule_text(),
            timezone: self.timetable.timezone.to_string(),
            has_timetable: !matches!(self.timetable.schedule, Schedule::None),
        }
    }

    /// Tries of all its runs that may want a worker's slot at one time. A mapped task counts as often as it has items; one
    /// whose items are results, as often as its run lets it.
    pub fn most_tries_at_once(&self) -> usize {
        let most = self.max_active_tasks as usize;
        let instances = |task: &Task| {
            let items = self.expand_of(task).map_or(1, |expand| expand.literal_count().unwrap_or(most));
            items.min(task.max_active_tis_per_dagrun.map_or(usize::MAX, |limit| limit as usize))
        };
        let tasks = self.tasks.iter().filter(|task| !task.is_inline).map(instances).fold(0, usize::saturating_add);
        tasks.min(most).saturating_mul(self.max_active_runs as usize)
    }

    pub fn window(&self) -> Window {
        Window { start_date: self.start_date, end_date: self.end_date, catchup: self.catchup }
    }

    /// What is made of missed dates.
    pub fn misfire(&self) -> Misfire {
        self.misfire.unwrap_or(if self.catchup { Misfire::All } else { Misfire::Latest })
    }

    /// What the DAG's calendar makes of a date of its schedule.
    pub fn fate(&self, slot: &PlannedRun) -> Fate {
        match &self.calendar {
            Some(rule) if self.timetable.is_periodic() => rule.fate(slot, self.timetable.timezone),
            _ => Fate::Run,
        }
    }

    /// SHA-256, in hex, of the serialised form. Equal DAGs have equal hashes: object keys are sorted, and no field
    /// depends on the time or the place of reading.
    pub fn content_hash(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or(Value::Null);
        hex::encode(Sha256::digest(value.to_string().as_bytes()))
    }
}

impl Task {
    /// A task that depends on nothing, with the defaults of everything else.
    pub fn new(task_id: TaskId, operator: impl Into<String>) -> Self {
        Self {
            task_id,
            operator: operator.into(),
            depends_on: Vec::new(),
            group: None,
            expand: None,
            map_index_template: None,
            trigger_rule: TriggerRule::default(),
            retries: 0,
            retry_delay: Span::from_seconds(300),
            retry_exponential_backoff: None,
            max_retry_delay: None,
            pool: DEFAULT_POOL.to_owned(),
            pool_slots: 1,
            priority_weight: 1,
            weight_rule: WeightRule::default(),
            max_active_tis_per_dag: None,
            max_active_tis_per_dagrun: None,
            concurrency: None,
            execution_timeout: None,
            owner: None,
            description: None,
            parameters: Value::Object(Map::new()),
            is_inline: false,
            depends_on_past: false,
            wait_for_downstream: false,
            wait_for_past_depends_before_skipping: false,
            is_setup: false,
            is_teardown: false,
            on_failure_fail_dagrun: false,
            outlets: Vec::new(),
            callbacks: Callbacks::default(),
        }
    }
}
