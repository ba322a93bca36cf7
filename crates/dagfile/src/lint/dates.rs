//! Dates: which ones a DAG works on, and whether it can work on another.

use std::collections::BTreeSet;

use millrace_model::dag::Task;
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::{Misfire, Schedule, TimetableKind};
use millrace_template::{is_template, referenced_names};

use super::{Finding, Linted, names, sql_words, text_parameter, texts};

/// Names of templates that differ from run to run by its date. A test holds them and those of the templates together.
const DATES: &[&str] = &[
    "dag_run",
    "data_interval_end",
    "data_interval_start",
    "ds",
    "ds_local",
    "ds_local_nodash",
    "ds_nodash",
    "execution_date",
    "logical_date",
    "next_ds",
    "next_ds_nodash",
    "next_execution_date",
    "prev_data_interval_end_success",
    "prev_data_interval_start_success",
    "prev_ds",
    "prev_ds_nodash",
    "prev_end_date_success",
    "prev_execution_date",
    "prev_execution_date_success",
    "prev_start_date_success",
    "run_id",
    "task_instance_key_str",
    "tomorrow_ds",
    "tomorrow_ds_nodash",
    "ts",
    "ts_local",
    "ts_nodash",
    "ts_nodash_with_tz",
    "yesterday_ds",
    "yesterday_ds_nodash",
];

/// The same of `ti` and `task_instance`.
const OF_INSTANCE: &[&str] = &["execution_date", "logical_date", "run_id"];

/// Days in UTC.
const UTC_DAYS: &[&str] = &[
    "ds",
    "ds_nodash",
    "next_ds",
    "next_ds_nodash",
    "prev_ds",
    "prev_ds_nodash",
    "tomorrow_ds",
    "tomorrow_ds_nodash",
    "yesterday_ds",
    "yesterday_ds_nodash",
];

/// The same, as a command finds them in its environment.
const IN_ENVIRONMENT: &[&str] = &["LOGICAL_DATE", "DATA_INTERVAL_START", "DATA_INTERVAL_END"];

fn first_part(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn is_date(name: &str) -> bool {
    let mut parts = name.split('.');
    match (parts.next(), parts.next()) {
        (Some("ti" | "task_instance"), Some(field)) => OF_INSTANCE.contains(&field),
        (Some(first), _) => DATES.contains(&first),
        (None, _) => false,
    }
}

/// The first of these that a command looks for in its environment.
fn in_environment<'n>(task: &Task, wanted: &[&'n str]) -> Option<&'n str> {
    wanted.iter().copied().find(|name| texts(task).iter().any(|(_, text)| text.contains(name)))
}

/// A block `incremental` reads what belongs to the run's data interval.
fn is_incremental(task: &Task) -> bool {
    task.parameters.get("incremental").is_some_and(serde_json::Value::is_object)
}

fn uses_date(task: &Task) -> bool {
    is_incremental(task)
        || names(task).iter().any(|name| is_date(name))
        || in_environment(task, IN_ENVIRONMENT).is_some()
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
            if dag.catchup {
                "use {{ ds }} or {{ data_interval_start }} in a query or a key, or set catchup: false"
            } else {
                "use {{ ds }} or {{ data_interval_start }} in a query or a key"
            },
        ));
    }
}

pub(super) fn appends(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in &linted.dag.tasks {
        if let Some((key, hint)) = appending(task) {
            let message = format!("task '{}' appends, and no key tells rows that are there already", task.task_id);
            found.push(Finding::task(task, key, message, hint));
        }
    }
}

