//! One field of a file into one value of a column, or the error that COPY shows for it.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};

use super::copy_options::{CopyStatement, TimeFormat};

/// What kind of values a column takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of the integer: 2, 4 or 8.
    Integer(u8),
    Decimal {
        precision: usize,
        scale: usize,
    },
    Float,
    Boolean,
    /// At most this many bytes.
    Varchar(usize),
    /// At most this many single-byte characters.
    Char(usize),
    Date,
    Time,
    TimeWithZone,
    Timestamp,
    TimestampWithZone,
    Super,
    Varbyte,
}

/// A column that COPY fills.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
}

impl Column {
    /// As `column_type` and `column_length` show it.
    pub(super) fn type_and_length(&self) -> (&'static str, String) {
        match self.kind {
            Kind::Integer(2) => ("int2", String::new()),
            Kind::Integer(4) => ("int4", String::new()),
            Kind::Integer(_) => ("int8", String::new()),
            Kind::Decimal { precision, scale } => ("numeric", format!("{precision}, {scale}")),
            Kind::Float => ("float8", String::new()),
            Kind::Boolean => ("bool", String::new()),
            Kind::Varchar(length) => ("varchar", length.to_string()),
            Kind::Char(length) => ("char", length.to_string()),
            Kind::Date => ("date", String::new()),
            Kind::Time => ("time", String::new()),
            Kind::TimeWithZone => ("timetz", String::new()),
            Kind::Timestamp => ("timestamp", String::new()),
            Kind::TimestampWithZone => ("timestampt", String::new()),
            Kind::Super => ("super", String::new()),
            Kind::Varbyte => ("varbyte", String::new()),
        }
    }

    fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Varchar(_) | Kind::Char(_))
    }
}

/// Why a field does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldError {
    pub(super) code: i32,
    pub(super) message: String,
    /// Bytes into the field.
    pub(super) position: usize,
}

fn error(code: i32, message: impl Into<String>) -> FieldError {
    FieldError { code, message: message.into(), position: 0 }
}

fn invalid_digit(text: &str, position: usize, kind: &str) -> FieldError {
    let value = text[position.min(text.len())..].chars().next().map(String::from).unwrap_or_default();
    let message = format!("Invalid digit, Value '{value}', Pos {position}, Type: {kind}");
    FieldError { code: 1207, message, position }
}

/// The value as PostgreSQL reads it; `None` is NULL.
pub(super) fn convert<'a>(
    column: &Column,
    field: &'a [u8],
    copy: &CopyStatement,
) -> Result<Option<Cow<'a, str>>, FieldError> {
    let value = convert_nullable(column, field, copy)?;
    if value.is_none() && column.not_null {
        return Err(error(1213, "Missing data for not-null field"));
    }
    Ok(value)
}

fn convert_nullable<'a>(
    column: &Column,
    field: &'a [u8],
    copy: &CopyStatement,
) -> Result<Option<Cow<'a, str>>, FieldError> {
    if field == copy.null_as.as_bytes() {
        return Ok(None);
    }
    let text = valid_text(field, copy)?;
    if column.is_text() {
        if (text.is_empty() && copy.empty_as_null)
            || (copy.blanks_as_null && !text.is_empty() && text.chars().all(char::is_whitespace))
        {
            return Ok(None);
        }
        let text = if copy.trim_blanks { trimmed_end(text) } else { text };
        return string(column.kind, text, copy).map(Some);
    }
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let value = match column.kind {
        Kind::Integer(bytes) => integer(text, bytes)?,
        Kind::Decimal { precision, scale } => decimal(text, precision, scale, copy.round_decimals)?,
        Kind::Float => float(text)?,
        Kind::Boolean => boolean(text)?.to_owned(),
        Kind::Date => match date(text, copy.date_auto) {
            Some(date) => date.to_string(),
            None if copy.accept_any_date => return Ok(None),
            None => return Err(error(1205, "Invalid Date Format - length must be 10 or more")),
        },
        Kind::Time => time(text).ok_or_else(|| error(1206, "Invalid time format or value [HH24:MI:SS]"))?,
        Kind::TimeWithZone => {
            let (clock, offset) = text.split_at(text.find(['+', '-']).unwrap_or(text.len()));
            let clock = time(clock).ok_or_else(|| error(1206, "Invalid time format or value [HH24:MI:SS]"))?;
            format!("{clock}{}", if offset.is_empty() { "+00" } else { offset })
        }
        Kind::Timestamp | Kind::TimestampWithZone => {
            match timestamp(text, copy.time_format, column.kind == Kind::TimestampWithZone) {
                Some(timestamp) => timestamp,
                None if copy.accept_any_date => return Ok(None),
                None => {
                    return Err(error(1206, "Invalid timestamp format or value [YYYY-MM-DD HH24:MI:SS]"));
                }
            }
        }
        Kind::Super => serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map(|_| text.to_owned())
            .map_err(|_| error(1224, "Invalid JSON in a SUPER column"))?,
        Kind::Varbyte => varbyte(text)?,
        Kind::Varchar(_) | Kind::Char(_) => text.to_owned(),
    };
    Ok(Some(Cow::Owned(value)))
}

