//! What can be said of a template before there is a run: whether it can be read, and which names it uses.

use std::collections::BTreeSet;

use crate::context::{CONTEXT_NAMES, MAPPED_NAMES};
use crate::error::SyntaxError;
use crate::{depth, renderer};

/// Names of the language itself.
const LANGUAGE_NAMES: &[&str] = &["caller", "dict", "kwargs", "loop", "namespace", "range", "self", "super", "varargs"];

/// Names of Airflow that are not offered (yet), so that a user is not told to look for a typo.
const AIRFLOW_NAMES: &[&str] = &[
    "conf",
    "inlet_events",
    "inlets",
    "outlet_events",
    "partition_date",
    "partition_key",
    "templates_dict",
    "triggering_dataset_events",
];

/// True when `text` holds Jinja. A lone `{#` is not taken for a comment: shells write `${#list[@]}`.
pub fn is_template(text: &str) -> bool {
    text.contains("{{") || text.contains("{%") || text.find("{#").is_some_and(|at| text[at..].contains("#}"))
}

/// Whether the text can be read as a template. Runs nothing.
pub fn check_syntax(text: &str) -> Result<(), SyntaxError> {
    if !is_template(text) {
        return Ok(());
    }
    let read = depth::check(text).and_then(|()| renderer::environment().template_from_str(text).map(drop));
    let Err(error) = read else { return Ok(()) };
    let line = error.line().unwrap_or(1);
    let line_start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let column = error
        .range()
        .filter(|range| range.start >= line_start)
        .and_then(|range| text.get(line_start..range.start))
        .map_or(1, |before| before.chars().count() + 1);
    let message = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    Err(SyntaxError { line, column, message: format!("the template cannot be read: {message}") })
}

/// The names that the template takes from outside, with attributes where these are plain: `ds`, `params.limit`,
/// `var.value.bucket`. Empty for a text that can't be read.
pub fn referenced_names(text: &str) -> BTreeSet<String> {
    if !is_template(text) {
        return BTreeSet::new();
    }
    let environment = renderer::environment();
    depth::check(text)
        .and_then(|()| environment.template_from_str(text))
        .map(|template| template.undeclared_variables(true).into_iter().collect())
        .unwrap_or_default()
}

/// All names that a template may use, those of mapped tasks among them.
pub fn known_names() -> impl Iterator<Item = &'static str> {
    CONTEXT_NAMES.iter().chain(MAPPED_NAMES).copied()
}

/// Whether a template may use the name (without attributes).
pub fn is_known_name(name: &str) -> bool {
    CONTEXT_NAMES.contains(&name) || LANGUAGE_NAMES.contains(&name)
}

/// Whether the name is known to the templates of mapped tasks only.
pub fn is_mapped_name(name: &str) -> bool {
    MAPPED_NAMES.contains(&name)
}

/// What to tell somebody who used a name that is not known.
pub fn unknown_name_hint(name: &str) -> Option<String> {
    if is_mapped_name(name) {
        return Some("only tasks with 'expand' have an item".to_owned());
    }
    if matches!(name, "exception" | "reason") {
        return Some("a command of on_failure or on_retry finds the reason in its environment: $REASON".to_owned());
    }
    if AIRFLOW_NAMES.contains(&name) {
        return Some(format!("Airflow's '{name}' is not offered here"));
    }
    closest(name, CONTEXT_NAMES.iter().copied()).map(|near| format!("did you mean '{near}'?"))
}

pub(crate) fn closest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let limit = if name.chars().count() <= 4 { 1 } else { 2 };
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_where_the_syntax_breaks() {
        let cases = [
            ("{{ ds }}", None),
            ("${#list[@]}", None),
            ("a {{ ds", Some((1, "end of"))),
            ("one\ntwo {{ ds | }}\nthree", Some((2, "unexpected"))),
            ("{% for x in y %}", Some((1, "end of"))),
            ("{{ 1 +* 2 }}", Some((1, "unexpected"))),
        ];
        for (text, expected) in cases {
            match (check_syntax(text), expected) {
                (Ok(()), None) => {}
                (Err(error), Some((line, message))) => {
                    assert_eq!(error.line, line, "{text}: {error}");
                    assert!(error.message.contains(message), "{text}: {error}");
                    assert!(error.column >= 1);
                }
                (found, _) => panic!("{text}: {found:?}"),
            }
        }
        let error = check_syntax("é {{ ds | }}").unwrap_err();
        assert_eq!(error.column, 11);
    }

    #[test]
    fn lists_what_a_template_uses() {
        let names = referenced_names("{% set x = ds %}{{ x }} {{ params.limit }} {{ var.value.bucket }} {{ foo }}");
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["ds", "foo", "params.limit", "var.value.bucket"]
        );
    }

    #[test]
    fn suggests_near_names() {
        assert_eq!(unknown_name_hint("dss").as_deref(), Some("did you mean 'ds'?"));
        assert_eq!(unknown_name_hint("excution_date").as_deref(), Some("did you mean 'execution_date'?"));
        assert_eq!(unknown_name_hint("inlets").as_deref(), Some("Airflow's 'inlets' is not offered here"));
        assert_eq!(unknown_name_hint("something_else"), None);
    }
}
