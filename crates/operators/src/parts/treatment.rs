//! What happens to columns on their way from the source to a file: personal data is masked, hashed or left out, clocks
//! without a zone become UTC, and dates that are none are refused or become NULL.
//!
//! Values are changed before anything else sees them: encoders, errors, logs and ledger know the treated ones only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use futures::{StreamExt, stream};
use hmac::{Hmac, KeyInit, Mac};
use millrace_model::ledger::{DROPPED, MASKED, hash_key_of, hashed_with, moved_from, zone_moved_from};
use millrace_operator_api::ports::{RowBatch, RowStream, SourceColumn, SqlSource, ValueType};
use millrace_operator_api::{PortError, PortErrorKind, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use super::parameter::rendered_option;

const MASK: &[u8] = b"***";
/// Characters of a hash.
pub const HASH_LENGTH: u64 = 64;

/// What is done to a column: `mask`, `hash`, `drop`, or `{timezone: Asia/Seoul}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Treatment {
    Personal(Personal),
    Clock(Clock),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Personal {
    /// Every value becomes `***`.
    Mask,
    /// Every value becomes its HMAC-SHA256, 64 hexadecimal digits: equal values stay equal, and without the key nobody
    /// finds them by trying.
    Hash,
    /// The column is left out.
    Drop,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The zone whose clocks the column's times were read from.
    pub timezone: String,
}

/// What is done with dates that no calendar has, such as MySQL's `0000-00-00`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ZeroDates {
    #[default]
    Error,
    Null,
    Keep,
}

pub type Treatments = BTreeMap<String, Treatment>;

/// Finds mistakes that show in the file already.
pub fn check(columns: &Treatments, has_key: bool, source_timezone: Option<&str>, problems: &mut Problems) {
    let is_hash = |treatment: &Treatment| *treatment == Treatment::Personal(Personal::Hash);
    if !has_key && let Some((name, _)) = columns.iter().find(|(_, treatment)| is_hash(treatment)) {
        problems.add(
            format!("columns.{name}"),
            "hash needs hash_conn_id, the connection whose password is the key: without a key anybody finds e-mail \
             addresses or numbers by trying",
        );
    }
    for (name, treatment) in columns {
        if let Treatment::Clock(clock) = treatment
            && let Err(problem) = zone(&clock.timezone)
        {
            problems.add(format!("columns.{name}"), problem);
        }
    }
    if let Some(name) = source_timezone
        && let Err(problem) = zone(name)
    {
        problems.add("source_timezone", problem);
    }
}

fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| format!("'{name}' is no time zone; write one such as Asia/Seoul or UTC"))
}

/// The parameters as they stand in the DAG file.
pub struct Treating<'a> {
    pub columns: &'a Treatments,
    pub hash_conn_id: Option<&'a Template<String>>,
    pub source_timezone: Option<&'a Template<String>>,
    pub zero_dates: ZeroDates,
}

impl<'a> Treating<'a> {
    /// Renders them and fetches the key.
    pub async fn rendered(self, context: &TaskContext, source: &dyn SqlSource) -> Result<Rendered<'a>, TaskError> {
        let key = match rendered_option("hash_conn_id", self.hash_conn_id)? {
            Some(conn_id) => Some(HashKey::of(context, conn_id).await?),
            None => None,
        };
        let source_timezone = rendered_option("source_timezone", self.source_timezone)?
            .filter(|zone| !zone.is_empty())
            .or_else(|| source.source_timezone().map(ToOwned::to_owned));
        Ok(Rendered { columns: self.columns, key, source_timezone, zero_dates: self.zero_dates })
    }
}

/// The key of `hash`.
#[derive(Clone)]
pub struct HashKey {
    /// The connection whose password it is.
    pub conn_id: String,
    pub key: SecretString,
}

impl HashKey {
    pub async fn of(context: &TaskContext, conn_id: String) -> Result<Self, TaskError> {
        Ok(Self { key: context.ports.secret(context, &conn_id).await?, conn_id })
    }
}

pub struct Rendered<'a> {
    columns: &'a Treatments,
    key: Option<HashKey>,
    source_timezone: Option<String>,
    zero_dates: ZeroDates,
}

impl<'a> Rendered<'a> {
    /// `source_timezone` of every clock without a zone that `columns` does not name.
    pub fn new(
        columns: &'a Treatments,
        key: Option<HashKey>,
        source_timezone: Option<String>,
        zero_dates: ZeroDates,
    ) -> Self {
        Self { columns, key, source_timezone, zero_dates }
    }

