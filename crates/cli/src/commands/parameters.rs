//! The parameters of an operator as rows of a list, those within others too: read from the operator's schema.

use millrace_operator_api::entry::OperatorEntry;
use millrace_template::{TEMPLATE_PATTERN, is_marked};
use serde::Serialize;
use serde_json::Value;

#[derive(Serialize)]
pub struct ParameterView {
    /// With the names it stands below: `tables.sync_mode`, whether `tables` is a map or a list of maps.
    parameter: String,
    required: bool,
    template: bool,
    r#type: String,
    /// Null where leaving it out means that there is none.
    default: Value,
    description: String,
}

/// Needed ones first, each with what stands below it.
pub fn parameters(entry: &OperatorEntry, schema: &Value) -> Vec<ParameterView> {
    let mut views = Vec::new();
    below("", schema, &mut views);
    for view in &mut views {
        let aliases = entry.parameter_aliases.iter().filter(|(_, own)| *own == view.parameter);
        let aliases: Vec<&str> = aliases.map(|(alias, _)| *alias).collect();
        if !aliases.is_empty() {
            view.description.push_str(&format!(" (also: {})", aliases.join(", ")));
        }
    }
    views
}

fn below(path: &str, schema: &Value, views: &mut Vec<ParameterView>) {
    for branch in branches(schema).chain(schema.get("items")) {
        below(path, branch, views);
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut properties: Vec<(bool, &String, &Value)> =
        properties.map(|(name, property)| (required.contains(&name.as_str()), name, property)).collect();
    properties.sort_by_key(|(required, name, _)| (!required, *name));
    for (required, name, property) in properties {
        let parameter = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // One map or a list of such maps: the same names twice.
        if views.iter().any(|view| view.parameter == parameter) {
            continue;
        }
        views.push(ParameterView {
            required,
            template: is_marked(property),
            r#type: type_names(property).join(" or "),
            default: default(property),
            description: property["description"].as_str().unwrap_or_default().to_owned(),
            parameter: parameter.clone(),
        });
        below(&parameter, property, views);
    }
}

fn branches(schema: &Value) -> impl Iterator<Item = &Value> {
    ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(*key)?.as_array()).flatten()
}

/// Nothing where the default is empty, or a map whose names have their own.
fn default(property: &Value) -> Value {
    match &property["default"] {
        Value::Array(items) if items.is_empty() => Value::Null,
        Value::Object(_) => Value::Null,
        default => default.clone(),
    }
}

/// Without "nothing", and without the text that a template is: that it may be one is told beside.
fn type_names(schema: &Value) -> Vec<&str> {
    let own = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => Vec::from_iter(name.as_str()),
    };
    let is_for_templates = |branch: &&Value| branch["pattern"] == TEMPLATE_PATTERN;
    let of_branches = branches(schema).filter(|branch| !is_for_templates(branch)).flat_map(type_names);
    let mut names = Vec::new();
    for name in own.into_iter().chain(of_branches) {
        if name != "null" && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
