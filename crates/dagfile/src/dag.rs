//! The DAG itself: everything but its tasks' parameters.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::dag::{Dag, Task};
use millrace_model::duration::Span as Length;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::instant::parse_instant;
use millrace_model::schedule::{Schedule, Timetable, TimetableKind};

use crate::alert;
use crate::calendar;
use crate::callbacks;
use crate::dependencies;
use crate::diagnostic::Severity;
use crate::execution;
use crate::fields::Reader;
use crate::groups;
use crate::keys;
use crate::misfire;
use crate::params;
use crate::roles;
use crate::source::Span;
use crate::task;
use crate::timetable;
use crate::tree::{Entry, Node, NodeKind};
use crate::written::Written;

pub(crate) fn read(reader: &mut Reader<'_>, root: &Node) -> Option<Dag> {
    if !matches!(root.kind, NodeKind::Map(_)) {
        let message =
            format!("a DAG file is a map of keys such as dag_id, schedule and tasks, not {}", root.kind.noun());
        reader.error("wrong-type", root.span, message);
        return None;
    }
    let keys = Keys::of(reader, root);
    let dag_id = read_id(reader, keys.get("dag_id"));
    let timezone = timetable::read_zone(reader, keys.get("timezone"));
    let told = reader.diagnostics.len();
    let (timetable, assets) = timetable::read(reader, keys.get("schedule"), keys.get("timetable"), timezone);
    let is_schedule_known = reader.diagnostics[told..].iter().all(|it| it.severity != Severity::Error);
    let start_date = keys.get("start_date").and_then(|entry| read_date(reader, entry, timezone));
    let end_date = keys.get("end_date").and_then(|entry| read_date(reader, entry, timezone));
    check_dates(reader, &keys, &timetable, start_date, end_date);
    let defaults = &reader.options.defaults;
    let (max_active_tasks, owner) = (defaults.max_active_tasks, defaults.owner.clone());
    let max_active_runs = read_max_active_runs(reader, &keys, &timetable);
    let shared = keys.get("default_args");
    let owner = keys
        .get("owner")
        .or_else(|| shared.and_then(|shared| shared.value.get("owner")))
        .and_then(|entry| reader.name(entry))
        .or(owner);
    let (written, drafts) = task::read_all(reader, root, (keys.get("tasks"), keys.get("groups")), shared);
    let edges = dependencies::resolve(reader, &written);
    let fail_fast = keys.get("fail_fast").and_then(|entry| reader.flag(entry)).unwrap_or(false);
    if let Some(edges) = &edges {
        roles::check(reader, &written, &drafts, edges, fail_fast);
    }
    let groups = groups::finished(&written);
    let tasks = edges.as_ref().map(|edges| finished_tasks(&written, drafts, edges));
    let description = keys.get("description").and_then(|entry| reader.text(entry));
    let (catchup, misfire) = misfire::read(reader, keys.get("catchup"), keys.get("misfire"), &timetable);
    let calendar = calendar::read_rule(reader, keys.get("calendar"), &timetable);
    if !is_schedule_known {
        // What has no effect without a schedule may well have one with the schedule that was meant.
        reader.diagnostics.retain(|it| it.code != "no-effect");
    }
    let maintenance = timetable::read_windows(reader, keys.get("maintenance"), timezone);
    let max_active_tasks =
        keys.get("max_active_tasks").and_then(|entry| reader.count(entry, 1)).unwrap_or(max_active_tasks);
    let dagrun_timeout = keys.get("dagrun_timeout").and_then(|entry| read_dagrun_timeout(reader, entry));
    let tags = read_tags(reader, keys.get("tags"));
    let params = params::read(reader, keys.get("params"), &timetable.schedule);
    let params_order = params::order(keys.get("params"));
    let deadline = keys.get("deadline").and_then(|entry| alert::read_deadline(reader, entry));
    let longer_than_usual =
        keys.get("longer_than_usual").and_then(|entry| alert::read_longer_than_usual(reader, entry));
    let max_consecutive_failed_dag_runs =
        keys.get("max_consecutive_failed_dag_runs").and_then(|entry| reader.count(entry, 0)).unwrap_or_default();
    let concurrency = keys.get("concurrency").and_then(|entry| execution::read_run_concurrency(reader, entry));
    let callbacks = callbacks::read(reader, callbacks::DAG_KEYS, &|key| keys.get(key));
    // Only now: every key was looked at, and every problem found.
    Some(Dag {
        description,
        timetable,
        start_date,
        end_date,
        catchup,
        misfire,
        calendar,
        maintenance,
        max_active_runs,
        max_active_tasks,
        fail_fast,
        dagrun_timeout,
        tags,
        owner,
        params,
        params_order,
        assets,
        deadline,
        longer_than_usual,
        max_consecutive_failed_dag_runs,
        concurrency,
        callbacks,
        tasks: tasks?,
        groups,
        ..Dag::new(dag_id?)
    })
}

/// The entries of the DAG under their own names.
struct Keys<'n>(Vec<(&'n str, &'n Entry)>);

