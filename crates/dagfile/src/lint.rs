//! Lints: what is allowed, and is seldom meant. Each is a line of [`LINTS`] and a function from a DAG to what it found.
//!
//! They are asked for by whoever checks a file (`validate`, `doctor`), never when a file is read to be run: a lint that is
//! added later changes no DAG. A comment `# lint: ignore CODE` in the file silences one.

mod connections;
mod dates;
mod environments;
mod loads;
mod params;
mod pools;
mod results;
mod shape;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use millrace_model::dag::{Dag, Task};
use millrace_model::pool::PoolSizes;
use millrace_operator_api::entry::Catalogue;
use millrace_template::{is_template, referenced_names};
use serde_json::Value;

use crate::compose::{Composed, compose};
use crate::diagnostic::{Diagnostic, FOR_EACH, Severity};
use crate::options::ReadOptions;
use crate::source::{Source, Sources, Span};
use crate::tree::{self, Node};

/// What lints are told from outside.
#[derive(Debug, Clone)]
pub struct LintOptions {
    pub now: DateTime<Utc>,
    /// More tasks than this in one DAG are too many.
    pub most_tasks: usize,
    /// A full refresh of more rows than this is too large.
    pub most_rows: u64,
    /// Of the installation; `None`: it is not known which there are.
    pub pools: Option<PoolSizes>,
    /// The installation's connections by their ids; `None`: it is not known which there are.
    pub connections: Option<BTreeMap<String, KnownConnection>>,
    /// Tries that run at a time, of all DAGs; `None`: not known.
    pub worker_slots: Option<usize>,
}

/// What lints want to know of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KnownConnection {
    /// It says whose clock its times without a zone are of.
    pub has_source_timezone: bool,
}

impl LintOptions {
    /// What is known of a connection. The environment writes ids in capitals.
    fn connection(&self, conn_id: &str) -> Option<&KnownConnection> {
        let mut known = self.connections.iter().flatten();
        known.find(|(id, _)| id.eq_ignore_ascii_case(conn_id)).map(|(_, known)| known)
    }

    pub fn new(now: DateTime<Utc>) -> Self {
        Self { now, most_tasks: 500, most_rows: 10_000_000, pools: None, connections: None, worker_slots: None }
    }
}

