//! The tasks: what every task has, with `default_args` below.

use std::collections::HashMap;

use millrace_model::dag::Task;
use millrace_model::ids::TaskId;
use millrace_model::pool::PoolFault;
use millrace_model::trigger_rule::TriggerRule;
use millrace_operator_api::entry::{OperatorEntry, find};

use crate::asset;
use crate::callbacks;
use crate::execution;
use crate::expand::{self, DraftExpand};
use crate::fields::Reader;
use crate::groups;
use crate::keys::{OF_TASK, SHARED};
use crate::parameters;
use crate::roles;
use crate::source::Span;
use crate::tree::{Entry, Node};
use crate::written::{Written, WrittenTask, shared_entries};
use crate::{suggest, templates};

/// Everything under `tasks` and `groups`, and for each task what could be made of it (`None` when something is wrong
/// with it). Of tasks with the same name only the first is kept.
pub(crate) fn read_all<'n>(
    reader: &mut Reader<'_>,
    root: &Node,
    (tasks, groups): (Option<&'n Entry>, Option<&'n Entry>),
    shared: Option<&Entry>,
) -> (Written<'n>, Vec<Option<Task>>) {
    let shared = shared.map(|entry| shared_entries(reader, entry)).unwrap_or_default();
    let mut written = Written::default();
    groups::collect(reader, tasks, groups, None, &mut written);
    check_presence(reader, root, tasks, groups, &written);
    let shared = known_shared(reader, shared, &written.tasks.iter().collect::<Vec<_>>());
    check_group_defaults(reader, &mut written);
    groups::check_names(reader, &written);
    drop_repeated(reader, &mut written);
    for task in &mut written.tasks {
        task.depends_on = task.node.get("depends_on").map(|entry| reader.texts(entry)).unwrap_or_default();
        let setups = roles::setups_of(reader, task);
        task.depends_on.extend(setups);
        task.expand = expand::read(reader, task.node.get("expand"), task.node.get("expand_zip"));
        task.depends_on.extend(task.expand.iter().flat_map(DraftExpand::producers));
    }
    let mut models = Vec::with_capacity(written.tasks.len());
    for place in 0..written.tasks.len() {
        let own = written.tasks[place].group.map(|group| written.shared(Some(group), &shared));
        // Taken out for as long as the task's parameters are compared with it.
        let mut expand = written.tasks[place].expand.take();
        let is_in_mapped_group = written.is_mapped(written.tasks[place].group);
        if let Some(expand) = expand.as_ref().filter(|_| is_in_mapped_group) {
            let id = &written.tasks[place].id;
            let message = format!("task '{id}' stands in a mapped group and can't be mapped itself");
            reader.error("nested-expand", expand.span(), message);
        }
        let node = written.tasks[place].node;
        let is_said = expand::KEYS.iter().take(2).any(|key| node.get(key).is_some());
        reader.is_mapped = is_said || is_in_mapped_group;
        models.push(read_one(reader, &written.tasks[place], own.as_deref().unwrap_or(&shared), expand.as_mut()));
        reader.is_mapped = false;
        written.tasks[place].expand = expand;
    }
    (written, models)
}

fn drop_repeated(reader: &mut Reader<'_>, written: &mut Written<'_>) {
    let mut lines: HashMap<String, usize> = HashMap::new();
    written.tasks.retain(|task| match lines.get(&task.id) {
        Some(line) => {
            let message = format!("there are two tasks '{}'; the first is in line {line}", task.id);
            reader.error("duplicate-task", task.span, message);
            false
        }
        None => {
            lines.insert(task.id.clone(), task.span.start.line);
            true
        }
    });
}

/// What a group's `default_args` hold must be known to one of its tasks.
fn check_group_defaults(reader: &mut Reader<'_>, written: &mut Written<'_>) {
    for place in 0..written.groups.len() {
        let members: Vec<&WrittenTask<'_>> =
            written.tasks.iter().filter(|task| written.is_within(task.group, Some(place))).collect();
        written.groups[place].shared = known_shared(reader, &written.groups[place].shared, &members);
    }
}

fn check_presence(
    reader: &mut Reader<'_>,
    root: &Node,
    tasks: Option<&Entry>,
    groups: Option<&Entry>,
    written: &Written<'_>,
) {
    let has_groups = groups.is_some_and(|entry| !entry.value.entries().is_empty());
    match tasks {
        _ if has_groups || !written.tasks.is_empty() => {}
        None => {
            let span = Span { end: root.span.start, ..root.span };
            let hint = "add tasks: and under it at least one task".to_owned();
            reader.error_with_hint("missing-key", span, "the DAG has no 'tasks'", hint);
        }
        Some(entry) => {
            if entry.value.entries().is_empty() && entry.value.items().is_empty() {
                reader.error("empty", entry.key_span, "a DAG needs at least one task");
            }
        }
    }
}