    /// The zone in which the column's clock runs; `None` for a column that has its zone, or none that is known.
    pub fn clock_of(&self, column: &SourceColumn) -> Option<Tz> {
        if column.value != (ValueType::Timestamp { zoned: false }) {
            return None;
        }
        let named = self.columns.iter().find(|(name, _)| is_named(column, name)).map(|(_, treatment)| treatment);
        match named {
            Some(Treatment::Clock(clock)) => clock.timezone.parse().ok(),
            Some(Treatment::Personal(_)) => None,
            None => self.source_timezone.as_deref()?.parse().ok(),
        }
    }

    /// Which of the columns will not be written as they are read, and what becomes of them.
    pub fn changes(&self, columns: &[SourceColumn]) -> BTreeMap<String, String> {
        let change = |column: &SourceColumn| {
            let named = self.columns.iter().find(|(name, _)| is_named(column, name)).map(|(_, treatment)| treatment);
            match named {
                Some(Treatment::Personal(Personal::Mask)) => Some(MASKED.to_owned()),
                Some(Treatment::Personal(Personal::Hash)) => {
                    Some(hashed_with(self.key.as_ref().map_or("no connection", |key| &key.conn_id)))
                }
                Some(Treatment::Personal(Personal::Drop)) => Some(DROPPED.to_owned()),
                _ => self.clock_of(column).filter(|zone| *zone != Tz::UTC).map(|zone| moved_from(zone.name())),
            }
        };
        columns.iter().filter_map(|column| Some((column.name.clone(), change(column)?))).collect()
    }

    /// Treats streams that have some of the columns only, without those that were dropped.
    pub fn apply_to_part(&self, rows: RowStream) -> Result<(RowStream, Leaps), TaskError> {
        let columns: Treatments = self
            .columns
            .iter()
            .filter(|(name, _)| rows.columns.iter().any(|column| is_named(column, name)))
            .map(|(name, treatment)| (name.clone(), treatment.clone()))
            .collect();
        let key = self.key.clone();
        Rendered { columns: &columns, key, source_timezone: self.source_timezone.clone(), ..*self }.apply(rows)
    }

    pub fn apply(&self, rows: RowStream) -> Result<(RowStream, Leaps), TaskError> {
        let (mut streams, leaps) = self.apply_all(vec![rows])?;
        let rows = streams.pop().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
        Ok((rows, leaps))
    }

    /// The streams of several readers of one query.
    pub fn apply_all(&self, streams: Vec<RowStream>) -> Result<(Vec<RowStream>, Leaps), TaskError> {
        let wanted = Wanted {
            columns: self.columns,
            key: self.key.as_ref().map(|key| key.key.expose_secret().as_bytes()),
            source_timezone: self.source_timezone.as_deref(),
            zero_dates: self.zero_dates,
        };
        let leaps = Leaps::default();
        let streams = streams.into_iter().map(|rows| treated(rows, &wanted, &leaps)).collect::<Result<_, _>>()?;
        Ok((streams, leaps))
    }
}

/// What was done to columns when they were moved, for rows that are read once more.
#[derive(Clone)]
pub struct Repeated {
    columns: Treatments,
    key: Option<HashKey>,
}

impl Repeated {
    /// By column, from the words of the ledger; none for a column whose values can't be made again.
    pub fn treatment(how: &str) -> Option<Treatment> {
        match (zone_moved_from(how), hash_key_of(how)) {
            (Some(zone), _) => Some(Treatment::Clock(Clock { timezone: zone.to_owned() })),
            (None, Some(_)) => Some(Treatment::Personal(Personal::Hash)),
            (None, None) => None,
        }
    }

    pub fn new(columns: Treatments, key: Option<HashKey>) -> Self {
        Self { columns, key }
    }

    /// The columns that come of these.
    pub fn outcome(&self, columns: Vec<SourceColumn>) -> Result<Vec<SourceColumn>, PortError> {
        Ok(self.apply(RowStream { columns, batches: stream::empty().boxed() })?.columns)
    }

