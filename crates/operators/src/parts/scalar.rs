//! A number or a text, as a file writes it and as a database answers it.

use std::cmp::Ordering;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Scalar {
    #[schemars(with = "f64")]
    Number(Number),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Scalar {
    /// How a cell stands to this number; `None` where one of them is none. Whole numbers are compared by all of their digits,
    /// as is a number that is written, as a text, with more digits than a float keeps; others as floats, because engines
    /// do not write the last digit of one alike.
    pub fn order_of(&self, cell: &str) -> Option<Ordering> {
        let (found, bound) = (number(cell)?, self.number()?);
        let is_float = matches!(self, Self::Number(number) if number.is_f64());
        match (Decimal::read(cell), Decimal::read(&self.to_string())) {
            (Some(found), Some(bound)) if !is_float && bound.is_told_exactly(&found) => Some(found.cmp(&bound)),
            _ => found.partial_cmp(&bound),
        }
    }

    /// A text that reads as a number counts as one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            Self::Text(text) => number(text),
        }
    }
}

/// A cell as a number, if it is one.
pub fn number(cell: &str) -> Option<f64> {
    cell.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Significant digits that every double keeps.
const FLOAT_DIGITS: usize = 15;

/// A number without an exponent: its digits without zeros at either end.
#[derive(Debug, PartialEq, Eq)]
struct Decimal<'a> {
    is_negative: bool,
    whole: &'a str,
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let (is_negative, digits) =
            text.strip_prefix('-').map_or((false, text.strip_prefix('+').unwrap_or(text)), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let are_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !are_digits(whole) || !are_digits(fraction) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        Some(Self { is_negative: is_negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction })
    }

    /// Whether as a bound it is compared digit by digit.
    fn is_told_exactly(&self, found: &Self) -> bool {
        (self.fraction.is_empty() && found.fraction.is_empty()) || self.whole.len() + self.fraction.len() > FLOAT_DIGITS
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.is_negative != other.is_negative {
            return other.is_negative.cmp(&self.is_negative);
        }
        let by_size =
            (self.whole.len(), self.whole, self.fraction).cmp(&(other.whole.len(), other.whole, other.fraction));
        if self.is_negative { by_size.reverse() } else { by_size }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_all_their_digits() {
        let whole = |bound: i64| Scalar::Number(bound.into());
        let text = |bound: &str| Scalar::Text(bound.to_owned());
        let float = |bound: f64| Number::from_f64(bound).map(Scalar::Number).expect("a number");
        let cases = [
            ("9007199254740993", whole(9_007_199_254_740_992), Ordering::Greater),
            ("9007199254740993.000", whole(9_007_199_254_740_993), Ordering::Equal),
            ("-9007199254740993", whole(-9_007_199_254_740_992), Ordering::Less),
            ("123456789012345678.01", text("123456789012345678.99"), Ordering::Less),
            ("123456789012345678.990", text("0123456789012345678.99"), Ordering::Equal),
            ("-0.0", whole(0), Ordering::Equal),
            ("+7", whole(7), Ordering::Equal),
            ("-1", whole(1), Ordering::Less),
            ("99", whole(100), Ordering::Less),
            ("1e3", whole(1000), Ordering::Equal),
            ("0.5", text(".45"), Ordering::Greater),
            // As some engines write the double that is nearest to it.
            ("1.10000000000000009", float(1.1), Ordering::Equal),
            ("1.10000000000000009", text("1.1"), Ordering::Equal),
            ("123456789012345678.01", float(123_456_789_012_345_680.0), Ordering::Equal),
        ];
        for (cell, bound, expected) in cases {
            assert_eq!(bound.order_of(cell), Some(expected), "{cell} and {bound}");
        }
        assert_eq!((text("a").order_of("1"), whole(1).order_of("a"), whole(1).order_of("NaN")), (None, None, None));
    }
}
