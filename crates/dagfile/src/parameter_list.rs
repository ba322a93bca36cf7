//! The parameters of an operator as rows of a list, those within others too: read from the operator's schema.

use millrace_operator_api::entry::OperatorEntry;
use millrace_template::{TEMPLATE_PATTERN, is_marked};
use serde::Serialize;
use serde_json::Value;

/// One row.
#[derive(Debug, Serialize)]
pub struct Parameter {
    /// With the names it stands below: `tables.sync_mode`, whether `tables` is a map or a list of maps.
    pub parameter: String,
    pub required: bool,
    pub template: bool,
    /// What it may be: `integer or string`, or the words that it may be one of; empty: anything.
    pub r#type: String,
    /// Null where leaving it out means that there is none.
    pub default: Value,
    pub description: String,
}

/// Needed ones first, each with what stands below it.
pub fn parameters_of(entry: &OperatorEntry, schema: &Value) -> Vec<Parameter> {
    let mut all = Vec::new();
    below("", schema, &mut all);
    for one in &mut all {
        let aliases = entry.parameter_aliases.iter().filter(|(_, own)| *own == one.parameter);
        let aliases: Vec<&str> = aliases.map(|(alias, _)| *alias).collect();
        if !aliases.is_empty() {
            one.description.push_str(&format!(" (also: {})", aliases.join(", ")));
        }
    }
    all
}

fn below(path: &str, schema: &Value, all: &mut Vec<Parameter>) {
    for branch in branches(schema).chain(schema.get("items")) {
        below(path, branch, all);
    }
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let properties = schema["properties"].as_object().into_iter().flatten();
    let mut properties: Vec<(bool, &String, &Value)> =
        properties.map(|(name, property)| (required.contains(&name.as_str()), name, property)).collect();
    properties.sort_by_key(|(required, name, _)| (!required, *name));
    for (required, name, property) in properties {
        let parameter = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        // One map or a list of such maps: the same names twice.
        if all.iter().any(|known| known.parameter == parameter) {
            continue;
        }
        all.push(Parameter {
            required,
            template: is_marked(property),
            r#type: kinds(property).join(" or "),
            default: default(property),
            description: property["description"].as_str().unwrap_or_default().to_owned(),
            parameter: parameter.clone(),
        });
        below(&parameter, property, all);
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

/// Words to choose from, or else names of types; without "nothing", and without the text that a template is: that it may
/// be one is told beside.
fn kinds(schema: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let own: Vec<String> = match (schema["enum"].as_array(), schema.get("const"), &schema["type"]) {
        (Some(choices), ..) => choices.iter().filter(|choice| !choice.is_null()).map(text).collect(),
        (None, Some(only), _) => Some(only).filter(|only| !only.is_null()).map(text).into_iter().collect(),
        (None, None, Value::Array(names)) => names.iter().filter(|name| *name != "null").map(text).collect(),
        (None, None, name) => name.as_str().filter(|name| *name != "null").map(str::to_owned).into_iter().collect(),
    };
    let is_for_templates = |branch: &&Value| branch["pattern"] == TEMPLATE_PATTERN;
    let of_branches = branches(schema).filter(|branch| !is_for_templates(branch)).flat_map(kinds);
    let mut all = Vec::new();
    for kind in own.into_iter().chain(of_branches) {
        if !all.contains(&kind) {
            all.push(kind);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_come_from_the_schema() {
        let schema = json!({
            "required": ["sql"],
            "properties": {
                "limit": {"type": ["integer", "null"], "default": 5, "description": "At most."},
                "sql": {"type": "string"},
                "mode": {"oneOf": [{"const": "append"}, {"const": "replace"}]},
                "way": {"anyOf": [{"type": "string", "enum": ["up", "null"]}, {"type": "null"}]},
                "free": true,
                "tables": {"type": "array", "items": {"required": ["name"], "properties": {"name": {"type": "string"}}}},
            },
        });
        let mut found = Vec::new();
        below("", &schema, &mut found);
        let short: Vec<(&str, &str, bool)> =
            found.iter().map(|one| (one.parameter.as_str(), one.r#type.as_str(), one.required)).collect();
        let wanted = [
            ("sql", "string", true),
            ("free", "", false),
            ("limit", "integer", false),
            ("mode", "append or replace", false),
            ("tables", "array", false),
            ("tables.name", "string", true),
            ("way", "up or null", false),
        ];
        assert_eq!(short, wanted);
        assert_eq!((&found[2].default, found[2].description.as_str()), (&json!(5), "At most."));
    }
}
