//! How far the copy before has come: the value, its form in the source's SQL, and where it is kept.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use millrace_operator_api::ports::{NewColumn, SqlSource, TableName, Warehouse};
use millrace_operator_api::{PortErrorKind, TaskContext, TaskError};
use sha2::{Digest, Sha256};

use super::config::{FieldType, TablePlan, Watermark};
use crate::parts::reads::incremental::not_later_on_the_clock;
use crate::parts::report::while_doing;
use crate::parts::sensor::Length;

/// Beside the target; one row for each pair of tables of a task, and of a mapped one for each of its items too.
const STORE: &str = "millrace_watermark";

/// An item that is longer is named by its hash: a name has its end.
const MAX_ITEM_BYTES: usize = 200;

/// The highest value of the copy before, as the target has it, where the column is called `field`; a stored one as the
/// source has it. `None` when there is none yet. An error is never taken for that.
pub async fn read(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    plan: &TablePlan,
    field: &str,
    source_conn_id: &str,
    dry_run: bool,
) -> Result<Option<String>, TaskError> {
    let target = warehouse.table_sql(&plan.target);
    if plan.watermark == Watermark::Stored && dry_run {
        // Nothing is written, so nothing is made either.
        match warehouse.describe(&store(&plan.target)).await {
            Err(error) if error.kind == PortErrorKind::NotFound => return Ok(None),
            found => found.map_err(|error| while_doing(&format!("looking for {}", store(&plan.target)), error))?,
        };
    } else if plan.watermark == Watermark::Stored {
        let columns = [("name", 1024), ("value", 256)].map(|(name, length)| NewColumn {
            name: name.to_owned(),
            type_name: format!("varchar({length})"),
            is_nullable: false,
        });
        let made = warehouse.create_table(&store(&plan.target), &columns, &[], true).await;
        made.map_err(|error| while_doing(&format!("making {}", store(&plan.target)), error))?;
    }
    let (statements, attempted) = match plan.watermark {
        Watermark::FromTarget => (
            vec![format!("SELECT MAX({}) FROM {target}", warehouse.quote(field))],
            format!("reading the watermark, the highest {field} of {}", plan.target),
        ),
        Watermark::Stored => (
            vec![
                format!("SELECT 1 FROM {target} LIMIT 1"),
                format!(
                    "SELECT value, name FROM {} WHERE name IN ({})",
                    warehouse.table_sql(&store(&plan.target)),
                    names(plan, source_conn_id, context)
                        .iter()
                        .map(|name| warehouse.literal(name))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            ],
            format!("reading the stored watermark of {}", plan.target),
        ),
    };
    let answers =
        warehouse.execute(&statements, false, &context.work).await.map_err(|error| while_doing(&attempted, error))?;
    let is_empty = plan.watermark == Watermark::Stored && answers.first().is_some_and(|rows| rows.rows.is_empty());
    let value = answers
        .into_iter()
        .next_back()
        .and_then(|answer| {
            // The longer name is the task's own.
            let longest = |row: &Vec<Option<String>>| row.get(1).and_then(Option::as_ref).map(String::len);
            answer.rows.into_iter().max_by_key(longest)?.into_iter().next()?
        })
        .filter(|value| !value.is_empty());
    if is_empty && value.is_some() {
        context.warning(format!("{} has no rows although a watermark is stored: all rows are read", plan.target));
        return Ok(None);
    }
    Ok(value)
}

fn store(target: &TableName) -> TableName {
    TableName { schema: target.schema.clone(), name: STORE.to_owned() }
}

/// Under which name a watermark is kept, and after it where else it may be found: under the one that all tasks that copied
/// one table into another had in common once. The first of them to run takes that over, and another one begins anew.
///
/// An instance of a mapped task goes by its item, since its number is another item's when the list changes. It takes over
/// nothing: what all of them wrote under one name is the mark of one of them, and no one knows whose.
fn names(plan: &TablePlan, source_conn_id: &str, context: &TaskContext) -> Vec<String> {
    let tables = format!("{source_conn_id}:{} -> {}", plan.source, plan.target);
    let of_task = format!("{tables} by {}.{}", context.work.dag_id, context.work.task_id);
    match context.item.as_ref().map(ToString::to_string) {
        None => vec![of_task, tables],
        Some(item) if item.len() <= MAX_ITEM_BYTES => vec![format!("{of_task} for {item}")],
        Some(item) => vec![format!("{of_task} for {}", hex::encode(Sha256::digest(item)))],
    }
}

/// Statements for the transaction of the rows.
pub fn keep(
    warehouse: &dyn Warehouse,
    plan: &TablePlan,
    source_conn_id: &str,
    context: &TaskContext,
    value: &str,
) -> Vec<String> {
    let store = warehouse.table_sql(&store(&plan.target));
    let names: Vec<String> = names(plan, source_conn_id, context).iter().map(|name| warehouse.literal(name)).collect();
    vec![
        format!("DELETE FROM {store} WHERE name IN ({})", names.join(", ")),
        format!("INSERT INTO {store} (name, value) VALUES ({}, {})", names[0], warehouse.literal(value)),
    ]
}

/// Every later copy begins there, so that it finds nothing until that day.
pub fn warn_of_future(context: &TaskContext, plan: &TablePlan, field: &str, value: &str) {
    // A clock without a zone may be ahead of UTC by the better part of a day.
    let latest = context.clock.now() + TimeDelta::days(1);
    if instant(plan.incremental_field_type, value).is_some_and(|at| at > latest) {
        context.warning(format!(
            "{}: the watermark, {field} from {value}, lies in the future: rows that change before that are not read until one \
             of them lies behind it; mend the row of the source, and copy once with full_sync",
            plan.target
        ));
    }
}

/// The condition on the source's column, bare, so that an index serves it. `zone` is that of the source's clock, where the
/// target has UTC.
pub fn filter(
    source: &dyn SqlSource,
    plan: &TablePlan,
    field: &str,
    value: &str,
    zone: Option<Tz>,
) -> Result<String, TaskError> {
    let bound = start(plan, field, value, zone, plan.lookback)?;
    Ok(format!(
        "{} {} {}",
        source.quote(field),
        plan.watermark_op.sign(),
        as_sql(source, plan.incremental_field_type, &bound)
    ))
}

/// The rows of the condition, and those without a value of the field, which any of them may have come with. `quoted` is the
/// field's name; an empty text says as little as NULL, where the engine can compare the field with one.
pub fn or_without_value(condition: &str, quoted: &str, may_be_empty: bool) -> String {
    let empty = if may_be_empty { format!(" OR {quoted} = ''") } else { String::new() };
    format!("({condition} OR {quoted} IS NULL{empty})")
}

/// The watermark less the lookback in the form of the source's values.
pub fn start(
    plan: &TablePlan,
    field: &str,
    value: &str,
    zone: Option<Tz>,
    lookback: Option<Length>,
) -> Result<String, TaskError> {
    let lookback = lookback.map(|length| length.0.as_delta());
    let to_clock = |at: NaiveDateTime| {
        let Some(zone) = zone else { return at };
        match plan.watermark {
            Watermark::FromTarget => not_later_on_the_clock(zone, at.and_utc()),
            // As the clock said; an hour that it showed twice is read twice.
            Watermark::Stored => match zone.from_local_datetime(&at).latest() {
                Some(at) => not_later_on_the_clock(zone, at.with_timezone(&Utc)),
                None => at,
            },
        }
    };
    normal_form(value, plan.incremental_field_type, lookback, to_clock)
        .map_err(|why| TaskError::Fail(format!("the watermark of {field} cannot be used: {why}")))
}

/// The watermark itself as the target would write it; an hour that the clock showed twice is the first.
pub fn in_target(plan: &TablePlan, value: &str, zone: Option<Tz>) -> Option<String> {
    match (plan.watermark, zone) {
        (Watermark::Stored, Some(zone)) => {
            let at = zone.from_local_datetime(&moment(value)?).earliest()?;
            Some(at.naive_utc().format("%Y-%m-%d %H:%M:%S%.f").to_string())
        }
        _ => Some(value.to_owned()),
    }
}

/// The same in the form of the target's values. `None` where that can't be told.
pub fn start_in_target(plan: &TablePlan, value: &str, zone: Option<Tz>) -> Option<String> {
    let lookback = plan.lookback.map(|length| length.0.as_delta());
    if zone.is_some() && plan.watermark == Watermark::Stored {
        return None;
    }
    normal_form(value, plan.incremental_field_type, lookback, |at| at).ok()
}

/// The condition that ends the window at `value`.
pub fn up_to(source: &dyn SqlSource, plan: &TablePlan, field: &str, value: &str) -> String {
    format!("{} <= {}", source.quote(field), as_sql(source, plan.incremental_field_type, value))
}

fn as_sql(source: &dyn SqlSource, kind: FieldType, value: &str) -> String {
    let is_number = !value.is_empty() && value.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
    if kind == FieldType::Integer && is_number { value.to_owned() } else { source.literal(value) }
}

/// A value of the target in the form that the field's type says, taken to another clock. Never later than the value itself.
fn normal_form(
    value: &str,
    kind: FieldType,
    lookback: Option<TimeDelta>,
    to_clock: impl Fn(NaiveDateTime) -> NaiveDateTime,
) -> Result<String, String> {
    let refused = || format!("'{value}' is no {}", kind_name(kind));
    if kind == FieldType::Integer {
        let whole = value.split_once('.').map_or(value, |(whole, _)| whole);
        return whole.trim().parse::<i128>().map(|number| number.to_string()).map_err(|_| refused());
    }
    let mut at = to_clock(moment(value).ok_or_else(refused)?);
    if let Some(lookback) = lookback {
        at = at.checked_sub_signed(lookback).ok_or_else(refused)?;
    }
    let to_seconds = at.format("%Y-%m-%d %H:%M:%S").to_string();
    let shortest = |text: String| text.strip_suffix(" 00:00:00").map(ToOwned::to_owned).unwrap_or(text);
    Ok(match kind {
        FieldType::Yyyymmdd => at.format("%Y%m%d").to_string(),
        FieldType::Date => at.format("%Y-%m-%d").to_string(),
        FieldType::Datetime => shortest(to_seconds),
        FieldType::Timestamp | FieldType::Integer => {
            // Zeros at the end are left out, and midnight: beside texts, as SQLite keeps them, the shorter form is the earlier
            // one.
            let micros = format!("{:06}", at.and_utc().timestamp_subsec_micros());
            match micros.trim_end_matches('0') {
                "" => shortest(to_seconds),
                fraction => format!("{to_seconds}.{fraction}"),
            }
        }
    })
}

/// The moment that a watermark names. None: it is a number, or nothing that can be read.
pub fn instant(kind: FieldType, value: &str) -> Option<DateTime<Utc>> {
    if kind == FieldType::Integer { None } else { moment(value).map(|at| at.and_utc()) }
}

fn kind_name(kind: FieldType) -> &'static str {
    match kind {
        FieldType::Timestamp => "timestamp",
        FieldType::Yyyymmdd => "date of eight digits",
        FieldType::Date => "date",
        FieldType::Datetime => "datetime",
        FieldType::Integer => "integer",
    }
}

