//! Whether a number is the same after a column of fewer digits has taken it.

use std::io::Write;

/// Significant digits that every double and every float keeps.
const DOUBLE_DIGITS: usize = 15;
const FLOAT_DIGITS: usize = 6;

/// A decimal without an exponent that has no more digits behind its point than those.
pub fn is_plain_decimal(value: &[u8], digits: i32) -> bool {
    let value = value.strip_prefix(b"-").unwrap_or(value);
    let point = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    match value[point..].split_first() {
        None => point > 0 && digits >= 0,
        Some((b'.', fraction)) => {
            usize::try_from(digits).is_ok_and(|digits| fraction.len() <= digits)
                && point > 0
                && fraction.iter().all(u8::is_ascii_digit)
        }
        Some(_) => false,
    }
}

/// A number of so few digits that every float has it, or one that is written as floats are: in as few digits as tell it from
/// its neighbours.
pub fn is_plain_float(value: &[u8], is_double: bool) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if !digits.first().is_some_and(u8::is_ascii_digit)
        || !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    {
        return false;
    }
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let most = if is_double { DOUBLE_DIGITS } else { FLOAT_DIGITS };
    if digits.len() <= most {
        return true;
    }
    let mut again = [0; 32];
    let mut rest = &mut again[..];
    let is_written = if is_double {
        text.parse().is_ok_and(|number: f64| write!(rest, "{number}").is_ok())
    } else {
        text.parse().is_ok_and(|number: f32| write!(rest, "{number}").is_ok())
    };
    let left = rest.len();
    is_written && again[..again.len() - left] == *value
}

/// A number as written: its digits without zeros at either end, and the exponent of the last of them.
#[derive(PartialEq, Eq)]
struct Written {
    is_negative: bool,
    digits: String,
    exponent: i32,
}

fn written(text: &str) -> Option<Written> {
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let all = [whole, fraction].concat();
    let from_left = all.trim_start_matches('0');
    let digits = from_left.trim_end_matches('0');
    if digits.is_empty() {
        return Some(Written { is_negative: false, digits: String::new(), exponent: 0 });
    }
    let zeros = i32::try_from(from_left.len() - digits.len()).ok()?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    Some(Written { is_negative, digits: digits.to_owned(), exponent })
}

/// `None` for what is no number.
pub fn digits_behind_point(text: &str) -> Option<i32> {
    // As nearly every number comes, in few steps.
    let is_plain = !text.bytes().any(|byte| byte == b'e' || byte == b'E');
    if is_plain && let Some((_, fraction)) = text.split_once('.') {
        let fraction = fraction.trim_end_matches('0');
        if !fraction.is_empty() {
            return fraction.bytes().all(|byte| byte.is_ascii_digit()).then(|| i32::try_from(fraction.len()).ok())?;
        }
    }
    written(text).map(|number| -number.exponent)
}

/// Digits behind the point of a second, without zeros at the end.
pub fn fraction(text: &str) -> usize {
    let Some((_, rest)) = text.split_once('.') else { return 0 };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].trim_end_matches('0').len()
}

/// Whether the float that a text becomes is written as that text again.
pub fn float_keeps(text: &str, is_double: bool) -> bool {
    let (double, float) = (text.parse::<f64>(), text.parse::<f32>());
    let (Ok(double), Ok(float)) = (double, float) else { return true };
    let Some(number) = written(text) else { return true };
    let (is_usual, most) =
        if is_double { (double.is_normal(), DOUBLE_DIGITS) } else { (float.is_normal(), FLOAT_DIGITS) };
    if number.digits.is_empty() || (is_usual && number.digits.len() <= most) {
        return true;
    }
    if is_double {
        is_nearest(&number, double)
    } else {
        // A double may itself be only near a whole number of so many digits.
        let is_another = || text.trim().parse::<i128>().is_ok_and(|whole| whole != float as i128);
        written(&format!("{float:e}")).is_some_and(|kept| kept == number)
            || (double.is_finite()
                && double.to_bits() == f64::from(float).to_bits()
                && number.digits.len() > 9
                && !is_another())
    }
}

/// Digits that tell every double from every other one.
const MOST_DOUBLE_DIGITS: usize = 17;

/// Whether the double is the number as far as its digits go: off by half of its last digit at most. Writers do not agree
/// on the last digit where two are as good.
fn is_nearest(number: &Written, double: f64) -> bool {
    let count = number.digits.len();
    if !double.is_finite() || double == 0.0 {
        return false;
    }
    if count > MOST_DOUBLE_DIGITS {
        // All of the double's own digits, which are as many as there are.
        return written(&format!("{double:.*e}", count - 1)).is_some_and(|kept| kept == *number);
    }
    if double.is_subnormal() {
        return written(&format!("{double:e}")).is_some_and(|kept| kept == *number);
    }
    let Some(exact) = written(&format!("{:.*e}", count + 17, double)) else { return false };
    let unit = |exponent: i32| u32::try_from(exponent).ok().and_then(|exponent| 10_u128.checked_pow(exponent));
    let lowest = exact.exponent.min(number.exponent - 1);
    let scaled = |digits: &str, exponent: i32| digits.parse::<u128>().ok()?.checked_mul(unit(exponent - lowest)?);
    let (Some(exact), Some(wanted), Some(last)) = (
        scaled(&exact.digits, exact.exponent),
        scaled(&number.digits, number.exponent),
        unit(number.exponent - lowest),
    ) else {
        return false;
    };
    exact.abs_diff(wanted) <= last / 2
}

pub fn sqlite_number_keeps(text: &str) -> bool {
    text.parse::<i64>().is_ok() || float_keeps(text, true)
}

pub fn sqlite_text_changes(text: &str) -> bool {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    if trimmed.is_empty() || written(trimmed).is_none() {
        return false;
    }
    if let Ok(number) = trimmed.parse::<i64>() {
        return number.to_string() != text;
    }
    let is_same = trimmed.parse::<f64>().is_ok_and(|number| number.fract() != 0.0 && format!("{number:?}") == text);
    !is_same || !float_keeps(trimmed, true)
}
