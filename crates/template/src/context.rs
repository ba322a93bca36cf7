//! The names that a template knows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use millrace_model::asset::AssetEvent;
use millrace_model::change::RunFacts;
use millrace_model::dag::Dag;
use millrace_model::param;
use millrace_model::state::RunType;
use minijinja::value::{Object, ObjectRepr, Serde, Value, merge_maps};
use minijinja::{Error, ErrorKind, State};

use crate::lookup::{self, Connections, Lookup, Previous};
use crate::macros::{self, DATE_FORMS, Macros};
use crate::moment::Moment;

/// What a try is, for the names in its templates.
#[derive(Debug, Clone, Copy)]
pub struct RenderFacts<'a> {
    pub dag: &'a Dag,
    /// A task of `dag`.
    pub task_id: &'a str,
    pub run: &'a RunFacts,
    /// 1 for the first try.
    pub try_number: u32,
    /// Tries after the first.
    pub max_tries: u32,
    /// -1 for a task that is not mapped.
    pub map_index: i32,
    /// True under `tasks test`.
    pub is_test: bool,
}

/// All names of one try. Cheap to clone.
#[derive(Clone)]
pub struct RenderContext {
    pub(crate) root: Value,
    pub(crate) params: Arc<Vec<String>>,
}

impl fmt::Debug for RenderContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenderContext").field("params", &self.params).finish_non_exhaustive()
    }
}

impl RenderContext {
    pub fn new(facts: &RenderFacts<'_>, lookup: Arc<dyn Lookup>) -> Self {
        let RenderFacts { dag, run, .. } = *facts;
        // A run's conf overrides the DAG's params, and may bring names of its own.
        let mut params = param::defaults(&dag.params);
        params.extend(run.conf.clone());
        let names = params.keys().cloned().collect();

        let mut root: BTreeMap<&'static str, Value> = BTreeMap::new();
        add_dates(&mut root, dag, run);
        root.insert("params", json(serde_json::Value::Object(params)));
        root.insert("run_id", run.run_id.as_str().into());
        root.insert("dag", dag_value(dag));
        root.insert("dag_run", run_value(facts));
        root.insert("task", task_value(facts));
        let instance = Value::from_object(TaskInstance::new(facts, lookup.clone()));
        root.insert("ti", instance.clone());
        root.insert("task_instance", instance);
        root.insert("try_number", facts.try_number.into());
        root.insert("map_index", facts.map_index.into());
        // What it stands for is known while the task runs: an operator that reads by change puts it there.
        root.insert("incremental_filter", INCREMENTAL_FILTER.into());
        root.insert("triggering_asset_events", json(asset_events(run)));
        root.insert("test_mode", facts.is_test.into());
        let day = run.logical_date.format("%Y%m%d");
        root.insert("task_instance_key_str", format!("{}__{}__{day}", dag.dag_id, facts.task_id).into());
        let previous = Value::from_object(Previous(lookup.clone()));
        root.insert("var", lookup::variables(&lookup));
        root.insert("conn", Value::from_object(Connections(lookup)));
        root.insert("macros", Value::from_object(Macros));
        root.insert("ds_add", Value::from_function(|ds: &str, days: i64| macros::ds_add(ds, days)));
        root.insert(
            "ds_format",
            Value::from_function(|ds: &str, from: &str, to: &str| macros::ds_format(ds, from, to)),
        );
        root.insert("expanded_ti_count", Value::from(()));
        let outlets = dag.task(facts.task_id).map(|task| task.outlets.as_slice()).unwrap_or_default();
        root.insert("outlets", outlets.iter().map(|asset| Value::from(asset.as_str())).collect());
        Self { root: merge_maps([Value::from(root), previous]), params: Arc::new(names) }
    }

    /// With the item that this instance of a mapped task is for, as `item`, of so many.
    #[must_use]
    pub fn with_item(self, item: serde_json::Value, count: usize) -> Self {
        let item = Value::from_pairs([("item", json(item)), ("expanded_ti_count", Value::from(count))]);
        Self { root: merge_maps([item, self.root]), params: self.params }
    }
}

