//! Reading and loading tables.

use std::collections::BTreeSet;

use millrace_model::dag::Task;
use millrace_template::{is_template, referenced_names};
use serde_json::Value;

use super::{Finding, Linted, hints, sql_words, text_parameter, texts};

const LOADS: &[&str] = &["copy", "upsert"];
/// Operators that load an object, and those that write one.
pub(super) const LOADING: &[&str] = &["copy", "upsert", "replace", "swap"];
const WRITING: &[&str] = &["sql_to_s3", "upload"];
/// Parameters that hold SQL.
const SQL: &[&str] = &["sql", "query", "select"];

fn is_replace(task: &Task) -> bool {
    match task.operator.as_str() {
        "replace" | "swap" => true,
        "copy" => {
            matches!(text_parameter(task, "method"), Some("replace" | "swap"))
                || task.parameters.get("truncate_table") == Some(&Value::Bool(true))
        }
        "table_copy" => {
            let is_full = |table: &Value| table.get("sync_mode").is_none_or(|mode| mode == "full_sync");
            task.parameters.get("tables").is_some_and(|tables| match tables {
                Value::Array(tables) => tables.iter().any(is_full),
                table => is_full(table),
            })
        }
        _ => false,
    }
}

fn sql(task: &Task) -> impl Iterator<Item = (&'static str, &str)> {
    texts(task).into_iter().filter_map(|(name, text)| SQL.iter().find(|key| **key == name).map(|key| (*key, text)))
}

/// How large a table is stands nowhere in a DAG; a comment `# lint: rows 50000000` beside the task says it. `doctor` knows
/// it from the last load.
pub(super) fn full_refresh(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in linted.dag.tasks.iter().filter(|task| is_replace(task)) {
        let rows = hints(linted.text_of(task.task_id.as_str()), "rows").next();
        let rows = rows.and_then(|text| text.replace(['_', ',', '='], "").trim().parse::<u64>().ok());
        if let Some(rows) = rows.filter(|rows| *rows > linted.options.most_rows) {
            let message = format!("task '{}' loads all of about {rows} rows with each run", task.task_id);
            let hint = "read the rows of the data interval only, and upsert them";
            let key = if task.operator == "table_copy" { "tables" } else { "method" };
            found.push(Finding::task(task, key, message, hint));
        }
    }
}

fn by_change<'a>(linted: &'a Linted<'_>) -> impl Iterator<Item = (&'a Task, &'a serde_json::Map<String, Value>)> {
    linted.dag.tasks.iter().filter_map(|task| Some((task, task.parameters.get("incremental")?.as_object()?)))
}

pub(super) fn change_without_modified(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for (task, block) in by_change(linted).filter(|(_, block)| !block.contains_key("modified_field")) {
        if block.contains_key("created_field") {
            let message = format!("task '{}' reads new rows only, never changed ones", task.task_id);
            found.push(Finding::task(task, "incremental", message, "name modified_field, unless rows never change"));
        }
    }
}

/// Once for all tasks: where it is not known what their connections say, these may well say it for each of them.
pub(super) fn change_without_zone(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let says = |task: &Task, block: &serde_json::Map<String, Value>| {
        let has_zone = |name: &Value| {
            let treatment = task.parameters.get("columns").zip(name.as_str());
            treatment.and_then(|(columns, name)| columns.get(name)?.get("timezone")).is_some()
        };
        let fields = ["modified_field", "created_field"];
        block.contains_key("source_timezone")
            || task.parameters.get("source_timezone").is_some()
            || fields.iter().filter_map(|field| block.get(*field)).all(has_zone)
            || text_parameter(task, "sql_conn_id")
                .and_then(|conn_id| linted.options.connection(conn_id))
                .is_some_and(|known| known.has_source_timezone)
    };
    let silent: Vec<&Task> =
        by_change(linted).filter(|(task, block)| !says(task, block)).map(|(task, _)| task).collect();
    let Some(first) = silent.first() else { return };
    let others = match silent.len() - 1 {
        0 => String::new(),
        1 => " (and one more)".to_owned(),
        more => format!(" (and {more} more)"),
    };
    let message = format!("task '{}'{others} reads a window of time without saying whose clock it is", first.task_id);
    let where_to = match text_parameter(first, "sql_conn_id") {
        Some(conn_id) if linted.options.connection(conn_id).is_some() => {
            format!("of '{conn_id}', which do not have it")
        }
        Some(conn_id) if !is_template(conn_id) => format!("of '{conn_id}', which could not be looked at"),
        _ => "of the connection".to_owned(),
    };
    let hint = format!(
        "say it once, as source_timezone in the extra settings {where_to}, or in the task; columns with a zone do not need it"
    );
    found.push(Finding::task(first, "incremental", message, hint));
}

pub(super) fn truncate_commits(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in &linted.dag.tasks {
        for (key, text) in sql(task) {
            let words = sql_words(text);
            let Some(at) = words.iter().position(|word| word == "TRUNCATE") else { continue };
            let is_alone = words.iter().filter(|word| *word != ";").count() <= at + 3 && at == 0;
            if !is_alone {
                let message = format!("task '{}' has TRUNCATE among other statements", task.task_id);
                found.push(Finding::task(
                    task,
                    key,
                    message,
                    "use DELETE FROM, or the copy operator's method: replace",
                ));
                break;
            }
        }
    }
}

