//! What whoever triggers a run can say.

use millrace_model::param::Param;
use millrace_template::referenced_names;
use serde_json::Value;

use super::{Finding, Linted, texts};

/// Parameters that a shell or a database reads as a program.
const PROGRAMS: [&str; 2] = ["bash_command", "sql"];

pub(super) fn param_in_command(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    for task in &linted.dag.tasks {
        for key in PROGRAMS {
            let texts = texts(task).into_iter().filter(|(name, _)| *name == key);
            let mut names = texts.flat_map(|(_, text)| referenced_names(text));
            let free = names.find_map(|name| {
                let name = name.strip_prefix("params.")?.split('.').next()?.to_owned();
                linted.dag.params.get(&name).is_some_and(is_free).then_some(name)
            });
            if let Some(name) = free {
                let message =
                    format!("task '{}' puts params.{name}, which may be any text, into its {key}", task.task_id);
                let hint = match key {
                    "bash_command" => {
                        "hand it on by 'env', and write \"$NAME\" in the command; or bound it by a 'pattern' or an 'enum'"
                    }
                    _ => "bound it by a 'pattern', an 'enum' or a type that is a number",
                };
                found.push(Finding::task(task, key, message, hint));
            }
        }
    }
}

/// Whether a run may say any text for it.
fn is_free(param: &Value) -> bool {
    let param = Param::of(param);
    let Some(schema) = param.schema() else { return true };
    let is_bounded = ["enum", "pattern", "format"].iter().any(|name| schema.contains_key(*name));
    !is_bounded && !matches!(param.main_type(), Some("integer" | "number" | "boolean" | "null"))
}