/// Reads the forms in which engines answer moments and days. A zone is UTC: sessions are.
fn moment(text: &str) -> Option<NaiveDateTime> {
    let text = text.trim();
    let text = ["Z", "+00:00", "+00"].iter().find_map(|zone| text.strip_suffix(zone)).unwrap_or(text);
    let with_time = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    with_time.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).or_else(|| {
        let day = ["%Y-%m-%d", "%Y%m%d"].iter().find_map(|form| NaiveDate::parse_from_str(text, form).ok())?;
        day.and_hms_opt(0, 0, 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_81_each_type_has_its_own_form() {
        let of = |value, kind| normal_form(value, kind, None, |at| at);
        let cases = [
            ("2024-01-01", FieldType::Yyyymmdd, "20240101"),
            ("20240101", FieldType::Yyyymmdd, "20240101"),
            ("2024-01-01 12:30:00", FieldType::Date, "2024-01-01"),
            ("2024-01-01 12:30:05.999", FieldType::Datetime, "2024-01-01 12:30:05"),
            ("2024-01-01T12:30:05.120000+00", FieldType::Timestamp, "2024-01-01 12:30:05.12"),
            ("2024-01-01 12:30:00", FieldType::Timestamp, "2024-01-01 12:30:00"),
            ("2024-01-01", FieldType::Timestamp, "2024-01-01"),
            ("2024-01-01 00:00:00.9", FieldType::Datetime, "2024-01-01"),
            ("2024-01-01 00:00:00.000001+00:00", FieldType::Timestamp, "2024-01-01 00:00:00.000001"),
            ("9223372036854775807", FieldType::Integer, "9223372036854775807"),
            ("12.000", FieldType::Integer, "12"),
        ];
        for (value, kind, expected) in cases {
            assert_eq!(of(value, kind).as_deref(), Ok(expected), "{value}");
        }
        for (value, kind) in
            [("soon", FieldType::Timestamp), ("2024-13-01", FieldType::Date), ("x", FieldType::Integer)]
        {
            assert!(of(value, kind).is_err(), "{value}");
        }
        let hour = Some(TimeDelta::hours(1));
        let back = normal_form("2024-01-01 00:30:00", FieldType::Timestamp, hour, |at| at);
        assert_eq!(back.as_deref(), Ok("2023-12-31 23:30:00"));
    }
}
