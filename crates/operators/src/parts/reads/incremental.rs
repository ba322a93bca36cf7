//! Reading what has changed in a run's data interval: half-open, on the bare column, so that an index serves it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use futures::{StreamExt, TryStreamExt};
use millrace_model::schedule::DataInterval;
use millrace_operator_api::ports::{RowStream, SourceColumn, SqlSource, ValueType};
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::column_name::{find, position};
use crate::parts::copying::config::FILTER_PLACE;
use crate::parts::files::parquet::looks;
use crate::parts::one_select::without_end;
use crate::parts::parameter::{is_blank, rendered_option, written};
use crate::parts::reads::clocks::{self, Change};
use crate::parts::reads::treatment::Rendered;
use crate::parts::report::{ledger_entry, while_doing};
use crate::parts::sensor::Length;

/// Reads only the rows that were made or changed in the run's data interval (start included, end not). The condition goes
/// around the query, or where it has `{{ incremental_filter }}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Incremental {
    /// The column that says when a row was made.
    #[serde(default)]
    pub created_field: Option<Template<String>>,
    /// The column that says when a row was last changed. Where it is NULL, `created_field` counts. Left out: rows never
    /// change.
    #[serde(default)]
    pub modified_field: Option<Template<String>>,
    /// The column that says that a row was deleted. One of moments is a reason to read the row, too; a flag, or a text that
    /// is no date, is read with the change that set it.
    #[serde(default)]
    pub deleted_field: Option<Template<String>>,
    /// How far before the interval reading begins, for rows that were committed late. An `upsert` with this task as `from_task`,
    /// whose `order_key` is `modified_field` (or, without one, `created_field`), tells how many of them were: new to the table,
    /// or newer than there.
    #[serde(default)]
    pub lookback: Option<Length>,
    /// The zone of the clock behind the columns named here, where they have none (`DATETIME`, `timestamp`): `UTC`,
    /// `Asia/Seoul`. Left out: that in which their values are read (`columns`, `source_timezone` of the task or of its
    /// connection's extra settings), and a column without any is an error, as is one of another zone than its values'.
    #[serde(default)]
    pub source_timezone: Option<Template<String>>,
    /// Fail, to be tried again, while the source is a replica that is further behind.
    #[serde(default)]
    pub max_replica_lag: Option<Length>,
}

/// Finds mistakes in the block.
pub fn check(block: Option<&Incremental>, problems: &mut Problems) {
    let Some(block) = block else { return };
    if block.created_field.is_none() && block.modified_field.is_none() {
        problems.add("incremental", "incremental names neither modified_field nor created_field");
    }
    for (name, field) in [
        ("incremental.created_field", &block.created_field),
        ("incremental.modified_field", &block.modified_field),
        ("incremental.deleted_field", &block.deleted_field),
    ] {
        if field.as_ref().is_some_and(is_blank) {
            problems.add(name, format!("{name} is empty"));
        }
    }
    if let Some(zone) = block.source_timezone.as_ref().and_then(written)
        && zone.parse::<Tz>().is_err()
    {
        problems.add("incremental.source_timezone", unknown_zone(&zone));
    }
}

fn unknown_zone(zone: &str) -> String {
    format!("'{zone}' is no time zone; write one such as UTC or Asia/Seoul")
}

/// A query, and what of it is asked for.
pub struct Narrowed {
    query: String,
    watch: Option<Watch>,
    /// The zones of the window's clocks, for the ledger.
    clocks: BTreeMap<String, String>,
}

/// Counts rows of before the interval.
struct Watch {
    column: String,
    /// The interval's start in the form of the column's values.
    start: String,
    /// The same in the form that the values have after their treatment.
    in_target: String,
    seen: Arc<AtomicU64>,
}

impl Watch {
    /// `is_moved`: the values become UTC on their way.
    fn on(column: &SourceColumn, form: Form, is_moved: bool, interval: DataInterval) -> Self {
        let (start, _) = form.bounds(interval.start, interval.end);
        let in_target = if is_moved { written_moment(interval.start.naive_utc()) } else { start.clone() };
        Self { column: column.name.clone(), start, in_target, seen: Arc::default() }
    }
}