/// The place in a query where the condition on what has changed goes.
const INCREMENTAL_FILTER: &str = "{incremental_filter}";

/// What only the templates of mapped tasks know.
pub(crate) const MAPPED_NAMES: &[&str] = &["item"];

/// Every name above, for checking templates before there is a run. A test holds the two together.
pub(crate) const CONTEXT_NAMES: &[&str] = &[
    "conn",
    "dag",
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "ds",
    "ds_add",
    "ds_format",
    "ds_local",
    "ds_local_nodash",
    "ds_nodash",
    "execution_date",
    "expanded_ti_count",
    "incremental_filter",
    "logical_date",
    "macros",
    "map_index",
    "next_ds",
    "next_ds_nodash",
    "next_execution_date",
    "outlets",
    "params",
    "prev_data_interval_end_success",
    "prev_data_interval_start_success",
    "prev_ds",
    "prev_ds_nodash",
    "prev_end_date_success",
    "prev_execution_date",
    "prev_execution_date_success",
    "prev_start_date_success",
    "run_id",
    "task",
    "task_instance",
    "task_instance_key_str",
    "test_mode",
    "ti",
    "tomorrow_ds",
    "tomorrow_ds_nodash",
    "triggering_asset_events",
    "try_number",
    "ts",
    "ts_local",
    "ts_nodash",
    "ts_nodash_with_tz",
    "var",
    "yesterday_ds",
    "yesterday_ds_nodash",
];

/// By asset, oldest first.
fn asset_events(run: &RunFacts) -> serde_json::Value {
    let mut by_asset: BTreeMap<&str, Vec<&AssetEvent>> = BTreeMap::new();
    for event in &run.asset_events {
        by_asset.entry(event.asset.as_str()).or_default().push(event);
    }
    serde_json::json!(by_asset)
}

fn json(value: serde_json::Value) -> Value {
    Value::from(Serde(value))
}

fn moment(at: DateTime<Utc>) -> Value {
    Moment::utc(at).value()
}

fn add_dates(root: &mut BTreeMap<&'static str, Value>, dag: &Dag, run: &RunFacts) {
    let logical = Moment::utc(run.logical_date);
    for (name, form) in DATE_FORMS {
        root.insert(name, form(&logical).into());
    }
    root.insert("logical_date", logical.value());
    root.insert("execution_date", logical.value());
    root.insert("data_interval_start", moment(run.data_interval.start));
    root.insert("data_interval_end", moment(run.data_interval.end));

    let local = Moment::in_zone(run.logical_date, dag.timetable.timezone);
    let day = |at: DateTime<Tz>| Value::from(at.format("%Y-%m-%d").to_string());
    let day_nodash = |at: DateTime<Tz>| Value::from(at.format("%Y%m%d").to_string());
    root.insert("ds_local", day(local.at));
    root.insert("ds_local_nodash", day_nodash(local.at));
    root.insert("ts_local", local.iso().into());

    let [previous, next] = neighbours(dag, run);
    root.insert("prev_execution_date", previous.map(moment).into());
    root.insert("next_execution_date", next.map(moment).into());
    let utc = |at: DateTime<Utc>| at.with_timezone(&Tz::UTC);
    let one_day = TimeDelta::days(1);
    for (name, name_nodash, at) in [
        ("prev_ds", "prev_ds_nodash", previous.map(utc)),
        ("next_ds", "next_ds_nodash", next.map(utc)),
        ("yesterday_ds", "yesterday_ds_nodash", logical.at.checked_sub_signed(one_day)),
        ("tomorrow_ds", "tomorrow_ds_nodash", logical.at.checked_add_signed(one_day)),
    ] {
        root.insert(name, at.map(day).into());
        root.insert(name_nodash, at.map(day_nodash).into());
    }
}