/// `default_args` holds what tasks have, and what the operator of at least one task has. Anything else is reported and
/// left out, so that no task is compared with it.
fn known_shared(reader: &mut Reader<'_>, shared: &[Entry], written: &[&WrittenTask<'_>]) -> Vec<Entry> {
    let catalogue = reader.options.catalogue;
    let mut operators: Vec<&'static OperatorEntry> =
        written.iter().filter_map(|task| find(catalogue, task.node.get("operator")?.value.as_text()?)).collect();
    operators.sort_unstable_by_key(|operator| operator.name);
    operators.dedup_by_key(|operator| operator.name);
    let mut known: Vec<String> = SHARED.iter().map(|key| (*key).to_owned()).collect();
    for operator in operators {
        known.extend(parameters::names(operator));
    }
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let mut kept = Vec::new();
    for entry in shared {
        if OF_TASK.contains(&entry.key.as_str())
            && !SHARED.contains(&entry.key.as_str())
            && !execution::KEYS.contains(&entry.key.as_str())
        {
            let message = format!("'{}' is each task's own and can't stand in default_args", entry.key);
            reader.error("unknown-key", entry.key_span, message);
        } else if !known.contains(&entry.key.as_str()) && !execution::KEYS.contains(&entry.key.as_str()) {
            if reader.is_whole {
                reader.unknown_key(entry, &known, "in default_args");
            }
        } else {
            kept.push(entry.clone());
        }
    }
    kept
}

fn read_one(
    reader: &mut Reader<'_>,
    written: &WrittenTask<'_>,
    shared: &[Entry],
    expand: Option<&mut DraftExpand>,
) -> Option<Task> {
    let task_id =
        TaskId::parse(&written.id).map_err(|error| reader.error("bad-id", written.span, error.to_string())).ok();
    let get = |key: &str| written.node.get(key).or_else(|| shared.iter().find(|entry| entry.key == key));
    let defaults = &reader.options.defaults;
    let trigger_rule = get("trigger_rule").and_then(|entry| read_rule(reader, entry));
    let retries = get("retries").and_then(|entry| reader.count(entry, 0));
    let retry_delay = get("retry_delay").and_then(|entry| reader.length(entry));
    let pool = get("pool").and_then(|entry| reader.name(entry));
    let pool_slots = get("pool_slots").and_then(|entry| reader.count(entry, 1));
    let weight =
        get("priority_weight").and_then(|entry| reader.integer(entry, i64::from(i32::MIN), i64::from(i32::MAX)));
    let execution_timeout = get("execution_timeout").and_then(|entry| {
        let length = reader.length(entry)?;
        if length.is_zero() {
            reader.error("out-of-range", entry.value.span, "'execution_timeout' must be longer than zero");
        }
        Some(length)
    });
    let owner = get("owner").and_then(|entry| reader.name(entry));
    let description = written.node.get("description").and_then(|entry| reader.text(entry));
    let outlets = written.node.get("outlets").map(|entry| asset::read_outlets(reader, entry)).unwrap_or_default();
    let callbacks = callbacks::read(reader, callbacks::TASK_KEYS, &get);
    let operator = read_operator(reader, written)?;
    let map_index_template = read_map_index_template(reader, written);
    let parameters = parameters::read(reader, operator, written, shared, expand)?;
    let mut task = Task {
        trigger_rule: trigger_rule.unwrap_or_default(),
        retries: retries.unwrap_or(defaults.retries),
        retry_delay: retry_delay.unwrap_or(defaults.retry_delay),
        pool: pool.unwrap_or_else(|| defaults.pool.clone()),
        pool_slots: pool_slots.unwrap_or(defaults.pool_slots),
        priority_weight: weight.and_then(|weight| i32::try_from(weight).ok()).unwrap_or(defaults.priority_weight),
        execution_timeout: execution_timeout.or(defaults.execution_timeout),
        owner,
        description,
        map_index_template,
        parameters,
        // An inline task ends without a completion that could speak of its outlets or be told of.
        is_inline: operator.is_inline && outlets.is_empty() && callbacks.is_empty(),
        callbacks,
        outlets,
        ..Task::new(task_id?, operator.name)
    };
    execution::read(reader, &get, &mut task);
    roles::read(reader, written, &get, &mut task);
    check_pool(reader, written, get("pool"), &task);
    Some(task)
}

