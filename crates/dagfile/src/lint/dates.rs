//! Dates: which ones a DAG works on, and whether it can work on another.

use millrace_model::dag::Task;
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::{Schedule, TimetableKind};

use super::{Finding, Linted, names, sql_words, text_parameter, texts};

/// Names of templates that differ from run to run by its date.
const DATES: &[&str] = &[
    "ds",
    "ds_nodash",
    "ds_local",
    "ds_local_nodash",
    "ts",
    "ts_nodash",
    "ts_nodash_with_tz",
    "logical_date",
    "execution_date",
    "data_interval_start",
    "data_interval_end",
    "dag_run",
    "run_id",
    "next_ds",
    "next_ds_nodash",
    "prev_ds",
    "prev_ds_nodash",
    "yesterday_ds",
    "yesterday_ds_nodash",
    "tomorrow_ds",
    "tomorrow_ds_nodash",
];

/// The same, as a command finds them in its environment.
const IN_ENVIRONMENT: &[&str] = &["LOGICAL_DATE", "DATA_INTERVAL_START", "DATA_INTERVAL_END"];

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// A block `incremental` reads what belongs to the run's data interval.
fn uses_date(task: &Task) -> bool {
    task.parameters.get("incremental").is_some_and(|block| block.is_object())
        || names(task).iter().any(|name| DATES.contains(&first_part(name)))
        || texts(task).iter().any(|(_, text)| IN_ENVIRONMENT.iter().any(|name| text.contains(name)))
}

/// Past dates are filled in whatever `catchup` says; that each does the same work is only worth a warning, before anybody
/// asks for them, where the schedule makes them by itself.
pub(super) fn backfill_ready(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    if linted.dag.catchup {
        same_work_each_date(linted, found);
    }
    if linted.dag.timetable.is_periodic() {
        appends(linted, found);
    }
}

pub(super) fn same_work_each_date(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let dag = linted.dag;
    let has_work = dag.tasks.iter().any(|task| !task.is_inline);
    if has_work && !dag.tasks.iter().any(uses_date) {
        found.push(Finding::dag(
            "catchup",
            "no task uses the date of its run: each past date does the same work again",
            "use {{ ds }} or {{ data_interval_start }} in a query or a key, or set catchup: false",
        ));
    }
}

pub(super) fn appends(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in &linted.dag.tasks {
        let (key, hint) = match task.operator.as_str() {
            "copy" if copy_appends(task) => ("method", "use method: upsert with upsert_keys, or method: replace"),
            "sql" if sql_appends(task) => ("sql", "delete the rows of the date first, in the same task"),
            _ => continue,
        };
        let message = format!("task '{}' appends, and no key tells rows that are there already", task.task_id);
        found.push(Finding::task(task, key, message, hint));
    }
}

fn copy_appends(task: &Task) -> bool {
    matches!(text_parameter(task, "method"), None | Some("append"))
        && task.parameters.get("truncate_table").is_none_or(|flag| flag != true)
        && task.parameters.get("upsert_keys").is_none_or(serde_json::Value::is_null)
}

/// Words of SQL that go with INSERT where what is there already is looked at, or is gone.
const NOT_TWICE: &[&str] =
    &["DELETE", "MERGE", "TRUNCATE", "CONFLICT", "DUPLICATE", "REPLACE", "EXISTS", "EXCEPT", "NOT", "CREATE", "DROP"];

fn sql_appends(task: &Task) -> bool {
    let words: Vec<String> =
        texts(task).iter().filter(|(name, _)| *name == "sql").flat_map(|(_, text)| sql_words(text)).collect();
    words.windows(2).any(|two| two[0] == "INSERT" && two[1] == "INTO")
        && !words.iter().any(|word| NOT_TWICE.contains(&word.as_str()))
}

pub(super) fn interval_in_trigger(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    if !matches!(linted.dag.timetable.kind, TimetableKind::Trigger { interval: None, .. }) {
        return;
    }
    for task in &linted.dag.tasks {
        let used = names(task).into_iter().find(|name| first_part(name).starts_with("data_interval_"));
        if let Some(name) = used {
            let message = format!(
                "task '{}' uses {}, but with 'timetable: trigger' the interval is empty",
                task.task_id,
                first_part(&name)
            );
            found.push(Finding::task(task, "operator", message, "take 'timetable: interval', or use logical_date"));
        }
    }
}

pub(super) fn start_in_future(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let Some(start) = linted.dag.start_date else { return };
    if start > linted.options.now && linted.dag.timetable.schedule != Schedule::None {
        let message = format!("nothing is scheduled before {}", format_utc_micros(start));
        found.push(Finding::dag("start_date", message, "if that is not meant, take an earlier start_date"));
    }
}

pub(super) fn utc_date(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let zone = linted.dag.timetable.timezone;
    if matches!(zone.name(), "UTC" | "Etc/UTC" | "GMT" | "Etc/GMT") {
        return;
    }
    for task in &linted.dag.tasks {
        let names = names(task);
        let is_used = |wanted: &[&str]| names.iter().any(|name| wanted.contains(&first_part(name)));
        if is_used(&["ds", "ds_nodash"]) && !is_used(&["ds_local", "ds_local_nodash"]) {
            let message = format!("task '{}' uses ds, which is the date in UTC, not in {}", task.task_id, zone.name());
            found.push(Finding::task(task, "operator", message, "use ds_local for the date in the DAG's time zone"));
        }
    }
}