/// One lint.
#[derive(Debug, Clone, Copy)]
pub struct Lint {
    /// Stable.
    pub code: &'static str,
    /// Why it is worth a warning.
    pub why: &'static str,
    check: fn(&Linted<'_>, &mut Vec<Finding>),
}

/// Every lint.
pub const LINTS: &[Lint] = &[
    Lint {
        code: "too-many-tasks",
        why: "hundreds of tasks in one DAG are hard to look at and to repeat in part",
        check: shape::too_many_tasks,
    },
    Lint {
        code: "long-single-task",
        why: "when a DAG is one task of hours, a failure repeats all of it",
        check: shape::long_single_task,
    },
    Lint {
        code: "hidden-failure",
        why: "a run is judged by its last tasks: one that runs after failures too makes the run a success",
        check: shape::hidden_failure,
    },
    Lint {
        code: "more-than-slots",
        why: "max_active_runs x tasks that are more than the worker slots only wait for each other",
        check: shape::more_than_slots,
    },
    Lint {
        code: "backfill-ready",
        why: "a past date can only be filled in by tasks that work on that date, and only once if rows are appended",
        check: dates::backfill_ready,
    },
    Lint {
        code: "interval-in-trigger",
        why: "with `timetable: trigger` the data interval is empty: it starts and ends at the logical date",
        check: dates::interval_in_trigger,
    },
    Lint {
        code: "missed-windows",
        why: "rows of an interval that no run covers are never read: a run that stands for missed ones reads its own only",
        check: dates::missed_windows,
    },
    Lint {
        code: "start-in-future",
        why: "nothing runs before the start date, silently",
        check: dates::start_in_future,
    },
    Lint {
        code: "utc-date",
        why: "`ds` is the date in UTC, which is another day than in the DAG's time zone for a part of the day",
        check: dates::utc_date,
    },
    Lint {
        code: "full-refresh",
        why: "a table that is loaded whole costs more with each day; load what changed",
        check: loads::full_refresh,
    },
    Lint {
        code: "truncate-commits",
        why: "TRUNCATE commits on Redshift: readers see an empty table, and a later failure cannot be rolled back",
        check: loads::truncate_commits,
    },
    Lint {
        code: "upsert-without-order",
        why: "without an order key, an older row that comes in late replaces a newer one",
        check: loads::upsert_without_order,
    },
    Lint {
        code: "missing-keys-differ",
        why: "keys that were hashed or moved in time when they were loaded are not those of the source",
        check: loads::missing_keys,
    },
    Lint {
        code: "key-tells-nothing",
        why: "rows whose key is masked are all one row to an upsert, and a hashed order key says no more which is newer",
        check: loads::personal_keys,
    },
    Lint {
        code: "prefix-over-match",
        why: "a prefix matches every key that begins so: `orders` matches `orders_archive` too",
        check: loads::prefix_over_match,
    },
    Lint {
        code: "page-without-order",
        why: "pages by LIMIT and OFFSET lose and repeat rows unless the query is ordered",
        check: loads::page_without_order,
    },
    Lint {
        code: "change-without-modified",
        why: "rows that change later are never read again when only created_field says which are new",
        check: loads::change_without_modified,
    },
    Lint {
        code: "change-without-zone",
        why: "a DATETIME has no zone: a window of it needs to know whose clock it was",
        check: loads::change_without_zone,
    },
    Lint {
        code: "shared-temp-table",
        why: "runs at the same time fill one table under a fixed name",
        check: loads::shared_temp_table,
    },
    Lint {
        code: "shared-object",
        why: "runs at the same time write one object under a fixed key, and load what another of them wrote",
        check: loads::shared_object,
    },
    Lint {
        code: "shared-watermark",
        why: "tasks, or instances of a mapped one, that fill one table by change each go on from its highest value: the rows of one hide those of another",
        check: loads::shared_watermark,
    },
    Lint {
        code: "result-not-there",
        why: "the result of a task that is not before this one is not there when it is asked for",
        check: results::result_not_there,
    },
    Lint {
        code: "unknown-connection",
        why: "a task whose connection nobody has made fails",
        check: connections::unknown_connection,
    },
    Lint {
        code: "param-in-command",
        why: "whoever may trigger a run writes on the text of a command or a statement that a free param stands in",
        check: params::param_in_command,
    },
    Lint {
        code: "unnamed-environment",
        why: "a file with overlays means its base for no environment, and a misspelt one gets it",
        check: environments::unnamed_environment,
    },
    Lint {
        code: "pool-too-small",
        why: "a task that needs more slots than its pool has never runs",
        check: pools::pool_too_small,
    },
];

/// Where something was found: in a key of a task, in a task, or in a key of the DAG.
#[derive(Debug, Clone, Default)]
struct Place {
    task: Option<String>,
    key: Option<String>,
    /// Known already.
    span: Option<Span>,
}

struct Finding {
    place: Place,
    message: String,
    hint: String,
}

impl Finding {
    fn dag(key: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            place: Place { key: Some(key.to_owned()), ..Place::default() },
            message: message.into(),
            hint: hint.into(),
        }
    }

    fn task(task: &Task, key: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::in_task(task, key, message, hint)
    }

    fn in_task(task: &Task, key: &str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let place = Place { task: Some(task.task_id.to_string()), key: Some(key.to_owned()), span: None };
        Self { place, message: message.into(), hint: hint.into() }
    }
}

/// A DAG with what it was read from, if that is at hand.
struct Linted<'a> {
    dag: &'a Dag,
    /// With everything that became part of it.
    tree: Option<&'a Node>,
    sources: Option<&'a Sources<'a>>,
    /// By task id: its keys, and its name's place.
    tasks: HashMap<String, (&'a Node, Span)>,
    /// The environments that the file has overlays for, and the configured one.
    overlays: &'a [(String, Span)],
    environment: Option<&'a str>,
    options: &'a LintOptions,
    catalogue: Catalogue,
}

impl Linted<'_> {
    /// The text of a task in the file, comments and all.
    fn text_of(&self, task_id: &str) -> &str {
        let node = self.tasks.get(task_id).map(|(node, _)| node.span);
        self.sources.zip(node).map(|(sources, span)| sources.of(span).slice(span)).unwrap_or_default()
    }

    /// Whether the DAG's file, or what became part of it, has the key.
    fn says(&self, key: &str) -> bool {
        self.tree.is_some_and(|tree| tree.get(key).is_some())
    }

    fn span(&self, place: &Place) -> Option<Span> {
        if place.span.is_some() {
            return place.span;
        }
        let node = match &place.task {
            None => self.tree?,
            Some(task) => {
                let (node, span) = self.tasks.get(task)?;
                let entry = place.key.as_deref().and_then(|key| node.get(key));
                return Some(entry.map_or(*span, |entry| entry.key_span));
            }
        };
        place.key.as_deref().and_then(|key| node.get(key)).map(|entry| entry.key_span)
    }
}