/// UTF-8 without NUL, or with every bad byte replaced when the statement allows that.
fn valid_text<'a>(field: &'a [u8], copy: &CopyStatement) -> Result<Cow<'a, str>, FieldError> {
    let text = match std::str::from_utf8(field) {
        Ok(text) => Cow::Borrowed(text),
        Err(problem) => match copy.replace_invalid {
            Some(with) => replaced(field, with),
            None => {
                let position = problem.valid_up_to();
                let bad = &field[position..(position + problem.error_len().unwrap_or(1)).min(field.len())];
                let digits: Vec<String> = bad.iter().map(|byte| format!("{byte:x}")).collect();
                let message = format!(
                    "String contains invalid or unsupported UTF8 codepoints. Bad UTF8 hex sequence: {} (error 3)",
                    digits.join(" ")
                );
                return Err(FieldError { code: 1220, message, position });
            }
        },
    };
    match text.find('\0') {
        None => Ok(text),
        Some(position) => match copy.replace_invalid {
            Some(with) => Ok(Cow::Owned(text.replace('\0', &with.to_string()))),
            None => Err(FieldError {
                code: 1220,
                message: "Missing newline: Unexpected character 0x0 found".to_owned(),
                position,
            }),
        },
    }
}

fn replaced(field: &[u8], with: char) -> Cow<'static, str> {
    let mut text = String::with_capacity(field.len());
    for chunk in field.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(with, chunk.invalid().len()));
    }
    Cow::Owned(text)
}

fn trimmed_end(text: Cow<'_, str>) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end_matches(' ')),
        Cow::Owned(text) => Cow::Owned(text.trim_end_matches(' ').to_owned()),
    }
}

fn string<'a>(kind: Kind, text: Cow<'a, str>, copy: &CopyStatement) -> Result<Cow<'a, str>, FieldError> {
    let length = match kind {
        Kind::Char(length) => {
            if let Some(position) = text.bytes().position(|byte| !byte.is_ascii()) {
                let digits: Vec<String> = text[position..].bytes().take(4).map(|byte| format!("{byte:x}")).collect();
                let message = format!(
                    "Multibyte character not supported for CHAR (Hint: try using VARCHAR). Invalid char: {}",
                    digits.join(" ")
                );
                return Err(FieldError { code: 1220, message, position });
            }
            length
        }
        Kind::Varchar(length) => length,
        _ => return Ok(text),
    };
    if text.len() <= length {
        return Ok(text);
    }
    if !copy.truncate_columns {
        return Err(FieldError {
            code: 1204,
            message: "String length exceeds DDL length".to_owned(),
            position: length,
        });
    }
    let mut end = length;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Ok(Cow::Owned(text[..end].to_owned()))
}