    /// Days that are none are left: whoever compares knows them.
    pub fn apply(&self, rows: RowStream) -> Result<RowStream, PortError> {
        let treating = Rendered::new(&self.columns, self.key.clone(), None, ZeroDates::Keep);
        let treated = treating.apply_to_part(rows);
        treated.map(|(rows, _)| rows).map_err(|error| PortError::new(PortErrorKind::Invalid, error.to_string()))
    }
}

/// What is wanted, rendered.
struct Wanted<'a> {
    columns: &'a Treatments,
    /// For `hash`.
    key: Option<&'a [u8]>,
    /// Of every clock without a zone that `columns` does not name.
    source_timezone: Option<&'a str>,
    zero_dates: ZeroDates,
}

#[derive(Clone)]
enum Action {
    Keep,
    Drop,
    Mask,
    Hash(Box<Hmac<Sha256>>),
    /// A date or a moment: looked at for what no calendar has, and taken to UTC.
    Calendar(Option<Tz>),
}

/// Clocks that were put forward or back: what a time on them means is a choice.
#[derive(Clone, Default)]
pub struct Leaps {
    skipped: Arc<AtomicU64>,
    repeated: Arc<AtomicU64>,
}

impl Leaps {
    /// Says how many times were not clear.
    pub fn tell(&self, context: &TaskContext) {
        let (skipped, repeated) = (self.skipped.load(Ordering::Relaxed), self.repeated.load(Ordering::Relaxed));
        if skipped > 0 {
            context.warning(format!(
                "{skipped} times stand in an hour that the clocks skipped: they were read as if the clocks had not been changed yet"
            ));
        }
        if repeated > 0 {
            context.warning(format!(
                "{repeated} times stand in an hour that the clocks showed twice: the later one was taken"
            ));
        }
    }
}

/// The rows as they are to be written. Nothing is copied where nothing changes.
fn treated(rows: RowStream, wanted: &Wanted<'_>, leaps: &Leaps) -> Result<RowStream, TaskError> {
    let actions = plan(&rows.columns, wanted)?;
    let columns: Vec<SourceColumn> =
        rows.columns.iter().zip(&actions).filter_map(|(column, action)| outcome(column, action)).collect();
    if columns.is_empty() && !rows.columns.is_empty() {
        return Err(TaskError::Fail("columns: every column is dropped, so nothing is left to write".to_owned()));
    }
    if actions.iter().all(|action| matches!(action, Action::Keep)) {
        return Ok(rows);
    }
    let is_only_seen = actions.iter().all(|action| matches!(action, Action::Keep | Action::Calendar(None)))
        && wanted.zero_dates == ZeroDates::Error;
    let mut work = Work {
        names: rows.columns.iter().map(|column| column.name.clone()).collect(),
        actions,
        zero_dates: wanted.zero_dates,
        leaps: leaps.clone(),
        width: columns.len(),
        rows: 0,
    };
    let batches = rows
        .batches
        .map(move |batch| {
            let batch = batch?;
            if is_only_seen { work.look(&batch).map(|()| batch) } else { work.change(&batch) }
        })
        .boxed();
    Ok(RowStream { columns, batches })
}

fn plan(columns: &[SourceColumn], wanted: &Wanted<'_>) -> Result<Vec<Action>, TaskError> {
    let fail = |message: String| TaskError::Fail(message);
    // A misspelt name must never let personal data through.
    if let Some(name) = wanted.columns.keys().find(|name| !columns.iter().any(|column| is_named(column, name))) {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(fail(format!("columns names '{name}', but the query gives {}", names.join(", "))));
    }
    let default_zone = wanted
        .source_timezone
        .map(|name| zone(name).map_err(|problem| fail(format!("source_timezone: {problem}"))))
        .transpose()?;
    columns
        .iter()
        .map(|column| {
            let found = wanted.columns.iter().find(|(name, _)| is_named(column, name)).map(|(_, treatment)| treatment);
            let is_clock = column.value == ValueType::Timestamp { zoned: false };
            Ok(match found {
                Some(Treatment::Personal(Personal::Drop)) => Action::Drop,
                Some(Treatment::Personal(Personal::Mask)) => Action::Mask,
                Some(Treatment::Personal(Personal::Hash)) => {
                    let key = wanted.key.filter(|key| !key.is_empty());
                    let key = key.ok_or_else(|| fail(format!("columns: hash of {} has no key", column.name)))?;
                    let mac = Hmac::<Sha256>::new_from_slice(key).map_err(|error| fail(error.to_string()))?;
                    Action::Hash(Box::new(mac))
                }
                Some(Treatment::Clock(clock)) if is_clock => Action::Calendar(Some(
                    zone(&clock.timezone).map_err(|problem| fail(format!("columns: {}: {problem}", column.name)))?,
                )),
                Some(Treatment::Clock(_)) => {
                    return Err(fail(format!(
                        "columns: {} has a timezone, but is no timestamp without one ({})",
                        column.name, column.value
                    )));
                }
                None if is_clock => Action::Calendar(default_zone),
                None if matches!(column.value, ValueType::Date | ValueType::Timestamp { .. }) => Action::Calendar(None),
                None => Action::Keep,
            })
        })
        .map(|action| match action {
            Ok(Action::Calendar(None)) if wanted.zero_dates == ZeroDates::Keep => Ok(Action::Keep),
            other => other,
        })
        .collect()
}

