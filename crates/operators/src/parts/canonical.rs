//! The canonical text of a value: the same for equal values, whichever engine they came from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use millrace_operator_api::ports::{CanonicalForm, SourceColumn, ValueType};
use serde_json::value::RawValue;

/// The form in which a column of a source and one of a target are compared.
pub fn form_of_pair(source: &SourceColumn, target: &SourceColumn) -> CanonicalForm {
    use ValueType as V;
    // As PostgreSQL calls CHAR(n), and Redshift's is called here. It fills texts up with blanks, so it cannot tell how many a
    // text had; any other type keeps those at the end, and they count.
    let is_padded = |column: &SourceColumn| column.type_name == "bpchar";
    let is_number =
        |value: &V| matches!(value, V::Integer { .. } | V::Decimal { .. } | V::Money | V::Year | V::Bit { .. });
    match (&source.value, &target.value) {
        (V::Float { bits: a }, V::Float { bits: b }) => CanonicalForm::Float { bits: *a.min(b) },
        (V::Float { bits }, other) | (other, V::Float { bits }) if is_number(other) => {
            CanonicalForm::Float { bits: *bits }
        }
        (V::Bool, other) | (other, V::Bool) if is_number(other) || *other == V::Bool => CanonicalForm::Truth,
        (a, b) if is_number(a) && is_number(b) => CanonicalForm::Number,
        // What no number of the target holds became a text, with as many zeros behind the point as the way gave it.
        (a, V::Text { .. } | V::Other) | (V::Text { .. } | V::Other, a) if is_number(a) => CanonicalForm::Number,
        (V::Date, V::Date) => CanonicalForm::Date,
        (V::Timestamp { .. }, V::Timestamp { .. } | V::Text { .. } | V::Other)
        | (V::Text { .. } | V::Other, V::Timestamp { .. }) => CanonicalForm::Timestamp,
        // The zeros at its end are the zone's.
        (V::Time { zoned: true, .. }, _) | (_, V::Time { zoned: true, .. }) => CanonicalForm::Plain,
        // A time beyond 24 h is an interval in PostgreSQL.
        (V::Time { .. }, V::Time { .. } | V::Interval | V::Text { .. } | V::Other)
        | (V::Interval | V::Text { .. } | V::Other, V::Time { .. }) => CanonicalForm::Time,
        (V::Json, V::Json | V::Text { .. } | V::Other) | (V::Text { .. } | V::Other, V::Json) => CanonicalForm::Json,
        (V::Uuid, _) | (_, V::Uuid) => CanonicalForm::Lower,
        _ if is_padded(target) => CanonicalForm::Padded,
        _ => CanonicalForm::Plain,
    }
}

/// The form of a column that is compared with one of its own kind.
pub fn natural_form(column: &SourceColumn) -> CanonicalForm {
    form_of_pair(column, column)
}

/// Appends the canonical text of a cell as sources give it. False: the value counts as NULL, and nothing was appended.
pub fn append_canonical(out: &mut Vec<u8>, cell: &[u8], form: CanonicalForm) -> bool {
    match form {
        CanonicalForm::Plain => out.extend_from_slice(cell),
        CanonicalForm::Padded => {
            let end = cell.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            out.extend_from_slice(&cell[..end]);
        }
        CanonicalForm::Lower => out.extend(cell.iter().map(u8::to_ascii_lowercase)),
        CanonicalForm::Number => append_number(out, cell),
        CanonicalForm::Truth => out.extend_from_slice(match cell {
            b"t" | b"true" => b"1",
            b"f" | b"false" => b"0",
            other => other,
        }),
        CanonicalForm::Float { bits } => out.extend_from_slice(float(cell, bits).as_bytes()),
        CanonicalForm::Date => {
            if is_zero_date(cell) {
                return false;
            }
            out.extend_from_slice(cell);
        }
        CanonicalForm::Timestamp => {
            if is_zero_date(cell) {
                return false;
            }
            out.extend_from_slice(without_fraction_zeros(cell.strip_suffix(b"+00").unwrap_or(cell)));
        }
        CanonicalForm::Time => out.extend_from_slice(without_fraction_zeros(cell)),
        CanonicalForm::Json => {
            let before = out.len();
            if append_json(out, cell).is_err() {
                out.truncate(before);
                out.extend_from_slice(cell);
            }
        }
    }
    true
}

