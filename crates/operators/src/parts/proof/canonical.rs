//! The canonical text of a value: the same for equal values, whichever engine they came from.

mod at_a_glance;
mod json;

use millrace_operator_api::ports::{CanonicalForm, SourceColumn, ValueType};

pub use at_a_glance::stands;
use json::canonical_json;

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
        (V::Float { bits }, V::Text { .. } | V::Other) | (V::Text { .. } | V::Other, V::Float { bits }) => {
            CanonicalForm::Float { bits: *bits }
        }
        (V::Date, V::Date) => CanonicalForm::Date,
        (V::Timestamp { .. }, V::Timestamp { .. } | V::Text { .. } | V::Other) => CanonicalForm::Timestamp,
        // A day became its midnight or the other way round, and a text is written in many ways.
        (V::Date | V::Text { .. } | V::Other, V::Timestamp { .. }) | (V::Timestamp { .. }, V::Date) => {
            CanonicalForm::Moment
        }
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

/// The form of a column whose values its own engine has just written.
pub fn form_as_read(column: &SourceColumn) -> CanonicalForm {
    match natural_form(column) {
        CanonicalForm::Json if column.type_name == "jsonb" => CanonicalForm::Jsonb,
        form => form,
    }
}

/// What canonical texts are written into that are no part of their cells, kept for the next ones.
#[derive(Default)]
pub struct Scratch {
    text: Vec<u8>,
    json: json::Room,
}

impl Scratch {
    /// Gives back what a long text needed.
    pub fn keep_at_most(&mut self, bytes: usize) {
        if self.text.capacity() > bytes {
            *self = Self::default();
        }
    }
}

enum Text<'a> {
    /// Of the cell, most often all of it; or what it stands for.
    Part(&'a [u8]),
    /// In the scratch.
    Written,
}
use Text::{Part, Written};

/// The canonical text of a cell as sources give it. `None`: the value counts as NULL.
pub fn canonical<'a>(cell: &'a [u8], form: CanonicalForm, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
    match text_of(cell, form, scratch)? {
        Part(text) => Some(text),
        Written => Some(&scratch.text),
    }
}

/// What of a cell is hashed: its canonical text, but of a float the bits, which are had sooner. `None`: it counts as NULL.
pub fn hashed<'a>(cell: &'a [u8], form: CanonicalForm, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
    if let CanonicalForm::Float { bits } = form
        && let Some(number) = float_bits(cell, bits)
    {
        write(&mut scratch.text, &[&number]);
        return Some(&scratch.text);
    }
    canonical(cell, form, scratch)
}

fn text_of<'a>(cell: &'a [u8], form: CanonicalForm, Scratch { text: out, json }: &mut Scratch) -> Option<Text<'a>> {
    Some(match form {
        CanonicalForm::Plain => Part(cell),
        CanonicalForm::Padded => {
            let end = cell.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            Part(&cell[..end])
        }
        CanonicalForm::Lower => {
            write(out, &[cell]);
            out.make_ascii_lowercase();
            Written
        }
        CanonicalForm::Number => number(cell, out),
        CanonicalForm::Truth => Part(match cell {
            b"t" | b"true" => b"1",
            b"f" | b"false" => b"0",
            other => other,
        }),
        CanonicalForm::Float { bits } => float(cell, bits, out),
        CanonicalForm::Date | CanonicalForm::Timestamp | CanonicalForm::Moment if is_zero_date(cell) => return None,
        CanonicalForm::Date => Part(cell),
        CanonicalForm::Timestamp | CanonicalForm::Moment => match cell.strip_suffix(BEFORE_CHRIST) {
            Some(cell) => {
                if let Part(text) = moment_of(cell, form, out) {
                    write(out, &[text]);
                }
                out.extend_from_slice(BEFORE_CHRIST);
                Written
            }
            None => moment_of(cell, form, out),
        },
        CanonicalForm::Time if matches!(cell, [_, _, b':', _, _]) => write(out, &[cell, b":00"]),
        CanonicalForm::Time => Part(without_fraction_zeros(cell)),
        CanonicalForm::Json | CanonicalForm::Jsonb => canonical_json(cell, out, json).unwrap_or(Part(cell)),
    })
}

/// As PostgreSQL writes it, behind everything else.
const BEFORE_CHRIST: &[u8] = b" BC";

fn moment_of<'a>(cell: &'a [u8], form: CanonicalForm, out: &mut Vec<u8>) -> Text<'a> {
    if form == CanonicalForm::Moment { moment(cell, out) } else { timestamp(cell, out) }
}

