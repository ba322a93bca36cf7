//! Rows as they are to be written.

use chrono::NaiveDate;
use chrono_tz::Tz;
use futures::StreamExt;
use hmac::{Hmac, KeyInit, Mac};
use millrace_operator_api::ports::{RowBatch, RowStream, SourceColumn, ValueType};
use millrace_operator_api::{PortError, PortErrorKind, TaskError};
use secrecy::ExposeSecret;
use sha2::Sha256;

use crate::parts::column_name::position;
use crate::parts::proof::canonical::is_zero_date;
use crate::parts::written_moments::Forms;

use super::clock::{Moment, NoMoment};
use super::{HASH_LENGTH, Leaps, Personal, Rendered, Treatment, ZeroDates, zone};

const MASK: &[u8] = b"***";
/// With as many digits of a second as there are.
const IN_UTC: &str = "%Y-%m-%d %H:%M:%S%.f";

#[derive(Clone)]
enum Action {
    Keep,
    Drop,
    Mask,
    Hash(Box<Hmac<Sha256>>),
    /// A date or a moment: looked at for what no calendar has, and taken to UTC.
    Calendar(Option<Tz>),
    /// A moment by which rows are told apart, taken to UTC.
    Key(Tz),
    /// A text or a day, read as a time on the clocks of the zone, unless it says an offset of its own.
    Written {
        zone: Tz,
        is_key: bool,
    },
}

/// The rows as they are to be written. Nothing is copied where nothing changes.
pub(super) fn treated(rows: RowStream, wanted: &Rendered<'_>, leaps: &Leaps) -> Result<RowStream, TaskError> {
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
        forms: wanted.forms.clone(),
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

fn plan(columns: &[SourceColumn], wanted: &Rendered<'_>) -> Result<Vec<Action>, TaskError> {
    let fail = |message: String| TaskError::Fail(message);
    // A misspelt name must never let personal data through.
    if let Some(name) = wanted.columns.keys().find(|name| position(columns, name).is_none()) {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        return Err(fail(format!("columns names '{name}', but the query gives {}", names.join(", "))));
    }
    let default_zone = wanted
        .source_timezone
        .as_deref()
        .map(|name| zone(name).map_err(|problem| fail(format!("source_timezone: {problem}"))))
        .transpose()?;
    columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let is_clock = column.value == ValueType::Timestamp { zoned: false };
            Ok(match wanted.named(columns, at) {
                Some(Treatment::Personal(Personal::Drop)) => Action::Drop,
                Some(Treatment::Personal(Personal::Mask)) => Action::Mask,
                Some(Treatment::Personal(Personal::Hash)) => {
                    let key = wanted.key.as_ref().map(|key| key.key.expose_secret()).filter(|key| !key.is_empty());
                    let key = key.ok_or_else(|| fail(format!("columns: hash of {} has no key", column.name)))?;
                    let mac =
                        Hmac::<Sha256>::new_from_slice(key.as_bytes()).map_err(|error| fail(error.to_string()))?;
                    Action::Hash(Box::new(mac))
                }
                Some(Treatment::Clock(clock))
                    if is_clock || column.value == ValueType::Date || column.value.is_text() =>
                {
                    let zone = zone(&clock.timezone)
                        .map_err(|problem| fail(format!("columns: {}: {problem}", column.name)))?;
                    if is_clock { Action::Calendar(Some(zone)) } else { Action::Written { zone, is_key: false } }
                }
                Some(Treatment::Clock(_)) => {
                    return Err(fail(format!(
                        "columns: {} has a timezone, but is neither a timestamp without one nor a date or a text ({})",
                        column.name, column.value
                    )));
                }
                None if is_clock => Action::Calendar(default_zone),
                None if matches!(column.value, ValueType::Date | ValueType::Timestamp { .. }) => Action::Calendar(None),
                None => Action::Keep,
            })
        })
        .enumerate()
        .map(|(at, action)| {
            let is_key = || wanted.keys.iter().any(|key| position(columns, key) == Some(at));
            match action {
                Ok(Action::Calendar(None)) if wanted.zero_dates == ZeroDates::Keep => Ok(Action::Keep),
                Ok(Action::Calendar(Some(zone))) if is_key() => Ok(Action::Key(zone)),
                Ok(Action::Written { zone, .. }) => Ok(Action::Written { zone, is_key: is_key() }),
                other => other,
            }
        })
        .collect()
}