/// Keys in order, the last of two that are alike, no blanks, and numbers digit by digit.
fn append_json(out: &mut Vec<u8>, cell: &[u8]) -> serde_json::Result<()> {
    match cell.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => {
            let object: BTreeMap<String, &RawValue> = serde_json::from_slice(cell)?;
            out.push(b'{');
            for (at, (key, value)) in object.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                append_json(out, value.get().as_bytes())?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let list: Vec<&RawValue> = serde_json::from_slice(cell)?;
            out.push(b'[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                append_json(out, value.get().as_bytes())?;
            }
            out.push(b']');
        }
        Some(b'-' | b'0'..=b'9') => append_json_number(out, serde_json::from_slice::<&RawValue>(cell)?.get()),
        // Texts may be escaped in several ways.
        _ => serde_json::to_writer(out, &serde_json::from_slice::<serde_json::Value>(cell)?)?,
    }
    Ok(())
}

/// Its digits without zeros at either end, and where the point belongs.
fn append_json_number(out: &mut Vec<u8>, number: &str) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |digits| ("-", digits));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let Ok(exponent) = exponent.parse::<i64>() else { return out.extend_from_slice(number.as_bytes()) };
    let power = exponent - fraction.len() as i64 + (digits.len() - significant.len()) as i64;
    match significant.trim_start_matches('0') {
        "" => out.push(b'0'),
        digits if power == 0 => out.extend_from_slice(format!("{sign}{digits}").as_bytes()),
        digits => out.extend_from_slice(format!("{sign}{digits}e{power}").as_bytes()),
    }
}

/// MySQL's `0000-00-00`, `2024-00-10`: no other engine has such a day, so a load can only have made NULL of it.
fn is_zero_date(cell: &[u8]) -> bool {
    cell.len() >= 10 && cell[4] == b'-' && cell[7] == b'-' && (&cell[5..7] == b"00" || &cell[8..10] == b"00")
}

fn without_fraction_zeros(cell: &[u8]) -> &[u8] {
    if !cell.contains(&b'.') {
        return cell;
    }
    let end = cell.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    let cell = &cell[..end];
    cell.strip_suffix(b".").unwrap_or(cell)
}

/// Digits without zeros before or, behind the point, after them; zero has no sign.
fn append_number(out: &mut Vec<u8>, cell: &[u8]) {
    let (sign, digits) = match cell {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        // NaN, Infinity, or exponents, which exact numbers have not.
        out.extend_from_slice(cell);
        return;
    }
    let digits = without_fraction_zeros(digits);
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let kept = match digits.get(zeros) {
        Some(b'.') | None => zeros.saturating_sub(1),
        Some(_) => zeros,
    };
    let digits = match &digits[kept..] {
        [] => b"0",
        digits => digits,
    };
    if sign && digits != b"0" {
        out.push(b'-');
    }
    out.extend_from_slice(digits);
}