/// The tasks under a DAG or a group, by their full names.
fn tasks_of<'n>(node: &'n Node, prefix: &str, found: &mut HashMap<String, (&'n Node, Span)>) {
    if let Some(tasks) = node.get("tasks") {
        for entry in tasks.value.entries() {
            found.entry(format!("{prefix}{}", entry.key)).or_insert((&entry.value, entry.key_span));
        }
        for item in tasks.value.items() {
            if let Some(id) = item.get("task_id").and_then(|id| id.value.as_text()) {
                found.entry(format!("{prefix}{id}")).or_insert((item, item.span));
            }
        }
    }
    let get = |node: &'n Node, names: [&str; 2]| names.iter().find_map(|name| node.get(name));
    for group in get(node, ["groups", "task_groups"]).map(|entry| entry.value.entries()).unwrap_or_default() {
        let is_bare = get(&group.value, ["prefix_ids", "prefix_group_id"])
            .is_some_and(|entry| entry.value.kind == tree::NodeKind::Bool(false));
        let inner = if is_bare { prefix.to_owned() } else { format!("{prefix}{}.", group.key) };
        tasks_of(&group.value, &inner, found);
    }
}

/// What the lints find in the DAGs of a file: warnings, in the order of the file. `dags` is what reading `text` with
/// `read` gave; the text says where, and what to ignore.
pub fn lint(dags: &[Dag], text: &str, read: &ReadOptions<'_>, options: &LintOptions) -> Vec<Diagnostic> {
    let source = Source::new(text);
    let Ok(tree) = tree::build(&source, &mut Vec::new()) else { return Vec::new() };
    let mut sources = Sources::new(source);
    let Composed { roots, overlays, .. } = compose(tree, &mut sources, read, &mut Vec::new(), &mut BTreeSet::new());
    let mut diagnostics = Vec::new();
    for (dag, root) in dags.iter().zip(&roots) {
        let mut tasks = HashMap::new();
        tasks_of(root, "", &mut tasks);
        let linted = Linted {
            dag,
            tree: Some(root),
            sources: Some(&sources),
            tasks,
            overlays: &overlays,
            environment: read.defaults.environment.as_deref(),
            options,
            catalogue: read.catalogue,
        };
        for lint in LINTS.iter().filter(|lint| !is_ignored(text, lint.code)) {
            let mut found = Vec::new();
            (lint.check)(&linted, &mut found);
            let placed = found.into_iter().map(|finding| (linted.span(&finding.place), finding));
            let heeded =
                placed.filter(|(span, _)| !span.is_some_and(|span| is_ignored(&sources.of(span).text, lint.code)));
            diagnostics.extend(heeded.map(|(span, finding)| diagnostic(lint, &sources, span, finding)));
        }
    }
    diagnostics.sort_by(|one, other| place_of(one).cmp(&place_of(other)));
    // What concerns the file is found in each of its DAGs.
    diagnostics.dedup();
    told_once(diagnostics)
}

fn place_of(diagnostic: &Diagnostic) -> (Option<&str>, usize, usize) {
    (diagnostic.file.as_deref(), diagnostic.line, diagnostic.column)
}

/// What stands at one place for every item of a `for_each` is told for the first of them.
fn told_once(diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let mut told: Vec<(Diagnostic, usize)> = Vec::new();
    for diagnostic in diagnostics {
        let is_copy = |known: &&mut (Diagnostic, usize)| {
            known.0.code == diagnostic.code
                && known.0.message.contains(FOR_EACH)
                && place_of(&known.0) == place_of(&diagnostic)
        };
        match told.iter_mut().rev().take(LINTS.len()).find(is_copy) {
            Some((_, more)) => *more += 1,
            None => told.push((diagnostic, 0)),
        }
    }
    let say = |(mut diagnostic, more): (Diagnostic, usize)| {
        if more > 0 {
            diagnostic.message.push_str(&format!(", and so for {more} more"));
        }
        diagnostic
    };
    told.into_iter().map(say).collect()
}

