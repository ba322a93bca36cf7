//! `schedule`, `timetable` and `timezone`.

use chrono_tz::Tz;
use millrace_model::asset::AssetCondition;
use millrace_model::duration::Step;
use millrace_model::maintenance::MaintenanceWindow;
use millrace_model::schedule::{RunImmediately, Schedule, ScheduleError, Timetable, TimetableKind, parse_zone};

use crate::asset;
use crate::fields::Reader;
use crate::source::Span;
use crate::suggest;
use crate::tree::{Entry, Node, NodeKind};

const KEYS: &[&str] = &["kind", "interval", "run_immediately"];

pub(crate) fn read_zone(reader: &mut Reader<'_>, entry: Option<&Entry>) -> Tz {
    let default = reader.options.defaults.timezone;
    let Some(entry) = entry else { return default };
    let Some(name) = reader.name(entry) else { return default };
    parse_zone(&name).unwrap_or_else(|error| {
        let near = suggest::nearest(&name, chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()));
        let hint = near.map(|near| format!("did you mean '{near}'?"));
        reader.error_with_hint("bad-timezone", entry.value.span, error.to_string(), hint);
        default
    })
}

/// The timetable, and the assets that the DAG waits for besides; a schedule that can't be read is reported and taken for
/// none.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    schedule: Option<&Entry>,
    kind: Option<&Entry>,
    timezone: Tz,
) -> (Timetable, Option<AssetCondition>) {
    let assets = schedule.and_then(|entry| entry.value.get("assets"));
    let assets = assets.and_then(|entry| asset::read_condition(reader, &entry.value));
    let schedule = schedule.and_then(without_assets);
    let schedule = schedule.map(|entry| read_schedule(reader, &entry, timezone)).unwrap_or_default();
    let kind = kind.map(|entry| read_kind(reader, entry)).unwrap_or_default();
    (Timetable { schedule, kind, timezone }, assets)
}

/// What is left to be read as a schedule: `{assets: …, cron: "0 2 * * *"}` means the assets or the time.
fn without_assets(entry: &Entry) -> Option<Entry> {
    let mut entry = entry.clone();
    if let NodeKind::Map(entries) = &mut entry.value.kind {
        let before = entries.len();
        entries.retain(|inner| inner.key != "assets");
        if entries.is_empty() && before > 0 {
            return None;
        }
    }
    Some(entry)
}

/// Windows in which nothing of the DAG starts.
pub(crate) fn read_windows(reader: &mut Reader<'_>, entry: Option<&Entry>, timezone: Tz) -> Vec<MaintenanceWindow> {
    let texts = entry.map(|entry| reader.texts(entry)).unwrap_or_default();
    let read = |(text, span): (String, Span)| {
        MaintenanceWindow::parse(&text, timezone)
            .map_err(|error| reader.error("bad-window", span, error.to_string()))
            .ok()
    };
    texts.into_iter().filter_map(read).collect()
}

fn read_schedule(reader: &mut Reader<'_>, entry: &Entry, timezone: Tz) -> Schedule {
    Schedule::from_value_in(&entry.value.to_value(), timezone).unwrap_or_else(|error| {
        let node = at_fault(&entry.value, &error);
        let known =
            ["@hourly", "@daily", "@weekly", "@monthly", "@quarterly", "@yearly", "@once", "@continuous", "none"];
        let hint = node.as_text().filter(|text| text.starts_with('@')).and_then(|text| suggest::hint(text, &known));
        reader.error_with_hint("bad-schedule", node.span, format!("'{}': {error}", entry.key), hint);
        Schedule::None
    })
}

/// The part of the value that the error speaks of.
fn at_fault<'n>(value: &'n Node, error: &ScheduleError) -> &'n Node {
    let text = match error {
        ScheduleError::Cron { text, .. } | ScheduleError::CronField { text, .. } => text.as_str(),
        ScheduleError::Every(error) => error.text.as_str(),
        ScheduleError::At(error) => error.text.as_str(),
        ScheduleError::Shape { .. } | ScheduleError::Zone(_) => return value,
    };
    let is_it = |node: &&Node| match &node.kind {
        NodeKind::Text(written) => written == text,
        NodeKind::Number(number) => number.to_string() == text,
        _ => false,
    };
    let inner = value.entries().iter().map(|entry| &entry.value);
    let items = value.items().iter().chain(value.entries().iter().flat_map(|entry| entry.value.items()));
    inner.chain(items).find(is_it).unwrap_or(value)
}

fn read_kind(reader: &mut Reader<'_>, entry: &Entry) -> TimetableKind {
    let (kind, details): (&Entry, &[Entry]) = match &entry.value.kind {
        NodeKind::Map(entries) => {
            reader.unknown_keys(entries, KEYS, "in 'timetable'");
            match entry.value.get("kind") {
                Some(kind) => (kind, entries),
                None => {
                    reader.error_with_hint(
                        "missing-key",
                        entry.key_span,
                        "'timetable' has no 'kind'",
                        "write kind: trigger".to_owned(),
                    );
                    return TimetableKind::default();
                }
            }
        }
        _ => (entry, &[]),
    };
    match reader.name(kind).as_deref() {
        Some("interval") => {
            for detail in details.iter().filter(|detail| detail.key != "kind" && KEYS.contains(&detail.key.as_str())) {
                reader.error("conflict", detail.key_span, format!("'{}' belongs to kind: trigger", detail.key));
            }
            TimetableKind::Interval
        }
        Some("trigger") => TimetableKind::Trigger {
            interval: entry.value.get("interval").and_then(|entry| read_step(reader, entry)),
            run_immediately: entry
                .value
                .get("run_immediately")
                .map(|entry| read_immediately(reader, entry))
                .unwrap_or_default(),
        },
        Some(_) => {
            let hint = "'interval' runs when the time it covers has passed, 'trigger' at the time itself".to_owned();
            reader.error_with_hint("bad-value", kind.value.span, "'timetable' must be interval or trigger", hint);
            TimetableKind::default()
        }
        None => TimetableKind::default(),
    }
}

fn read_step(reader: &mut Reader<'_>, entry: &Entry) -> Option<Step> {
    if entry.value.is_null() {
        return None;
    }
    match Step::from_value(&entry.value.to_value()) {
        Ok(step) => Some(step),
        Err(error) => {
            reader.error("bad-duration", entry.value.span, format!("'{}': {error}", entry.key));
            None
        }
    }
}

fn read_immediately(reader: &mut Reader<'_>, entry: &Entry) -> RunImmediately {
    match &entry.value.kind {
        NodeKind::Bool(true) => RunImmediately::Always,
        NodeKind::Bool(false) | NodeKind::Null => RunImmediately::IfRecent,
        _ => reader.length(entry).map_or(RunImmediately::IfRecent, RunImmediately::Within),
    }
}