/// `1.5e0`: what reads back as the same bits; -0 keeps its sign.
fn float(cell: &[u8], bits: u8) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(cell);
    match text.trim() {
        "NaN" | "nan" => return "NaN".into(),
        "Infinity" | "inf" | "Inf" => return "Infinity".into(),
        "-Infinity" | "-inf" | "-Inf" => return "-Infinity".into(),
        _ => {}
    }
    match (text.trim().parse::<f64>(), text.trim().parse::<f32>()) {
        (_, Ok(number)) if bits == 32 => format!("{number:e}").into(),
        (Ok(number), _) => format!("{number:e}").into(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(form: CanonicalForm, cell: &str) -> Option<String> {
        let mut out = Vec::new();
        append_canonical(&mut out, cell.as_bytes(), form).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn equal_values_have_one_text() {
        use CanonicalForm as F;
        let cases: &[(F, &str, &str)] = &[
            (F::Number, "12", "12"),
            (F::Number, "00042", "42"),
            (F::Number, "-12.50", "-12.5"),
            (F::Number, "100", "100"),
            (F::Number, "100.00", "100"),
            (F::Number, "0.00", "0"),
            (F::Number, "-0.00", "0"),
            (F::Number, "0.0500", "0.05"),
            (F::Number, "-0.5", "-0.5"),
            (F::Number, "0", "0"),
            (F::Number, "0000", "0"),
            (F::Number, "NaN", "NaN"),
            (F::Number, "18446744073709551615", "18446744073709551615"),
            (F::Truth, "t", "1"),
            (F::Truth, "0", "0"),
            (F::Timestamp, "2024-01-01 10:00:00", "2024-01-01 10:00:00"),
            (F::Timestamp, "2024-01-01 10:00:00.500000", "2024-01-01 10:00:00.5"),
            (F::Timestamp, "2024-01-01 10:00:00.000000", "2024-01-01 10:00:00"),
            (F::Timestamp, "2024-01-01 10:00:00.25+00", "2024-01-01 10:00:00.25"),
            (F::Timestamp, "infinity", "infinity"),
            (F::Time, "-838:59:59.000", "-838:59:59"),
            (F::Date, "2024-02-29", "2024-02-29"),
            (F::Float { bits: 64 }, "1e+20", "1e20"),
            (F::Float { bits: 64 }, "100000000000000000000", "1e20"),
            (F::Float { bits: 64 }, "0.1", "1e-1"),
            (F::Float { bits: 32 }, "0.10000000149011612", "1e-1"),
            (F::Float { bits: 64 }, "-0", "-0e0"),
            (F::Float { bits: 64 }, "NaN", "NaN"),
            (F::Padded, "ab  ", "ab"),
            (F::Padded, "   ", ""),
            (F::Plain, "ab  ", "ab  "),
            (F::Lower, "A0EEBC99", "a0eebc99"),
            (F::Json, "{ \"b\":1, \"a\": [1, 2] }", "{\"a\":[1,2],\"b\":1}"),
            (
                F::Json,
                " [1.0, 10, -0.0, 1e2, 0.50, 12345678901234567890123]",
                "[1,1e1,0,1e2,5e-1,12345678901234567890123]",
            ),
            (F::Json, "1.0000000000000000001", "10000000000000000001e-19"),
            (F::Json, "{\"\\u0061\": null, \"k\": 1, \"k\": [true, {}]}", "{\"a\":null,\"k\":[true,{}]}"),
            (F::Json, "[1 2]", "[1 2]"),
        ];
        for (form, cell, expected) in cases {
            assert_eq!(canonical(*form, cell).as_deref(), Some(*expected), "{form:?} of {cell}");
        }
        for zero in ["0000-00-00", "2024-00-10", "2024-10-00", "0000-00-00 00:00:00"] {
            let form = if zero.len() > 10 { F::Timestamp } else { F::Date };
            assert_eq!(canonical(form, zero), None, "{zero}");
        }
    }

    #[test]
    fn the_pair_decides_the_form() {
        let column = |value: ValueType| SourceColumn { value, ..SourceColumn::text("a") };
        let int = || column(ValueType::Integer { bits: 64, signed: true });
        let form = |a: &SourceColumn, b: &SourceColumn| form_of_pair(a, b);
        assert_eq!(form(&int(), &column(ValueType::Bool)), CanonicalForm::Truth);
        assert_eq!(form(&int(), &column(ValueType::Decimal { precision: None, scale: None })), CanonicalForm::Number);
        assert_eq!(form(&int(), &SourceColumn::text("a")), CanonicalForm::Number);
        assert_eq!(form(&int(), &column(ValueType::Float { bits: 64 })), CanonicalForm::Float { bits: 64 });
        let padded = SourceColumn { type_name: "bpchar".to_owned(), ..SourceColumn::text("a") };
        assert_eq!(form(&SourceColumn::text("a"), &padded), CanonicalForm::Padded);
        assert_eq!(form(&padded, &padded), CanonicalForm::Padded);
        assert_eq!(form(&padded, &SourceColumn::text("a")), CanonicalForm::Plain, "a varchar keeps the blanks");
        let of_mysql = SourceColumn { type_name: "char".to_owned(), ..SourceColumn::text("a") };
        assert_eq!(form(&of_mysql, &SourceColumn::text("a")), CanonicalForm::Plain);
        let clock = column(ValueType::Time { beyond_day: true, zoned: false });
        assert_eq!(form(&clock, &column(ValueType::Interval)), CanonicalForm::Time);
        let zoned = column(ValueType::Time { beyond_day: false, zoned: true });
        assert_eq!(form(&zoned, &zoned), CanonicalForm::Plain);
        assert_eq!(form(&clock, &SourceColumn::text("a")), CanonicalForm::Time);
        assert_eq!(natural_form(&column(ValueType::Timestamp { zoned: true })), CanonicalForm::Timestamp);
    }
}