/// What stands against filling in past dates: for those who ask for a backfill.
pub fn backfill_problems(dag: &Dag, now: DateTime<Utc>) -> Vec<String> {
    let options = LintOptions::new(now);
    let linted = Linted {
        dag,
        tree: None,
        sources: None,
        tasks: HashMap::new(),
        overlays: &[],
        environment: None,
        options: &options,
        catalogue: &[],
    };
    let mut found = Vec::new();
    dates::same_work_each_date(&linted, &mut found);
    dates::appends(&linted, &mut found);
    found.into_iter().map(|finding| format!("{}; {}", finding.message, finding.hint)).collect()
}

/// What stands against running these tasks, which were successful, once more: for those who clear them.
pub fn rerun_problems<'a>(tasks: impl Iterator<Item = &'a Task>) -> Vec<String> {
    let problem = |task: &Task| {
        let (_, hint) = dates::appending(task)?;
        let id = &task.task_id;
        Some(format!("task '{id}' appends, and has loaded already: its rows will be there twice; {hint}"))
    };
    tasks.filter_map(problem).collect()
}

fn diagnostic(lint: &Lint, sources: &Sources<'_>, span: Option<Span>, finding: Finding) -> Diagnostic {
    let made = match span {
        Some(span) => Diagnostic::of(lint.code, sources, span, finding.message),
        None => Diagnostic::at_line(lint.code, 1, 1, finding.message),
    };
    Diagnostic { severity: Severity::Warning, ..made.hint(finding.hint) }
}

fn is_ignored(text: &str, code: &str) -> bool {
    hints(text, "ignore").any(|rest| rest.split([',', ' ']).any(|word| word == code))
}

/// What follows `# lint: WORD` in comments.
fn hints<'t>(text: &'t str, word: &'t str) -> impl Iterator<Item = &'t str> {
    let comment = |line: &'t str| line.split_once("# lint:").map(|(_, rest)| rest.trim());
    text.lines().filter_map(comment).filter_map(move |rest| rest.strip_prefix(word)).map(str::trim)
}

/// Every text in a task's parameters, with the parameter that it stands in.
fn texts(task: &Task) -> Vec<(&str, &str)> {
    fn collect<'v>(name: &'v str, value: &'v Value, texts: &mut Vec<(&'v str, &'v str)>) {
        match value {
            Value::String(text) => texts.push((name, text)),
            Value::Array(items) => items.iter().for_each(|item| collect(name, item, texts)),
            Value::Object(map) => map.values().for_each(|item| collect(name, item, texts)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for (name, value) in task.parameters.as_object().into_iter().flatten() {
        collect(name, value, &mut found);
    }
    found
}

/// The first parts of the names that a task's templates use.
fn names(task: &Task) -> BTreeSet<String> {
    let templates = texts(task).into_iter().map(|(_, text)| text).filter(|text| is_template(text));
    templates.flat_map(referenced_names).collect()
}

fn text_parameter<'t>(task: &'t Task, name: &str) -> Option<&'t str> {
    task.parameters.get(name).and_then(Value::as_str)
}

/// Upper case words of SQL, without comments and what stands in quotes.
fn sql_words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut is_comment = false;
    let mut before = ' ';
    for c in sql.chars().chain([' ']) {
        if is_comment {
            is_comment = c != '\n';
        } else if let Some(open) = quote {
            if c == open {
                quote = None;
            }
        } else if c == '-' && before == '-' {
            is_comment = true;
        } else if c == '\'' {
            quote = Some(c);
        } else if c.is_alphanumeric() || c == '_' || c == '.' {
            word.push(c.to_ascii_uppercase());
            before = c;
            continue;
        } else if c == ';' {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            words.push(";".to_owned());
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_sql_stand_outside_of_quotes_and_comments() {
        let words = sql_words("select 'limit 1' -- offset\nfrom a.b; truncate x");
        assert_eq!(words, ["SELECT", "FROM", "A.B", ";", "TRUNCATE", "X"]);
    }

    #[test]
    fn a_comment_silences_one_code() {
        let text = "schedule: none # lint: ignore utc-date, full-refresh\n";
        assert!(is_ignored(text, "utc-date") && is_ignored(text, "full-refresh") && !is_ignored(text, "utc"));
    }

    #[test]
    fn codes_are_unique() {
        let codes: BTreeSet<&str> = LINTS.iter().map(|lint| lint.code).collect();
        assert_eq!(codes.len(), LINTS.len());
    }
}
