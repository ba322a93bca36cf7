//! Reads single values, and says what is wrong with them at their place.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::str::FromStr;

use millrace_model::duration::Span as Length;

use crate::diagnostic::{Diagnostic, Severity};
use crate::keys;
use crate::options::ReadOptions;
use crate::source::{Sources, Span};
use crate::suggest;
use crate::tree::{Entry, Node, NodeKind};

/// Problems after which no more hints are looked for.
const MAX_HINTS: usize = 200;
/// Words among which a near one is looked for.
const MAX_WORDS: usize = 2_000;

/// What all parts of reading one file share.
pub(crate) struct Reader<'a> {
    pub sources: &'a Sources<'a>,
    pub options: &'a ReadOptions<'a>,
    pub diagnostics: Vec<Diagnostic>,
    pub files: BTreeSet<String>,
    pub schemas: BTreeMap<&'static str, Rc<serde_json::Value>>,
    /// What is being read belongs to a mapped task, whose templates know its item.
    pub is_mapped: bool,
    /// Everything that makes up the file could be had.
    pub is_whole: bool,
}

impl<'a> Reader<'a> {
    pub fn new(sources: &'a Sources<'a>, options: &'a ReadOptions<'a>, diagnostics: Vec<Diagnostic>) -> Self {
        Self {
            sources,
            options,
            diagnostics,
            files: BTreeSet::new(),
            schemas: BTreeMap::new(),
            is_mapped: false,
            is_whole: true,
        }
    }

    pub fn error(&mut self, code: &'static str, span: Span, message: impl Into<String>) {
        self.diagnostics.push(Diagnostic::of(code, self.sources, span, message.into()));
    }

    pub fn error_with_hint(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.diagnostics.push(Diagnostic::of(code, self.sources, span, message.into()).hint(hint));
    }

