//! An operator's parameters: aliases, `default_args`, schema, templates, and at last the operator's own opinion.

use std::rc::Rc;

use millrace_operator_api::Problems;
use millrace_operator_api::entry::OperatorEntry;
use serde_json::{Map, Value};

use crate::expand::{self, DraftExpand, Given};
use crate::fields::Reader;
use crate::schema_check;
use crate::schema_walk::{self, properties};
use crate::source::Span;
use crate::tree::{Entry, Node};
use crate::written::WrittenTask;
use crate::{files, keys, templates};

/// Parameters that hold SQL, so that `x.sql` there must be a file.
const SQL_PARAMETERS: &[&str] = &["sql", "query", "select"];

/// All names that the operator's parameters go by.
pub(crate) fn names(operator: &OperatorEntry) -> Vec<String> {
    let schema = (operator.schema)().to_value();
    let aliases = operator.parameter_aliases.iter().map(|(alias, _)| (*alias).to_owned());
    properties(&schema).into_iter().map(|(name, _)| name.to_owned()).chain(aliases).collect()
}

/// A parameter as it was written, under its canonical name.
struct Parameter {
    name: String,
    entry: Entry,
}

/// The parameters under their canonical names, if nothing is wrong with them.
pub(crate) fn read(
    reader: &mut Reader<'_>,
    operator: &'static OperatorEntry,
    written: &WrittenTask<'_>,
    shared: &[Entry],
    expand: Option<&mut DraftExpand>,
) -> Option<Value> {
    let (task_id, task_span) = (written.id.as_str(), written.span);
    let errors_before = reader.errors();
    let schema = reader.schema(operator);
    let known = properties(&schema);
    let mut parameters = collect(reader, operator, &known, task_id, written.node, shared);
    for parameter in &mut parameters {
        let Some((_, property)) = known.iter().find(|(name, _)| *name == parameter.name) else { continue };
        check_one(reader, property, parameter);
    }
    // What could not be read of its items has been reported.
    let is_broken = expand.is_none() && expand::KEYS.iter().take(2).any(|key| written.node.get(key).is_some());
    let is_open = is_broken || expand.as_ref().is_some_and(|expand| expand.is_open());
    let from_items = expand.map(|expand| from_items(reader, operator, &known, written, &mut parameters, expand));
    let from_items = from_items.unwrap_or_default();
    let mut is_complete = true;
    for name in schema_walk::required(&schema) {
        if parameters.iter().any(|parameter| parameter.name == name) || from_items.iter().any(|it| it.name == name) {
            continue;
        }
        is_complete = false;
        // The items may bring it; what they hold is known in the run.
        if is_open {
            continue;
        }
        let aliases: Vec<&str> =
            operator.parameter_aliases.iter().filter(|(_, own)| *own == name).map(|(alias, _)| *alias).collect();
        let or = if aliases.is_empty() { String::new() } else { format!(" (or {})", aliases.join(", ")) };
        let message = format!("task '{task_id}' ({}) needs '{name}'{or}", operator.name);
        reader.error("missing-key", task_span, message);
    }
    if reader.errors() > errors_before {
        return None;
    }
    let value =
        Value::Object(parameters.iter().map(|p| (p.name.clone(), p.entry.value.to_value())).collect::<Map<_, _>>());
    // The operator is asked with the first item; it can't be when that is known only in the run.
    let mut whole = value.clone();
    for it in &from_items {
        match (&it.first, &mut whole) {
            (Some(first), Value::Object(whole)) => drop(whole.insert(it.name.clone(), first.clone())),
            _ => is_complete = false,
        }
    }
    let operator_problems = if is_complete { ask_operator(operator, whole) } else { Vec::new() };
    for (field, message) in operator_problems {
        let span = place_of(&field, &message, &parameters).unwrap_or(task_span);
        let is_shared = |entry: &Entry| shared.iter().any(|other| other.key_span == entry.key_span);
        let message = if field.is_empty() {
            format!("task '{task_id}' ({}): {message}", operator.name)
        } else if let Some(given) = parameters.iter().find(|it| it.name == field && is_shared(&it.entry)) {
            format!(
                "'{field}' of task '{task_id}' ({}), which default_args give it: {message} (`{}: null` in the task keeps the \
                 default away)",
                operator.name, given.entry.key
            )
        } else {
            format!("'{field}': {message}")
        };
        reader.error("bad-parameter", span, message);
    }
    (reader.errors() == errors_before).then_some(value)
}

