//! Connections that nobody has made. It is no error of the file: one may be made after it.

use millrace_operator_api::entry::find;
use millrace_template::is_template;
use serde_json::Value;

use super::loads::LOADING;
use super::{Finding, Linted};
use crate::suggest::nearest;

const ENDING: &str = "conn_id";
const OBJECTS: &str = "aws_conn_id";

pub(super) fn unknown_connection(linted: &Linted<'_>, found: &mut Vec<Finding>) {
    let Some(all) = &linted.options.connections else { return };
    for task in &linted.dag.tasks {
        let schema = find(linted.catalogue, &task.operator).map(|entry| (entry.schema)().to_value());
        let defaults = schema.as_ref().and_then(|schema| schema["properties"].as_object()).into_iter().flatten();
        // A load that reads a database itself needs no objects on the way.
        let needs_no_objects =
            LOADING.contains(&task.operator.as_str()) && task.parameters.get("sql_conn_id").is_some();
        let given = task.parameters.as_object().into_iter().flatten();
        let of_task = given.filter_map(|(name, value)| Some((name, value.as_str()?)));
        let of_operator = defaults
            .filter(|(name, _)| task.parameters.get(name.as_str()).is_none())
            .filter(|(name, _)| !(*name == OBJECTS && needs_no_objects))
            .filter_map(|(name, property)| Some((name, property.get("default").and_then(Value::as_str)?)));
        let named = of_task.chain(of_operator).filter(|(name, _)| name.ends_with(ENDING));
        for (name, conn_id) in named.filter(|(_, conn_id)| !conn_id.is_empty() && !is_template(conn_id)) {
            if linted.options.connection(conn_id).is_some() {
                continue;
            }
            let message = format!("task '{}': there is no connection '{conn_id}' ({name})", task.task_id);
            let hint = match nearest(conn_id, all.keys().map(String::as_str)) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("millrace connections add {conn_id}"),
            };
            found.push(Finding::in_task(task, name, message, hint));
        }
    }
}
