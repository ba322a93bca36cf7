//! From a cell's text to the value of a column. An error says in words why the text is no such value.

use std::str::FromStr;

use bytes::Bytes;
use chrono::{NaiveDate, NaiveTime, TimeDelta};

use super::columns::Form;

type Read<T> = Result<T, String>;

const EPOCH: NaiveDate = NaiveDate::from_ymd_opt(1970, 1, 1).unwrap();

fn text(cell: &[u8]) -> Read<&str> {
    std::str::from_utf8(cell).map_err(|_| "it is not UTF-8 text".to_owned())
}

pub fn bool(cell: Bytes) -> Read<bool> {
    match &cell[..] {
        b"t" | b"1" | b"true" => Ok(true),
        b"f" | b"0" | b"false" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

pub fn float<F: FromStr>(cell: Bytes) -> Read<F> {
    text(&cell)?.parse().map_err(|_| "it is no number".to_owned())
}

pub fn int32(cell: Bytes, form: Form) -> Read<i32> {
    let number = match form {
        Form::Date => date(&cell)?,
        _ => int64(cell, form)?,
    };
    i32::try_from(number).map_err(|_| "it is too large".to_owned())
}

pub fn int64(cell: Bytes, form: Form) -> Read<i64> {
    match form {
        Form::Integer { least, most } => {
            let number: i64 = text(&cell)?.parse().map_err(|_| "it is no whole number of that size".to_owned())?;
            if (least..=most).contains(&number) { Ok(number) } else { Err(format!("it is not in {least} to {most}")) }
        }
        Form::Decimal { precision, scale, .. } => {
            let number = decimal(&cell, precision, scale)?;
            i64::try_from(number).map_err(|_| "it is too large".to_owned())
        }
        Form::Time => time(text(&cell)?),
        Form::Timestamp => timestamp(&cell),
        _ => Err("it has no place in this column".to_owned()),
    }
}

/// Big-endian two's complement.
pub fn decimal_bytes(cell: Bytes, form: Form) -> Read<Vec<u8>> {
    let Form::Decimal { precision, scale, .. } = form else { return Err("it has no place in this column".to_owned()) };
    Ok(decimal(&cell, precision, scale)?.to_be_bytes().to_vec())
}

pub fn bytes(cell: Bytes, form: Form) -> Read<Bytes> {
    if form == Form::Hex {
        return unhex(&cell).map(Bytes::from);
    }
    text(&cell)?;
    Ok(cell)
}

fn unhex(cell: &[u8]) -> Read<Vec<u8>> {
    hex::decode(cell).map_err(|error| match error {
        hex::FromHexError::OddLength => "it has an odd number of hexadecimal digits".to_owned(),
        _ => "it holds something else than hexadecimal digits".to_owned(),
    })
}

/// The number without its point. Zeros beyond the scale are left out, other digits refused.
fn decimal(cell: &[u8], precision: u32, scale: u32) -> Read<i128> {
    let no_number = || "it is no decimal number".to_owned();
    let (is_negative, digits) = match cell {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err(no_number());
    }
    let kept = fraction.len().min(scale as usize);
    if fraction[kept..].iter().any(|byte| *byte != b'0') {
        let is_digits = fraction.iter().all(u8::is_ascii_digit);
        return Err(if is_digits { format!("it has more than {scale} digits behind the point") } else { no_number() });
    }
    let zeros = std::iter::repeat_n(&b'0', scale as usize - kept);
    let limit = 10_i128.pow(precision);
    let mut number: i128 = 0;
    for byte in whole.iter().chain(&fraction[..kept]).chain(zeros) {
        if !byte.is_ascii_digit() {
            return Err(no_number());
        }
        number = number * 10 + i128::from(byte - b'0');
        if number >= limit {
            return Err(format!("it has more than {} digits before the point", precision - scale));
        }
    }
    Ok(if is_negative { -number } else { number })
}

/// Days since 1970-01-01.
fn date(cell: &[u8]) -> Read<i64> {
    day(text(cell)?).map(|day| (day - EPOCH).num_days())
}

fn day(text: &str) -> Read<NaiveDate> {
    match text {
        "infinity" | "-infinity" => return Err("infinity is no date; write nullif(...) in the query".to_owned()),
        _ if text.ends_with(" BC") => return Err("it is before the year 1".to_owned()),
        _ if text.starts_with("0000-") => return Err("there is no year 0; set zero_dates: null".to_owned()),
        _ => {}
    }
    let mut pieces = text.splitn(3, '-');
    let mut next =
        || pieces.next().filter(|piece| piece.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i32>().ok();
    let found = (next(), next(), next());
    let (Some(year), Some(month), Some(day)) = found else { return Err("it is no date".to_owned()) };
    if month == 0 || day == 0 {
        return Err("its month or day is zero; set zero_dates: null".to_owned());
    }
    NaiveDate::from_ymd_opt(year, month.cast_unsigned(), day.cast_unsigned())
        .ok_or_else(|| "there is no such day".to_owned())
}

/// Microseconds since midnight.
fn time(text: &str) -> Read<i64> {
    let wrong = || "it is no time of a day".to_owned();
    if text == "24:00:00" {
        return Err("24:00:00 is no time of a day here; write it as text in the query".to_owned());
    }
    let time = NaiveTime::parse_from_str(text, "%H:%M:%S%.f")
        .or_else(|_| NaiveTime::parse_from_str(text, "%H:%M"))
        .map_err(|_| wrong())?;
    let since = time.signed_duration_since(NaiveTime::MIN);
    if since.subsec_nanos() % 1_000 != 0 {
        return Err("it has more than six digits behind the second".to_owned());
    }
    since.num_microseconds().ok_or_else(wrong)
}

/// Microseconds since 1970-01-01 00:00. An offset at the end is taken off.
fn timestamp(cell: &[u8]) -> Read<i64> {
    let text = text(cell)?;
    let (day_text, rest) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    if rest == "BC" || rest.ends_with(" BC") {
        return Err("it is before the year 1".to_owned());
    }
    let day = day(day_text)?;
    let (clock, offset) = match rest.find(['+', '-', 'Z']) {
        Some(at) => (&rest[..at], offset(&rest[at..])?),
        None => (rest, TimeDelta::zero()),
    };
    let micros = day.signed_duration_since(EPOCH).num_microseconds().ok_or("it is too far away")?;
    let offset = offset.num_microseconds().unwrap_or(0);
    micros
        .checked_add(time(clock)?)
        .and_then(|at| at.checked_sub(offset))
        .ok_or_else(|| "it is too far away".to_owned())
}

/// `+09`, `-03:30`, `Z`.
fn offset(text: &str) -> Read<TimeDelta> {
    let wrong = || "its offset is not one of hours and minutes".to_owned();
    if text == "Z" {
        return Ok(TimeDelta::zero());
    }
    let (sign, digits) = match text.split_at_checked(1) {
        Some(("+", digits)) => (1, digits),
        Some(("-", digits)) => (-1, digits),
        _ => return Err(wrong()),
    };
    let mut seconds = 0;
    for (piece, unit) in digits.split(':').zip([3_600, 60, 1]) {
        seconds += piece.parse::<i64>().map_err(|_| wrong())? * unit;
    }
    Ok(TimeDelta::seconds(sign * seconds))
}

/// What kind of text a value is, without showing it: `9999-99-99`, `xxxx 'xx' (12 bytes)`.
pub fn looks(cell: &[u8]) -> String {
    const LONGEST: usize = 40;
    let text = String::from_utf8_lossy(cell);
    let shape: String = text
        .chars()
        .take(LONGEST)
        .map(|character| match character {
            digit if digit.is_ascii_digit() => '9',
            letter if letter.is_alphanumeric() => 'x',
            control if control.is_control() => '?',
            other => other,
        })
        .collect();
    format!("'{shape}' ({} bytes)", cell.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<T: std::fmt::Display>(read: Read<T>) -> String {
        read.map_or_else(|reason| format!("! {reason}"), |value| value.to_string())
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let cases = [
            ("12.50", "1250"),
            ("-12.5", "-1250"),
            ("0.001", "! it has more than 2 digits behind the point"),
            ("0.100", "10"),
            ("99999.99", "! it has more than 4 digits before the point"),
            ("9999.99", "999999"),
            (".5", "50"),
            ("5.", "500"),
            ("", "! it is no decimal number"),
            ("-", "! it is no decimal number"),
            ("1e3", "! it is no decimal number"),
            ("NaN", "! it is no decimal number"),
            ("0.0x", "! it is no decimal number"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(decimal(text.as_bytes(), 6, 2)), expected, "{text}");
        }
        let nines = "9".repeat(38);
        assert_eq!(shown(decimal(nines.as_bytes(), 38, 0)), nines);
    }

    #[test]
    fn moments_are_counted_from_the_epoch() {
        let cases = [
            ("1970-01-01 00:00:00", "0"),
            ("1970-01-01 00:00:00.000001", "1"),
            ("1970-01-01T09:00:00+09", "0"),
            ("1969-12-31 23:59:59.999999+00", "-1"),
            ("0001-01-01 00:00:00", "-62135596800000000"),
            ("9999-12-31 23:59:59.999999", "253402300799999999"),
            ("2024-02-30 00:00:00", "! there is no such day"),
            ("0000-00-00 00:00:00", "! there is no year 0; set zero_dates: null"),
            ("infinity", "! infinity is no date; write nullif(...) in the query"),
            ("0044-03-15 00:00:00 BC", "! it is before the year 1"),
            ("2024-01-01", "1704067200000000"),
            ("soon", "! it is no date"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(timestamp(text.as_bytes())), expected, "{text}");
        }
        assert_eq!(shown(date(b"2024-00-10")), "! its month or day is zero; set zero_dates: null");
        assert_eq!(shown(time("23:59:59.999999")), "86399999999");
        assert_eq!(shown(time("24:00:00")), "! 24:00:00 is no time of a day here; write it as text in the query");
    }

    #[test]
    fn values_are_described_and_not_shown() {
        assert_eq!(looks("kim@example.com".as_bytes()), "'xxx@xxxxxxx.xxx' (15 bytes)");
        assert_eq!(looks(b"12-\x00"), "'99-?' (4 bytes)");
    }
}