/// Over what was there.
fn write<'a>(out: &mut Vec<u8>, parts: &[&[u8]]) -> Text<'a> {
    out.clear();
    for part in parts {
        out.extend_from_slice(part);
    }
    Written
}

/// `2024-01-05 10:00:00`, also where it is written `2024-01-05T10:00Z`, and of a day alone its midnight: SQLite takes all of
/// them into a column that is declared to hold moments, and every other engine makes the same of them.
fn timestamp<'a>(cell: &'a [u8], out: &mut Vec<u8>) -> Text<'a> {
    let is_plain = cell.len() >= 19 && cell[10] == b' ';
    if is_plain && !cell.ends_with(b"Z") && !cell.ends_with(b"+00:00") {
        return Part(without_fraction_zeros(cell.strip_suffix(b"+00").unwrap_or(cell)));
    }
    let is_day = cell.len() >= 10 && cell[4] == b'-' && cell[7] == b'-';
    let clock = moment(cell, out);
    let missing: &[u8] = match &clock {
        Part(text) => missing_clock(text.len()),
        Written => missing_clock(out.len()),
    };
    if !is_day || missing.is_empty() {
        return clock;
    }
    if let Part(text) = clock {
        write(out, &[text]);
    }
    out.extend_from_slice(missing);
    Written
}

/// Of a moment of so many characters.
fn missing_clock(length: usize) -> &'static [u8] {
    match length {
        10 => b" 00:00:00",
        16 => b":00",
        _ => b"",
    }
}

/// `2024-01-05T10:00:00.000Z` as `2024-01-05 10:00:00`, and midnight as the day alone.
fn moment<'a>(cell: &'a [u8], out: &mut Vec<u8>) -> Text<'a> {
    let is_zoned = [&b"+00:00"[..], b"+00", b"Z"].iter().find_map(|zone| cell.strip_suffix(*zone));
    let clock = without_fraction_zeros(is_zoned.unwrap_or(cell));
    match clock.get(10) {
        Some(b' ' | b'T') if &clock[11..] == b"00:00:00" => Part(&clock[..10]),
        Some(b'T') => write(out, &[&clock[..10], b" ", &clock[11..]]),
        _ => Part(clock),
    }
}

/// MySQL's `0000-00-00`, `2024-00-10`: no other engine has such a day, so a load can only have made NULL of it.
#[inline]
pub fn is_zero_date(cell: &[u8]) -> bool {
    let is_date = cell.len() >= 10 && cell[4] == b'-' && cell[7] == b'-';
    is_date && (cell.starts_with(b"0000") || &cell[5..7] == b"00" || &cell[8..10] == b"00")
}

fn without_fraction_zeros(cell: &[u8]) -> &[u8] {
    if !matches!(cell.last(), Some(b'0' | b'.')) || !cell.contains(&b'.') {
        return cell;
    }
    let end = cell.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    let cell = &cell[..end];
    cell.strip_suffix(b".").unwrap_or(cell)
}

/// Digits without zeros before or, behind the point, after them; zero has no sign.
fn number<'a>(cell: &'a [u8], out: &mut Vec<u8>) -> Text<'a> {
    let (is_negative, digits) = match cell {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if !digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
        // NaN, Infinity, or exponents, which exact numbers have not.
        return Part(cell);
    }
    let digits = without_fraction_zeros(digits);
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let kept = match digits.get(zeros) {
        Some(b'.') | None => zeros.saturating_sub(1),
        Some(_) => zeros,
    };
    match &digits[kept..] {
        [] | b"0" => Part(b"0"),
        digits if !is_negative => Part(digits),
        // The sign stands before them as it is.
        digits if kept == 0 => Part(&cell[..=digits.len()]),
        digits => write(out, &[b"-", digits]),
    }
}

/// `1.5e0`: what reads back as the same bits; -0 keeps its sign.
fn float<'a>(cell: &'a [u8], bits: u8, out: &mut Vec<u8>) -> Text<'a> {
    // A decimal of so few digits is the shortest that reads as its number.
    let (digits, power) = if bits == 32 { (6, 30) } else { (15, 290) };
    if scientific(cell, digits, power, out).is_some() {
        return Written;
    }
    let Ok(text) = std::str::from_utf8(cell) else { return Part(cell) };
    let written = match text.trim() {
        "NaN" | "nan" => return Part(b"NaN"),
        "Infinity" | "inf" | "Inf" => return Part(b"Infinity"),
        "-Infinity" | "-inf" | "-Inf" => return Part(b"-Infinity"),
        text if bits == 32 => text.parse::<f32>().map(|number| format!("{number:e}")),
        text => text.parse::<f64>().map(|number| format!("{number:e}")),
    };
    written.map_or(Part(cell), |written| write(out, &[written.as_bytes()]))
}