fn integer(text: &str, bytes: u8) -> Result<String, FieldError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let offset = text.len() - digits.len();
    let kind = match bytes {
        2 => "Short",
        4 => "Integer",
        _ => "Long",
    };
    if digits.is_empty() {
        return Err(invalid_digit(text, 0, kind));
    }
    if let Some(position) = digits.bytes().position(|byte| !byte.is_ascii_digit()) {
        return Err(invalid_digit(text, offset + position, kind));
    }
    let limit = match bytes {
        2 => i64::from(i16::MIN)..=i64::from(i16::MAX),
        4 => i64::from(i32::MIN)..=i64::from(i32::MAX),
        _ => i64::MIN..=i64::MAX,
    };
    match text.parse::<i64>() {
        Ok(number) if limit.contains(&number) => Ok(number.to_string()),
        _ => Err(error(1207, format!("Overflow, Column type: {kind}"))),
    }
}

/// Digits beyond the scale are cut off, or rounded half away from zero with ROUNDEC.
fn decimal(text: &str, precision: usize, scale: usize, round: bool) -> Result<String, FieldError> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let offset = text.len() - unsigned.len();
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        None => (unsigned, 0),
        Some(at) => {
            let exponent = unsigned[at + 1..].parse::<i32>().ok().filter(|exponent| exponent.abs() <= 100);
            (&unsigned[..at], exponent.ok_or_else(|| invalid_digit(text, offset + at, "Decimal"))?)
        }
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return Err(invalid_digit(text, 0, "Decimal"));
    }
    if let Some(position) = mantissa.bytes().position(|byte| !byte.is_ascii_digit() && byte != b'.') {
        return Err(invalid_digit(text, offset + position, "Decimal"));
    }
    if fraction.contains('.') {
        return Err(invalid_digit(text, offset + whole.len() + 1, "Decimal"));
    }
    // All digits, and how many of them stand in front of the point.
    let mut digits = format!("{whole}{fraction}").into_bytes();
    let mut point = whole.len() as i32 + exponent;
    if point < 0 {
        let mut zeros = vec![b'0'; point.unsigned_abs() as usize];
        zeros.append(&mut digits);
        digits = zeros;
        point = 0;
    }
    let point = point as usize;
    if digits.len() < point + scale {
        digits.resize(point + scale, b'0');
    }
    let rest = digits.split_off(point + scale);
    if round && rest.first().is_some_and(|digit| *digit >= b'5') {
        add_one(&mut digits);
    }
    let whole_end = digits.len() - scale;
    let first = digits[..whole_end].iter().position(|digit| *digit != b'0').unwrap_or(whole_end);
    if whole_end - first > precision - scale {
        return Err(error(1207, "Overflow, Column type: Decimal"));
    }
    let text_of = |digits: &[u8]| String::from_utf8_lossy(digits).into_owned();
    let mut result = if text.starts_with('-') { "-".to_owned() } else { String::new() };
    result.push_str(if first == whole_end { "0" } else { "" });
    result.push_str(&text_of(&digits[first..whole_end]));
    if scale > 0 {
        result.push('.');
        result.push_str(&text_of(&digits[whole_end..]));
    }
    Ok(result)
}

fn add_one(digits: &mut Vec<u8>) {
    for digit in digits.iter_mut().rev() {
        if *digit == b'9' {
            *digit = b'0';
        } else {
            *digit += 1;
            return;
        }
    }
    digits.insert(0, b'1');
}

fn float(text: &str) -> Result<String, FieldError> {
    match text.parse::<f64>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(error(1208, format!("Invalid digit, Value '{text}', Pos 0, Type: Float"))),
    }
}

fn boolean(text: &str) -> Result<&'static str, FieldError> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "1" => Ok("t"),
        "f" | "false" | "n" | "no" | "0" => Ok("f"),
        _ => Err(error(1210, "Unknown boolean format")),
    }
}

fn date(text: &str, auto: bool) -> Option<NaiveDate> {
    let standard = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10);
    if standard.is_some() || !auto {
        return standard;
    }
    ["%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%m-%d-%Y", "%d.%m.%Y"]
        .iter()
        .find_map(|format| NaiveDate::parse_from_str(text, format).ok())
        // A timestamp may stand in a date column.
        .or_else(|| {
            timestamp(text, TimeFormat::Auto, false).and_then(|text| text.get(..10).and_then(|day| day.parse().ok()))
        })
}