fn is_named(column: &SourceColumn, name: &str) -> bool {
    column.name.eq_ignore_ascii_case(name)
}

/// The column as it will be; `None` when it goes.
fn outcome(column: &SourceColumn, action: &Action) -> Option<SourceColumn> {
    let text = |chars| ValueType::Text { max_chars: Some(chars), max_bytes: Some(chars) };
    let value = match action {
        Action::Drop => return None,
        Action::Keep | Action::Calendar(None) => column.value.clone(),
        Action::Mask => text(MASK.len() as u64),
        Action::Hash(_) => text(HASH_LENGTH),
        Action::Calendar(Some(_)) => ValueType::Timestamp { zoned: true },
    };
    Some(SourceColumn { value, ..column.clone() })
}

struct Work {
    names: Vec<String>,
    actions: Vec<Action>,
    zero_dates: ZeroDates,
    leaps: Leaps,
    /// Columns that stay.
    width: usize,
    rows: u64,
}

impl Work {
    /// Looks for dates that are none, and changes nothing.
    fn look(&mut self, batch: &RowBatch) -> Result<(), PortError> {
        for (column, action) in self.actions.iter().enumerate() {
            if let Action::Calendar(_) = action {
                let is_zero = |row: &usize| batch.cell(*row, column).is_some_and(is_zero_date);
                if let Some(row) = (0..batch.len()).find(is_zero) {
                    return Err(self.zero_date(self.rows + row as u64 + 1, column));
                }
            }
        }
        self.rows += batch.len() as u64;
        Ok(())
    }

    fn change(&mut self, batch: &RowBatch) -> Result<RowBatch, PortError> {
        let mut out = RowBatch::new(self.width);
        for row in batch.rows() {
            self.rows += 1;
            for (column, cell) in row.enumerate() {
                match (&self.actions[column], cell) {
                    (Action::Drop, _) => {}
                    (_, None) => out.push(None),
                    (Action::Keep, Some(cell)) => out.push(Some(cell)),
                    (Action::Mask, Some(_)) => out.push(Some(MASK)),
                    (Action::Hash(mac), Some(cell)) => {
                        let mut mac = mac.clone();
                        mac.update(cell);
                        let digest = mac.finalize().into_bytes();
                        out.push(Some(hex(&digest).as_bytes()));
                    }
                    (Action::Calendar(_), Some(cell)) if is_zero_date(cell) => match self.zero_dates {
                        ZeroDates::Null => out.push(None),
                        ZeroDates::Keep => out.push(Some(cell)),
                        ZeroDates::Error => return Err(self.zero_date(self.rows, column)),
                    },
                    (Action::Calendar(None), Some(cell)) => out.push(Some(cell)),
                    (Action::Calendar(Some(zone)), Some(cell)) => {
                        out.push(Some(self.to_utc(*zone, cell, column)?.as_bytes()));
                    }
                }
            }
        }
        Ok(out)
    }

    fn zero_date(&self, row: u64, column: usize) -> PortError {
        PortError::new(
            PortErrorKind::Invalid,
            format!(
                "row {row}, column {} ({}): the date has a zero for its year, month or day, which no calendar and no other \
                 database knows; set zero_dates: null to make it NULL, or keep to leave it as it is",
                column + 1,
                self.names[column]
            ),
        )
    }