/// The bits of the number that [`float`] writes, sooner than that is written: of 32 bits the last four bytes. `None` of what
/// is no number.
fn float_bits(cell: &[u8], bits: u8) -> Option<[u8; 8]> {
    let text = std::str::from_utf8(cell).ok()?.trim();
    let bits = if bits == 32 {
        let number: f32 = text.parse().ok()?;
        u64::from(if number.is_nan() { f32::NAN } else { number }.to_bits())
    } else {
        let number: f64 = text.parse().ok()?;
        if number.is_nan() { f64::NAN } else { number }.to_bits()
    };
    Some(bits.to_be_bytes())
}

/// A decimal of at most so many digits whose first one has at most such a power of ten, as [`float`] writes it, without
/// looking for the number that it is.
fn scientific(cell: &[u8], most_digits: usize, most_power: i32, out: &mut Vec<u8>) -> Option<()> {
    const ROOM: usize = 32;
    let (sign, unsigned): (&[u8], _) = match cell {
        [b'-', unsigned @ ..] => (b"-", unsigned),
        unsigned => (b"", unsigned),
    };
    let (mut digits, mut length, mut whole, mut exponent) = ([0; ROOM], 0, None, 0_i32);
    for (at, byte) in unsigned.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                *digits.get_mut(length)? = *byte;
                length += 1;
            }
            b'.' if whole.is_none() => whole = Some(length),
            b'e' | b'E' => {
                exponent = std::str::from_utf8(&unsigned[at + 1..]).ok()?.parse().ok()?;
                break;
            }
            _ => return None,
        }
    }
    let (digits, whole) = (&digits[..length], whole.unwrap_or(length));
    if whole == 0 {
        return None;
    }
    let is_significant = |digit: &u8| *digit != b'0';
    let (Some(first), Some(last)) = (digits.iter().position(is_significant), digits.iter().rposition(is_significant))
    else {
        write(out, &[sign, b"0e0"]);
        return Some(());
    };
    let power = exponent.checked_add(whole as i32 - 1 - first as i32)?;
    if last - first >= most_digits || power.unsigned_abs() > most_power.unsigned_abs() {
        return None;
    }
    let point: &[u8] = if last > first { b"." } else { b"" };
    write(out, &[sign, &digits[first..=first], point, &digits[first + 1..=last], format!("e{power}").as_bytes()]);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(form: CanonicalForm, cell: &str) -> Option<String> {
        let mut scratch = Scratch { text: b"of before".to_vec(), ..Scratch::default() };
        canonical(cell.as_bytes(), form, &mut scratch).map(|text| String::from_utf8(text.to_vec()).unwrap())
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
            (F::Number, "0.05", "0.05"),
            (F::Number, "-12.05", "-12.05"),
            (F::Number, "-1200", "-1200"),
            (F::Number, "1e20", "1e20"),
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
            (F::Timestamp, "2024-01-01T10:00:00.250Z", "2024-01-01 10:00:00.25"),
            (F::Timestamp, "2024-01-01T00:00:00", "2024-01-01 00:00:00"),
            (F::Timestamp, "2024-01-01T10:00", "2024-01-01 10:00:00"),
            (F::Timestamp, "2024-01-01 10:00+00:00", "2024-01-01 10:00:00"),
            (F::Timestamp, "2024-01-01 10:00:00+00:00", "2024-01-01 10:00:00"),
            (F::Timestamp, "2024-01-01", "2024-01-01 00:00:00"),
            (F::Timestamp, "0044-03-15 10:00:00 BC", "0044-03-15 10:00:00 BC"),
            (F::Timestamp, "0044-03-15 10:00:00.50+00 BC", "0044-03-15 10:00:00.5 BC"),
            (F::Timestamp, "12024-01-01 10:00:00.50+00", "12024-01-01 10:00:00.5"),
            (F::Moment, "0044-03-15 10:00:00.50+00 BC", "0044-03-15 10:00:00.5 BC"),
            (F::Moment, "2024-01-01", "2024-01-01"),
            (F::Moment, "2024-01-01 00:00:00.000000+00", "2024-01-01"),
            (F::Moment, "2024-01-01T00:00", "2024-01-01 00:00"),
            (F::Moment, "2024-01-01T10:00:00.50Z", "2024-01-01 10:00:00.5"),
            (F::Moment, "2024-01-01 10:00:10+00:00", "2024-01-01 10:00:10"),
            (F::Moment, "infinity", "infinity"),
            (F::Time, "-838:59:59.000", "-838:59:59"),
            (F::Time, "12:00", "12:00:00"),
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
            (F::Json, "{ \"b\":1, \"a\": [1, 2] }", "{\"a\": [1, 2], \"b\": 1}"),
            (
                F::Json,
                " [1.0, 10, -0.0, 1e2, 0.50, 12345678901234567890123]",
                "[1, 1e1, 0, 1e2, 5e-1, 12345678901234567890123]",
            ),
            (F::Json, "1.0000000000000000001", "10000000000000000001e-19"),
            (F::Json, "{\"\\u0061\": null, \"k\": 1, \"k\": [true, {}]}", "{\"a\": null, \"k\": 1, \"k\": [true, {}]}"),
            (F::Json, "[1 2]", "[1 2]"),
        ];
        for (form, cell, expected) in cases {
            assert_eq!(text_of(*form, cell).as_deref(), Some(*expected), "{form:?} of {cell}");
        }
        for zero in ["0000-00-00", "0000-05-05", "2024-00-10", "2024-10-00", "0000-00-00 00:00:00"] {
            let form = if zero.len() > 10 { F::Timestamp } else { F::Date };
            assert_eq!(text_of(form, zero), None, "{zero}");
        }
    }

    #[test]
    fn a_float_of_few_digits_needs_no_number() {
        let float = |text: &str, bits| text_of(CanonicalForm::Float { bits }, text).unwrap();
        let mut state = 7_u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mantissa = (state >> 12) as i64 / 10_i64.pow((state % 16) as u32);
            let text = format!("{mantissa}e{}", (state >> 7) % 60);
            for text in [text.clone(), text.replace('e', "e-"), format!("{}.{:03}", mantissa / 1000, mantissa % 1000)] {
                for (bits, expected) in [
                    (64, format!("{:e}", text.parse::<f64>().unwrap())),
                    (32, format!("{:e}", text.parse::<f32>().unwrap())),
                ] {
                    assert_eq!(float(&text, bits), expected, "{text}, {bits} bits");
                }
            }
        }
        for number in [0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, 1e15, 123_456_789_012_345_680.0, 0.1 + 0.2] {
            assert_eq!(float(&number.to_string(), 64), format!("{number:e}"));
        }
        for odd in ["", "-", ".5", "1.2.3", "1e", "1_0", "0x1", "e5", "1e999999999999"] {
            assert_eq!(scientific(odd.as_bytes(), 15, 290, &mut Vec::new()), None, "{odd}");
        }
    }

    #[test]
    fn json_that_is_nested_deep_stays_as_it_is() {
        let deep = |levels| format!("{}1{}", "[ ".repeat(levels), "]".repeat(levels));
        assert_eq!(text_of(CanonicalForm::Json, &deep(100)), Some(deep(100).replace(' ', "")));
        assert_eq!(text_of(CanonicalForm::Json, &deep(5_000)), Some(deep(5_000)));
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
        let moment = || column(ValueType::Timestamp { zoned: false });
        for (a, b) in [(column(ValueType::Date), moment()), (moment(), column(ValueType::Date))] {
            assert_eq!(form(&a, &b), CanonicalForm::Moment);
        }
        assert_eq!(form(&SourceColumn::text("a"), &moment()), CanonicalForm::Moment);
        assert_eq!(form(&moment(), &SourceColumn::text("a")), CanonicalForm::Timestamp);
        assert_eq!(
            form(&SourceColumn::text("a"), &column(ValueType::Float { bits: 32 })),
            CanonicalForm::Float { bits: 32 }
        );
        let clock = column(ValueType::Time { beyond_day: true, zoned: false });
        assert_eq!(form(&clock, &column(ValueType::Interval)), CanonicalForm::Time);
        let zoned = column(ValueType::Time { beyond_day: false, zoned: true });
        assert_eq!(form(&zoned, &zoned), CanonicalForm::Plain);
        assert_eq!(form(&clock, &SourceColumn::text("a")), CanonicalForm::Time);
        assert_eq!(natural_form(&column(ValueType::Timestamp { zoned: true })), CanonicalForm::Timestamp);
    }
}
