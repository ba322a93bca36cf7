//! Floats as PostgreSQL 8 prints them, which Redshift comes from: with so many digits, wherever fewer would do.

/// Digits that are always right, of a FLOAT8 and of a FLOAT4; extra_float_digits is added.
const DIGITS: [i32; 2] = [15, 6];

/// `text` is the shortest one that is this number.
pub(super) fn printed(text: &str, is_double: bool, extra: i32) -> String {
    let number = if is_double { text.parse::<f64>().ok() } else { text.parse::<f32>().ok().map(f64::from) };
    let digits = usize::try_from((DIGITS[usize::from(!is_double)] + extra).max(1)).unwrap_or(1);
    match number {
        Some(number) if number.is_finite() => general(number, digits),
        _ => text.to_owned(),
    }
}

/// C's `%.*g`.
fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let places = i32::try_from(digits).unwrap_or(i32::MAX) - 1 - exponent;
    if exponent < -4 || places < 0 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
    }
    without_zeros(&format!("{number:.*}", usize::try_from(places).unwrap_or(0))).to_owned()
}

fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::printed;

    #[test]
    fn floats_have_the_digits_that_are_asked_for() {
        let cases = [
            ("0.30000000000000004", true, 0, "0.3"),
            ("0.30000000000000004", true, 2, "0.30000000000000004"),
            ("0.1", true, 2, "0.10000000000000001"),
            ("0.1", true, -14, "0.1"),
            ("0.1", false, 0, "0.1"),
            ("0.1", false, 2, "0.1"),
            ("0.3", false, 2, "0.30000001"),
            ("1e+300", true, 0, "1e+300"),
            ("123456789012345680", true, 0, "1.23456789012346e+17"),
            ("1e-05", true, 0, "1e-05"),
            ("0.0001", true, 0, "0.0001"),
            ("-0", true, 2, "-0"),
            ("0", true, 2, "0"),
            ("NaN", true, 0, "NaN"),
            ("-Infinity", true, 2, "-Infinity"),
            ("100", true, 0, "100"),
        ];
        for (text, is_double, extra, expected) in cases {
            assert_eq!(printed(text, is_double, extra), expected, "{text} {extra}");
        }
    }
}