/// Said once of a pool that `default_args` name: the place and the words are the same for each task.
fn check_pool(reader: &mut Reader<'_>, written: &WrittenTask<'_>, entry: Option<&Entry>, task: &Task) {
    let Some(pools) = reader.options.pools else { return };
    let Some(fault @ PoolFault::Unknown { .. }) = PoolFault::of(task, pools) else { return };
    let span = entry.map_or(written.span, |entry| entry.value.span);
    let hint = match suggest::nearest(&task.pool, pools.keys().map(String::as_str)) {
        Some(near) => format!("did you mean '{near}'? {}", fault.hint()),
        None => fault.hint(),
    };
    reader.error_with_hint("unknown-pool", span, format!("there is no pool '{}'", task.pool), hint);
}

fn read_map_index_template(reader: &mut Reader<'_>, written: &WrittenTask<'_>) -> Option<String> {
    let entry = written.node.get("map_index_template")?;
    if !reader.is_mapped {
        let message = "'map_index_template' names the instances of a mapped task, and this task has no 'expand'";
        reader.error("conflict", entry.key_span, message);
    }
    let text = reader.name(entry)?;
    templates::check(reader, &entry.value);
    Some(text)
}

fn read_operator(reader: &mut Reader<'_>, written: &WrittenTask<'_>) -> Option<&'static OperatorEntry> {
    let catalogue = reader.options.catalogue;
    let Some(entry) = written.node.get("operator") else {
        let operators: Vec<&str> = catalogue.iter().map(|entry| entry.name).collect();
        let hint = format!("add operator: one of {}", operators.join(", "));
        reader.error_with_hint("missing-key", written.span, format!("task '{}' has no 'operator'", written.id), hint);
        // A slip in that very key must be told too.
        for entry in written.node.entries() {
            if suggest::nearest(&entry.key, ["operator"]).is_some() {
                reader.unknown_key(entry, OF_TASK, &format!("in task '{}'", written.id));
            }
        }
        return None;
    };
    let name = reader.name(entry)?;
    let found = find(catalogue, &name);
    if found.is_none() {
        let names: Vec<&str> =
            catalogue.iter().flat_map(|entry| std::iter::once(&entry.name).chain(entry.aliases)).copied().collect();
        let hint = match (operator_habit(&name), suggest::nearest(&name, names.iter().copied())) {
            (Some(habit), _) => habit.to_owned(),
            (None, Some(near)) => format!("did you mean '{near}'?"),
            (None, None) => "'millrace operators' lists them".to_owned(),
        };
        reader.error_with_hint("unknown-operator", entry.value.span, format!("there is no operator '{name}'"), hint);
    }
    found
}

/// What to write instead of operators that people bring along from Airflow.
fn operator_habit(name: &str) -> Option<&'static str> {
    const HABITS: [(&str, &str); 10] = [
        ("BranchPython", "write 'branch', or 'bash' with a program that decides"),
        ("ShortCircuit", "write 'short_circuit'"),
        ("LatestOnly", "there is nothing to do: catchup: false makes the latest run only"),
        ("Email", "write 'bash' with a command that sends it; on_failure and on_success tell of how a task ended"),
        ("Slack", "write 'bash' with curl; on_failure and on_success tell of how a task ended"),
        ("Http", "write 'bash' with curl"),
        ("Python", "write 'bash' with the command that runs the script"),
        ("Kubernetes", "write 'bash' with kubectl"),
        ("Docker", "write 'bash' with docker"),
        ("Dbt", "write 'bash' with dbt"),
    ];
    HABITS.iter().find(|(word, _)| name.contains(word) || name == word.to_lowercase()).map(|(_, hint)| *hint)
}

fn read_rule(reader: &mut Reader<'_>, entry: &Entry) -> Option<TriggerRule> {
    let name = reader.name(entry)?;
    if let Ok(rule) = serde_json::from_value(serde_json::Value::String(name.clone())) {
        return Some(rule);
    }
    let names: Vec<&str> = TriggerRule::ALL.iter().map(|rule| rule.as_str()).collect();
    let hint = match suggest::nearest(&name, names.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("one of {}", names.join(", ")),
    };
    reader.error_with_hint("bad-value", entry.value.span, format!("there is no trigger rule '{name}'"), hint);
    None
}