fn is_upsert(task: &Task) -> bool {
    task.operator == "upsert" || text_parameter(task, "method") == Some("upsert")
}

pub(super) fn upsert_without_order(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in linted.dag.tasks.iter().filter(|task| is_upsert(task)) {
        if task.parameters.get("order_key").is_none_or(Value::is_null) {
            let message = format!("task '{}' upserts without order_key", task.task_id);
            let hint = "name the column that grows with each change, such as updated_at";
            found.push(Finding::task(task, "upsert_keys", message, hint));
        }
    }
}

/// The task that read the rows which a load takes, over uploads: it is named, or wrote the object or the file that is.
fn reader_of<'a>(linted: &'a Linted<'_>, load: &'a Task) -> Option<&'a Task> {
    let mut task = load;
    for _ in &linted.dag.tasks {
        task = writer_for(linted, task)?;
        if task.parameters.get("query").is_some() {
            return Some(task);
        }
    }
    None
}

fn writer_for<'a>(linted: &'a Linted<'_>, reader: &Task) -> Option<&'a Task> {
    let mut others = linted.dag.tasks.iter().filter(|other| other.task_id != reader.task_id);
    if let Some(name) = text_parameter(reader, "from_task") {
        return others.find(|other| other.task_id.as_str() == name);
    }
    let written = |other: &Task, parameter: &str| {
        let said = text_parameter(other, parameter);
        said.is_some() && said == text_parameter(reader, parameter)
    };
    if LOADING.contains(&reader.operator.as_str()) {
        return others.find(|other| {
            WRITING.contains(&other.operator.as_str())
                && written(other, "s3_key")
                && text_parameter(other, "s3_bucket") == text_parameter(reader, "s3_bucket")
        });
    }
    others.find(|other| other.operator == "extract" && written(other, "file"))
}

fn names_of<'a>(task: &'a Task, parameter: &str) -> Vec<&'a str> {
    match task.parameters.get(parameter) {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(name)) => vec![name.as_str()],
        _ => Vec::new(),
    }
}

/// What an extract does to a column.
fn done_to<'a>(task: &'a Task, column: &str) -> Option<&'a str> {
    let mut columns = task.parameters.get("columns").and_then(Value::as_object).into_iter().flatten();
    columns.find(|(name, _)| name.eq_ignore_ascii_case(column)).and_then(|(_, done)| done.as_str())
}

pub(super) fn personal_keys(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in linted.dag.tasks.iter().filter(|task| is_upsert(task)) {
        let Some(reader) = reader_of(linted, task) else { continue };
        let from = &reader.task_id;
        for key in names_of(task, "upsert_keys") {
            let (what, hint) = match done_to(reader, key) {
                Some("mask") => ("masks: all rows would have one key", "hash it there, or upsert by another key"),
                Some("drop") => ("leaves out", "keep it there, or upsert by another key"),
                _ => continue,
            };
            let message = format!("task '{}' upserts by {key}, which '{from}' {what}", task.task_id);
            found.push(Finding::task(task, "upsert_keys", message, hint));
        }
        if let Some((key, done)) = text_parameter(task, "order_key").and_then(|key| Some((key, done_to(reader, key)?)))
        {
            let what = match done {
                "mask" => "masks",
                "hash" => "hashes",
                "drop" => "leaves out",
                _ => continue,
            };
            let message = format!("task '{}' takes {key} for the newest row, which '{from}' {what}", task.task_id);
            found.push(Finding::task(task, "order_key", message, "order by a column that stays as it is"));
        }
    }
}

pub(super) fn missing_keys(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in &linted.dag.tasks {
        let Some(missing) = task.parameters.get("delete_missing") else { continue };
        let Some(reader) = reader_of(linted, task) else { continue };
        let keys = names_of(task, "upsert_keys");
        let done = |block: Option<&Value>, key: &str| {
            let mut columns = block.and_then(Value::as_object).into_iter().flatten();
            columns.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, done)| done.clone())
        };
        for key in keys {
            let extracted = done(reader.parameters.get("columns"), key);
            if extracted == done(missing.get("columns"), key) {
                continue;
            }
            let message = format!(
                "task '{}' compares the key {key} as the source has it, but '{}' changed it",
                task.task_id, reader.task_id
            );
            let hint = match extracted.as_ref().and_then(Value::as_str) {
                Some("mask" | "drop") => "take another key, or hash it: what is masked tells no row from another",
                _ => "give delete_missing the same columns (and hash_conn_id) as the extract",
            };
            found.push(Finding::task(task, "delete_missing", message, hint));
        }
    }
}