/// The column as it will be; `None` when it goes.
fn outcome(column: &SourceColumn, action: &Action) -> Option<SourceColumn> {
    let text = |chars| ValueType::Text { max_chars: Some(chars), max_bytes: Some(chars) };
    let value = match action {
        Action::Drop => return None,
        Action::Keep | Action::Calendar(None) => column.value.clone(),
        Action::Mask => text(MASK.len() as u64),
        Action::Hash(_) => text(HASH_LENGTH),
        Action::Calendar(Some(_)) | Action::Key(_) | Action::Written { .. } => ValueType::Timestamp { zoned: true },
    };
    Some(SourceColumn { value, ..column.clone() })
}

struct Work {
    names: Vec<String>,
    actions: Vec<Action>,
    zero_dates: ZeroDates,
    forms: Forms,
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
                for row in 0..batch.len() {
                    let Some(cell) = batch.cell(row, column) else { continue };
                    let number = self.rows + row as u64 + 1;
                    if is_zero_date(cell) {
                        return Err(self.zero_date(number, column));
                    }
                    self.refuse_missing_day(cell, number, column)?;
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
                        out.push(Some(hex::encode(digest).as_bytes()));
                    }
                    (Action::Calendar(_) | Action::Key(_) | Action::Written { .. }, Some(cell))
                        if is_zero_date(cell) =>
                    {
                        match self.zero_dates {
                            ZeroDates::Null => out.push(None),
                            ZeroDates::Keep => out.push(Some(cell)),
                            ZeroDates::Error => return Err(self.zero_date(self.rows, column)),
                        }
                    }
                    // A time that nobody wrote.
                    (Action::Written { .. }, Some([])) => out.push(None),
                    (Action::Written { zone, is_key }, Some(cell)) => {
                        let moment = self.read(*zone, cell, column)?;
                        if *is_key && moment.is_skipped {
                            return Err(self.skipped_key(*zone, column));
                        }
                        out.push(Some(moment.utc.as_bytes()));
                    }
                    (Action::Calendar(None), Some(cell)) => {
                        self.refuse_missing_day(cell, self.rows, column)?;
                        out.push(Some(cell));
                    }
                    (Action::Calendar(Some(zone)), Some(cell)) => {
                        out.push(Some(self.to_utc(*zone, cell, column)?.utc.as_bytes()));
                    }
                    (Action::Key(zone), Some(cell)) => {
                        let moment = self.to_utc(*zone, cell, column)?;
                        if moment.is_skipped {
                            return Err(self.skipped_key(*zone, column));
                        }
                        out.push(Some(moment.utc.as_bytes()));
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

    /// A server that allows them (MySQL's ALLOW_INVALID_DATES) has dates such as 2024-02-31.
    fn refuse_missing_day(&self, cell: &[u8], row: u64, column: usize) -> Result<(), PortError> {
        if self.zero_dates == ZeroDates::Keep || !is_missing_day(cell) {
            return Ok(());
        }
        let name = &self.names[column];
        Err(PortError::new(
            PortErrorKind::Invalid,
            format!(
                "row {row}, column {} ({name}): the date is a day that its month does not have, which no other database takes; \
                 mend it at the source, or in the query (IF(DAYOFMONTH({name}) <= DAYOFMONTH(LAST_DAY({name})), {name}, NULL) AS \
                 {name}); zero_dates: keep leaves it as it is",
                column + 1,
            ),
        ))
    }

    fn skipped_key(&self, zone: Tz, column: usize) -> PortError {
        PortError::new(
            PortErrorKind::Invalid,
            format!(
                "row {}, column {} ({}): the time stands in an hour that the clocks of {zone} skipped, so it would become the \
                 moment of another time, and as a key the two rows would be one; mend it at the source, take another key, or say \
                 the zone that the clock really has (columns: {{{}: {{timezone: …}}}})",
                self.rows,
                column + 1,
                self.names[column],
                self.names[column]
            ),
        )
    }

    /// The moment that a text or a day says.
    fn read(&self, zone: Tz, cell: &[u8], column: usize) -> Result<Moment, PortError> {
        self.refuse_missing_day(cell, self.rows, column)?;
        let text = String::from_utf8_lossy(cell);
        if matches!(&*text, "infinity" | "-infinity") {
            return self.to_utc(zone, cell, column);
        }
        let written = self.forms.read(&text).map_err(|why| {
            let place = format!("row {}, column {} ({})", self.rows, column + 1, self.names[column]);
            PortError::new(PortErrorKind::Invalid, format!("{place}: the value {why}; write it so in the query, or name its form in timestamp_formats of table_copy"))
        })?;
        match written.utc {
            Some(utc) => Ok(Moment { utc: utc.format(IN_UTC).to_string(), is_skipped: false }),
            None => self.to_utc(zone, written.clock.format(IN_UTC).to_string().as_bytes(), column),
        }
    }

    fn to_utc(&self, zone: Tz, cell: &[u8], column: usize) -> Result<Moment, PortError> {
        self.refuse_missing_day(cell, self.rows, column)?;
        let name = &self.names[column];
        let moment = self.leaps.to_utc(zone, &String::from_utf8_lossy(cell)).map_err(|why| {
            let why = match why {
                NoMoment::NoTime => "the value is no date with a time, so it can't be taken to UTC".to_owned(),
                NoMoment::OutOfCalendar => format!(
                    "as a time of {zone} it stands within a day of the calendar's end, and in UTC it would be in the year 0 or \
                     10000, which databases do not have; if it means no real moment, say so in the query (nullif({name}, …)), or \
                     leave it as it stands by columns: {{{name}: {{timezone: UTC}}}}"
                ),
            };
            PortError::new(PortErrorKind::Invalid, format!("row {}, column {} ({name}): {why}", self.rows, column + 1))
        })?;
        if moment.is_skipped {
            self.leaps.note_skipped(&self.names[column]);
        }
        Ok(moment)
    }
}

/// `2024-02-31`. Most days are seen to be there at a glance.
fn is_missing_day(cell: &[u8]) -> bool {
    let is_date = cell.len() >= 10 && cell[4] == b'-' && cell[7] == b'-';
    if !is_date || cell[8..10] <= b"28"[..] || cell.ends_with(b"BC") {
        return false;
    }
    let number = |from: usize, to: usize| std::str::from_utf8(&cell[from..to]).ok()?.parse::<u32>().ok();
    let (Some(year), Some(month), Some(day)) = (number(0, 4), number(5, 7), number(8, 10)) else { return false };
    NaiveDate::from_ymd_opt(year.cast_signed(), month, day).is_none()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::{FutureExt, stream};

    use super::super::{Clock, HashKey, Treatments};
    use super::*;

    type Cells = Vec<Vec<Option<String>>>;

    /// Columns, cells, and how many clocks were skipped and shown twice.
    type Treated = (Vec<String>, Cells, (u64, u64));

    fn run(columns: &[(&str, ValueType)], rows: &[&[Option<&str>]], wanted: &Rendered<'_>) -> Result<Treated, String> {
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

    static NONE: Treatments = Treatments::new();

    fn nothing() -> Rendered<'static> {
        Rendered::new(&NONE, None, None, ZeroDates::Error)
    }

    fn only(columns: &Treatments) -> Rendered<'_> {
        Rendered::new(columns, None, None, ZeroDates::Error)
    }

