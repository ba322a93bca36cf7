//! `catchup` and `misfire`: what is made of dates that were missed.

use millrace_model::schedule::{Misfire, Timetable};

use crate::fields::Reader;
use crate::suggest;
use crate::tree::{Entry, NodeKind};

const WORDS: &[&str] = &["all", "latest", "none"];
const BOUNDS: &[&str] = &["within", "max"];
/// Those that are counted back one by one.
const MAX: i64 = 1_000;

/// Whether every missed date is made up for, and the policy when the file names one.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    catchup: Option<&Entry>,
    misfire: Option<&Entry>,
    timetable: &Timetable,
) -> (bool, Option<Misfire>) {
    let given = catchup.and_then(|entry| reader.flag(entry));
    let default = given.unwrap_or(reader.options.defaults.catchup);
    let Some((entry, policy)) = misfire.and_then(|entry| Some((entry, read_policy(reader, entry)?))) else {
        return (default, None);
    };
    if !timetable.is_periodic() {
        let hint = "remove it, or give the DAG a schedule of dates".to_owned();
        let message = format!("'misfire' means nothing with the schedule {}", timetable.schedule.display_text());
        reader.warning("no-effect", entry.key_span, message, hint);
    }
    let agrees = match (given, policy) {
        (None, _) | (Some(true), Misfire::All) | (Some(false), Misfire::Latest | Misfire::None) => true,
        (Some(_), _) => false,
    };
    if let Some(flag) = given.filter(|_| !agrees) {
        let makes = if flag { "makes every missed run" } else { "makes none but the latest missed run" };
        let message = format!("'catchup: {flag}' {makes}, which 'misfire: {policy}' contradicts");
        let hint = "keep only 'misfire'; it says the same and more".to_owned();
        reader.error_with_hint("conflict", entry.value.span, message, hint);
    }
    (policy == Misfire::All, Some(policy))
}

fn read_policy(reader: &mut Reader<'_>, entry: &Entry) -> Option<Misfire> {
    let text = match &entry.value.kind {
        NodeKind::Null => return None,
        NodeKind::Map(entries) => {
            reader.unknown_keys(entries, BOUNDS, "in 'misfire'");
            let within = entry.value.get("within").and_then(|entry| reader.length(entry).map(|length| (length, entry)));
            if let Some((_, entry)) = within.filter(|(length, _)| length.is_zero()) {
                reader.error("out-of-range", entry.value.span, "'within' must be longer than zero");
            }
            let max = entry.value.get("max").and_then(|entry| reader.integer(entry, 1, MAX));
            if entries.is_empty() {
                let hint = "write misfire: {within: 6h, max: 10}, or one of the two".to_owned();
                reader.error_with_hint("missing-key", entry.value.span, "'misfire' has no bound", hint);
                return None;
            }
            return Some(Misfire::Bounded {
                within: within.map(|(length, _)| length),
                max: max.and_then(|max| u32::try_from(max).ok()),
            });
        }
        _ => reader.text(entry)?,
    };
    match text.as_str() {
        "all" => Some(Misfire::All),
        "latest" => Some(Misfire::Latest),
        "none" => Some(Misfire::None),
        _ => {
            let message = "'misfire' must be all, latest, none, or {within: 6h, max: 10}";
            reader.error_with_hint("bad-value", entry.value.span, message, suggest::hint(&text, WORDS));
            None
        }
    }
}
