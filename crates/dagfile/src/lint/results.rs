//! Results that a task asks for and that are not there when it runs.

use millrace_model::dag::Task;
use millrace_model::graph::Graph;

use super::{Finding, Linted, text_parameter, texts};
use crate::suggest::nearest;

const PULL: &str = "xcom_pull(";
const FROM_TASK: &str = "from_task";

pub(super) fn result_not_there(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let dag = linted.dag;
    let Ok(graph) = Graph::of(dag) else { return };
    for (index, task) in dag.tasks.iter().enumerate() {
        let before = graph.reachable(index, true);
        for (key, name) in asked_of(task) {
            let is_before = before.iter().any(|other| dag.tasks[*other].task_id.as_str() == name && *other != index);
            if is_before {
                continue;
            }
            let task_id = &task.task_id;
            let (message, hint) = if dag.task(name).is_some() {
                (
                    format!("task '{task_id}' asks for the result of '{name}', which is not before it"),
                    format!("add it: depends_on: [{name}]"),
                )
            } else {
                let known = dag.tasks.iter().map(|task| task.task_id.as_str());
                let near = nearest(name, known).map(|near| format!("did you mean '{near}'?"));
                let message = format!("task '{task_id}' asks for the result of '{name}', and there is no such task");
                (message, near.unwrap_or_else(|| "name a task of this DAG; one in a group as group.task".to_owned()))
            };
            found.push(Finding::in_task(task, key, message, hint));
        }
    }
}

/// Tasks that are named outright: parameter and name.
fn asked_of(task: &Task) -> Vec<(&str, &str)> {
    let is_name = |name: &&str| !name.contains('{');
    let mut asked: Vec<(&str, &str)> =
        text_parameter(task, FROM_TASK).filter(is_name).map(|name| (FROM_TASK, name)).into_iter().collect();
    for (key, text) in texts(task) {
        for (at, _) in text.match_indices(PULL) {
            asked.extend(pulled(&text[at + PULL.len()..]).into_iter().map(|name| (key, name)));
        }
    }
    asked.dedup();
    asked
}

/// The names in the first argument of a call. One that looks at earlier runs waits for nothing in this one.
fn pulled(arguments: &str) -> Vec<&str> {
    let end = arguments.find("}}").into_iter().chain(arguments.find("%}")).min().unwrap_or(arguments.len());
    if arguments[..end].contains("include_prior_dates") {
        return Vec::new();
    }
    let first = arguments.trim_start();
    let first =
        first.strip_prefix("task_ids").map_or(first, |rest| rest.trim_start().trim_start_matches('=')).trim_start();
    let quoted = |text: &'_ str| -> Option<(usize, usize)> {
        let quote = text.chars().next().filter(|c| ['\'', '"'].contains(c))?;
        Some((1, 1 + text[1..].find(quote)?))
    };
    let Some(mut rest) = first.strip_prefix('[') else {
        return quoted(first).map(|(from, to)| &first[from..to]).into_iter().collect();
    };
    let mut names = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', ',', '\n']);
        let Some((from, to)) = quoted(rest) else { return names };
        names.push(&rest[from..to]);
        rest = &rest[to + 1..];
    }
}

#[cfg(test)]
mod tests {
    use super::pulled;

    #[test]
    fn names_stand_first_outright_or_in_a_list() {
        assert_eq!(pulled("'a').rows }}"), ["a"]);
        assert_eq!(pulled(" task_ids = \"a.b\", key='rows') }}"), ["a.b"]);
        assert_eq!(pulled("['a', \"b\"]) }}"), ["a", "b"]);
        assert_eq!(pulled("params.task) }}"), [""; 0]);
        assert_eq!(pulled("'a', include_prior_dates=true) }}"), [""; 0]);
    }
}
