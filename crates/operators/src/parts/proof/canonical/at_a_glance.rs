//! Which cells are canonical as they stand, seen without a walk along their bytes: nearly all of them.

use millrace_operator_api::ports::CanonicalForm;

use super::is_zero_date;
use super::json::stands_as_jsonb;

/// A number of so many bytes is looked at in one go.
const GLANCE: usize = 16;

/// Whether `bytes[start..end]` surely is its own canonical text; of some that are, this says false. What follows the cell
/// may be read, never what it means.
#[expect(clippy::inline_always, reason = "a call for each cell costs as much as what it does")]
#[inline(always)]
pub fn stands(bytes: &[u8], (start, end): (usize, usize), form: CanonicalForm) -> bool {
    let cell = &bytes[start..end];
    match form {
        CanonicalForm::Plain => true,
        CanonicalForm::Number => {
            let glance = bytes.get(start..start + GLANCE).and_then(|glance| glance.try_into().ok());
            glance.is_some_and(|glance| is_written_so(glance, cell.len()))
        }
        CanonicalForm::Date => !is_zero_date(cell),
        // Neither a zone nor a zero of a fraction is at its end.
        CanonicalForm::Timestamp => {
            cell.len() >= 19 && cell[10] == b' ' && matches!(cell[cell.len() - 1], b'1'..=b'9') && !is_zero_date(cell)
        }
        CanonicalForm::Jsonb => stands_as_jsonb(cell),
        CanonicalForm::Padded
        | CanonicalForm::Lower
        | CanonicalForm::Truth
        | CanonicalForm::Float { .. }
        | CanonicalForm::Moment
        | CanonicalForm::Time
        | CanonicalForm::Json => false,
    }
}

/// Whether the first `length` of the bytes are a number without a zero too many: `-12.5`, `0.05`, `100`.
#[inline(always)]
fn is_written_so(bytes: [u8; GLANCE], length: usize) -> bool {
    const EACH: u128 = u128::MAX / 0xff;
    const LOW: u128 = EACH * 0x7f;
    const HIGH: u128 = EACH * 0x80;
    // Ten and this is the first number whose high bit is set.
    const TO_HIGH: u128 = EACH * (0x80 - 10);
    if length == 0 || length > GLANCE {
        return false;
    }
    let values = u128::from_le_bytes(bytes) ^ (EACH * u128::from(b'0'));
    let is_other = (((values & LOW) + TO_HIGH) | values) & HIGH & (u128::MAX >> (8 * (GLANCE - length)));
    let sign = usize::from(bytes[0] == b'-');
    let others = if sign == 1 { is_other & !0xff } else { is_other };
    if others == 0 {
        return length > sign && (bytes[sign] != b'0' || (length == 1 && sign == 0));
    }
    let point = others.trailing_zeros() as usize / 8;
    let is_alone = others.is_power_of_two();
    is_alone
        && bytes[point] == b'.'
        && point > sign
        && bytes[length - 1] != b'0'
        && point + 1 < length
        && (bytes[sign] != b'0' || point == sign + 1)
}

#[cfg(test)]
mod tests {
    use super::super::{Scratch, canonical};
    use super::*;

    fn is_seen(cell: &str, form: CanonicalForm) -> bool {
        // Digits follow, as another cell would.
        let bytes = format!("{cell}1234567890123456");
        stands(bytes.as_bytes(), (0, cell.len()), form)
    }

    #[test]
    fn usual_cells_are_seen() {
        use CanonicalForm as F;
        for (form, cell) in [
            (F::Number, "0"),
            (F::Number, "7"),
            (F::Number, "-7"),
            (F::Number, "100"),
            (F::Number, "9007199254740993"),
            (F::Number, "12.5"),
            (F::Number, "-0.05"),
            (F::Number, "0.05"),
            (F::Date, "2024-02-29"),
            (F::Timestamp, "2024-01-01 10:00:01"),
            (F::Timestamp, "2024-01-01 10:00:00.000001"),
        ] {
            assert!(is_seen(cell, form), "{form:?} of {cell}");
        }
    }

    #[test]
    fn what_is_seen_is_canonical() {
        let mut state = 7_u64;
        let mut next = |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % most
        };
        let forms = [CanonicalForm::Number, CanonicalForm::Date, CanonicalForm::Timestamp, CanonicalForm::Plain];
        let begins = ["", "", "0000-00-00", "2024-01-05", "2024-00-10 1", "2024-01-05 10:00:0", "2024-01-05T10:00:0"];
        let mut seen = 0;
        for _ in 0..200_000 {
            let mut cell = begins[next(begins.len())].to_owned();
            for _ in 0..next(6) {
                cell.push_str(["0", "0", "1", "5", "9", ".", "-", "+", "e", " ", "Z", "\u{e9}", ":", "/"][next(14)]);
            }
            for form in forms {
                let mut scratch = Scratch::default();
                if is_seen(&cell, form) {
                    seen += 1;
                    assert_eq!(canonical(cell.as_bytes(), form, &mut scratch), Some(cell.as_bytes()), "{form:?}");
                }
            }
        }
        assert!(seen > 200_000, "{seen}");
    }
}