/// The parameter by which a task appends, and what would mend it.
pub(super) fn appending(task: &Task) -> Option<(&'static str, &'static str)> {
    match task.operator.as_str() {
        "copy" if copy_appends(task) => Some(("method", "use method: upsert with upsert_keys, or method: replace")),
        "sql" if sql_appends(task) => Some(("sql", "delete the rows of the date first, in the same task")),
        _ => None,
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

/// The parameter by which a task reads what belongs to its run's interval, and nothing of before.
fn reads_window(task: &Task) -> Option<&'static str> {
    if is_incremental(task) {
        return Some("incremental");
    }
    let is_bound = |text: &str| {
        let names = if is_template(text) { referenced_names(text) } else { BTreeSet::new() };
        names.iter().any(|name| first_part(name) == "data_interval_start")
    };
    text_parameter(task, "query").filter(|query| is_bound(query)).map(|_| "query")
}

/// Once for all tasks: what mends it stands in the DAG.
pub(super) fn missed_windows(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let dag = linted.dag;
    // Whoever names bounds has thought of what lies beyond them.
    if !dag.timetable.starts_at_the_end() || !matches!(dag.misfire(), Misfire::Latest | Misfire::None) {
        return;
    }
    let mut readers = dag.tasks.iter().filter_map(|task| Some((task, reads_window(task)?)));
    let Some((first, key)) = readers.next() else { return };
    let others = match readers.count() {
        0 => String::new(),
        1 => " (and one more)".to_owned(),
        more => format!(" (and {more} more)"),
    };
    let policy =
        if linted.says("misfire") { format!("misfire: {}", dag.misfire()) } else { "catchup: false".to_owned() };
    let message = format!(
        "task '{}'{others} reads its run's interval only, and with '{policy}' intervals whose runs were missed are read by none",
        first.task_id
    );
    let hint = "set catchup: true, or misfire: {within: 7d} for outages of that length, or go on from a watermark: table_copy \
                with sync_mode: incremental_sync";
    found.push(Finding::task(first, key, message, hint));
}

pub(super) fn interval_in_trigger(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    if !matches!(linted.dag.timetable.kind, TimetableKind::Trigger { interval: None, .. }) {
        return;
    }
    for task in &linted.dag.tasks {
        let used = names(task)
            .iter()
            .map(|name| first_part(name).to_owned())
            .find(|name| name.starts_with("data_interval_"))
            .or_else(|| is_incremental(task).then(|| "incremental".to_owned()))
            .or_else(|| in_environment(task, &IN_ENVIRONMENT[1..]).map(|name| format!("${name}")));
        if let Some(name) = used {
            let message =
                format!("task '{}' uses {name}, but with 'timetable: trigger' the interval is empty", task.task_id);
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
        let used = |wanted: &[&str]| names.iter().map(|name| first_part(name)).find(|name| wanted.contains(name));
        let is_filtered = || texts(task).iter().any(|(_, text)| takes_utc_day(text));
        let used_day = used(UTC_DAYS).or_else(|| is_filtered().then_some("| ds"));
        if let Some(name) = used_day.filter(|_| used(&["ds_local", "ds_local_nodash"]).is_none()) {
            let message =
                format!("task '{}' uses {name}, which is the date in UTC, not in {}", task.task_id, zone.name());
            let hint = if name.starts_with("ds") {
                "use ds_local for the date in the DAG's time zone".to_owned()
            } else {
                format!("use ds_local, or take it of a moment: {{{{ data_interval_end.in_timezone('{zone}') | ds }}}}")
            };
            found.push(Finding::task(task, "operator", message, hint));
        }
    }
}

/// Whether a filter makes a day of a moment that was not moved into a zone.
fn takes_utc_day(text: &str) -> bool {
    let dense: String = text.chars().filter(|c| !c.is_whitespace()).collect();
    dense.split("{{").skip(1).filter_map(|rest| rest.split_once("}}")).any(|(expression, _)| {
        let mut filters = expression.split('|').skip(1);
        filters.any(|filter| matches!(filter, "ds" | "ds_nodash")) && !expression.contains("in_timezone(")
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use millrace_model::dag::{Dag, Task};
    use millrace_model::ids::{DagId, TaskId};
    use millrace_template::known_names;
    use serde_json::json;

    use super::*;
    use crate::lint::backfill_problems;

    /// Names that are the same for every run, and those that may be.
    const WITHOUT_DATE: &[&str] = &[
        "conn",
        "dag",
        "ds_add",
        "ds_format",
        "expanded_ti_count",
        "incremental_filter",
        "item",
        "macros",
        "map_index",
        "outlets",
        "params",
        "task",
        "task_instance",
        "test_mode",
        "ti",
        "triggering_asset_events",
        "try_number",
        "var",
    ];

    fn takes_a_date(text: &str) -> bool {
        let parameters = json!({"bash_command": text});
        let task = Task { parameters, ..Task::new(TaskId::new_unchecked("a"), "bash") };
        let dag = Dag { tasks: vec![task], ..Dag::new(DagId::new_unchecked("d")) };
        backfill_problems(&dag, DateTime::UNIX_EPOCH).is_empty()
    }

    #[test]
    fn every_name_of_a_template_has_a_date_or_has_none() {
        for name in known_names() {
            assert_eq!(takes_a_date(&format!("{{{{ {name} }}}}")), !WITHOUT_DATE.contains(&name), "{name}");
        }
        for text in ["{{ ti.run_id }}", "{{ task_instance.logical_date }}", "$LOGICAL_DATE"] {
            assert!(takes_a_date(text), "{text}");
        }
        assert!(!takes_a_date("{{ ti.xcom_pull('b') }} {{ task.retries }} $HOME"));
    }

    #[test]
    fn a_filter_takes_the_utc_day_of_what_was_not_moved() {
        for (text, expected) in [
            ("{{ data_interval_end | ds }}", true),
            ("x{{data_interval_end|ds_nodash|upper}}", true),
            ("{{ data_interval_end.in_timezone('Asia/Seoul') | ds }}", false),
            ("{{ data_interval_end | ts }} echo a | ds", false),
        ] {
            assert_eq!(takes_utc_day(text), expected, "{text}");
        }
    }
}