/// The logical dates before and after, as Airflow 2 gave them: of a manual run its own, twice; None where there is none.
fn neighbours(dag: &Dag, run: &RunFacts) -> [Option<DateTime<Utc>>; 2] {
    if run.run_type == RunType::Manual {
        return [Some(run.logical_date); 2];
    }
    dag.timetable.dates_around(&run.data_interval, run.logical_date, dag.start_date)
}

fn dag_value(dag: &Dag) -> Value {
    Value::from_pairs([
        ("dag_id", Value::from(dag.dag_id.as_str())),
        ("description", Value::from(dag.description.clone())),
        ("owner", Value::from(dag.owner.clone())),
        ("tags", Value::from(dag.tags.clone())),
        ("timezone", Value::from(dag.timetable.timezone.name())),
        ("schedule", Value::from(dag.schedule_text())),
        ("start_date", Value::from(dag.start_date.map(moment))),
        ("end_date", Value::from(dag.end_date.map(moment))),
        ("catchup", Value::from(dag.catchup)),
        ("max_active_runs", Value::from(dag.max_active_runs)),
        ("task_ids", Value::from(dag.tasks.iter().map(|task| Value::from(task.task_id.as_str())).collect::<Vec<_>>())),
    ])
}

fn run_value(facts: &RenderFacts<'_>) -> Value {
    let run = facts.run;
    Value::from_pairs([
        ("dag_id", Value::from(facts.dag.dag_id.as_str())),
        ("run_id", Value::from(run.run_id.as_str())),
        ("run_type", Value::from(run.run_type.as_str())),
        ("external_trigger", Value::from(run.run_type != RunType::Scheduled)),
        ("logical_date", moment(run.logical_date)),
        ("execution_date", moment(run.logical_date)),
        ("data_interval_start", moment(run.data_interval.start)),
        ("data_interval_end", moment(run.data_interval.end)),
        ("run_after", moment(run.run_after)),
        ("start_date", Value::from(run.start_date.map(moment))),
        ("conf", json(serde_json::Value::Object(run.conf.clone()))),
    ])
}

fn task_value(facts: &RenderFacts<'_>) -> Value {
    let Some(task) = facts.dag.task(facts.task_id) else {
        return Value::from_pairs([("task_id", Value::from(facts.task_id))]);
    };
    Value::from_pairs([
        ("task_id", Value::from(task.task_id.as_str())),
        ("operator", Value::from(task.operator.as_str())),
        ("owner", Value::from(task.owner.clone().or_else(|| facts.dag.owner.clone()))),
        ("description", Value::from(task.description.clone())),
        ("retries", Value::from(task.retries)),
        ("pool", Value::from(task.pool.as_str())),
        ("depends_on", Value::from(task.depends_on.iter().map(|id| Value::from(id.as_str())).collect::<Vec<_>>())),
    ])
}

/// `ti`.
struct TaskInstance {
    fields: BTreeMap<&'static str, Value>,
    lookup: Arc<dyn Lookup>,
}

impl TaskInstance {
    fn new(facts: &RenderFacts<'_>, lookup: Arc<dyn Lookup>) -> Self {
        let fields = BTreeMap::from([
            ("dag_id", Value::from(facts.dag.dag_id.as_str())),
            ("task_id", Value::from(facts.task_id)),
            ("run_id", Value::from(facts.run.run_id.as_str())),
            ("map_index", Value::from(facts.map_index)),
            ("try_number", Value::from(facts.try_number)),
            ("max_tries", Value::from(facts.max_tries)),
            ("execution_date", moment(facts.run.logical_date)),
            ("logical_date", moment(facts.run.logical_date)),
        ]);
        Self { fields, lookup }
    }
}

impl fmt::Debug for TaskInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ti")
    }
}

impl Object for TaskInstance {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.fields.get(key.as_str()?).cloned()
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "xcom_pull" => lookup::xcom_pull(self.lookup.as_ref(), args),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}