/// A parameter that the items of a mapped task give, and its value in the first of them.
struct FromItems {
    name: String,
    first: Option<Value>,
}

/// Compares what the items give with the operator's parameters. What is no parameter must be used in a template.
fn from_items(
    reader: &mut Reader<'_>,
    operator: &OperatorEntry,
    known: &[(&str, &Value)],
    written: &WrittenTask<'_>,
    parameters: &mut Vec<Parameter>,
    expand: &mut DraftExpand,
) -> Vec<FromItems> {
    let mut found = Vec::new();
    for given in expand.given() {
        let alias = operator.parameter_aliases.iter().find(|(alias, _)| *alias == given.name);
        let own = alias.map_or(given.name.as_str(), |(_, own)| *own).to_owned();
        let Some((_, property)) = known.iter().find(|(name, _)| *name == own) else {
            check_use(reader, operator, known, written, &given);
            continue;
        };
        let is_own = |entry: &Entry| written.node.entries().iter().any(|other| other.key_span == entry.key_span);
        if let Some(plain) = parameters.iter().find(|parameter| parameter.name == own && is_own(&parameter.entry)) {
            let message = format!("'{}' is given by 'expand' and by the task itself", given.name);
            reader.error("conflict", plain.entry.key_span, message);
            continue;
        }
        parameters.retain(|parameter| parameter.name != own);
        let mut values = given.values;
        for value in &mut values {
            let entry = Entry { key: given.name.clone(), key_span: given.span, value: value.clone() };
            let mut parameter = Parameter { name: own.clone(), entry };
            check_one(reader, property, &mut parameter);
            *value = parameter.entry.value;
        }
        expand.put_back(&given.name, &values);
        if given.is_in_every_item {
            found.push(FromItems { name: own, first: values.first().map(Node::to_value) });
        }
    }
    found
}

fn check_use(
    reader: &mut Reader<'_>,
    operator: &OperatorEntry,
    known: &[(&str, &Value)],
    written: &WrittenTask<'_>,
    given: &Given,
) {
    if expand::is_used(written.node, &given.name) {
        return;
    }
    let mut candidates: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    candidates.extend(operator.parameter_aliases.iter().map(|(alias, _)| *alias));
    let message = format!(
        "'{}' is no parameter of '{}', and no template of the task uses item.{}",
        given.name, operator.name, given.name
    );
    let hint = reader.nearest(&given.name, &candidates).map(|near| format!("did you mean '{near}'?"));
    reader.warning("unused-item", given.span, message, hint);
}

