//! Python's methods on text, maps and lists, which templates written for Airflow use.

use std::borrow::Cow;

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};

use crate::renderer::OUTPUT_LIMIT;

/// Called for a method that the value itself does not have.
pub(crate) fn call(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        return on_text(text, method, args);
    }
    match value.kind() {
        ValueKind::Map => on_map(state, value, method, args),
        ValueKind::Seq if method == "index" || method == "count" => on_list(value, method, args),
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn on_text(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let pattern = || from_args::<(&str,)>(args).map(|(pattern,)| pattern);
    let characters = || from_args::<(Option<&str>,)>(args).map(|(set,)| set.map(str::to_owned));
    let is_stripped = |set: &Option<String>, c: char| set.as_ref().map_or(c.is_whitespace(), |set| set.contains(c));
    let nothing = || from_args::<()>(args);
    Ok(match method {
        "upper" => nothing().map(|()| text.to_uppercase())?.into(),
        "lower" => nothing().map(|()| text.to_lowercase())?.into(),
        "strip" => characters().map(|set| text.trim_matches(|c| is_stripped(&set, c)))?.into(),
        "lstrip" => characters().map(|set| text.trim_start_matches(|c| is_stripped(&set, c)))?.into(),
        "rstrip" => characters().map(|set| text.trim_end_matches(|c| is_stripped(&set, c)))?.into(),
        "startswith" => text.starts_with(pattern()?).into(),
        "endswith" => text.ends_with(pattern()?).into(),
        "removeprefix" => pattern().map(|prefix| text.strip_prefix(prefix).unwrap_or(text))?.into(),
        "removesuffix" => pattern().map(|suffix| text.strip_suffix(suffix).unwrap_or(text))?.into(),
        "replace" => from_args::<(&str, &str)>(args).and_then(|(from, to)| replaced(text, from, to))?.into(),
        "find" => pattern().map(|p| text.find(p).map_or(-1, |at| text[..at].chars().count() as i64))?.into(),
        "split" => match from_args::<(Option<&str>,)>(args)?.0 {
            Some("") => return Err(crate::moment::invalid("split needs a separator that is not empty")),
            Some(separator) => text.split(separator).map(Value::from).collect::<Vec<_>>().into(),
            None => text.split_whitespace().map(Value::from).collect::<Vec<_>>().into(),
        },
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            format!("{}{text}", "0".repeat(width.min(1_000).saturating_sub(text.chars().count()))).into()
        }
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            joined(&items, text)?.into()
        }
        "isdigit" => nothing().map(|()| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))?.into(),
        _ => return Err(Error::from(ErrorKind::UnknownMethod)),
    })
}

/// In the place of the engine's own, which make texts of any length.
pub(crate) fn add_filters(environment: &mut Environment<'static>) {
    environment
        .add_filter("replace", |text: Cow<'_, str>, from: Cow<'_, str>, to: Cow<'_, str>| replaced(&text, &from, &to));
    environment.add_filter("join", |items: Value, between: Option<Cow<'_, str>>| match items.kind() {
        ValueKind::Undefined | ValueKind::None => Ok(String::new()),
        _ => joined(&items, &between.unwrap_or_default()),
    });
}

/// Every `from` as `to`, unless that comes to more than a text may have.
fn replaced(text: &str, from: &str, to: &str) -> Result<String, Error> {
    let length = text.len().saturating_add(text.matches(from).count().saturating_mul(to.len()));
    if length > OUTPUT_LIMIT {
        return Err(too_long());
    }
    Ok(text.replace(from, to))
}

/// The items one after another, unless that comes to more than a text may have.
fn joined(items: &Value, between: &str) -> Result<String, Error> {
    let mut text = String::new();
    for (place, item) in items.try_iter()?.enumerate() {
        if place > 0 {
            text.push_str(between);
        }
        match item.as_str() {
            Some(item) => text.push_str(item),
            None => text.push_str(&item.to_string()),
        }
        if text.len() > OUTPUT_LIMIT {
            return Err(too_long());
        }
    }
    Ok(text)
}

fn too_long() -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("a text of more than {} MiB", OUTPUT_LIMIT / 1024 / 1024))
}

fn on_map(state: &mut State, map: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    match method {
        "get" => {
            let (key, default): (Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(&key)?;
            Ok(if found.is_undefined() { default.unwrap_or_else(|| Value::from(())) } else { found })
        }
        "items" => from_args::<()>(args).and_then(|()| state.apply_filter("items", std::slice::from_ref(map))),
        "keys" => from_args::<()>(args).and_then(|()| Ok(map.try_iter()?.collect::<Vec<_>>().into())),
        "values" => {
            from_args::<()>(args)?;
            let values: Result<Vec<Value>, Error> = map.try_iter()?.map(|key| map.get_item(&key)).collect();
            Ok(values?.into())
        }
        _ => Err(Error::from(ErrorKind::UnknownMethod)),
    }
}

fn on_list(list: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (wanted,): (Value,) = from_args(args)?;
    let mut places = list.try_iter()?.enumerate().filter(|(_, item)| *item == wanted).map(|(place, _)| place);
    if method == "count" {
        return Ok(places.count().into());
    }
    places.next().map(Value::from).ok_or_else(|| crate::moment::invalid(format!("{wanted} is not in the list")))
}
