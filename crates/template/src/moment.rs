//! Dates inside templates: print as ISO 8601, and know the methods that people use on Airflow's dates.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use chrono::format::StrftimeItems;
use chrono::{DateTime, Datelike, Months, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use millrace_model::instant::{parse_instant, resolve_local};
use minijinja::value::{DynObject, Kwargs, Object, ObjectRepr, Value, from_args};
use minijinja::{Error, ErrorKind, State};

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// A point in time seen in a zone, or (after `.date()`) its day.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    pub at: DateTime<Tz>,
    pub is_day: bool,
}

impl Moment {
    pub fn utc(at: DateTime<Utc>) -> Self {
        Self { at: at.with_timezone(&Tz::UTC), is_day: false }
    }

    pub fn in_zone(at: DateTime<Utc>, zone: Tz) -> Self {
        Self { at: at.with_timezone(&zone), is_day: false }
    }

    pub fn value(self) -> Value {
        Value::from_object(self)
    }

    /// A date object, or a text that is one.
    pub fn of(value: &Value) -> Result<Self, Error> {
        if let Some(moment) = value.downcast_object_ref::<Self>() {
            return Ok(*moment);
        }
        match value.as_str() {
            Some(text) => parse_instant(text, Tz::UTC).map(Self::utc).map_err(|error| invalid(error.to_string())),
            None => Err(invalid(format!("a date is wanted here, not a value of type {}", value.kind()))),
        }
    }

    pub fn iso(&self) -> String {
        if self.is_day {
            return self.at.format("%Y-%m-%d").to_string();
        }
        let fraction = if self.at.timestamp_subsec_micros() == 0 { "" } else { "%.6f" };
        self.at.format(&format!("%Y-%m-%dT%H:%M:%S{fraction}%:z")).to_string()
    }

    pub fn strftime(&self, format: &str) -> Result<String, Error> {
        format_date(&self.at, format)
    }

    fn at_local(self, local: NaiveDateTime) -> Self {
        let zone = self.at.timezone();
        Self { at: resolve_local(zone, local).with_timezone(&zone), ..self }
    }

    /// Calendar units move the wall clock, hours and smaller ones the instant.
    fn shifted(self, args: &[Value], sign: i64) -> Result<Self, Error> {
        let (positional, units): (&[Value], Kwargs) = from_args(args)?;
        let too_far = || invalid("the date is out of range");
        let unit = |name: &str| -> Result<i64, Error> {
            units.get::<Option<i64>>(name)?.unwrap_or(0).checked_mul(sign).ok_or_else(too_far)
        };
        let months =
            unit("years")?.checked_mul(12).and_then(|m| m.checked_add(unit("months").ok()?)).ok_or_else(too_far)?;
        let days = unit("weeks")?.checked_mul(7).and_then(|d| d.checked_add(unit("days").ok()?)).ok_or_else(too_far)?;
        let mut exact = delta_of_units(&units)?;
        for value in positional {
            let delta = value
                .downcast_object_ref::<Delta>()
                .ok_or_else(|| invalid("write the unit: .add(days=1), or give a macros.timedelta(…)"))?;
            exact = exact.checked_add(&delta.0).ok_or_else(too_far)?;
        }
        units.assert_all_used()?;
        let step = Months::new(u32::try_from(months.unsigned_abs()).map_err(|_| too_far())?);
        let local = self.at.naive_local();
        let local = if months < 0 { local.checked_sub_months(step) } else { local.checked_add_months(step) };
        let local = TimeDelta::try_days(days).and_then(|days| local?.checked_add_signed(days)).ok_or_else(too_far)?;
        let moved = if local == self.at.naive_local() { self } else { self.at_local(local) };
        let exact = if sign < 0 { -exact } else { exact };
        let at = moved.at.checked_add_signed(exact).ok_or_else(too_far)?;
        if (1..=9999).contains(&at.year()) { Ok(Self { at, ..self }) } else { Err(too_far()) }
    }

    fn in_timezone(self, name: &str) -> Result<Self, Error> {
        let zone: Tz =
            name.parse().map_err(|_| invalid(format!("'{name}' is not a time zone; write one like Asia/Seoul")))?;
        Ok(Self { at: self.at.with_timezone(&zone), ..self })
    }