    /// How many there are so far: what brought another one is not whole. What brought a warning only is.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    pub fn warning(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
        hint: impl Into<Option<String>>,
    ) {
        self.diagnostics.push(Diagnostic::of(code, self.sources, span, message.into()).hint(hint).warning());
    }

    pub fn wrong_type(&mut self, entry: &Entry, expected: &str) {
        let message = format!("'{}' must be {expected}, not {}", entry.key, entry.value.kind.noun());
        let hint = self.type_hint(&entry.value, expected);
        self.error_with_hint("wrong-type", entry.value.span, message, hint);
    }

    /// How to turn what stands there into what was expected, when only the notation is at fault.
    pub fn type_hint(&self, node: &Node, expected: &str) -> Option<String> {
        let written = self.sources.of(node.span).slice(node.span).lines().next().unwrap_or_default();
        match &node.kind {
            NodeKind::Number(_) | NodeKind::Bool(_) if expected.starts_with("text") && written.len() < 40 => {
                Some(format!("quote it: \"{written}\""))
            }
            NodeKind::Text(text) if expected.contains("true or false") => match text.to_lowercase().as_str() {
                "yes" | "y" | "on" | "true" => Some("write true".to_owned()),
                "no" | "n" | "off" | "false" => Some("write false".to_owned()),
                _ => None,
            },
            NodeKind::Text(text) if expected.contains("number") && text.parse::<f64>().is_ok() => {
                Some("write it without quotes".to_owned())
            }
            NodeKind::Map(entries) if expected.starts_with("text") && is_bare_template(entries) => {
                Some("a template must be quoted: \"{{ … }}\"".to_owned())
            }
            _ => None,
        }
    }

    pub fn text(&mut self, entry: &Entry) -> Option<String> {
        match &entry.value.kind {
            NodeKind::Text(text) => Some(text.clone()),
            NodeKind::Null => None,
            _ => {
                self.wrong_type(entry, "text");
                None
            }
        }
    }

    /// Text that is not empty.
    pub fn name(&mut self, entry: &Entry) -> Option<String> {
        let text = self.text(entry)?;
        if text.trim().is_empty() {
            self.error("empty", entry.value.span, format!("'{}' must not be empty", entry.key));
            return None;
        }
        Some(text)
    }

    pub fn flag(&mut self, entry: &Entry) -> Option<bool> {
        match &entry.value.kind {
            NodeKind::Bool(flag) => Some(*flag),
            NodeKind::Null => None,
            _ => {
                self.wrong_type(entry, "true or false");
                None
            }
        }
    }

    /// A whole number within `[least, most]`.
    pub fn integer(&mut self, entry: &Entry, least: i64, most: i64) -> Option<i64> {
        match &entry.value.kind {
            NodeKind::Number(number) if !number.is_f64() => {
                let found = number.as_i64().filter(|found| (least..=most).contains(found));
                if found.is_none() {
                    let message = format!("'{}' must be {least} to {most}, not {number}", entry.key);
                    self.error("out-of-range", entry.value.span, message);
                }
                found
            }
            NodeKind::Null => None,
            _ => {
                self.wrong_type(entry, "a whole number");
                None
            }
        }
    }

    pub fn count(&mut self, entry: &Entry, least: u32) -> Option<u32> {
        self.integer(entry, i64::from(least), 1_000_000).and_then(|number| u32::try_from(number).ok())
    }

    /// A length of time: `3m`, `PT3M`, or seconds as a number.
    pub fn length(&mut self, entry: &Entry) -> Option<Length> {
        let text = match &entry.value.kind {
            NodeKind::Text(text) => text.clone(),
            NodeKind::Number(number) => number.to_string(),
            NodeKind::Null => return None,
            _ => {
                self.wrong_type(entry, "a length of time such as 3m, 1h30m or 90 (seconds)");
                return None;
            }
        };
        match Length::from_str(&text) {
            Ok(length) => Some(length),
            Err(error) => {
                self.error("bad-duration", entry.value.span, format!("'{}': {error}", entry.key));
                None
            }
        }
    }

    /// A list of text; one text is a list of one. Each with its place.
    pub fn texts(&mut self, entry: &Entry) -> Vec<(String, Span)> {
        let expected = "text or a list of text";
        match &entry.value.kind {
            NodeKind::Null => Vec::new(),
            NodeKind::Text(text) => vec![(text.clone(), entry.value.span)],
            NodeKind::List(items) => {
                let mut texts = Vec::with_capacity(items.len());
                for item in items {
                    if let Some(text) = item.as_text() {
                        texts.push((text.to_owned(), item.span));
                    } else {
                        let message = format!("'{}' must be {expected}, but here is {}", entry.key, item.kind.noun());
                        let hint = self.type_hint(item, "text");
                        self.error_with_hint("wrong-type", item.span, message, hint);
                    }
                }
                texts
            }
            _ => {
                self.wrong_type(entry, expected);
                Vec::new()
            }
        }
    }

    /// Complains about every entry whose key is not in `known`.
    pub fn unknown_keys(&mut self, entries: &[Entry], known: &[&str], place: &str) {
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                self.unknown_key(entry, known, place);
            }
        }
    }

    pub fn unknown_key(&mut self, entry: &Entry, known: &[&str], place: &str) {
        let hint = match (airflow_only(&entry.key), self.nearest(&entry.key, known)) {
            (Some(hint), _) => Some(hint.to_owned()),
            (None, Some(near)) => Some(format!("did you mean '{near}'?")),
            (None, None) => habit(&entry.key, known).map(str::to_owned),
        };
        self.error_with_hint("unknown-key", entry.key_span, format!("unknown key '{}' {place}", entry.key), hint);
    }

    /// So much is wrong that nothing costly is done for more of it.
    pub fn is_flooded(&self) -> bool {
        self.diagnostics.len() > MAX_HINTS
    }

    /// Looks for a near word, unless so much is wrong or known that it would take long.
    pub fn nearest<'w>(&self, word: &str, known: &[&'w str]) -> Option<&'w str> {
        if self.is_flooded() || known.len() > MAX_WORDS {
            return None;
        }
        suggest::nearest(word, known.iter().copied())
    }
}

/// Airflow's keys that have no counterpart in a file, however near to another one they are spelled.
fn airflow_only(key: &str) -> Option<&'static str> {
    Some(match key {
        "default_view" | "owner_links" | "doc_json" | "doc_yaml" => "leave it out: pages need nothing of the file",
        "access_control" => "rights stand in no file: `millrace grants add` gives a role for one DAG",
        "template_searchpath" => "leave it out: SQL and scripts in files are named from the dags folder on",
        "user_defined_macros" | "user_defined_filters" | "jinja_environment_kwargs" => {
            "templates have the built-in macros only; write values into 'params' or variables"
        }
        "render_template_as_native_obj" => "leave it out: what a rendered text is read as, its parameter says",
        "max_active_tasks_per_dag" => "write 'max_active_tasks' in the DAG",
        "task_group" => "write the task under 'groups', in its group's 'tasks'",
        "python_callable" | "op_args" | "op_kwargs" => {
            "files hold no Python; a task with 'operator: bash' runs a script: `command: python3 script.py`"
        }
        _ => return None,
    })
}