fn time(text: &str) -> Option<String> {
    // The end of the day is a time of its own.
    if text.strip_prefix("24:00:00").is_some_and(|rest| rest.trim_start_matches('.').trim_matches('0').is_empty()) {
        return Some("24:00:00".to_owned());
    }
    NaiveTime::parse_from_str(text, "%H:%M:%S%.f").ok().map(|time| time.format("%H:%M:%S%.6f").to_string())
}

fn timestamp(text: &str, format: TimeFormat, with_zone: bool) -> Option<String> {
    let epoch = |unit: u32| -> Option<String> {
        let number: i64 = text.parse().ok()?;
        let moment =
            if unit == 1 { DateTime::from_timestamp(number, 0) } else { DateTime::from_timestamp_millis(number) };
        moment.map(|moment| shown(moment.naive_utc()))
    };
    match format {
        TimeFormat::EpochSeconds => return epoch(1),
        TimeFormat::EpochMilliseconds => return epoch(1000),
        TimeFormat::Standard | TimeFormat::Auto => {}
    }
    let (plain, zone) = split_zone(text);
    let naive = NaiveDateTime::parse_from_str(plain, "%Y-%m-%d %H:%M:%S%.f").ok().or_else(|| {
        if format != TimeFormat::Auto {
            return None;
        }
        ["%Y-%m-%dT%H:%M:%S%.f", "%Y/%m/%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%m/%d/%Y %H:%M:%S%.f"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(plain, format).ok())
            .or_else(|| {
                let day = NaiveDate::parse_from_str(plain, "%Y-%m-%d").ok()?;
                day.and_hms_opt(0, 0, 0)
            })
    })?;
    match zone {
        None => Some(shown(naive)),
        Some(zone) if with_zone => Some(format!("{}{zone}", shown(naive))),
        // What a zone means in a column without one is not something to guess at: only UTC is taken, and only by 'auto'.
        Some("Z" | "z" | "+00" | "+00:00" | "+0000") if format == TimeFormat::Auto => Some(shown(naive)),
        Some(_) => None,
    }
}