    /// The first or last moment of the day, week (Monday), month or year; `hour`, `minute` too.
    fn edge(self, unit: &str, is_end: bool) -> Result<Self, Error> {
        let local = self.at.naive_local();
        let midnight = |day: Option<NaiveDate>| day.map(|day| day.and_time(NaiveTime::MIN));
        let date = local.date();
        let start = match unit {
            "minute" => local.with_second(0).and_then(|t| t.with_nanosecond(0)),
            "hour" => local.with_minute(0).and_then(|t| t.with_second(0)).and_then(|t| t.with_nanosecond(0)),
            "day" => midnight(Some(date)),
            "week" => {
                midnight(date.checked_sub_signed(TimeDelta::days(i64::from(date.weekday().num_days_from_monday()))))
            }
            "month" => midnight(date.with_day(1)),
            "year" => midnight(NaiveDate::from_ymd_opt(date.year(), 1, 1)),
            other => return Err(invalid(format!("'{other}' is not minute, hour, day, week, month or year"))),
        };
        let end = |start: NaiveDateTime| match unit {
            "minute" => start.checked_add_signed(TimeDelta::minutes(1)),
            "hour" => start.checked_add_signed(TimeDelta::hours(1)),
            "day" => start.checked_add_signed(TimeDelta::days(1)),
            "week" => start.checked_add_signed(TimeDelta::days(7)),
            "month" => start.checked_add_months(Months::new(1)),
            _ => start.checked_add_months(Months::new(12)),
        };
        let local = if is_end {
            start.and_then(end).and_then(|end| end.checked_sub_signed(TimeDelta::microseconds(1)))
        } else {
            start
        };
        local.map(|local| self.at_local(local)).ok_or_else(|| invalid("the date is out of range"))
    }

    fn replaced(self, args: &[Value]) -> Result<Self, Error> {
        let units: Kwargs = from_args::<(Kwargs,)>(args)?.0;
        let local = self.at.naive_local();
        let part = |name: &str, present: u32| units.get::<Option<u32>>(name).map(|given| given.unwrap_or(present));
        let year = units.get::<Option<i32>>("year")?.unwrap_or(local.year());
        let date = NaiveDate::from_ymd_opt(year, part("month", local.month())?, part("day", local.day())?);
        let micros = part("microsecond", local.nanosecond() / 1_000)?;
        let time = NaiveTime::from_hms_micro_opt(
            part("hour", local.hour())?,
            part("minute", local.minute())?,
            part("second", local.second())?,
            micros,
        );
        units.assert_all_used()?;
        match (date, time) {
            (Some(date), Some(time)) => Ok(self.at_local(date.and_time(time))),
            _ => Err(invalid("there is no such date")),
        }
    }
}

/// `strftime` with Python's letters; an unknown one is an error instead of a panic.
pub(crate) fn format_date(at: &DateTime<Tz>, format: &str) -> Result<String, Error> {
    let format = chrono_format(format);
    let items = StrftimeItems::new(&format)
        .parse()
        .map_err(|_| invalid(format!("'{format}' is not a date format; write one like %Y-%m-%d")))?;
    Ok(at.format_with_items(items.iter()).to_string())
}

/// Python's `%f` is microseconds, chrono's is nanoseconds.
pub(crate) fn chrono_format(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        out.push(c);
        if c == '%' {
            match chars.next() {
                Some('f') => out.push_str("6f"),
                Some(other) => out.push(other),
                None => {}
            }
        }
    }
    out
}