    /// The fraction of the second stays as it is written.
    fn to_utc(&self, zone: Tz, cell: &[u8], column: usize) -> Result<String, PortError> {
        let text = String::from_utf8_lossy(cell);
        if matches!(text.as_ref(), "infinity" | "-infinity") {
            return Ok(text.into_owned());
        }
        let (seconds, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        let read = NaiveDateTime::parse_from_str(seconds, "%Y-%m-%d %H:%M:%S")
            .or_else(|_| NaiveDateTime::parse_from_str(seconds, "%Y-%m-%dT%H:%M:%S"));
        let Ok(local) = read else {
            let message = format!(
                "row {}, column {} ({}): the value is no date with a time, so it can't be taken to UTC",
                self.rows,
                column + 1,
                self.names[column]
            );
            return Err(PortError::new(PortErrorKind::Invalid, message));
        };
        let offset = match zone.offset_from_local_datetime(&local) {
            chrono::LocalResult::Single(offset) => offset.fix(),
            chrono::LocalResult::Ambiguous(_, later) => {
                self.leaps.repeated.fetch_add(1, Ordering::Relaxed);
                later.fix()
            }
            chrono::LocalResult::None => {
                self.leaps.skipped.fetch_add(1, Ordering::Relaxed);
                // No zone skips more than a day.
                let before = local - TimeDelta::days(1);
                zone.offset_from_local_datetime(&before)
                    .latest()
                    .map_or_else(|| zone.offset_from_utc_datetime(&before).fix(), |offset| offset.fix())
            }
        };
        let utc = local - TimeDelta::seconds(i64::from(offset.local_minus_utc()));
        Ok(format!("{}{fraction}", utc.format("%Y-%m-%d %H:%M:%S")))
    }
}

/// `0000-00-00`, `2024-00-01`, `2024-01-00`, with or without a time.
fn is_zero_date(cell: &[u8]) -> bool {
    cell.len() >= 10
        && cell[4] == b'-'
        && cell[7] == b'-'
        && (cell.starts_with(b"0000") || &cell[5..7] == b"00" || &cell[8..10] == b"00")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        text.push_str(&format!("{byte:02x}"));
        text
    })
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};

    use super::*;

    type Cells = Vec<Vec<Option<String>>>;

    /// Columns, cells, and how many clocks were skipped and shown twice.
    type Treated = (Vec<String>, Cells, (u64, u64));

    fn run(columns: &[(&str, ValueType)], rows: &[&[Option<&str>]], wanted: &Wanted<'_>) -> Result<Treated, String> {
        let mut batch = RowBatch::new(columns.len());
        rows.iter().flat_map(|row| row.iter()).for_each(|cell| batch.push(cell.map(str::as_bytes)));
        let columns = columns
            .iter()
            .map(|(name, value)| SourceColumn { value: value.clone(), ..SourceColumn::text(*name) })
            .collect();
        let rows = RowStream { columns, batches: stream::iter([Ok(batch)]).boxed() };
        let leaps = Leaps::default();
        let rows = treated(rows, wanted, &leaps).map_err(|error| error.to_string())?;
        let shown = rows.columns.iter().map(|column| format!("{} {}", column.name, column.value)).collect();
        let mut cells = Cells::new();
        for batch in rows.batches.collect::<Vec<_>>().now_or_never().unwrap() {
            let batch = batch.map_err(|error| error.message)?;
            let text = |cell: Option<&[u8]>| cell.map(|cell| String::from_utf8_lossy(cell).into_owned());
            cells.extend(batch.rows().map(|row| row.map(text).collect::<Vec<_>>()));
        }
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Ok((shown, cells, (count(&leaps.skipped), count(&leaps.repeated))))
    }

    fn treatments(text: &str) -> Treatments {
        serde_json::from_str(text).unwrap()
    }

    const NOTHING: Wanted<'_> =
        Wanted { columns: &Treatments::new(), key: None, source_timezone: None, zero_dates: ZeroDates::Error };

    #[test]
    fn personal_columns_are_masked_hashed_or_gone() {
        let columns = treatments(r#"{"EMAIL": "hash", "ssn": "drop", "phone": "mask"}"#);
        let wanted = Wanted { columns: &columns, key: Some(b"key"), ..NOTHING };
        let names =
            [("id", ValueType::TEXT), ("email", ValueType::TEXT), ("ssn", ValueType::TEXT), ("phone", ValueType::Year)];
        let rows: &[&[Option<&str>]] =
            &[&[Some("1"), Some("kim@example.com"), Some("900101"), Some("1990")], &[None; 4]];
        let (shown, cells, _) = run(&names, rows, &wanted).unwrap();
        assert_eq!(shown, ["id text", "email text(64)", "phone text(3)"]);
        // printf kim@example.com | openssl dgst -sha256 -hmac key
        let digest = "0a6604526bb820a6e4a4ec6c30a9fe28a6ea49e74a766f7ee374fa7ee8cf7c84";
        assert_eq!(cells[0], [Some("1".to_owned()), Some(digest.to_owned()), Some("***".to_owned())]);
        assert_eq!(cells[1], [None, None, None]);
    }

    #[test]
    fn a_name_that_is_not_there_stops_everything() {
        let columns = treatments(r#"{"emial": "drop"}"#);
        let error = run(&[("email", ValueType::TEXT)], &[], &Wanted { columns: &columns, ..NOTHING }).unwrap_err();
        assert_eq!(error, "columns names 'emial', but the query gives email");
        let columns = treatments(r#"{"email": "hash"}"#);
        let error = run(&[("email", ValueType::TEXT)], &[], &Wanted { columns: &columns, ..NOTHING }).unwrap_err();
        assert_eq!(error, "columns: hash of email has no key");
    }

    #[test]
    fn clocks_are_taken_to_utc() {
        let naive = ValueType::Timestamp { zoned: false };
        let at = |text: &str, zone: &str| {
            let columns = Treatments::from([("t".to_owned(), Treatment::Clock(Clock { timezone: zone.to_owned() }))]);
            let wanted = Wanted { columns: &columns, source_timezone: Some("UTC"), ..NOTHING };
            let (shown, cells, leaps) = run(&[("t", naive.clone())], &[&[Some(text)]], &wanted)?;
            assert_eq!(shown, ["t timestamp with zone"]);
            Ok::<_, String>((cells[0][0].clone().unwrap(), leaps))
        };
        let clear = (0, 0);
        assert_eq!(
            at("2024-01-01 09:00:00.123456", "Asia/Seoul"),
            Ok(("2024-01-01 00:00:00.123456".to_owned(), clear))
        );
        assert_eq!(at("2024-07-01 00:30:00", "America/New_York"), Ok(("2024-07-01 04:30:00".to_owned(), clear)));
        assert_eq!(at("2024-03-10 02:30:00", "America/New_York"), Ok(("2024-03-10 07:30:00".to_owned(), (1, 0))));
        assert_eq!(at("2024-11-03 01:30:00", "America/New_York"), Ok(("2024-11-03 06:30:00".to_owned(), (0, 1))));
        assert_eq!(at("infinity", "Asia/Seoul"), Ok(("infinity".to_owned(), clear)));
        assert!(at("soon", "Asia/Seoul").unwrap_err().starts_with("row 1, column 1 (t): the value is no date"));
        let seoul = Wanted { source_timezone: Some("Asia/Seoul"), ..NOTHING };
        let zoned = ValueType::Timestamp { zoned: true };
        let row: &[Option<&str>] = &[Some("2024-01-01 09:00:00"), Some("2024-01-01 09:00:00"), Some("2024-01-01")];
        let (_, cells, _) = run(&[("a", naive), ("b", zoned), ("c", ValueType::Date)], &[row], &seoul).unwrap();
        let cells: Vec<&str> = cells[0].iter().flatten().map(String::as_str).collect();
        assert_eq!(cells, ["2024-01-01 00:00:00", "2024-01-01 09:00:00", "2024-01-01"]);
    }

    #[test]
    fn zero_dates_are_refused_or_null_or_kept() {
        let columns = [("d", ValueType::Date), ("note", ValueType::TEXT)];
        let rows: &[&[Option<&str>]] = &[&[Some("2024-01-01"), None], &[Some("2024-00-10"), Some("0000-00-00")]];
        let error = run(&columns, rows, &NOTHING).unwrap_err();
        assert!(error.starts_with("row 2, column 1 (d): the date has a zero"), "{error}");
        let (_, cells, _) = run(&columns, rows, &Wanted { zero_dates: ZeroDates::Null, ..NOTHING }).unwrap();
        assert_eq!(cells[1], [None, Some("0000-00-00".to_owned())]);
        let (_, cells, _) = run(&columns, rows, &Wanted { zero_dates: ZeroDates::Keep, ..NOTHING }).unwrap();
        assert_eq!(cells[1][0].as_deref(), Some("2024-00-10"));
    }
}
