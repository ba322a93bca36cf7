//! `macros.…`, and the filters on dates.

use std::fmt;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use chrono_tz::Tz;
use millrace_model::instant::{parse_instant, resolve_local};
use minijinja::value::{Object, ObjectRepr, Serde, Value, from_args};
use minijinja::{Environment, Error, ErrorKind, State};

use crate::moment::{Delta, Moment, chrono_format, format_date, invalid};

/// Airflow's macros that would make a retry differ from the first try.
const NOT_OFFERED: &[&str] = &["uuid", "random", "time"];

pub(crate) fn ds_add(ds: &str, days: i64) -> Result<String, Error> {
    let day = parse_day(ds)?;
    TimeDelta::try_days(days)
        .and_then(|days| day.checked_add_signed(days))
        .map(|day| day.format("%Y-%m-%d").to_string())
        .ok_or_else(|| invalid("the date is out of range"))
}

fn parse_day(ds: &str) -> Result<NaiveDate, Error> {
    NaiveDate::parse_from_str(ds, "%Y-%m-%d").map_err(|_| invalid(format!("'{ds}' is not a date like 2024-01-31")))
}

pub(crate) fn ds_format(ds: &str, from: &str, to: &str) -> Result<String, Error> {
    let local = parse_by(ds, from)?;
    format_date(&resolve_local(Tz::UTC, local).with_timezone(&Tz::UTC), to)
}

fn parse_by(text: &str, format: &str) -> Result<NaiveDateTime, Error> {
    let format_text = chrono_format(format);
    NaiveDateTime::parse_from_str(text, &format_text)
        .or_else(|_| NaiveDate::parse_from_str(text, &format_text).map(|day| day.and_time(NaiveTime::MIN)))
        .map_err(|_| invalid(format!("'{text}' does not look like {format}")))
}

fn datetime_diff_for_humans(moment: &Value, since: &Value) -> Result<String, Error> {
    if since.is_undefined() || since.is_none() {
        return Err(invalid(
            "datetime_diff_for_humans needs a second date here: a template does not know the present time",
        ));
    }
    let delta = Moment::of(moment)?.at.signed_duration_since(Moment::of(since)?.at);
    let seconds = delta.num_seconds();
    let (count, unit) = match seconds.unsigned_abs() {
        s if s < 60 => (s, "second"),
        s if s < 3_600 => (s / 60, "minute"),
        s if s < 86_400 => (s / 3_600, "hour"),
        s if s < 7 * 86_400 => (s / 86_400, "day"),
        s if s < 30 * 86_400 => (s / (7 * 86_400), "week"),
        s if s < 365 * 86_400 => (s / (30 * 86_400), "month"),
        s => (s / (365 * 86_400), "year"),
    };
    let plural = if count == 1 { "" } else { "s" };
    Ok(format!("{count} {unit}{plural} {}", if seconds < 0 { "before" } else { "after" }))
}

/// `macros`.
#[derive(Debug)]
pub(crate) struct Macros;

impl Object for Macros {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(match key.as_str()? {
            "datetime" => Value::from_object(DateTimeClass),
            "json" => Value::from_object(Json),
            name if NOT_OFFERED.contains(&name) => Value::from(not_offered(name)),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, state: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        Ok(match method {
            "ds_add" => from_args::<(&str, i64)>(args).and_then(|(ds, days)| ds_add(ds, days))?.into(),
            "ds_format" => {
                from_args::<(&str, &str, &str)>(args).and_then(|(ds, from, to)| ds_format(ds, from, to))?.into()
            }
            "datetime_diff_for_humans" => {
                let (moment, since): (Value, Option<Value>) = from_args(args)?;
                datetime_diff_for_humans(&moment, &since.unwrap_or_default())?.into()
            }
            "datetime" => Arc::new(DateTimeClass).call(state, args)?,
            "timedelta" => Delta::of_arguments(args)?.value(),
            name if NOT_OFFERED.contains(&name) => return Err(not_offered(name)),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        })
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("macros")
    }
}

fn not_offered(name: &str) -> Error {
    invalid(format!("macros.{name} is not offered: a retry would render something else than the first try"))
}

/// `macros.datetime`: `macros.datetime(2024, 1, 31)`, `.strptime(text, format)`, `.fromisoformat(text)`.
#[derive(Debug)]
struct DateTimeClass;

impl Object for DateTimeClass {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        if args.len() > 6 {
            return Err(Error::from(ErrorKind::TooManyArguments));
        }
        let part = |index: usize, absent: u32| args.get(index).map_or(Ok(absent), |value| u32::try_from(value.clone()));
        let year = i32::try_from(args.first().cloned().unwrap_or_default())?;
        let local = NaiveDate::from_ymd_opt(year, part(1, 1)?, part(2, 1)?)
            .and_then(|day| day.and_hms_opt(part(3, 0).ok()?, part(4, 0).ok()?, part(5, 0).ok()?))
            .ok_or_else(|| invalid("there is no such date"))?;
        Ok(Moment::utc(local.and_utc()).value())
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "strptime" => {
                let (text, format): (&str, &str) = from_args(args)?;
                Ok(Moment::utc(parse_by(text, format)?.and_utc()).value())
            }
            "fromisoformat" => {
                let (text,): (&str,) = from_args(args)?;
                parse_instant(text, Tz::UTC)
                    .map(|at| Moment::utc(at).value())
                    .map_err(|error| invalid(error.to_string()))
            }
            "now" | "utcnow" | "today" => {
                Err(invalid("a template does not know the present time; use logical_date or data_interval_end"))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("macros.datetime")
    }
}

/// `macros.json`.
#[derive(Debug)]
struct Json;

impl Object for Json {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        match method {
            "dumps" => {
                let (value,): (Value,) = from_args(args)?;
                serde_json::to_string(&value).map(Value::from).map_err(|error| invalid(error.to_string()))
            }
            "loads" => {
                let (text,): (&str,) = from_args(args)?;
                serde_json::from_str::<serde_json::Value>(text)
                    .map(|value| Value::from(Serde(value)))
                    .map_err(|error| invalid(format!("not JSON: {error}")))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("macros.json")
    }
}

type DateForm = fn(&Moment) -> String;

/// The forms of a date as Airflow names them.
pub(crate) const DATE_FORMS: &[(&str, DateForm)] = &[
    ("ds", |m| m.at.format("%Y-%m-%d").to_string()),
    ("ds_nodash", |m| m.at.format("%Y%m%d").to_string()),
    ("ts", |m| Moment { is_day: false, ..*m }.iso()),
    ("ts_nodash", |m| m.at.format("%Y%m%dT%H%M%S").to_string()),
    ("ts_nodash_with_tz", |m| Moment { is_day: false, ..*m }.iso().replacen('-', "", 2).replace(':', "")),
];

/// The filters `ds`, `ts` and so on. None stays None.
pub(crate) fn add_filters(environment: &mut Environment<'static>) {
    for (name, form) in DATE_FORMS {
        environment.add_filter(*name, move |value: Value| -> Result<Value, Error> {
            if value.is_undefined() {
                return Err(invalid(format!("what the filter '{name}' is given is not defined")));
            }
            if value.is_none() {
                return Ok(value);
            }
            Ok(form(&Moment::of(&value)?).into())
        });
    }
}
