//! What a template may look up beside the facts of its run: variables, connections, other tasks' results.

use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::schedule::DataInterval;
use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Serde, Value, from_args};
use minijinja::{Error, ErrorKind, State};
use serde_json::Map;

use crate::moment::{Moment, invalid};

/// A connection as templates see it. `Debug` shows no secret.
#[derive(Clone, Default)]
pub struct ConnView {
    pub conn_type: String,
    pub host: Option<String>,
    pub login: Option<String>,
    pub password: Option<String>,
    pub port: Option<u16>,
    pub schema: Option<String>,
    pub extra: Map<String, serde_json::Value>,
}

impl fmt::Debug for ConnView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnView").field("conn_type", &self.conn_type).field("host", &self.host).finish_non_exhaustive()
    }
}

/// The newest run of a DAG before another that has succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreviousSuccess {
    pub logical_date: DateTime<Utc>,
    pub data_interval: DataInterval,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
}

/// Answers while a template renders, so it is not async: render on a thread that may block, and let the implementation
/// wait for the database there. `Ok(None)` = there is no such thing; `Err` = it could not be found out.
///
/// Whoever implements it also registers what it gave out (passwords, sensitive variables) with the masking.
pub trait Lookup: Send + Sync {
    fn variable(&self, key: &str) -> Result<Option<String>, String>;
    fn connection(&self, conn_id: &str) -> Result<Option<ConnView>, String>;
    /// The result of a task in the same run; `key` is `return_value` unless the template says another.
    fn xcom(&self, task_id: &str, key: &str) -> Result<Option<serde_json::Value>, String>;
    /// The result of one instance of a mapped task; -1 is that of a task that is not mapped.
    fn xcom_at(&self, task_id: &str, key: &str, map_index: i32) -> Result<Option<serde_json::Value>, String>;
    /// As [`Lookup::xcom`], of the newest run with an earlier logical date in which the task left one.
    fn prior_xcom(&self, task_id: &str, key: &str) -> Result<Option<serde_json::Value>, String> {
        let _ = (task_id, key);
        Ok(None)
    }
    /// By logical date, before that of the run.
    fn previous_success(&self) -> Result<Option<PreviousSuccess>, String> {
        Ok(None)
    }
    /// Whether one of these failed because what it asks was out of reach: the same may succeed later.
    fn was_out_of_reach(&self) -> bool {
        false
    }
}

/// Knows nothing: for rendering without a database.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {
    fn variable(&self, _: &str) -> Result<Option<String>, String> {
        Ok(None)
    }

    fn connection(&self, _: &str) -> Result<Option<ConnView>, String> {
        Ok(None)
    }

    fn xcom(&self, _: &str, _: &str) -> Result<Option<serde_json::Value>, String> {
        Ok(None)
    }

    fn xcom_at(&self, _: &str, _: &str, _: i32) -> Result<Option<serde_json::Value>, String> {
        Ok(None)
    }
}

/// A failed look-up must stop the rendering even where an undefined value would do (`| default(…)`).
fn settle<T>(found: Result<Option<T>, String>, what: &str, into: impl FnOnce(T) -> Value) -> Option<Value> {
    match found {
        Ok(found) => found.map(into),
        Err(reason) => Some(Value::from(invalid(format!("cannot look up {what}: {reason}")))),
    }
}

/// `.get(key, default)`: the default, or None, when there is nothing.
fn get_or_default(args: &[Value], get: impl FnOnce(&str) -> Option<Value>) -> Result<Value, Error> {
    let (key, positional, named): (&str, Option<Value>, Kwargs) = from_args(args)?;
    let named = named.get::<Option<Value>>("default").and_then(|value| named.assert_all_used().map(|()| value))?;
    Ok(get(key).or(positional).or(named).unwrap_or_else(|| Value::from(())))
}

/// What only the database knows, and is asked for only where a template uses it.
pub(crate) const PREVIOUS_NAMES: [&str; 5] = [
    "prev_data_interval_start_success",
    "prev_data_interval_end_success",
    "prev_start_date_success",
    "prev_end_date_success",
    "prev_execution_date_success",
];

/// [`PREVIOUS_NAMES`]: None in the first run, and while none has succeeded.
pub(crate) struct Previous(pub Arc<dyn Lookup>);

impl fmt::Debug for Previous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("previous success")
    }
}

impl Object for Previous {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str().filter(|name| PREVIOUS_NAMES.contains(name))?;
        let at = |run: PreviousSuccess| match name {
            "prev_data_interval_start_success" => Some(run.data_interval.start),
            "prev_data_interval_end_success" => Some(run.data_interval.end),
            "prev_start_date_success" => run.start_date,
            "prev_end_date_success" => run.end_date,
            _ => Some(run.logical_date),
        };
        let value = |run| at(run).map_or_else(|| Value::from(()), |at| Moment::utc(at).value());
        Some(settle(self.0.previous_success(), name, value).unwrap_or_else(|| Value::from(())))
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Str(&PREVIOUS_NAMES)
    }
}

/// `var`.
pub(crate) fn variables(lookup: &Arc<dyn Lookup>) -> Value {
    Value::from_pairs([
        ("value", Value::from_object(Variables { lookup: lookup.clone(), is_json: false })),
        ("json", Value::from_object(Variables { lookup: lookup.clone(), is_json: true })),
    ])
}

struct Variables {
    lookup: Arc<dyn Lookup>,
    is_json: bool,
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("var")
    }
}

