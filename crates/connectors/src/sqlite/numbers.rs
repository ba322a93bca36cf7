//! Numbers that are kept as text, because SQLite has no type that holds all their digits, in the order of their values.

use std::cmp::Ordering;

/// Name of the collation on every connection here.
pub const NAME: &str = "millrace_number";
/// Behind an expression that is compared.
pub const BY_NUMBER: &str = " COLLATE millrace_number";

/// A plain decimal: sign, digits before the point without zeros in front, digits behind it without zeros at the end.
fn decimal(text: &str) -> Option<(bool, &str, &str)> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = rest.split_once('.').unwrap_or((rest, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    Some((is_negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction))
}

/// Numbers by their values, whatever their length; other texts by their bytes, after all numbers.
pub fn compare(left: &str, right: &str) -> Ordering {
    match (decimal(left), decimal(right)) {
        (Some((true, ..)), Some((false, ..))) => Ordering::Less,
        (Some((false, ..)), Some((true, ..))) => Ordering::Greater,
        (Some((is_negative, whole, fraction)), Some((_, other, behind))) => {
            let order = whole.len().cmp(&other.len()).then_with(|| whole.cmp(other)).then_with(|| fraction.cmp(behind));
            if is_negative { order.reverse() } else { order }
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => left.cmp(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_digits_are_in_the_order_of_their_numbers() {
        let sorted = [
            "-100",
            "-99.5",
            "-1",
            "0",
            "0.0000000001",
            "1.2",
            "1.25",
            "9",
            "99",
            "100",
            "18446744073709551615",
            "18446744073709551616.5",
            "2024-01-01",
            "2024-01-02",
            "a",
        ];
        for (index, left) in sorted.iter().enumerate() {
            for (other, right) in sorted.iter().enumerate() {
                assert_eq!(compare(left, right), index.cmp(&other), "{left} {right}");
            }
        }
        for (left, right) in [("007", "7"), ("1.50", "1.5"), ("-0", "0"), ("+3", "3"), (".5", "0.5")] {
            assert_eq!(compare(left, right), Ordering::Equal, "{left} {right}");
        }
    }
}
