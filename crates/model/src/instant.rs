//! Instants as text, and the one rule for turning a wall clock into an instant.

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use chrono_tz::{GapInfo, Tz};

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read '{text}' as a date: {problem}; write 2024-01-31, 2024-01-31T02:00:00 or 2024-01-31T02:00:00+09:00"
)]
pub struct InstantError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Reads a date, or a date and time with or without an offset (`T` or a blank between them), RFC 3339 included.
///
/// Without an offset the text is wall clock time in `default_zone`, resolved by [`resolve_local`]; a bare date is its
/// midnight. Years 1 to 9999, as written and in UTC; anything finer than microseconds is cut off.
pub fn parse_instant(text: &str, default_zone: Tz) -> Result<DateTime<Utc>, InstantError> {
    let at = read(text, default_zone)?;
    if (1..=9999).contains(&at.year()) {
        return Ok(at);
    }
    Err(InstantError { text: text.to_owned(), problem: "the year in UTC must be 1 to 9999".to_owned() })
}

/// Reads the end of a range of logical dates that shall itself be in it. A day without a time of day is all of that day, so
/// the range goes on to the next midnight: the run of a nightly DAG at 02:00 is one of that day. With a time of day it is
/// that instant, and the second value says that it is in the range.
pub fn parse_included_end(text: &str, default_zone: Tz) -> Result<(DateTime<Utc>, bool), InstantError> {
    let at = parse_instant(text, default_zone)?;
    let next_day = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok().and_then(|day| day.succ_opt());
    let midnight = next_day.map(|day| resolve_local(default_zone, day.and_time(chrono::NaiveTime::MIN)));
    Ok(midnight.map_or((at, true), |midnight| (midnight, false)))
}

/// As [`parse_included_end`]: the first instant after the range.
pub fn after_included_end(text: &str, default_zone: Tz) -> Result<DateTime<Utc>, InstantError> {
    let (end, is_within) = parse_included_end(text, default_zone)?;
    Ok(if is_within { end + TimeDelta::microseconds(1) } else { end })
}

fn read(text: &str, default_zone: Tz) -> Result<DateTime<Utc>, InstantError> {
    let error = |problem: &str| InstantError { text: text.to_owned(), problem: problem.to_owned() };
    let trimmed = text.trim();
    let (date_text, clock_text) = match trimmed.find(['T', 't', ' ']) {
        Some(at) => (&trimmed[..at], trimmed[at + 1..].trim()),
        None => (trimmed, ""),
    };
    if date_text.len() != 10 || date_text.split('-').count() != 3 {
        return Err(error("the date must look like 2024-01-31"));
    }
    let date = NaiveDate::parse_from_str(date_text, "%Y-%m-%d").map_err(|_| error("there is no such day"))?;
    if !(1..=9999).contains(&date.year()) {
        return Err(error("the year must be 1 to 9999"));
    }
    if clock_text.is_empty() {
        if trimmed.len() > 10 {
            return Err(error("the time of day is missing"));
        }
        return Ok(resolve_local(default_zone, date.and_time(chrono::NaiveTime::MIN)));
    }
    let offset_at = clock_text.find(['Z', 'z', '+', '-', '\u{2212}']).unwrap_or(clock_text.len());
    let (time_text, offset_text) = clock_text.split_at(offset_at);
    let time_text = time_text.trim_end();
    let time = ["%H:%M:%S%.f", "%H:%M"]
        .iter()
        .find_map(|format| chrono::NaiveTime::parse_from_str(time_text, format).ok())
        .ok_or_else(|| error("the time of day must look like 02:00 or 02:00:00.5"))?;
    let local = truncate_to_micros(date.and_time(time));
    if offset_text.is_empty() {
        return Ok(resolve_local(default_zone, local));
    }
    let offset = parse_offset(offset_text).ok_or_else(|| error("the offset must look like Z or +09:00"))?;
    local
        .checked_sub_signed(chrono::TimeDelta::seconds(offset))
        .map(|naive| naive.and_utc())
        .ok_or_else(|| error("the year must be 1 to 9999"))
}

fn truncate_to_micros(local: NaiveDateTime) -> NaiveDateTime {
    use chrono::Timelike;
    // A leap second (nanoseconds of a thousand million and more) becomes the second before it.
    let nanos = local.nanosecond().min(999_999_999);
    local.with_nanosecond(nanos / 1_000 * 1_000).unwrap_or(local)
}

/// Seconds east of UTC.
fn parse_offset(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = match text.chars().next()? {
        '+' => (1, &text[1..]),
        '-' => (-1, &text[1..]),
        '\u{2212}' => (-1, text.strip_prefix('\u{2212}')?),
        _ => return None,
    };
    let (hours, minutes) = match (digits.split_once(':'), digits.len()) {
        (Some(pair), 5) => pair,
        (None, 4) => digits.split_at_checked(2)?,
        (None, 2) => (digits, "00"),
        _ => return None,
    };
    if !hours.chars().chain(minutes.chars()).all(|c| c.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Wall clock to instant: a time the clock jumps over moves forward by the jump, a time it shows twice means the second.
pub fn resolve_local(zone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) | LocalResult::Ambiguous(_, at) => at.to_utc(),
        LocalResult::None => after_gap(zone, local),
    }
}