pub(super) fn prefix_over_match(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in linted.dag.tasks.iter().filter(|task| LOADS.contains(&task.operator.as_str())) {
        let key = text_parameter(task, "s3_key").unwrap_or_default();
        if task.parameters.get("prefix") == Some(&Value::Bool(true)) && !key.ends_with(['/', '.', '-', '_']) {
            let message = format!("task '{}' loads every key that begins with '{key}'", task.task_id);
            found.push(Finding::task(task, "s3_key", message, "let the prefix end with '/'"));
        }
    }
}

pub(super) fn page_without_order(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in &linted.dag.tasks {
        for (key, text) in sql(task) {
            let words = sql_words(text);
            let has = |word: &str| words.iter().any(|known| known == word);
            if has("LIMIT") && has("OFFSET") && !has("ORDER") {
                let message = format!("task '{}' reads by LIMIT and OFFSET without ORDER BY", task.task_id);
                let hint = "rows are streamed: read all with one SELECT, or order by a unique key";
                found.push(Finding::task(task, key, message, hint));
            }
        }
    }
}

/// A key that no run has to itself. What the name of a run's own holds differs from run to run; these do not.
pub(super) fn shared_object(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    const FIXED: [&str; 6] = ["params", "var", "conn", "dag", "task", "item"];
    if linted.dag.max_active_runs <= 1 || !linted.dag.timetable.is_periodic() {
        return;
    }
    for task in linted.dag.tasks.iter().filter(|task| WRITING.contains(&task.operator.as_str())) {
        let Some(key) = text_parameter(task, "s3_key") else { continue };
        let names = if is_template(key) { referenced_names(key) } else { BTreeSet::new() };
        let is_fixed = names.iter().all(|name| FIXED.contains(&name.split('.').next().unwrap_or_default()));
        // Without it the second run is refused.
        if is_fixed && task.parameters.get("replace") == Some(&Value::Bool(true)) {
            let message = format!(
                "task '{}' writes '{key}', which {} runs at the same time share",
                task.task_id, linted.dag.max_active_runs
            );
            found.push(Finding::task(task, "s3_key", message, "put {{ ds }} into the key, or set max_active_runs: 1"));
        }
    }
}

pub(super) fn shared_temp_table(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    if linted.dag.max_active_runs <= 1 {
        return;
    }
    for task in &linted.dag.tasks {
        for (key, text) in sql(task) {
            // A name with a template in it may be the run's own.
            let words = if is_template(text) { Vec::new() } else { sql_words(text) };
            let made = words.windows(3).find_map(|three| match three {
                [create, table, name] if create == "CREATE" && table == "TABLE" => Some(name),
                _ => None,
            });
            let is_temporary = |name: &&String| {
                let name = name.rsplit('.').next().unwrap_or_default();
                name.starts_with("TEMP_") || name.starts_with("TMP_")
            };
            if let Some(name) = made.filter(is_temporary) {
                let message = format!(
                    "task '{}' creates {}, which {} runs at the same time share",
                    task.task_id,
                    name.to_lowercase(),
                    linted.dag.max_active_runs
                );
                found.push(Finding::task(task, key, message, "use CREATE TEMP TABLE, or set max_active_runs: 1"));
            }
        }
    }
}

/// The tables that a `table_copy` fills by change, going on from the highest value that they have.
fn filled_from_their_highest(task: &Task) -> Vec<String> {
    if task.operator != "table_copy" {
        return Vec::new();
    }
    let tables = match task.parameters.get("tables") {
        Some(Value::Array(tables)) => tables.iter().collect(),
        table => table.into_iter().collect::<Vec<_>>(),
    };
    let is_so = |table: &&Value| {
        table.get("sync_mode").is_some_and(|mode| mode == "incremental_sync")
            && table.get("watermark").is_none_or(|watermark| watermark == "from_target")
    };
    let target = |table: &Value| {
        let name = table.get("target").or_else(|| table.get("source"))?.as_str()?;
        (!is_template(name)).then(|| name.to_ascii_lowercase())
    };
    tables.into_iter().filter(is_so).filter_map(target).collect()
}

pub(super) fn shared_watermark(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let mut before: Vec<(&Task, String)> = Vec::new();
    for task in &linted.dag.tasks {
        let conn_id = text_parameter(task, "target_conn_id");
        let is_mapped = linted.dag.expand_of(task).is_some() && conn_id.is_some_and(|conn_id| !is_template(conn_id));
        for target in filled_from_their_highest(task) {
            if is_mapped {
                let message = format!(
                    "every instance of task '{}' copies what has changed into {target}: each takes another's newest row for \
                     its own",
                    task.task_id
                );
                found.push(Finding::task(task, "tables", message, "set watermark: stored"));
            }
            let is_same = |(other, name): &&(&Task, String)| {
                *name == target && text_parameter(other, "target_conn_id") == conn_id
            };
            if let Some((other, _)) = before.iter().find(is_same) {
                let message = format!(
                    "task '{}' copies what has changed into {target}, and '{}' does so too: each takes the other's newest \
                     row for its own",
                    task.task_id, other.task_id
                );
                found.push(Finding::task(task, "tables", message, "set watermark: stored in both"));
            }
            before.push((task, target));
        }
    }
}