impl Narrowed {
    /// A query that reads from before the place where the reading before ended, by the column's values: most of those below
    /// `start` were read then, and some may be late.
    pub fn from_before(query: String, column: &str, start: String) -> Self {
        let watch = Watch { column: column.to_owned(), in_target: start.clone(), start, seen: Arc::default() };
        Self { query, watch: Some(watch), clocks: BTreeMap::new() }
    }

    pub fn plain(query: String) -> Self {
        Self { query, watch: None, clocks: BTreeMap::new() }
    }

    /// Rows of before the interval so far, if they are counted.
    pub fn read_again(&self) -> Option<u64> {
        self.watch.as_ref().map(|watch| watch.seen.load(Ordering::Relaxed))
    }

    pub fn query(&self) -> &str {
        &self.query
    }

    pub fn clocks(&self) -> &BTreeMap<String, String> {
        &self.clocks
    }

    pub fn watch(&self, rows: RowStream) -> RowStream {
        let Some(watch) = &self.watch else { return rows };
        let Some(index) = position(&rows.columns, &watch.column) else {
            return rows;
        };
        let (start, seen) = (watch.start.clone(), Arc::clone(&watch.seen));
        let batches = rows.batches.inspect_ok(move |batch| {
            let before = (0..batch.len())
                .filter(|row| batch.cell(*row, index).is_some_and(|cell| cell < start.as_bytes()))
                .count();
            seen.fetch_add(before as u64, Ordering::Relaxed);
        });
        RowStream { columns: rows.columns, batches: batches.boxed() }
    }

    /// For the task that loads what is read here.
    pub fn since(&self) -> Option<Since> {
        let watch = self.watch.as_ref()?;
        Some(Since { column: watch.column.clone(), value: watch.in_target.clone() })
    }

    /// Writes down how many rows of before the interval were read again, and how many of them were `late`, where the table
    /// they go into has said so.
    pub fn tell(&self, context: &TaskContext, label: &str, late: Option<u64>, started_at: DateTime<Utc>) {
        let Some(watch) = &self.watch else { return };
        let again = watch.seen.load(Ordering::Relaxed);
        let late_ones = late.map(|late| format!("; {late} of them are late, new or newer than in the table"));
        context.info(format!(
            "{again} rows have a {} before {} (lookback){}",
            watch.column,
            watch.start,
            late_ones.unwrap_or_default()
        ));
        let mut entry = ledger_entry(context, "lookback", label, "rows of before the interval", started_at);
        (entry.rows_read, entry.rows_written) = (Some(again), late);
        context.reporter.ledger(entry);
    }
}

/// Where the interval of a reading with `lookback` begins: rows below it that the table does not have, or has an older version
/// of, came late.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Since {
    pub column: String,
    /// In the form of the values that were written.
    pub value: String,
}

fn reading_begins(block: &Incremental, interval: DataInterval) -> DateTime<Utc> {
    let lookback = block.lookback.map_or_else(TimeDelta::zero, |length| length.0.as_delta());
    interval.start.checked_sub_signed(lookback).unwrap_or(interval.start)
}