/// The instants a wall clock time stands for, in order: both when the clock shows it twice, the moved one when never.
pub(crate) fn resolve_all(zone: Tz, local: NaiveDateTime) -> (DateTime<Utc>, Option<DateTime<Utc>>) {
    match zone.from_local_datetime(&local) {
        LocalResult::Single(at) => (at.to_utc(), None),
        LocalResult::Ambiguous(first, second) => (first.to_utc(), Some(second.to_utc())),
        LocalResult::None => (after_gap(zone, local), None),
    }
}

fn after_gap(zone: Tz, local: NaiveDateTime) -> DateTime<Utc> {
    match GapInfo::new(&local, &zone) {
        Some(GapInfo { begin: Some((begin, _)), end: Some(end) }) => end.to_utc() + (local - begin),
        // Only the open ends of the time zone table get here; UTC is the best that can be said of them.
        _ => local.and_utc(),
    }
}

/// RFC 3339 in UTC with exactly six fractional digits, as everything is stored: `2024-01-01T00:00:00.000000Z`.
pub fn format_utc_micros(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The instant inside a run id: `2024-01-01T00:00:00+00:00`, with microseconds only where they are not zero.
pub fn format_run_id_instant(at: DateTime<Utc>) -> String {
    let format =
        if at.timestamp_subsec_micros() == 0 { "%Y-%m-%dT%H:%M:%S+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6f+00:00" };
    at.format(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_of_writing() {
        let cases = [
            ("2024-01-01", "2023-12-31T15:00:00.000000Z"),
            ("2024-01-01T00:00:00", "2023-12-31T15:00:00.000000Z"),
            ("2024-01-01 02:30", "2023-12-31T17:30:00.000000Z"),
            ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00.000000Z"),
            ("2024-01-01t00:00:00z", "2024-01-01T00:00:00.000000Z"),
            ("2024-01-01T00:00:00.1234567+00:00", "2024-01-01T00:00:00.123456Z"),
            ("2024-01-01T00:00:00-05:00", "2024-01-01T05:00:00.000000Z"),
            ("2024-01-01 00:00:00 +0530", "2023-12-31T18:30:00.000000Z"),
            ("2024-01-01T00:00+09", "2023-12-31T15:00:00.000000Z"),
            (" 2024-01-01 ", "2023-12-31T15:00:00.000000Z"),
        ];
        for (text, want) in cases {
            let at = parse_instant(text, Tz::Asia__Seoul).unwrap();
            assert_eq!(format_utc_micros(at), want, "{text}");
        }
    }

    #[test]
    fn an_included_day_is_all_of_it() {
        let end = |text: &str| {
            let (at, is_within) = parse_included_end(text, Tz::America__New_York).unwrap();
            (format_utc_micros(at), is_within)
        };
        assert_eq!(end("2024-01-31"), ("2024-02-01T05:00:00.000000Z".to_owned(), false));
        assert_eq!(end(" 2024-03-10 "), ("2024-03-11T04:00:00.000000Z".to_owned(), false), "a day of 23 hours");
        assert_eq!(end("2024-01-31T02:00"), ("2024-01-31T07:00:00.000000Z".to_owned(), true));
        assert!(parse_included_end("2024-02-30", Tz::UTC).is_err());
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            ("", "must look like 2024-01-31"),
            ("yesterday", "must look like 2024-01-31"),
            ("2024-02-30", "no such day"),
            ("2024-1-1", "must look like 2024-01-31"),
            ("2024-01-01T", "time of day is missing"),
            ("2024-01-01T25:00", "time of day must look like"),
            ("2024-01-01T00:00:00+25:00", "offset must look like"),
            ("2024-01-01T00:00:00+é0", "offset must look like"),
            ("0000-01-01", "year must be 1 to 9999"),
            ("0001-01-01T00:00:00+14:00", "year in UTC must be 1 to 9999"),
            ("9999-12-31T23:00:00-02:00", "year in UTC must be 1 to 9999"),
        ];
        for (text, problem) in cases {
            let error = parse_instant(text, Tz::UTC).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    #[test]
    fn gaps_move_forward_and_folds_take_the_second() {
        let cases = [
            (Tz::Europe__Zurich, "2023-03-26T02:30", "2023-03-26T01:30:00.000000Z"),
            (Tz::Europe__Zurich, "2023-10-29T02:30", "2023-10-29T01:30:00.000000Z"),
            (Tz::America__New_York, "2024-03-10T02:00", "2024-03-10T07:00:00.000000Z"),
            (Tz::America__New_York, "2024-11-03T01:00", "2024-11-03T06:00:00.000000Z"),
            (Tz::Australia__Lord_Howe, "2024-10-06T02:10", "2024-10-05T15:40:00.000000Z"),
            (Tz::Australia__Lord_Howe, "2024-04-07T01:45", "2024-04-06T15:15:00.000000Z"),
            (Tz::Pacific__Apia, "2011-12-30T12:00", "2011-12-30T22:00:00.000000Z"),
        ];
        for (zone, text, want) in cases {
            assert_eq!(format_utc_micros(parse_instant(text, zone).unwrap()), want, "{zone} {text}");
        }
    }

    #[test]
    fn run_ids_show_microseconds_only_when_there_are_any() {
        let whole = parse_instant("2024-01-01", Tz::UTC).unwrap();
        assert_eq!(format_run_id_instant(whole), "2024-01-01T00:00:00+00:00");
        let fine = parse_instant("2024-01-01T00:00:00.000120Z", Tz::UTC).unwrap();
        assert_eq!(format_run_id_instant(fine), "2024-01-01T00:00:00.000120+00:00");
    }
}
