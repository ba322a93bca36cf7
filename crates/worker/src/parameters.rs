//! From the parameters in the DAG to an operator that can run.

use std::sync::Arc;

use millrace_model::change::Assignment;
use millrace_model::param;
use millrace_operator_api::Operator;
use millrace_settings::Masker;
use millrace_template::{Lookup, RenderContext, RenderError, RenderFacts, Renderer, is_template, render_parameters};
use serde_json::Value;

use crate::equipment::Equipment;
use crate::mapping;

/// Rendered values longer than this are cut where they are shown (Airflow's `max_templated_field_length`).
const MAX_SHOWN: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParameterError {
    UnknownOperator(String),
    Render(Vec<String>),
    /// What a template looks up was out of reach: the same may succeed later.
    OutOfReach(Vec<String>),
    Invalid(String),
}

impl std::fmt::Display for ParameterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UnknownOperator(name) => {
                write!(f, "this Millrace has no operator '{name}'; was the DAG stored by a newer version?")
            }
            Self::Render(problems) | Self::OutOfReach(problems) => f.write_str(&problems.join("\n")),
            Self::Invalid(message) => write!(f, "the rendered parameters are not valid: {message}"),
        }
    }
}

/// What a try's templates came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    pub parameters: Value,
    /// Of a mapped task: what people call this instance.
    pub map_name: Option<String>,
    /// Of a mapped task: what this instance is for.
    pub item: Option<Value>,
}

/// What keeps secrets out of all that is shown of a try: those of everyone, and those of its own run.
pub fn masker(equipment: &Equipment, assignment: &Assignment) -> Masker {
    equipment.masker.beside(&[&param::defaults(&assignment.dag.params), &assignment.run.conf])
}

/// The parameters with their templates rendered; never holds up the thread it is called on.
pub async fn render(equipment: &Arc<Equipment>, assignment: &Assignment) -> Result<Rendered, ParameterError> {
    let task = assignment.task();
    if equipment.operator(&task.operator).is_none() {
        return Err(ParameterError::UnknownOperator(task.operator.clone()));
    }
    let expand = assignment.dag.expand_of(task);
    if expand.is_none() && !any_text(&task.parameters, &is_template) {
        return Ok(Rendered { parameters: task.parameters.clone(), map_name: None, item: None });
    }
    let lookup = (equipment.lookup)(assignment);
    // Most templates are expressions of dates and params; those need no other thread. What looks something up may block, and
    // what loops may take long.
    let takes_time = expand.is_some()
        || any_text(&task.parameters, &|text| {
            is_template(text)
                && ["{%", "var", "conn", "ti", "task_instance", "xcom", "_success"]
                    .iter()
                    .any(|name| text.contains(name))
        });
    if !takes_time {
        return render_now(equipment, assignment, lookup);
    }
    let (equipment, assignment) = (equipment.clone(), assignment.clone());
    tokio::task::spawn_blocking(move || match render_now(&equipment, &assignment, lookup.clone()) {
        Err(ParameterError::Render(problems)) if lookup.was_out_of_reach() => Err(ParameterError::OutOfReach(problems)),
        rendered => rendered,
    })
    .await
    .unwrap_or_else(|panic| Err(ParameterError::Render(vec![format!("rendering failed: {panic}")])))
}

fn render_now(
    equipment: &Equipment,
    assignment: &Assignment,
    lookup: Arc<dyn Lookup>,
) -> Result<Rendered, ParameterError> {
    let task = assignment.task();
    let item = mapping::item(assignment, lookup.as_ref()).map_err(|problem| ParameterError::Render(vec![problem]))?;
    let facts = RenderFacts {
        dag: &assignment.dag,
        task_id: task.task_id.as_str(),
        run: &assignment.run,
        try_number: assignment.try_number,
        max_tries: assignment.max_tries,
        map_index: assignment.map_index,
        is_test: equipment.is_test,
    };
    let Some((entry, schema)) = equipment.operator(&task.operator) else {
        return Err(ParameterError::UnknownOperator(task.operator.clone()));
    };
    let context = RenderContext::new(&facts, lookup);
    let failed = |errors: Vec<RenderError>| ParameterError::Render(errors.iter().map(ToString::to_string).collect());
    let Some((item, count)) = item else {
        let parameters = render_parameters(schema, &task.parameters, &context).map_err(failed)?;
        return Ok(Rendered { parameters, map_name: None, item: None });
    };
    let context = context.with_item(item.whole.clone(), count);
    let (before, after) = mapping::fill(task, entry, schema, &item);
    let mut parameters = render_parameters(schema, &before, &context).map_err(failed)?;
    if let Value::Object(parameters) = &mut parameters {
        parameters.extend(after);
    }
    let map_name = match &task.map_index_template {
        Some(template) => Some(
            Renderer::new(context)
                .render_text(template)
                .map_err(|error| ParameterError::Render(vec![format!("map_index_template: {}", error.message)]))?,
        ),
        None => item.display_name(),
    };
    let map_name = map_name.map(|name| masker(equipment, assignment).mask(&name).chars().take(250).collect());
    Ok(Rendered { parameters, map_name, item: Some(item.whole) })
}

/// The operator that these rendered parameters make.
pub fn operator(equipment: &Equipment, name: &str, rendered: Value) -> Result<Box<dyn Operator>, ParameterError> {
    let (entry, _) = equipment.operator(name).ok_or_else(|| ParameterError::UnknownOperator(name.to_owned()))?;
    (entry.parse)(rendered).map_err(ParameterError::Invalid)
}

fn any_text(value: &Value, test: &dyn Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => test(text),
        Value::Array(items) => items.iter().any(|item| any_text(item, test)),
        Value::Object(map) => map.values().any(|item| any_text(item, test)),
        _ => false,
    }
}

/// Rendered parameters as they may be shown: masked, long texts cut.
pub fn shown(masker: &Masker, rendered: &Value) -> Value {
    fn cut(value: Value) -> Value {
        match value {
            Value::String(text) if text.len() > MAX_SHOWN => {
                let end = text.char_indices().map(|(i, _)| i).take_while(|i| *i <= MAX_SHOWN).last().unwrap_or(0);
                Value::String(format!("{}… (cut; {} bytes in all)", &text[..end], text.len()))
            }
            Value::Array(items) => items.into_iter().map(cut).collect(),
            Value::Object(map) => Value::Object(map.into_iter().map(|(key, value)| (key, cut(value))).collect()),
            other => other,
        }
    }
    cut(masker.mask_value(rendered))
}
