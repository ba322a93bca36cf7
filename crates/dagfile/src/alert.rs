//! `deadline` and `longer_than_usual`.

use millrace_model::alert::{Deadline, DeadlineReference, LongerThanUsual};

use crate::fields::Reader;
use crate::tree::{Entry, NodeKind};

const DEADLINE_KEYS: &[&str] = &["within", "reference"];
const USUAL_KEYS: &[&str] = &["percent", "min_runs"];

/// `2h`, or `{within: 2h, reference: run_after|logical_date|start_date}`.
pub(crate) fn read_deadline(reader: &mut Reader<'_>, entry: &Entry) -> Option<Deadline> {
    let NodeKind::Map(entries) = &entry.value.kind else {
        let within = reader.length(entry)?;
        return Some(Deadline { reference: DeadlineReference::default(), within });
    };
    reader.unknown_keys(entries, DEADLINE_KEYS, "in 'deadline'");
    let reference = entry.value.get("reference").and_then(|given| {
        let name = reader.name(given)?;
        let found = serde_json::from_value(serde_json::Value::String(name)).ok();
        if found.is_none() {
            let message = "'reference' must be run_after, logical_date or start_date";
            reader.error("bad-value", given.value.span, message);
        }
        found
    });
    let Some(within) = entry.value.get("within") else {
        reader.error_with_hint(
            "missing-key",
            entry.key_span,
            "'deadline' has no 'within'",
            "add within: 2h (how long after the data interval's end the run must be finished)".to_owned(),
        );
        return None;
    };
    Some(Deadline { reference: reference.unwrap_or_default(), within: reader.length(within)? })
}

/// `true`, or `{percent: 200, min_runs: 5}`.
pub(crate) fn read_longer_than_usual(reader: &mut Reader<'_>, entry: &Entry) -> Option<LongerThanUsual> {
    let default = LongerThanUsual { percent: 200, min_runs: 5 };
    let NodeKind::Map(entries) = &entry.value.kind else {
        return reader.flag(entry).filter(|wanted| *wanted).map(|_| default);
    };
    reader.unknown_keys(entries, USUAL_KEYS, "in 'longer_than_usual'");
    let percent = entry.value.get("percent").and_then(|given| reader.count(given, 101)).unwrap_or(default.percent);
    let min_runs = entry.value.get("min_runs").and_then(|given| reader.count(given, 1)).unwrap_or(default.min_runs);
    Some(LongerThanUsual { percent, min_runs })
}