/// Puts the condition into the query.
pub async fn narrow(
    context: &TaskContext,
    (conn_id, source): (&str, &dyn SqlSource),
    query: &str,
    block: Option<&Incremental>,
    treating: &Rendered<'_>,
) -> Result<Narrowed, TaskError> {
    let Some(block) = block else { return Ok(Narrowed::plain(query.to_owned())) };
    let query = without_end(query);
    check_lag(source, block).await?;
    let interval = context.run.data_interval;
    if interval.start >= interval.end {
        return Err(TaskError::Fail(
            "incremental: the run's data interval has no length, so nothing can be in it; give the DAG a schedule with intervals"
                .to_owned(),
        ));
    }
    let zones = Zones::of(block, treating)?;
    let columns = columns(source, query).await?;
    let from = reading_begins(block, interval);
    let within = async |name: &str| -> Result<String, TaskError> {
        let (column, form) = Form::of(&columns, name, zones.of_column(&columns, name)?, source.has_dates())?;
        if column.value.is_text() || !source.has_dates() {
            check_texts(source, query, column).await?;
        }

        let (from, end) = form.bounds(from, interval.end);
        let name = source.quote(&column.name);
        Ok(format!("{name} >= {} AND {name} < {}", source.literal(&from), source.literal(&end)))
    };
    let created = rendered_option("incremental.created_field", block.created_field.as_ref())?;
    let modified = rendered_option("incremental.modified_field", block.modified_field.as_ref())?;
    let deleted: Option<String> = rendered_option("incremental.deleted_field", block.deleted_field.as_ref())?;
    let clocks = zones.names(&columns, [&modified, &created])?;
    hold_clocks(context, conn_id, &clocks, &treating.changes(&columns)).await?;
    let mut conditions: Vec<String> = match (&modified, &created) {
        (Some(modified), None) => vec![within(modified).await?],
        (Some(modified), Some(created)) => {
            let created = within(created).await?;
            vec![within(modified).await?, format!("{} IS NULL AND {created}", source.quote(modified))]
        }
        (None, Some(created)) => vec![within(created).await?],
        (None, None) => {
            return Err(TaskError::Fail("incremental names neither modified_field nor created_field".to_owned()));
        }
    };
    if let Some(deleted) = &deleted {
        let column = named(&columns, deleted)?;
        let is_moment = match column.value {
            ValueType::Timestamp { .. } | ValueType::Date => true,
            // The engine that has no dates writes them so; a flag is no date either.
            _ if column.value.is_text() && !source.has_dates() => {
                let other = other_text(source, query, column).await?;
                if other.is_some() {
                    context.info(format!(
                        "deleted_field: {deleted} holds texts that are no dates, and is taken for a flag"
                    ));
                }
                other.is_none()
            }
            _ => false,
        };
        if is_moment {
            conditions.push(within(deleted).await?);
        }
    }
    let filter = match conditions.as_slice() {
        [only] => only.clone(),
        several => format!("({})", several.iter().map(|text| format!("({text})")).collect::<Vec<_>>().join(" OR ")),
    };
    let watch = match modified.or(created).filter(|_| block.lookback.is_some()) {
        Some(column) => {
            let zone = zones.of_column(&columns, &column)?;
            let (column, form) = Form::of(&columns, &column, zone, source.has_dates())?;
            let at = position(&columns, &column.name);
            let is_moved = at.is_some_and(|at| treating.clock_of(&columns, at).is_some());
            Some(Watch::on(column, form, is_moved, interval))
        }
        None => None,
    };
    context.info(format!("reading by change: {filter}"));
    let query = if query.contains(FILTER_PLACE) {
        query.replace(FILTER_PLACE, &filter)
    } else {
        // The newline ends a comment that the query may end with.
        format!("SELECT * FROM (\n{query}\n) AS millrace_source WHERE {filter}")
    };
    Ok(Narrowed { query, watch, clocks })
}

/// Held against the reading before: a window by another clock passes over rows, and values by another one hide rows from
/// whoever looks for the newest.
async fn hold_clocks(
    context: &TaskContext,
    conn_id: &str,
    clocks: &BTreeMap<String, String>,
    values: &BTreeMap<String, String>,
) -> Result<(), TaskError> {
    let Some(before) = clocks::read_before(context, "extract", conn_id, None).await? else { return Ok(()) };
    let seam = context.run.data_interval.start;
    let told = clocks.keys().flat_map(|column| {
        let window = Change::of_window(&before, clocks, column).map(|change| change.told_of_window(column, seam));
        let values = Change::of_values(&before, values, column).map(|change| change.told(column, seam));
        window.into_iter().chain(values)
    });
    let told: Vec<String> = told.collect();
    if told.is_empty() {
        return Ok(());
    }
    let mend = "Where tables hold times of before, empty them and clear the runs that filled them, or move their times by hand";
    clocks::refuse_unless_cleared(context, &format!("incremental: {}", told.join("; ")), mend)
}

async fn check_lag(source: &dyn SqlSource, block: &Incremental) -> Result<(), TaskError> {
    match block.max_replica_lag {
        Some(most) => check_replica_lag(source, most).await,
        None => Ok(()),
    }
}

/// To be tried again when the source is a replica that is further behind.
pub async fn check_replica_lag(source: &dyn SqlSource, most: Length) -> Result<(), TaskError> {
    let lag =
        source.replica_lag().await.map_err(|error| while_doing("asking the replica how far it is behind", error))?;
    match lag {
        Some(lag) if lag > most.0.as_delta() => Err(TaskError::Retry(format!(
            "the source is a replica {} s behind, and max_replica_lag allows {most}: rows of the interval may be missing",
            lag.num_seconds()
        ))),
        _ => Ok(()),
    }
}