/// What to write instead of keys that people bring along from elsewhere.
fn habit(key: &str, known: &[&str]) -> Option<&'static str> {
    let (hint, needed) = match key {
        "cron" | "schedule_cron" | "timedelta" => ("write 'schedule'", "schedule"),
        "dependencies" | "upstream" | "needs" | "after" | "set_upstream" => ("write 'depends_on'", "depends_on"),
        "type" | "task_type" | "uses" => ("write 'operator'", "operator"),
        "timeout" if known.contains(&"dagrun_timeout") => ("write 'dagrun_timeout'", "dagrun_timeout"),
        "timeout" => ("write 'execution_timeout'", "execution_timeout"),
        "retry" | "max_retries" | "max_tries" | "attempts" => ("write 'retries': tries after the first", "retries"),
        "retry_interval" | "retry_wait" | "delay" => ("write 'retry_delay'", "retry_delay"),
        "backoff" | "exponential_backoff" => ("write 'retry_exponential_backoff'", "retry_exponential_backoff"),
        "priority" | "weight" => ("write 'priority_weight'", "priority_weight"),
        "slots" => ("write 'pool_slots'", "pool_slots"),
        "max_runs" | "max_concurrent_runs" => ("write 'max_active_runs'", "max_active_runs"),
        "max_failures" | "max_consecutive_failures" => {
            ("write 'max_consecutive_failed_dag_runs'", "max_consecutive_failed_dag_runs")
        }
        "id" | "name" if known.contains(&"dag_id") => ("write 'dag_id'", "dag_id"),
        "id" | "name" => ("write 'task_id'", "task_id"),
        "email" | "email_on_failure" | "email_on_retry" => {
            return Some("write 'on_failure' or 'on_retry' with a command that sends it, or a webhook");
        }
        "on_failure_callback" => ("write 'on_failure'", "on_failure"),
        "on_success_callback" => ("write 'on_success'", "on_success"),
        "on_retry_callback" => ("write 'on_retry'", "on_retry"),
        "on_execute_callback" => ("write 'on_execute'", "on_execute"),
        "on_skipped_callback" => ("write 'on_skipped'", "on_skipped"),
        "on_execute" | "on_skipped" | "on_retry" => return Some(OF_TRIES),
        "multiple_outputs" => {
            return Some(
                "it is not needed: what a task leaves is read by its names, {{ ti.xcom_pull('task').name }} or {{ ti.xcom_pull('task', key='name') }}",
            );
        }
        "do_xcom_push" => return Some("a task leaves a result when its operator has one; nobody has to read it"),
        "sla" if !known.contains(&"deadline") => return Some("a deadline is the DAG's: write 'deadline' there"),
        "sla" => ("write 'deadline'", "deadline"),
        "task_concurrency" => ("write 'max_active_tis_per_dag'", "max_active_tis_per_dag"),
        "doc_md" | "doc" => ("write 'description'", "description"),
        "start_date" | "end_date" => return Some("dates are the DAG's: tasks have none of their own"),
        "ignore_first_depends_on_past" => return Some("the first run never waits for one before it"),
        "is_paused_upon_creation" => {
            return Some("the configuration says whether new DAGs are paused; millrace dags pause does it for one");
        }
        "inlets" => return Some("assets that call for a run stand in the DAG's 'schedule'"),
        "queue" | "executor" | "executor_config" | "run_as_user" => {
            return Some("tries run where the scheduler runs; a pool says how many of them at a time");
        }
        _ => return misplaced(key, known),
    };
    match needed {
        "on_execute" | "on_skipped" | "on_retry" if !known.contains(&needed) => Some(OF_TRIES),
        _ if known.contains(&needed) => Some(hint),
        _ => misplaced(needed, known),
    }
}

/// A key of tasks that stands in the DAG, or one of the DAG in a task or in `default_args`.
fn misplaced(key: &str, known: &[&str]) -> Option<&'static str> {
    if known.contains(&"schedule") && keys::OF_TASK.contains(&key) {
        let shared = "it is a task's key: write it under the task, or in default_args for all";
        return Some(if keys::SHARED.contains(&key) { shared } else { "it is a task's key: write it under the task" });
    }
    (known.contains(&"retries") && keys::OF_DAG.contains(&key)).then_some("it is the DAG's key: write it there")
}

/// Of callbacks that a DAG has none of.
const OF_TRIES: &str =
    "tries are told of: write 'on_execute', 'on_retry' or 'on_skipped' under a task, or in default_args for all";

/// `{{ ds }}` without quotes is a map with a map as its key in YAML; the parser refuses that, but `{ ds }` is not.
fn is_bare_template(entries: &[Entry]) -> bool {
    entries.len() == 1 && entries[0].value.is_null()
}