fn collect(
    reader: &mut Reader<'_>,
    operator: &OperatorEntry,
    known: &[(&str, &Value)],
    task_id: &str,
    node: &Node,
    shared: &[Entry],
) -> Vec<Parameter> {
    let canonical = |key: &str| {
        let own = operator.parameter_aliases.iter().find(|(alias, _)| *alias == key).map_or(key, |(_, own)| *own);
        known.iter().any(|(name, _)| *name == own).then(|| own.to_owned())
    };
    let mut parameters: Vec<Parameter> = Vec::new();
    for entry in node.entries() {
        match canonical(&entry.key) {
            Some(name) => {
                if let Some(first) = parameters.iter().find(|parameter| parameter.name == name) {
                    let message = format!(
                        "'{}' and '{}' mean the same; only one of them may be given",
                        first.entry.key, entry.key
                    );
                    reader.error("conflict", entry.key_span, message);
                    continue;
                }
                parameters.push(Parameter { name, entry: entry.clone() });
            }
            None if keys::OF_TASK.contains(&entry.key.as_str()) => {}
            None => {
                let mut candidates: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                candidates.extend(operator.parameter_aliases.iter().map(|(alias, _)| *alias));
                candidates.extend(keys::OF_TASK);
                let own: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
                let elsewhere = reader.operators_with(&entry.key);
                let hint = match own.len() {
                    _ if (1..=4).contains(&elsewhere.len()) => {
                        format!("it is a parameter of {}", elsewhere.join(" and of "))
                    }
                    0 => format!("'{}' takes no parameters", operator.name),
                    1..=12 => format!("'{}' takes {}", operator.name, own.join(", ")),
                    _ => format!("'millrace operators {}' lists its parameters", operator.name),
                };
                let place = format!("in task '{task_id}' ({})", operator.name);
                reader.unknown_key_or(entry, &candidates, &place, &hint);
            }
        }
    }
    let own = parameters.len();
    for entry in shared {
        let Some(name) = canonical(&entry.key) else { continue };
        match parameters.iter().position(|parameter| parameter.name == name) {
            None => parameters.push(Parameter { name, entry: entry.clone() }),
            Some(index) if index < own => {}
            Some(index) => {
                let message = format!(
                    "'{}' and '{}' both mean '{name}' in task '{task_id}' ({})",
                    parameters[index].entry.key, entry.key, operator.name
                );
                reader.error_with_hint(
                    "conflict",
                    entry.key_span,
                    message,
                    format!("write '{name}' in the task itself"),
                );
            }
        }
    }
    parameters
}

fn check_one(reader: &mut Reader<'_>, property: &Value, parameter: &mut Parameter) {
    let problems = schema_check::check(reader, property, &parameter.entry.value, &parameter.entry.key);
    let is_right = problems.is_empty();
    for problem in problems {
        reader.error_with_hint(problem.code, problem.span, problem.message, problem.hint);
    }
    if !is_right {
        return;
    }
    let is_sql = SQL_PARAMETERS.contains(&parameter.name.as_str());
    schema_walk::change_templates(&[property], &mut parameter.entry.value, &mut |node| {
        files::resolve(reader, node, is_sql);
    });
    schema_walk::for_each_template(&[property], &parameter.entry.value, &mut |node| templates::check(reader, node));
}

/// What the operator itself finds: field (or nothing) and message.
fn ask_operator(operator: &OperatorEntry, value: Value) -> Vec<(String, String)> {
    match (operator.parse)(value) {
        Ok(parsed) => {
            let mut problems = Problems::default();
            parsed.check(&mut problems);
            problems.into_items()
        }
        Err(message) => vec![(String::new(), message)],
    }
}

fn place_of(field: &str, message: &str, parameters: &[Parameter]) -> Option<Span> {
    let quoted = message.split(['`', '\'']).skip(1).step_by(2);
    let candidates =
        std::iter::once(field).filter(|field| !field.is_empty()).chain(quoted.filter(|_| field.is_empty()));
    for candidate in candidates {
        let (name, rest) = candidate.find(['.', '[']).map_or((candidate, ""), |at| candidate.split_at(at));
        if let Some(parameter) =
            parameters.iter().find(|parameter| parameter.name == name || parameter.entry.key == name)
        {
            return Some(parameter.entry.value.follow(rest).span);
        }
    }
    None
}

impl Reader<'_> {
    /// The operator's schema, made once a file.
    fn schema(&mut self, operator: &OperatorEntry) -> Rc<Value> {
        self.schemas.entry(operator.name).or_insert_with(|| Rc::new((operator.schema)().to_value())).clone()
    }

    /// The operators that have a parameter of this name.
    fn operators_with(&mut self, name: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        for operator in self.options.catalogue {
            let schema = self.schema(operator);
            let is_alias = operator.parameter_aliases.iter().any(|(alias, _)| *alias == name);
            if is_alias || properties(&schema).iter().any(|(own, _)| *own == name) {
                found.push(operator.name);
            }
        }
        found
    }

    fn unknown_key_or(&mut self, entry: &Entry, known: &[&str], place: &str, hint: &str) {
        let before = self.diagnostics.len();
        self.unknown_key(entry, known, place);
        for diagnostic in &mut self.diagnostics[before..] {
            diagnostic.hint.get_or_insert_with(|| hint.to_owned());
        }
    }
}