    #[test]
    fn personal_columns_are_masked_hashed_or_gone() {
        let columns = treatments(r#"{"EMAIL": "hash", "ssn": "drop", "phone": "mask"}"#);
        let wanted =
            Rendered { key: Some(HashKey { conn_id: "pepper".to_owned(), key: "key".into() }), ..only(&columns) };
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
        let error = run(&[("email", ValueType::TEXT)], &[], &only(&columns)).unwrap_err();
        assert_eq!(error, "columns names 'emial', but the query gives email");
        let columns = treatments(r#"{"email": "hash"}"#);
        let error = run(&[("email", ValueType::TEXT)], &[], &only(&columns)).unwrap_err();
        assert_eq!(error, "columns: hash of email has no key");
    }

    #[test]
    fn clocks_are_taken_to_utc() {
        let naive = ValueType::Timestamp { zoned: false };
        let at = |text: &str, zone: &str| {
            let columns = Treatments::from([("t".to_owned(), Treatment::Clock(Clock { timezone: zone.to_owned() }))]);
            let wanted = Rendered { source_timezone: Some("UTC".to_owned()), ..only(&columns) };
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
        assert_eq!(at("0044-03-15 10:20:30.5 BC", "UTC"), Ok(("0044-03-15 10:20:30.5 BC".to_owned(), clear)));
        assert_eq!(at("0001-01-01 00:30:00 BC", "Etc/GMT-1"), Ok(("0002-12-31 23:30:00 BC".to_owned(), clear)));
        assert_eq!(at("12024-01-01 00:30:00.5", "Etc/GMT-1"), Ok(("12023-12-31 23:30:00.5".to_owned(), clear)));
        assert_eq!(at("infinity", "Asia/Seoul"), Ok(("infinity".to_owned(), clear)));
        for (text, zone) in [("0001-01-01 00:00:00", "Asia/Seoul"), ("9999-12-31 23:59:59.999999", "America/New_York")]
        {
            let error = at(text, zone).unwrap_err();
            assert!(
                error.starts_with(&format!("row 1, column 1 (t): as a time of {zone} it stands within a")),
                "{error}"
            );
        }
        assert_eq!(at("0001-01-01 00:00:00", "UTC"), Ok(("0001-01-01 00:00:00".to_owned(), clear)));
        assert!(at("soon", "Asia/Seoul").unwrap_err().starts_with("row 1, column 1 (t): the value is no date"));
        let seoul = Rendered { source_timezone: Some("Asia/Seoul".to_owned()), ..nothing() };
        let zoned = ValueType::Timestamp { zoned: true };
        let row: &[Option<&str>] = &[Some("2024-01-01 09:00:00"), Some("2024-01-01 09:00:00"), Some("2024-01-01")];
        let (_, cells, _) = run(&[("a", naive), ("b", zoned), ("c", ValueType::Date)], &[row], &seoul).unwrap();
        let cells: Vec<&str> = cells[0].iter().flatten().map(String::as_str).collect();
        assert_eq!(cells, ["2024-01-01 00:00:00", "2024-01-01 09:00:00", "2024-01-01"]);
    }

    #[test]
    fn texts_and_days_are_read_as_times_of_the_zone_that_is_named_for_them() {
        let columns = treatments(r#"{"t": {"timezone": "Asia/Seoul"}, "d": {"timezone": "Asia/Seoul"}}"#);
        let types = [("t", ValueType::TEXT), ("d", ValueType::Date)];
        let rows: &[&[Option<&str>]] = &[
            &[Some("2024-01-01 09:00:00.5"), Some("2024-01-02")],
            &[Some("2024-01-01T09:00:00+03:00"), Some("infinity")],
            &[Some("20240101"), None],
            &[Some(""), None],
        ];
        let wanted = only(&columns);
        let (shown, cells, _) = run(&types, rows, &wanted).unwrap();
        assert_eq!(shown, ["t timestamp with zone", "d timestamp with zone"]);
        let texts: Vec<Option<&str>> = cells.iter().map(|row| row[0].as_deref()).collect();
        let read = ["2024-01-01 00:00:00.500", "2024-01-01 06:00:00", "2023-12-31 15:00:00"];
        assert_eq!(texts, [Some(read[0]), Some(read[1]), Some(read[2]), None]);
        assert_eq!(cells[0][1].as_deref(), Some("2024-01-01 15:00:00"));
        assert_eq!(cells[1][1].as_deref(), Some("infinity"));
        let error = run(&types, &[&[Some("31.01.2024"), None]], &wanted).unwrap_err();
        assert!(error.starts_with("row 1, column 1 (t): the value is in none of the forms"), "{error}");
        let forms = ["%d.%m.%Y".to_owned()];
        let (_, cells, _) =
            run(&types, &[&[Some("31.01.2024"), None]], &only(&columns).in_forms(Some(&forms))).unwrap();
        assert_eq!(cells[0][0].as_deref(), Some("2024-01-30 15:00:00"));
        let named: Vec<SourceColumn> = types
            .iter()
            .map(|(name, value)| SourceColumn { value: value.clone(), ..SourceColumn::text(*name) })
            .collect();
        let changes = wanted.changes(&named);
        assert_eq!(changes["t"], "read as times of Asia/Seoul");
        assert_eq!(changes["d"], "moved to UTC from Asia/Seoul");
        let error = run(&[("t", ValueType::Uuid), ("d", ValueType::Date)], &[], &wanted).unwrap_err();
        assert!(error.contains("neither a timestamp without one nor a date or a text (uuid)"), "{error}");
    }

    #[test]
    fn no_two_times_of_a_key_become_one_moment() {
        let columns = [("at", ValueType::Timestamp { zoned: false }), ("seen", ValueType::Timestamp { zoned: false })];
        let zone = || Some("America/New_York".to_owned());
        let wanted = || Rendered { source_timezone: zone(), ..nothing() }.keeping_apart(&["AT".to_owned()]);
        let skipped = Some("2024-03-10 02:30:00");
        let error = run(&columns, &[&[Some("2024-03-10 03:30:00"), None], &[skipped, None]], &wanted()).unwrap_err();
        assert!(
            error.starts_with("row 2, column 1 (at): the time stands in an hour that the clocks of America/"),
            "{error}"
        );
        // Elsewhere it is told.
        let (_, cells, leaps) = run(&columns, &[&[Some("2024-03-10 03:30:00"), skipped]], &wanted()).unwrap();
        assert_eq!((cells[0][0].as_deref(), leaps), (Some("2024-03-10 07:30:00"), (1, 0)));
        // All times around an hour that is shown twice stay apart.
        let minutes: Vec<String> =
            (0..240).map(|minute| format!("2024-11-03 {:02}:{:02}:00", minute / 60, minute % 60)).collect();
        let rows: Vec<[Option<&str>; 2]> = minutes.iter().map(|minute| [Some(minute.as_str()), None]).collect();
        let rows: Vec<&[Option<&str>]> = rows.iter().map(<[_; 2]>::as_slice).collect();
        let (_, cells, leaps) = run(&columns, &rows, &wanted()).unwrap();
        let moments: std::collections::BTreeSet<_> = cells.iter().map(|row| row[0].clone()).collect();
        assert_eq!((moments.len(), leaps), (240, (0, 60)));
    }

    #[test]
    fn zero_dates_take_null_with_and_without_quotes() {
        let schema = serde_json::to_value(schemars::schema_for!(ZeroDates)).unwrap();
        assert_eq!(schema["enum"], serde_json::json!(["error", "null", "keep", null]));
        for (written, meant) in
            [("null", ZeroDates::Null), ("\"null\"", ZeroDates::Null), ("\"keep\"", ZeroDates::Keep)]
        {
            assert_eq!(serde_json::from_str::<ZeroDates>(written).unwrap(), meant);
        }
        assert!(serde_json::from_str::<ZeroDates>("\"none\"").is_err());
    }

    #[test]
    fn days_that_their_month_does_not_have_are_named() {
        let columns = [("d", ValueType::Date), ("at", ValueType::Timestamp { zoned: false })];
        let there: &[Option<&str>] = &[Some("2024-02-29"), Some("2024-12-31 10:00:00")];
        let old: &[Option<&str>] = &[Some("0005-02-29 BC"), Some("2024-04-30 10:00:00")];
        let seoul = || Rendered { source_timezone: Some("Asia/Seoul".to_owned()), ..nothing() };
        for missing in [[Some("2023-02-29"), None], [None, Some("2024-02-31 10:00:00")], [Some("2024-04-31"), None]] {
            let rows = [there, old, &missing];
            let column = if missing[0].is_some() { "1 (d)" } else { "2 (at)" };
            for wanted in [nothing(), Rendered { zero_dates: ZeroDates::Null, ..nothing() }, seoul()] {
                let rows = if wanted.source_timezone.is_some() { &rows[2..] } else { &rows[..] };
                let error = run(&columns, rows, &wanted).unwrap_err();
                let begins = format!("row {}, column {column}: the date is a day that its month", rows.len());
                assert!(error.starts_with(&begins), "{error}");
            }
            let (_, cells, _) = run(&columns, &rows, &Rendered { zero_dates: ZeroDates::Keep, ..nothing() }).unwrap();
            assert_eq!(cells[2].iter().map(Option::as_deref).collect::<Vec<_>>(), missing);
        }
    }

    #[test]
    fn zero_dates_are_refused_or_null_or_kept() {
        let columns = [("d", ValueType::Date), ("note", ValueType::TEXT)];
        let rows: &[&[Option<&str>]] = &[&[Some("2024-01-01"), None], &[Some("2024-00-10"), Some("0000-00-00")]];
        let error = run(&columns, rows, &nothing()).unwrap_err();
        assert!(error.starts_with("row 2, column 1 (d): the date has a zero"), "{error}");
        let (_, cells, _) = run(&columns, rows, &Rendered { zero_dates: ZeroDates::Null, ..nothing() }).unwrap();
        assert_eq!(cells[1], [None, Some("0000-00-00".to_owned())]);
        let (_, cells, _) = run(&columns, rows, &Rendered { zero_dates: ZeroDates::Keep, ..nothing() }).unwrap();
        assert_eq!(cells[1][0].as_deref(), Some("2024-00-10"));
    }
}
