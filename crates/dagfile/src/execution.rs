//! How a task's tries are repeated, weighed and held back.

use millrace_model::dag::Task;
use millrace_model::execution::{KeyLimit, WeightRule};
use millrace_template::{is_template, referenced_names};

use crate::fields::Reader;
use crate::tree::{Entry, NodeKind};
use crate::{suggest, templates};

/// What `default_args` may hold of it: everything.
pub(crate) const KEYS: &[&str] = &[
    "retry_exponential_backoff",
    "max_retry_delay",
    "weight_rule",
    "max_active_tis_per_dag",
    "max_active_tis_per_dagrun",
    "concurrency",
];

/// Airflow's factor where it is only asked for.
const USUAL_FACTOR: f64 = 2.0;

/// Puts into the task what stands under [`KEYS`].
pub(crate) fn read<'n>(reader: &mut Reader<'_>, get: &dyn Fn(&str) -> Option<&'n Entry>, task: &mut Task) {
    if let Some(entry) = get("retry_exponential_backoff") {
        task.retry_exponential_backoff = read_factor(reader, entry);
    }
    task.max_retry_delay = get("max_retry_delay").and_then(|entry| {
        let length = reader.length(entry)?;
        if length.is_zero() {
            reader.error("out-of-range", entry.value.span, "'max_retry_delay' must be longer than zero");
        }
        Some(length)
    });
    if let Some(entry) = get("weight_rule") {
        task.weight_rule = read_rule(reader, entry).unwrap_or_default();
    }
    task.max_active_tis_per_dag = get("max_active_tis_per_dag").and_then(|entry| reader.count(entry, 1));
    task.max_active_tis_per_dagrun = get("max_active_tis_per_dagrun").and_then(|entry| reader.count(entry, 1));
    task.concurrency = get("concurrency").and_then(|entry| read_concurrency(reader, entry));
}

/// `true`, or by what each wait is multiplied.
fn read_factor(reader: &mut Reader<'_>, entry: &Entry) -> Option<f64> {
    match &entry.value.kind {
        NodeKind::Bool(wanted) => wanted.then_some(USUAL_FACTOR),
        NodeKind::Null => None,
        NodeKind::Number(number) => {
            let factor = number.as_f64().unwrap_or_default();
            if factor == 0.0 {
                return None;
            }
            if !(1.0..=100.0).contains(&factor) {
                let message = format!("'{}' must be 1 to 100, or 0 for none, not {number}", entry.key);
                reader.error("out-of-range", entry.value.span, message);
                return None;
            }
            Some(factor)
        }
        _ => {
            reader.wrong_type(entry, "true or false, or a number by which each wait is multiplied");
            None
        }
    }
}

fn read_rule(reader: &mut Reader<'_>, entry: &Entry) -> Option<WeightRule> {
    let name = reader.name(entry)?;
    let found = WeightRule::parse(&name);
    if found.is_none() {
        let names: Vec<&str> = WeightRule::ALL.iter().map(|rule| rule.as_str()).collect();
        let hint = match suggest::nearest(&name, names.iter().copied()) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("one of {}", names.join(", ")),
        };
        reader.error_with_hint("bad-value", entry.value.span, format!("there is no weight rule '{name}'"), hint);
    }
    found
}

/// `{key: "{{ params.region }}", limit: 1}`; the limit is 1 unless said.
fn read_concurrency(reader: &mut Reader<'_>, entry: &Entry) -> Option<KeyLimit> {
    if entry.value.is_null() {
        return None;
    }
    if !matches!(entry.value.kind, NodeKind::Map(_)) {
        let message = format!("'concurrency' of a task must be a map, not {}", entry.value.kind.noun());
        let hint =
            "write concurrency: {key: \"{{ params.region }}\", limit: 1}; max_active_tis_per_dag bounds a task's tries"
                .to_owned();
        reader.error_with_hint("wrong-type", entry.value.span, message, hint);
        return None;
    }
    read_key(reader, entry, LOOKED_UP, "the task starts")
}

/// The same of a DAG, for its runs.
pub(crate) fn read_run_concurrency(reader: &mut Reader<'_>, entry: &Entry) -> Option<KeyLimit> {
    let names = [LOOKED_UP, &["task", "task_instance_key_str", "map_index", "item"]].concat();
    read_key(reader, entry, &names, "the run starts")
}

/// `unknown` are names that the key can't use before that.
fn read_key(reader: &mut Reader<'_>, entry: &Entry, unknown: &[&'static str], before: &str) -> Option<KeyLimit> {
    reader.unknown_keys(entry.value.entries(), &["key", "limit"], "in 'concurrency'");
    let limit = entry.value.get("limit").and_then(|limit| reader.count(limit, 1)).unwrap_or(1);
    let Some(key) = entry.value.get("key") else {
        reader.error("missing-key", entry.key_span, "'concurrency' has no 'key'");
        return None;
    };
    templates::check(reader, &key.value);
    if let Some(name) = key.value.as_text().and_then(|key| looked_up(key, unknown)) {
        let message = format!("the key of 'concurrency' can't use '{name}'");
        let hint = format!("it is made before {before}, from params, conf and dates");
        reader.error_with_hint("template-name", key.value.span, message, hint);
    }
    let key = reader.name(key)?;
    Some(KeyLimit { key, limit })
}

/// Names that are looked up when a try begins.
const LOOKED_UP: &[&str] = &["var", "conn", "ti", "task_instance", "try_number"];

fn looked_up(template: &str, unknown: &[&'static str]) -> Option<&'static str> {
    if !is_template(template) {
        return None;
    }
    let names = referenced_names(template);
    let root = |name: &String| name.split('.').next().unwrap_or_default().to_owned();
    unknown.iter().copied().find(|known| names.iter().any(|name| root(name) == *known))
}