/// Whose clocks the columns of the window were read from.
struct Zones<'a> {
    written: Option<Tz>,
    treating: &'a Rendered<'a>,
}

impl<'a> Zones<'a> {
    fn of(block: &Incremental, treating: &'a Rendered<'a>) -> Result<Self, TaskError> {
        let written: Option<String> = rendered_option("incremental.source_timezone", block.source_timezone.as_ref())?;
        let written = written.as_deref().map(|zone| parsed("incremental.source_timezone", zone)).transpose()?;
        Ok(Self { written, treating })
    }

    /// A window by one clock of values that are moved by another would lose hours in silence.
    fn of_column(&self, columns: &[SourceColumn], name: &str) -> Result<Option<Tz>, TaskError> {
        let moved_by = position(columns, name).and_then(|at| self.treating.clock_of(columns, at));
        match (self.written, moved_by) {
            (Some(written), Some(moved_by)) if written != moved_by => Err(TaskError::Fail(format!(
                "incremental: source_timezone says {written}, but the values of {name} are read as times of {moved_by} \
                 (`columns` or source_timezone of the task, or of its connection); leave it out of `incremental`, or say in \
                 `columns` which clock it is: columns: {{{name}: {{timezone: {written}}}}}"
            ))),
            (Some(zone), _) | (None, Some(zone)) => Ok(Some(zone)),
            (None, None) => self.treating.source_timezone().map(|zone| parsed("source_timezone", zone)).transpose(),
        }
    }

    /// Of the columns that have no zone of their own, by the names that the source has for them.
    fn names(
        &self,
        columns: &[SourceColumn],
        fields: [&Option<String>; 2],
    ) -> Result<BTreeMap<String, String>, TaskError> {
        let mut names = BTreeMap::new();
        for field in fields.into_iter().flatten() {
            let column = named(columns, field)?;
            let zone = self.of_column(columns, field)?;
            if let Some(zone) = zone.filter(|_| column.value != (ValueType::Timestamp { zoned: true })) {
                names.insert(column.name.clone(), zone.name().to_owned());
            }
        }
        Ok(names)
    }
}

fn parsed(name: &str, zone: &str) -> Result<Tz, TaskError> {
    zone.parse().map_err(|_| TaskError::Fail(format!("{name}: {}", unknown_zone(zone))))
}

/// What the query's columns are.
async fn columns(source: &dyn SqlSource, query: &str) -> Result<Vec<SourceColumn>, TaskError> {
    let sql = if query.contains(FILTER_PLACE) {
        query.replace(FILTER_PLACE, "1 = 0")
    } else {
        format!("SELECT * FROM (\n{query}\n) AS millrace_source WHERE 1 = 0")
    };
    let attempted = "looking at the query's columns";
    let mut rows = source.query(&sql).await.map_err(|error| while_doing(attempted, error))?;
    while rows.batches.try_next().await.map_err(|error| while_doing(attempted, error))?.is_some() {}
    Ok(rows.columns)
}

/// The column of the query, or which ones there are.
fn named<'c>(columns: &'c [SourceColumn], name: &str) -> Result<&'c SourceColumn, TaskError> {
    find(columns, name).ok_or_else(|| {
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        TaskError::Fail(format!("incremental: the query has no column {name}; it has {}", known.join(", ")))
    })
}

/// Texts are in the order of their moments only where all are written alike: any other would be in no window, ever.
async fn check_texts(source: &dyn SqlSource, query: &str, column: &SourceColumn) -> Result<(), TaskError> {
    let SourceColumn { name, type_name, .. } = column;
    if source.has_dates() {
        return Err(TaskError::Fail(format!(
            "incremental: column {name} is of type {type_name}, and a window of texts would pass over those that are written in \
             another form; make a timestamp of it in the query: CAST({name} AS timestamp) AS changed_at, or in MySQL and MariaDB \
             STR_TO_DATE({name}, '%Y-%m-%d %H:%i:%s'), by the form that its texts have: what does not fit it is NULL there, and \
             in no window"
        )));
    }
    match other_text(source, query, column).await? {
        None => Ok(()),
        Some(text) => Err(TaskError::Fail(format!(
            "incremental: column {name} holds {}, which is written neither as 2024-01-31 nor as 2024-01-31 10:00:00 and would be in \
             the wrong window or in none; {}",
            looks(&text),
            mend(name, &text)
        ))),
    }
}

