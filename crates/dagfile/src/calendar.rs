//! Calendar files, and the `calendar` of a DAG that names them.

use std::collections::BTreeSet;
use std::str::FromStr;

use millrace_model::calendar::{Calendar, CalendarRule, Compare, DayRule, NamedDays, Shift};
use millrace_model::schedule::Timetable;

use crate::diagnostic::{Diagnostic, Severity};
use crate::fields::Reader;
use crate::options::ReadOptions;
use crate::source::{MAX_FILE_SIZE, Source, Sources, Span};
use crate::suggest;
use crate::text::too_large;
use crate::tree::{self, Entry, Node, NodeKind};

/// Where calendar files are, in the dags folder. What is in it is no DAG.
pub const CALENDARS_FOLDER: &str = "calendars";

/// Files that one calendar may consist of.
const MAX_READ: usize = 50;
const FILE_KEYS: &[&str] = &["description", "days", "include", "except"];
const DAG_KEYS: &[&str] = &["exclude", "include", "shift", "compare"];

/// A calendar, or what is wrong with its file or with one that it includes.
#[derive(Debug, Clone)]
pub struct CalendarFile {
    /// There when no problem is an error.
    pub calendar: Option<Calendar>,
    /// Each with the file that it is about.
    pub problems: Vec<(String, Diagnostic)>,
    /// The files that were read or looked for, relative to the dags folder.
    pub files: BTreeSet<String>,
}

/// Reads `calendars/NAME.yaml` and what it includes, through [`ReadOptions::files`].
pub fn read_calendar(name: &str, options: &ReadOptions<'_>) -> CalendarFile {
    let mut reading = Reading { options, problems: Vec::new(), files: BTreeSet::new(), open: Vec::new(), read: 0 };
    let calendar = reading.calendar(name);
    let is_sound = !reading.problems.iter().any(|(_, problem)| problem.severity == Severity::Error);
    CalendarFile { calendar: calendar.filter(|_| is_sound), problems: reading.problems, files: reading.files }
}

/// The path of a calendar's file in the dags folder.
pub fn calendar_path(name: &str) -> String {
    format!("{CALENDARS_FOLDER}/{name}.yaml")
}

struct Reading<'a> {
    options: &'a ReadOptions<'a>,
    problems: Vec<(String, Diagnostic)>,
    files: BTreeSet<String>,
    /// The calendars that include one another, down to the one that is read.
    open: Vec<String>,
    /// Files so far; one that is included twice counts twice.
    read: usize,
}

impl Reading<'_> {
    /// None when there is no such file, or it cannot be read at all.
    fn calendar(&mut self, name: &str) -> Option<Calendar> {
        let path = calendar_path(name);
        self.files.insert(path.clone());
        self.read += 1;
        let text = (self.options.files)(&path)?;
        let sources = Sources::new(Source::new(&text));
        let mut diagnostics = Vec::new();
        let tree = if text.len() > MAX_FILE_SIZE {
            Err(Box::new(too_large(text.len())))
        } else {
            tree::build(sources.main(), &mut diagnostics)
        };
        let mut reader = Reader::new(&sources, self.options, diagnostics);
        let calendar = match tree {
            Ok(tree) => {
                self.open.push(name.to_owned());
                let calendar = self.contents(&mut reader, name, &tree);
                self.open.pop();
                Some(calendar)
            }
            Err(fatal) => {
                reader.diagnostics.push(*fatal);
                None
            }
        };
        self.problems.extend(reader.diagnostics.into_iter().map(|problem| (path.clone(), problem)));
        calendar
    }

    fn contents(&mut self, reader: &mut Reader<'_>, name: &str, tree: &Node) -> Calendar {
        let mut calendar = Calendar {
            name: name.to_owned(),
            description: None,
            days: Vec::new(),
            include: Vec::new(),
            except: Vec::new(),
        };
        if !matches!(tree.kind, NodeKind::Map(_)) {
            let message = format!("a calendar is a map of days, include and except, not {}", tree.kind.noun());
            reader.error("wrong-type", tree.span, message);
            return calendar;
        }
        reader.unknown_keys(tree.entries(), FILE_KEYS, "in the calendar");
        calendar.description = tree.get("description").and_then(|entry| reader.text(entry));
        if let Some(entry) = tree.get("days") {
            calendar.days = days(reader, entry);
        }
        if let Some(entry) = tree.get("except") {
            calendar.except = days(reader, entry).into_iter().map(|days| days.rule).collect();
        }
        for (included, span) in tree.get("include").map(|entry| reader.texts(entry)).unwrap_or_default() {
            if !check_name(reader, &included, span) {
                continue;
            }
            if self.read >= MAX_READ {
                reader.error("too-many", span, format!("more than {MAX_READ} calendars are included"));
            } else if self.open.contains(&included) {
                let message = format!("'{included}' is being read: calendars must not include one another in a circle");
                reader.error("cycle", span, message);
            } else if let Some(found) = self.calendar(&included) {
                calendar.include.push(found);
            } else {
                unknown(reader, &included, span);
            }
        }
        calendar
    }
}