impl Variables {
    fn find(&self, key: &str) -> Option<Value> {
        settle(self.lookup.variable(key), &format!("variable '{key}'"), |text| {
            if !self.is_json {
                return Value::from(text);
            }
            match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) => Value::from(Serde(value)),
                // Not the parser's own message: it may quote the value.
                Err(error) => Value::from(invalid(format!(
                    "variable '{key}' is not JSON (line {}, column {}); use var.value.{key} for plain text",
                    error.line(),
                    error.column()
                ))),
            }
        })
    }
}

impl Object for Variables {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.find(key.as_str()?)
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "get" => get_or_default(args, |key| self.find(key)),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

/// `conn`.
pub(crate) struct Connections(pub Arc<dyn Lookup>);

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("conn")
    }
}

impl Connections {
    fn find(&self, conn_id: &str) -> Option<Value> {
        settle(self.0.connection(conn_id), &format!("connection '{conn_id}'"), |view| connection(conn_id, view))
    }
}

impl Object for Connections {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.find(key.as_str()?)
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "get" => get_or_default(args, |key| self.find(key)),
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn connection(conn_id: &str, view: ConnView) -> Value {
    let extra = serde_json::Value::Object(view.extra);
    Value::from_pairs([
        ("conn_id", Value::from(conn_id)),
        ("conn_type", Value::from(view.conn_type)),
        ("host", Value::from(view.host)),
        ("login", Value::from(view.login)),
        ("password", Value::from(view.password)),
        ("port", Value::from(view.port)),
        ("schema", Value::from(view.schema)),
        ("extra", Value::from(extra.to_string())),
        ("extra_dejson", Value::from(Serde(extra))),
    ])
}

/// The key of a task's own result.
const RESULT: &str = "return_value";

/// What a task left under `key`. A result that is a mapping is read by its names too, as though each had been left alone.
fn left_under(
    key: &str,
    read: &dyn Fn(&str) -> Result<Option<serde_json::Value>, String>,
) -> Result<Option<serde_json::Value>, String> {
    let member = |result| match result {
        serde_json::Value::Object(mut map) => map.remove(key),
        _ => None,
    };
    // Of a mapped task it is a list, and one without items when no instance has left anything under the key.
    let none = serde_json::Value::Array(Vec::new());
    match read(key)? {
        Some(found) if key == RESULT || found != none => Ok(Some(found)),
        _ if key == RESULT => Ok(None),
        Some(_) => Ok(match read(RESULT)? {
            Some(serde_json::Value::Array(all)) => Some(all.into_iter().filter_map(member).collect()),
            _ => Some(none),
        }),
        None => Ok(read(RESULT)?.and_then(member)),
    }
}

/// `xcom_pull(task_ids=…, key=…, map_indexes=…, include_prior_dates=…)`: one task's value, or a list of values for a list of
/// tasks; of a mapped task those of all instances, or of those that are named; with prior dates what an earlier run has
/// left, when this one has nothing. What does not exist is undefined, so that printing it is an error and `| default(…)`
/// works.
pub(crate) fn xcom_pull(lookup: &dyn Lookup, args: &[Value]) -> Result<Value, Error> {
    let (first, named): (Option<Value>, Kwargs) = from_args(args)?;
    let tasks = first
        .or(named.get::<Option<Value>>("task_ids")?)
        .filter(|value| !value.is_none())
        .ok_or_else(|| invalid("xcom_pull needs task_ids='name of the task'"))?;
    let key = named.get::<Option<String>>("key")?.unwrap_or_else(|| RESULT.to_owned());
    let looks_back = named.get::<Option<bool>>("include_prior_dates")?.unwrap_or(false);
    let indexes = named.get::<Option<Value>>("map_indexes")?.filter(|value| !value.is_none());
    named.assert_all_used()?;
    if looks_back && indexes.is_some() {
        return Err(invalid("include_prior_dates gives all that a mapped task left; leave map_indexes out"));
    }
    let value = |task_id: &str, found: Result<Option<serde_json::Value>, String>| match found {
        Ok(Some(value)) => Ok(Value::from(Serde(value))),
        Ok(None) => Ok(Value::UNDEFINED),
        Err(reason) => Err(invalid(format!("cannot read the result '{key}' of task '{task_id}': {reason}"))),
    };
    let index = |value: &Value| {
        i32::try_from(value.clone()).map_err(|_| invalid("map_indexes must be a whole number or a list of them"))
    };
    let now_or_before = |task_id: &str| -> Result<Option<serde_json::Value>, String> {
        let found = left_under(&key, &|key| lookup.xcom(task_id, key))?;
        let is_there = found.as_ref().is_some_and(|found| *found != serde_json::Value::Array(Vec::new()));
        if is_there || !looks_back {
            return Ok(found);
        }
        Ok(left_under(&key, &|key| lookup.prior_xcom(task_id, key))?.or(found))
    };
    let at = |task_id: &str, one: i32| left_under(&key, &|key| lookup.xcom_at(task_id, key, one));
    let pull = |task_id: &str| match &indexes {
        None => value(task_id, now_or_before(task_id)),
        Some(one) if one.is_number() => value(task_id, at(task_id, index(one)?)),
        Some(many) => {
            let mut values = Vec::new();
            for one in many.try_iter()? {
                let found = value(task_id, at(task_id, index(&one)?))?;
                values.push(if found.is_undefined() { Value::from(()) } else { found });
            }
            Ok(Value::from(values))
        }
    };
    if let Some(task_id) = tasks.as_str() {
        return pull(task_id);
    }
    let mut values = Vec::new();
    for task_id in tasks.try_iter()? {
        let task_id = task_id.as_str().ok_or_else(|| invalid("task_ids must be text or a list of text"))?.to_owned();
        let value = pull(&task_id)?;
        values.push(if value.is_undefined() { Value::from(()) } else { value });
    }
    Ok(Value::from(values))
}