/// How SQLite makes a date of such a text. What its `datetime` does not know becomes NULL, which no window would miss.
fn mend(name: &str, text: &[u8]) -> String {
    if !text.is_empty() && text.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        return format!(
            "seconds since 1970 are made a time in the query by datetime({name}, 'unixepoch') AS changed_at"
        );
    }
    let is_iso = text.len() > 10 && text[4] == b'-' && text[7] == b'-' && matches!(text[10], b'T' | b' ');
    if is_iso && !text.ends_with(b"M") {
        return format!("make UTC of it in the query: datetime({name}) AS changed_at");
    }
    format!("put its parts in that order in the query, by substr({name}, …); datetime() does not read such a text")
}

/// A value of the column that is no date as the engine without dates writes it, if there is one.
async fn other_text(source: &dyn SqlSource, query: &str, column: &SourceColumn) -> Result<Option<Vec<u8>>, TaskError> {
    let name = source.quote(&column.name);
    let (day, clock) = ("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]", "[0-9][0-9]:[0-9][0-9]");
    let other = format!(
        "{name} IS NOT NULL AND (typeof({name}) <> 'text' OR NOT ({name} GLOB '{day}' OR \
         ({name} GLOB '{day} {clock}:[0-9][0-9]*' AND substr({name}, 20) NOT GLOB '*[^0-9.]*')))"
    );
    let query = query.replace(FILTER_PLACE, &format!("({other})"));
    let sql = format!("SELECT {name} FROM (\n{query}\n) AS millrace_source WHERE {other} LIMIT 1");
    let attempted = format!("looking how the texts of {} are written", column.name);
    let rows = source.query(&sql).await.map_err(|error| while_doing(&attempted, error))?;
    let batches: Vec<_> = rows.batches.try_collect().await.map_err(|error| while_doing(&attempted, error))?;
    Ok(batches.iter().find_map(|batch| batch.cell(0, 0)).map(<[u8]>::to_vec))
}

/// Longer than any clock is set back by.
const SOON: TimeDelta = TimeDelta::hours(3);

/// How a column's values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A moment, in UTC as the session is.
    Moment,
    /// What a clock in the zone said.
    Clock(Tz),
    Day(Tz),
    /// The same as a text, `2024-01-02` or `2024-01-02 03:04:05`: SQLite has no other dates.
    Written(Tz),
}

impl Form {
    fn of<'c>(
        columns: &'c [SourceColumn],
        name: &str,
        zone: Option<Tz>,
        has_dates: bool,
    ) -> Result<(&'c SourceColumn, Self), TaskError> {
        let column = named(columns, name)?;
        if column.value == (ValueType::Timestamp { zoned: true }) {
            return Ok((column, Self::Moment));
        }
        let is_day = column.value == ValueType::Date;
        let is_clock = column.value == (ValueType::Timestamp { zoned: false });
        if !is_day && !is_clock && !column.value.is_text() {
            return Err(TaskError::Fail(format!(
                "incremental: column {name} is of type {}, and a window needs dates or timestamps",
                column.type_name
            )));
        }
        match zone {
            Some(zone) if is_day => Ok((column, Self::Day(zone))),
            Some(zone) if column.value.is_text() || !has_dates => Ok((column, Self::Written(zone))),
            Some(zone) => Ok((column, Self::Clock(zone))),
            None => Err(TaskError::Fail(format!(
                "incremental: column {name} ({}) has no time zone, and bounds in the wrong one lose hours in silence; say in which \
                 zone its clock runs: source_timezone: UTC, or Asia/Seoul",
                column.type_name
            ))),
        }
    }

    /// Never later than `from`, never earlier than `end`.
    fn bounds(self, from: DateTime<Utc>, end: DateTime<Utc>) -> (String, String) {
        match self {
            Self::Moment => (written_moment(from.naive_utc()), written_moment(end.naive_utc())),
            Self::Clock(zone) => {
                let (from, end) = on_the_clock(zone, from, end);
                (written_moment(from), written_moment(end))
            }
            Self::Day(zone) => {
                let (from, end) = on_the_clock(zone, from, end);
                let next = if end.time() == NaiveTime::MIN { end.date() } else { end.date() + TimeDelta::days(1) };
                (from.date().to_string(), next.to_string())
            }
            Self::Written(zone) => {
                let (from, end) = on_the_clock(zone, from, end);
                (shortest(from), shortest(end))
            }
        }
    }
}

