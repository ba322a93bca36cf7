//! The item that an instance of a mapped task is for.

use std::collections::BTreeMap;

use millrace_model::change::Assignment;
use millrace_model::dag::Task;
use millrace_model::mapping::{Item, ItemValue};
use millrace_operator_api::entry::OperatorEntry;
use millrace_template::Lookup;
use serde_json::{Map, Value};

/// With the number of items; `None` for a task that is not mapped. The lists are read as they are stored, so that every try of an instance sees the
/// same item. May block.
pub(crate) fn item(assignment: &Assignment, lookup: &dyn Lookup) -> Result<Option<(Item, usize)>, String> {
    let dag = &assignment.dag;
    let Some(expand) = dag.expand_of(assignment.task()) else { return Ok(None) };
    let Ok(map_index) = usize::try_from(assignment.map_index) else {
        return Err("the task is mapped; say which of its instances is meant (--map-index)".to_owned());
    };
    let mut results = BTreeMap::new();
    for producer in expand.producers() {
        let found = lookup.xcom(producer.as_str(), "return_value");
        let found = found.map_err(|error| format!("cannot read the result of task '{producer}': {error}"))?;
        match found {
            Some(Value::Array(list)) => results.insert(producer.clone(), list),
            Some(_) => return Err(format!("the result of task '{producer}' is not a list")),
            None => return Err(format!("task '{producer}' has left no list in this run")),
        };
    }
    let count = expand.count(|task| results.get(task).map(Vec::len)).unwrap_or(0);
    match expand.item(map_index, &results) {
        Some(item) => Ok(Some((item, count))),
        None => Err(format!("there are {count} items, counted from 0, and so none for map index {map_index}")),
    }
}

/// The task's parameters with those that its own item gives: first what may hold templates, then what is taken as it is
/// because it comes from another task's result.
pub(crate) fn fill(task: &Task, entry: &OperatorEntry, schema: &Value, item: &Item) -> (Value, Map<String, Value>) {
    let mut before = task.parameters.clone();
    let mut after = Map::new();
    // The item of a group is for templates only.
    let values = if task.expand.is_some() { item.values.as_slice() } else { &[] };
    for ItemValue { name, value, is_result } in values {
        let alias = entry.parameter_aliases.iter().find(|(alias, _)| alias == name);
        let own = alias.map_or(name.as_str(), |(_, own)| *own);
        if !has_property(schema, own) {
            continue;
        }
        if *is_result {
            after.insert(own.to_owned(), value.clone());
        } else if let Value::Object(parameters) = &mut before {
            parameters.insert(own.to_owned(), value.clone());
        }
    }
    (before, after)
}

fn has_property(schema: &Value, name: &str) -> bool {
    let own = schema.get("properties").is_some_and(|properties| properties.get(name).is_some());
    let branches = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema.get(key)?.as_array()).flatten();
    own || branches.into_iter().any(|branch| has_property(branch, name))
}
