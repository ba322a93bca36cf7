//! What a text has to say where a column wants more than a text: a moment without a zone is taken for UTC by every engine,
//! and SQLite takes any text for a day, without a word.

use chrono::NaiveDate;
use millrace_operator_api::ports::{LoadRequest, LoadRows, ValueType};

use crate::parts::exact::says_zone;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Said {
    /// Nothing, or the engine looks by itself.
    #[default]
    Anything,
    /// A moment with its zone.
    Zone,
    /// A day of the calendar.
    Day,
}

impl Said {
    /// In a column of that type of PostgreSQL or Redshift, which know a day when they see one.
    pub fn in_column(type_name: &str, request: &LoadRequest, column: &str) -> Self {
        let is_moment = type_name.starts_with("timestamptz")
            || (type_name.starts_with("timestamp") && type_name.ends_with("with time zone"));
        let is_wanted = !request.texts_are_utc && request.value_of(column).is_some_and(ValueType::is_text);
        if is_moment && is_wanted { Self::Zone } else { Self::Anything }
    }

    /// In a column of days. Those of a database were looked at where they were read.
    pub fn of_day(request: &LoadRequest, column: &str) -> Self {
        let is_foreign = || matches!(request.rows, LoadRows::Objects(_));
        if request.value_of(column).map_or_else(is_foreign, ValueType::is_text) { Self::Day } else { Self::Anything }
    }

    /// Why a text is refused.
    pub fn refusal(self, value: &[u8], type_name: &str) -> Option<String> {
        match self {
            Self::Anything => None,
            Self::Zone => without_zone(value, type_name),
            Self::Day => without_day(value, type_name),
        }
    }
}

fn without_day(value: &[u8], type_name: &str) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    // As PostgreSQL writes what other engines have no day for.
    let is_kept = text.is_empty() || matches!(text, "infinity" | "-infinity");
    (!is_kept && !is_day(text)).then(|| {
        format!(
            "is no day written as 2024-01-31, and {type_name} would keep any text; mend it, or declare the column TEXT"
        )
    })
}

fn is_day(text: &str) -> bool {
    let (day, is_before_christ) = text.strip_suffix(" BC").map_or((text, false), |day| (day, true));
    let parts: Vec<&str> = day.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let number = |part: &str, digits: usize| {
        let is_written_so = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| is_written_so)
    };
    let (Some(year @ 1..), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2)) else {
        return false;
    };
    let year = year.cast_signed();
    NaiveDate::from_ymd_opt(if is_before_christ { 1 - year } else { year }, month, day).is_some()
}

fn without_zone(value: &[u8], type_name: &str) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim();
    if text.is_empty() || says_zone(text) {
        return None;
    }
    Some(format!(
        "says no zone, and {type_name} would take it for UTC; say in which zone its clock ran, or that it was UTC, where the rows \
         are read (columns: {{at: {{timezone: Asia/Seoul}}}}, in copy and upsert treat), or of files that they are in UTC \
         (source_timezone: UTC of the load)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_says_its_zone_or_is_refused() {
        for text in [
            "2024-01-02 10:00:00+09",
            "2024-01-02T10:00:00Z",
            "2024-01-02T10:00:00-03:30",
            "2024-01-02 10:00 Asia/Seoul",
            "2024-01-02 10:00 UTC",
            "20240102T100000+0900",
            "20240102T100000-0300",
            "Tue Jan 02 10:00:00 2024 PST",
            "2024-01-02 +09",
            "infinity",
            "",
        ] {
            assert_eq!(Said::Zone.refusal(text.as_bytes(), "timestamptz"), None, "{text}");
        }
        for text in [
            "2024-01-02 10:00:00",
            "2024-01-02T10:00:00.5",
            "2024-01-02",
            "20240102T100000",
            "2-Jan-2024 10:00 PM",
            "Tue Jan 02 10:00:00 2024",
            "0044-03-15 10:00:00 BC",
        ] {
            let said = Said::Zone.refusal(text.as_bytes(), "timestamptz").unwrap_or_default();
            assert!(said.starts_with("says no zone, and timestamptz would"), "{text}: {said}");
        }
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        for text in ["2024-02-29", "0001-01-01", "9999-12-31", "0044-03-15 BC", "0005-02-29 BC", "infinity", ""] {
            assert_eq!(Said::Day.refusal(text.as_bytes(), "date"), None, "{text}");
        }
        for text in ["2024-02-31", "0000-00-00", "soon", "2024-1-2", "31.01.2024", "2024-01-31 10:00:00", "20240131"] {
            assert!(Said::Day.refusal(text.as_bytes(), "date").is_some(), "{text}");
        }
    }
}