/// What a clock in the zone says at a moment, less the hour that it shows twice when it was set back not long before.
pub fn not_later_on_the_clock(zone: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    let clock = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    let set_back = clock(at - SOON) + SOON + SOON - clock(at + SOON);
    clock(at) - set_back.max(TimeDelta::zero())
}

/// What a clock in the zone says. Where it is set back in between, an hour comes twice: more is read, never less.
fn on_the_clock(zone: Tz, from: DateTime<Utc>, end: DateTime<Utc>) -> (NaiveDateTime, NaiveDateTime) {
    let offset = |at: DateTime<Utc>| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
    let set_back = TimeDelta::seconds(i64::from((offset(from) - offset(end)).max(0)));
    let clock = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local();
    (clock(from) - set_back, clock(end) + set_back)
}

/// Of two writings of midnight the one that comes before the other.
fn shortest(at: NaiveDateTime) -> String {
    if at.time() == NaiveTime::MIN { at.date().to_string() } else { written_moment(at) }
}

fn written_moment(at: NaiveDateTime) -> String {
    let form = if at.and_utc().timestamp_subsec_micros() == 0 { "%Y-%m-%d %H:%M:%S" } else { "%Y-%m-%d %H:%M:%S%.6f" };
    at.format(form).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a moment")
    }

    #[test]
    fn bounds_are_in_the_form_of_the_column() {
        let (from, end) = (at("2024-01-01T00:00:00Z"), at("2024-01-02T00:00:00Z"));
        let bounds = |form: Form| form.bounds(from, end);
        let pair = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(bounds(Form::Moment), pair("2024-01-01 00:00:00", "2024-01-02 00:00:00"));
        assert_eq!(bounds(Form::Clock(Tz::Asia__Seoul)), pair("2024-01-01 09:00:00", "2024-01-02 09:00:00"));
        assert_eq!(bounds(Form::Day(Tz::UTC)), pair("2024-01-01", "2024-01-02"));
        assert_eq!(bounds(Form::Written(Tz::UTC)), pair("2024-01-01", "2024-01-02"));
        assert_eq!(bounds(Form::Written(Tz::Asia__Seoul)), pair("2024-01-01 09:00:00", "2024-01-02 09:00:00"));
        assert_eq!(
            bounds(Form::Day(Tz::Asia__Seoul)),
            pair("2024-01-01", "2024-01-03"),
            "days that are half inside count"
        );
    }

    #[test]
    fn a_moment_near_the_hour_that_comes_twice_is_taken_an_hour_earlier() {
        let on = |text: &str| not_later_on_the_clock(Tz::Europe__Stockholm, at(text)).to_string();
        assert_eq!(on("2024-01-01T12:00:00Z"), "2024-01-01 13:00:00");
        assert_eq!(on("2024-10-27T01:30:00Z"), "2024-10-27 01:30:00", "the clock says 02:30, as it did an hour before");
        assert_eq!(on("2024-10-27T00:30:00Z"), "2024-10-27 01:30:00");
        assert_eq!(on("2024-03-31T01:30:00Z"), "2024-03-31 03:30:00", "put forward, nothing comes twice");
    }

    #[test]
    fn the_hour_that_comes_twice_is_never_lost() {
        // In Stockholm 03:00 summer time is followed by 02:00 winter time, at 01:00 UTC.
        let zone = Tz::Europe__Stockholm;
        let (from, end) = (at("2024-10-27T00:30:00Z"), at("2024-10-27T01:30:00Z"));
        let bounds = Form::Clock(zone).bounds(from, end);
        assert_eq!(bounds, ("2024-10-27 01:30:00".to_owned(), "2024-10-27 03:30:00".to_owned()));
        let (from, end) = (at("2024-03-31T00:30:00Z"), at("2024-03-31T01:30:00Z"));
        let bounds = Form::Clock(zone).bounds(from, end);
        assert_eq!(bounds, ("2024-03-31 01:30:00".to_owned(), "2024-03-31 03:30:00".to_owned()));
    }
}