impl<'n> Keys<'n> {
    fn of(reader: &mut Reader<'_>, root: &'n Node) -> Self {
        let mut keys: Vec<(&str, &Entry)> = Vec::new();
        for entry in root.entries() {
            // Room for anchors that are used further down.
            if entry.key.starts_with("x-") || entry.key.starts_with('.') {
                continue;
            }
            let mut name = entry.key.as_str();
            // A number is Airflow's old name of a limit, a map is a key that runs hold.
            let is_own = name == "concurrency" && matches!(entry.value.kind, NodeKind::Map(_));
            if let Some((_, own)) = keys::DAG_ALIASES.iter().find(|(alias, _)| *alias == name && !is_own) {
                reader.warning(
                    "old-name",
                    entry.key_span,
                    format!("'{name}' is called '{own}' here"),
                    format!("write '{own}'"),
                );
                name = own;
            } else if !keys::OF_DAG.contains(&name) {
                reader.unknown_key(entry, keys::OF_DAG, "in the DAG");
                continue;
            }
            if let Some((_, first)) = keys.iter().find(|(known, _)| *known == name) {
                let message =
                    format!("'{}' and '{}' mean the same; only one of them may be given", first.key, entry.key);
                reader.error("conflict", entry.key_span, message);
                continue;
            }
            keys.push((name, entry));
        }
        Self(keys)
    }

    fn get(&self, name: &str) -> Option<&'n Entry> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, entry)| *entry)
    }
}

fn read_id(reader: &mut Reader<'_>, entry: Option<&Entry>) -> Option<DagId> {
    if let Some(entry) = entry.filter(|entry| !entry.value.is_null()) {
        let text = reader.text(entry)?;
        return DagId::parse(&text).map_err(|error| reader.error("bad-id", entry.value.span, error.to_string())).ok();
    }
    let file_name = reader.options.file_name.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = [".yaml", ".yml"].iter().find_map(|ending| file_name.strip_suffix(ending)).unwrap_or(file_name);
    DagId::parse(stem)
        .map_err(|error| {
            let span = reader.sources.main().span(0, 0);
            let hint = "rename the file, or write a dag_id into it".to_owned();
            reader.error_with_hint("bad-id", span, format!("the file's name is no dag_id: {error}"), hint);
        })
        .ok()
}

fn read_date(reader: &mut Reader<'_>, entry: &Entry, timezone: Tz) -> Option<DateTime<Utc>> {
    let text = match &entry.value.kind {
        NodeKind::Null => return None,
        NodeKind::Text(text) => text,
        _ => {
            reader.wrong_type(entry, "a date such as 2024-01-31");
            return None;
        }
    };
    match parse_instant(text, timezone) {
        Ok(at) => Some(at),
        Err(error) => {
            reader.error("bad-date", entry.value.span, format!("'{}': {error}", entry.key));
            None
        }
    }
}

fn check_dates(
    reader: &mut Reader<'_>,
    keys: &Keys<'_>,
    timetable: &Timetable,
    start: Option<DateTime<Utc>>,
    end: Option<DateTime<Utc>>,
) {
    if let (Some(start), Some(end), Some(entry)) = (start, end, keys.get("end_date"))
        && end < start
    {
        reader.error(
            "conflict",
            entry.value.span,
            "'end_date' lies before 'start_date', so that the DAG would never run",
        );
    }
    let needs_start = matches!(
        (&timetable.schedule, timetable.kind),
        (Schedule::Cron { .. } | Schedule::Delta(_), TimetableKind::Interval)
    );
    let is_missing = keys.get("start_date").is_none_or(|entry| entry.value.is_null());
    if let Some(schedule) = keys.get("schedule").filter(|_| needs_start && is_missing) {
        let message = "a DAG with a schedule needs a 'start_date'";
        let hint = "add start_date: 2024-01-01 (the first data interval begins there), or schedule: none".to_owned();
        reader.error_with_hint("missing-key", schedule.key_span, message, hint);
    }
}

fn read_dagrun_timeout(reader: &mut Reader<'_>, entry: &Entry) -> Option<Length> {
    let length = reader.length(entry)?;
    if length.is_zero() {
        reader.error("out-of-range", entry.value.span, "'dagrun_timeout' must be longer than zero");
    }
    Some(length)
}

fn read_max_active_runs(reader: &mut Reader<'_>, keys: &Keys<'_>, timetable: &Timetable) -> u32 {
    let given = keys.get("max_active_runs").and_then(|entry| reader.count(entry, 1).map(|count| (count, entry)));
    if timetable.schedule != Schedule::Continuous {
        return given.map_or(reader.options.defaults.max_active_runs, |(count, _)| count);
    }
    if let Some((_, entry)) = given.filter(|(count, _)| *count != 1) {
        reader.error("conflict", entry.value.span, "'max_active_runs' must be 1 with schedule: '@continuous'");
    }
    1
}

fn read_tags(reader: &mut Reader<'_>, entry: Option<&Entry>) -> Vec<String> {
    let tags = entry.map(|entry| reader.texts(entry)).unwrap_or_default();
    let mut seen = HashSet::new();
    tags.into_iter().map(|(tag, _)| tag).filter(|tag| seen.insert(tag.clone())).collect()
}

/// The tasks that could be read, with their groups and what comes before them.
fn finished_tasks(written: &Written<'_>, drafts: Vec<Option<Task>>, edges: &[Vec<(usize, Span)>]) -> Vec<Task> {
    let id = |task: &usize| TaskId::new_unchecked(written.tasks[*task].id.clone());
    let finish = |(place, task): (usize, Option<Task>)| {
        let group = written.tasks[place].group.map(|group| TaskId::new_unchecked(written.groups[group].id.clone()));
        let draft = &written.tasks[place];
        let expand = draft.expand.as_ref();
        let expand =
            expand.and_then(|expand| expand.finish(|name| dependencies::task_named(written, name, draft.group)));
        Some(Task { expand, depends_on: edges[place].iter().map(|(parent, _)| id(parent)).collect(), group, ..task? })
    };
    drafts.into_iter().enumerate().filter_map(finish).collect()
}