/// Microseconds: what the column keeps.
fn shown(moment: NaiveDateTime) -> String {
    moment.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// `2026-01-02 03:04:05+02:00` -> the part in front of the zone, and the zone.
fn split_zone(text: &str) -> (&str, Option<&str>) {
    if let Some(plain) = text.strip_suffix(['Z', 'z']) {
        return (plain, Some(&text[plain.len()..]));
    }
    // The minus signs of the date do not count.
    let after_date = text.get(11..).unwrap_or_default();
    match after_date.find(['+', '-']) {
        Some(at) => (text[..11 + at].trim_end(), Some(&text[11 + at..])),
        None => (text, None),
    }
}

fn varbyte(text: &str) -> Result<String, FieldError> {
    if !text.len().is_multiple_of(2) {
        return Err(error(1207, "Invalid hexadecimal value: odd number of digits"));
    }
    match text.bytes().position(|byte| !byte.is_ascii_hexdigit()) {
        Some(position) => Err(invalid_digit(text, position, "Varbyte")),
        None => Ok(format!("\\x{text}")),
    }
}

/// Appends a value as PostgreSQL's COPY text format wants it.
pub(super) fn append_value(line: &mut Vec<u8>, value: Option<&str>) {
    let Some(value) = value else {
        line.extend_from_slice(b"\\N");
        return;
    };
    for byte in value.bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            byte => line.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redshift::source::Source;
    use crate::redshift::tokens::tokenize;

    fn copy(options: &str) -> CopyStatement {
        let text = format!("COPY t FROM 's3://b/k' IAM_ROLE default CSV {options}");
        let pieces = tokenize(&text).unwrap_or_default();
        match super::super::copy_options::parse_copy(&Source { text: &text, pieces: &pieces }) {
            Ok(copy) => copy,
            Err(error) => panic!("{error}"),
        }
    }

    fn check(kind: Kind, options: &str, field: &str, expected: Result<Option<&str>, i32>) {
        let column = Column { name: "c".to_owned(), kind, not_null: false };
        let found = convert(&column, field.as_bytes(), &copy(options));
        let found = found.map(|value| value.map(Cow::into_owned)).map_err(|error| error.code);
        assert_eq!(found, expected.map(|value| value.map(str::to_owned)), "{kind:?} {options} `{field}`");
    }

    #[test]
    fn null_and_the_empty_string_stay_apart() {
        check(Kind::Varchar(5), "", "", Ok(Some("")));
        check(Kind::Varchar(5), "", "\\N", Ok(None));
        check(Kind::Varchar(5), "NULL AS 'nil'", "\\N", Ok(Some("\\N")));
        check(Kind::Varchar(5), "NULL AS 'nil'", "nil", Ok(None));
        check(Kind::Varchar(5), "EMPTYASNULL", "", Ok(None));
        check(Kind::Varchar(5), "BLANKSASNULL", "  ", Ok(None));
        check(Kind::Integer(4), "", "", Ok(None));
    }

    #[test]
    fn strings_count_bytes() {
        check(Kind::Varchar(4), "", "über", Err(1204));
        check(Kind::Varchar(5), "", "über", Ok(Some("über")));
        check(Kind::Varchar(4), "TRUNCATECOLUMNS", "aaaü", Ok(Some("aaa")));
        check(Kind::Char(4), "", "ü", Err(1220));
    }

    #[test]
    fn numbers_are_checked_digit_by_digit() {
        check(Kind::Integer(2), "", " -32768 ", Ok(Some("-32768")));
        check(Kind::Integer(2), "", "32768", Err(1207));
        check(Kind::Integer(4), "", "1.0", Err(1207));
        check(Kind::Decimal { precision: 5, scale: 2 }, "", "123.456", Ok(Some("123.45")));
        check(Kind::Decimal { precision: 5, scale: 2 }, "ROUNDEC", "-123.455", Ok(Some("-123.46")));
        check(Kind::Decimal { precision: 5, scale: 2 }, "ROUNDEC", "999.999", Err(1207));
        check(Kind::Decimal { precision: 5, scale: 2 }, "", "1.5e2", Ok(Some("150.00")));
        check(Kind::Decimal { precision: 5, scale: 2 }, "", ".5", Ok(Some("0.50")));
        check(Kind::Decimal { precision: 5, scale: 0 }, "", "1x", Err(1207));
        check(Kind::Float, "", "1e-3", Ok(Some("1e-3")));
        check(Kind::Float, "", "x", Err(1208));
    }

    #[test]
    fn dates_and_times_need_their_format() {
        check(Kind::Date, "", "2026-02-28", Ok(Some("2026-02-28")));
        check(Kind::Date, "", "2026-02-30", Err(1205));
        check(Kind::Date, "", "02/28/2026", Err(1205));
        check(Kind::Date, "DATEFORMAT 'auto'", "02/28/2026", Ok(Some("2026-02-28")));
        check(Kind::Timestamp, "", "2026-02-28 01:02:03.5", Ok(Some("2026-02-28 01:02:03.500000")));
        check(Kind::Timestamp, "", "2026-02-28T01:02:03Z", Err(1206));
        check(Kind::Timestamp, "TIMEFORMAT 'auto'", "2026-02-28T01:02:03Z", Ok(Some("2026-02-28 01:02:03.000000")));
        check(Kind::Timestamp, "TIMEFORMAT 'auto'", "2026-02-28T01:02:03+02:00", Err(1206));
        check(Kind::TimestampWithZone, "", "2026-02-28 01:02:03+02", Ok(Some("2026-02-28 01:02:03.000000+02")));
        check(Kind::Timestamp, "TIMEFORMAT 'epochmillisecs'", "1000", Ok(Some("1970-01-01 00:00:01.000000")));
        check(Kind::Timestamp, "ACCEPTANYDATE", "never", Ok(None));
    }

    #[test]
    fn bad_bytes_are_refused_or_replaced() {
        let column = Column { name: "c".to_owned(), kind: Kind::Varchar(10), not_null: true };
        let bad = b"a\xffb";
        assert_eq!(convert(&column, bad, &copy("")).map_err(|error| error.code), Err(1220));
        let replaced = convert(&column, bad, &copy("ACCEPTINVCHARS AS '^'"));
        assert_eq!(replaced, Ok(Some(Cow::Borrowed("a^b"))));
        assert_eq!(convert(&column, b"\\N", &copy("")).map_err(|error| error.code), Err(1213));
    }
}