impl Object for Moment {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let at = &self.at;
        Some(match key.as_str()? {
            "year" => at.year().into(),
            "month" => at.month().into(),
            "day" => at.day().into(),
            "hour" => at.hour().into(),
            "minute" => at.minute().into(),
            "second" => at.second().into(),
            "microsecond" => at.timestamp_subsec_micros().into(),
            "day_of_week" => at.weekday().num_days_from_sunday().into(),
            "day_of_year" => at.ordinal().into(),
            "quarter" => ((at.month() - 1) / 3 + 1).into(),
            "int_timestamp" => at.timestamp().into(),
            "timezone_name" => at.timezone().name().into(),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        let text = || from_args::<(&str,)>(args).map(|(text,)| text);
        let none = || from_args::<()>(args);
        Ok(match method {
            "strftime" => self.strftime(text()?)?.into(),
            "isoformat" | "to_iso8601_string" | "for_json" => none().map(|()| self.iso())?.into(),
            "to_date_string" => none().and_then(|()| self.strftime("%Y-%m-%d"))?.into(),
            "to_time_string" => none().and_then(|()| self.strftime("%H:%M:%S"))?.into(),
            "to_datetime_string" => none().and_then(|()| self.strftime("%Y-%m-%d %H:%M:%S"))?.into(),
            "date" => none().map(|()| Self { is_day: true, ..**self })?.value(),
            "timestamp" => none().map(|()| self.at.timestamp_micros() as f64 / 1e6)?.into(),
            "weekday" => none().map(|()| self.at.weekday().num_days_from_monday())?.into(),
            "isoweekday" => none().map(|()| self.at.weekday().number_from_monday())?.into(),
            "add" => self.shifted(args, 1)?.value(),
            "subtract" => self.shifted(args, -1)?.value(),
            "replace" => self.replaced(args)?.value(),
            "in_timezone" | "in_tz" | "astimezone" => self.in_timezone(text()?)?.value(),
            "start_of" => self.edge(text()?, false)?.value(),
            "end_of" => self.edge(text()?, true)?.value(),
            "diff" => Delta(self.at.signed_duration_since(Self::of(&from_args::<(Value,)>(args)?.0)?.at)).value(),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        })
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.at.cmp(&other.at))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iso())
    }
}

/// A length of time: `macros.timedelta(days=1)`, `a.diff(b)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Delta(pub TimeDelta);

impl Delta {
    pub fn value(self) -> Value {
        Value::from_object(self)
    }

    pub fn of_arguments(args: &[Value]) -> Result<Self, Error> {
        let (days, units): (Option<i64>, Kwargs) = from_args(args)?;
        let too_long = || invalid("the length of time is out of range");
        let days = days.or(units.get::<Option<i64>>("days")?).unwrap_or(0);
        let days = units
            .get::<Option<i64>>("weeks")?
            .unwrap_or(0)
            .checked_mul(7)
            .and_then(|w| w.checked_add(days))
            .ok_or_else(too_long)?;
        let delta = TimeDelta::try_days(days)
            .and_then(|d| d.checked_add(&delta_of_units(&units).ok()?))
            .ok_or_else(too_long)?;
        units.assert_all_used()?;
        Ok(Self(delta))
    }
}

fn delta_of_units(units: &Kwargs) -> Result<TimeDelta, Error> {
    let too_long = || invalid("the length of time is out of range");
    let mut sum = TimeDelta::zero();
    for (name, micros) in [
        ("hours", 3_600_000_000),
        ("minutes", 60_000_000),
        ("seconds", 1_000_000),
        ("milliseconds", 1_000),
        ("microseconds", 1),
    ] {
        let count = units.get::<Option<i64>>(name)?.unwrap_or(0);
        let part = count.checked_mul(micros).map(TimeDelta::microseconds).ok_or_else(too_long)?;
        sum = sum.checked_add(&part).ok_or_else(too_long)?;
    }
    Ok(sum)
}

impl Object for Delta {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let seconds = self.0.num_seconds();
        Some(match key.as_str()? {
            "days" => seconds.div_euclid(86_400).into(),
            "seconds" => seconds.rem_euclid(86_400).into(),
            _ => return None,
        })
    }

    fn call_method(self: &Arc<Self>, _: &mut State<'_, '_>, method: &str, args: &[Value]) -> Result<Value, Error> {
        from_args::<()>(args)?;
        Ok(match method {
            "total_seconds" => (self.0.num_milliseconds() as f64 / 1e3).into(),
            "in_seconds" => self.0.num_seconds().into(),
            "in_minutes" => self.0.num_minutes().into(),
            "in_hours" => self.0.num_hours().into(),
            "in_days" => self.0.num_days().into(),
            "in_weeks" => self.0.num_weeks().into(),
            _ => return Err(Error::from(ErrorKind::UnknownMethod)),
        })
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        other.downcast_ref::<Self>().map(|other| self.0.cmp(&other.0))
    }

    fn is_true(self: &Arc<Self>) -> bool {
        !self.0.is_zero()
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.num_seconds();
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        match days {
            0 => {}
            1 | -1 => write!(f, "{days} day, ")?,
            _ => write!(f, "{days} days, ")?,
        }
        write!(f, "{}:{:02}:{:02}", rest / 3_600, rest / 60 % 60, rest % 60)
    }
}