/// `{12-25: Christmas}` or `[12-25, sat]`.
fn days(reader: &mut Reader<'_>, entry: &Entry) -> Vec<NamedDays> {
    if let NodeKind::Map(entries) = &entry.value.kind {
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            let name = if entry.value.is_null() { None } else { reader.text(entry) };
            if let Some(rule) = day_rule(reader, &entry.key, entry.key_span) {
                found.push(NamedDays { rule, name });
            }
        }
        return found;
    }
    let texts = reader.texts(entry);
    texts
        .into_iter()
        .filter_map(|(text, span)| Some(NamedDays { rule: day_rule(reader, &text, span)?, name: None }))
        .collect()
}

fn day_rule(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<DayRule> {
    DayRule::from_str(text).map_err(|error| reader.error("bad-days", span, error.to_string())).ok()
}

/// A name leads nowhere but to a file of the folder.
fn check_name(reader: &mut Reader<'_>, name: &str, span: Span) -> bool {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    let is_name = !name.is_empty() && name.chars().all(is_part);
    if !is_name {
        let message = format!("'{name}' is no calendar's name");
        let hint = format!("write the name of a file {} without folder and ending", calendar_path("NAME"));
        reader.error_with_hint("bad-value", span, message, hint);
    }
    is_name
}

fn unknown(reader: &mut Reader<'_>, name: &str, span: Span) {
    let known = (reader.options.calendars)();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    let hint = suggest::hint(name, &known).or_else(|| Some(format!("a calendar is a file {}", calendar_path("NAME"))));
    reader.error_with_hint("unknown-calendar", span, format!("there is no calendar '{name}'"), hint);
}

/// The `calendar` of a DAG: the name of one, or some to leave out and some to keep to.
pub(crate) fn read_rule(reader: &mut Reader<'_>, entry: Option<&Entry>, timetable: &Timetable) -> Option<CalendarRule> {
    let entry = entry.filter(|entry| !entry.value.is_null())?;
    if !timetable.is_periodic() {
        let hint = "remove it, or give the DAG a schedule of dates".to_owned();
        let message = format!("'calendar' means nothing with the schedule {}", timetable.schedule.display_text());
        reader.warning("no-effect", entry.key_span, message, hint);
    }
    if !matches!(entry.value.kind, NodeKind::Map(_)) {
        let exclude = named(reader, entry);
        return Some(CalendarRule { exclude, ..CalendarRule::default() });
    }
    reader.unknown_keys(entry.value.entries(), DAG_KEYS, "in 'calendar'");
    if entry.value.get("exclude").is_none() && entry.value.get("include").is_none() {
        let hint = "write calendar: {exclude: holidays}".to_owned();
        reader.error_with_hint("missing-key", entry.key_span, "'calendar' names no calendar", hint);
    }
    let shift = entry
        .value
        .get("shift")
        .and_then(|entry| word(reader, entry, &[("skip", Shift::Skip), ("next_business_day", Shift::NextBusinessDay)]));
    let compare = entry.value.get("compare").and_then(|entry| {
        word(reader, entry, &[("run_after", Compare::RunAfter), ("logical_date", Compare::LogicalDate)])
    });
    Some(CalendarRule {
        exclude: entry.value.get("exclude").map(|entry| named(reader, entry)).unwrap_or_default(),
        include: entry.value.get("include").map(|entry| named(reader, entry)).unwrap_or_default(),
        shift: shift.unwrap_or_default(),
        compare: compare.unwrap_or_default(),
    })
}

fn word<T: Copy>(reader: &mut Reader<'_>, entry: &Entry, words: &[(&str, T)]) -> Option<T> {
    let text = reader.name(entry)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
    if found.is_none() {
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let message = format!("'{}' must be {}", entry.key, names.join(" or "));
        reader.error_with_hint("bad-value", entry.value.span, message, suggest::hint(&text, &names));
    }
    found
}

/// The calendars that the value names.
fn named(reader: &mut Reader<'_>, entry: &Entry) -> Vec<Calendar> {
    let mut found = Vec::new();
    for (name, span) in reader.texts(entry) {
        if !check_name(reader, &name, span) {
            continue;
        }
        let file = read_calendar(&name, reader.options);
        let is_there = file.calendar.is_some() || !file.problems.is_empty();
        reader.files.extend(file.files);
        for (path, problem) in file.problems.iter().filter(|(_, problem)| problem.severity == Severity::Error) {
            let place = format!("{path}:{}:{}", problem.line, problem.column);
            let message = format!("calendar '{name}' can't be used: {place}: {}", problem.message);
            reader.error_with_hint("bad-calendar", span, message, problem.hint.clone());
        }
        if !is_there {
            unknown(reader, &name, span);
        }
        found.extend(file.calendar);
    }
    found
}
