//! Whole numbers, from whatever writes them.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What becomes of a fraction in a column of integers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decimals {
    #[default]
    Error,
    Truncate,
    Round,
}

/// Writes the integer that the cell is, in digits: never by way of a float.
pub fn integer(cell: &[u8], decimals: Decimals, out: &mut String) -> Result<(), String> {
    let no_number = || "is not an integer".to_owned();
    let text = std::str::from_utf8(cell).map_err(|_| no_number())?.trim();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().map_err(|_| no_number())?),
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = [whole, fraction].concat();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) || !(-400..=400).contains(&exponent) {
        return Err(no_number());
    }
    // The point stands so many digits from the left.
    let point = i32::try_from(whole.len()).map_err(|_| no_number())? + exponent;
    let at = |index: i32| usize::try_from(index).ok().and_then(|index| all.as_bytes().get(index)).map_or(b'0', |b| *b);
    let mut number: String = (0..point.max(0)).map(|index| char::from(at(index))).collect();
    let rest_from = usize::try_from(point.max(0)).unwrap_or(0);
    let has_fraction =
        all.bytes().skip(rest_from).any(|byte| byte != b'0') || (point < 0 && all.bytes().any(|b| b != b'0'));
    if has_fraction {
        match decimals {
            Decimals::Error => {
                return Err(
                    "has a fraction, and the target takes integers; decimals: truncate or round allows it".to_owned()
                );
            }
            Decimals::Truncate => {}
            Decimals::Round => {
                if point >= 0 && at(point) >= b'5' {
                    number = plus_one(&number);
                }
            }
        }
    }
    let trimmed = number.trim_start_matches('0');
    let (sign, trimmed) = if trimmed.is_empty() { ("", "0") } else { (sign, trimmed) };
    write!(out, "{sign}{trimmed}").map_err(|_| no_number())
}

fn plus_one(number: &str) -> String {
    let mut digits: Vec<u8> = number.bytes().collect();
    for digit in digits.iter_mut().rev() {
        if *digit < b'9' {
            *digit += 1;
            return String::from_utf8_lossy(&digits).into_owned();
        }
        *digit = b'0';
    }
    format!("1{}", String::from_utf8_lossy(&digits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_integer(text: &str, decimals: Decimals) -> Option<String> {
        let mut out = String::new();
        integer(text.as_bytes(), decimals, &mut out).ok().map(|()| out)
    }

    #[test]
    fn case_82_whole_numbers_become_integers_and_others_are_refused() {
        let cases = [
            ("12.0", Some("12")),
            ("12", Some("12")),
            ("-7.000", Some("-7")),
            ("+3", Some("3")),
            (" 5 ", Some("5")),
            ("1e3", Some("1000")),
            ("1.5e1", Some("15")),
            ("1200e-2", Some("12")),
            ("0.0", Some("0")),
            ("-0", Some("0")),
            ("007", Some("7")),
            ("9007199254740993.0", Some("9007199254740993")),
            ("99999999999999999999999999999999999999.0", Some("99999999999999999999999999999999999999")),
            ("12.5", None),
            ("1e-1", None),
            ("0.001", None),
            ("", None),
            (".", None),
            ("1,5", None),
            ("NaN", None),
            ("Infinity", None),
            ("0x10", None),
        ];
        for (text, expected) in cases {
            assert_eq!(as_integer(text, Decimals::Error).as_deref(), expected, "{text}");
        }
        for (text, truncated, rounded) in [
            ("12.5", "12", "13"),
            ("-12.5", "-12", "-13"),
            ("99.9", "99", "100"),
            ("0.04", "0", "0"),
            ("0.5", "0", "1"),
        ] {
            assert_eq!(as_integer(text, Decimals::Truncate).as_deref(), Some(truncated), "{text}");
            assert_eq!(as_integer(text, Decimals::Round).as_deref(), Some(rounded), "{text}");
        }
    }
}
