//! What a plain scalar means: the core schema of YAML 1.2, so that `no`, `on` and dates stay text.

use serde_json::Number;

use crate::tree::NodeKind;

pub(crate) fn plain(text: &str) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return NodeKind::Null,
        "true" | "True" | "TRUE" => return NodeKind::Bool(true),
        "false" | "False" | "FALSE" => return NodeKind::Bool(false),
        _ => {}
    }
    number(text).map_or_else(|| NodeKind::Text(text.to_owned()), NodeKind::Number)
}

/// `!!int`, `!!float`, `!!bool`, `!!null` on a scalar that is one; `!!str` on any.
pub(crate) fn tagged(tag: &str, text: &str) -> Option<NodeKind> {
    let kind = plain(text);
    match (tag, &kind) {
        ("str", _) => Some(NodeKind::Text(text.to_owned())),
        ("null", NodeKind::Null) | ("bool", NodeKind::Bool(_)) | ("float", NodeKind::Number(_)) => Some(kind),
        ("int", NodeKind::Number(number)) if !number.is_f64() => Some(kind),
        _ => None,
    }
}

fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return i64::from_str_radix(rest, radix).ok().filter(|_| !rest.starts_with(['+', '-'])).map(Number::from);
        }
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        return unsigned.parse::<i64>().map(Number::from).or_else(|_| unsigned.parse::<u64>().map(Number::from)).ok();
    }
    is_float(digits).then(|| text.parse::<f64>().ok().and_then(Number::from_f64)).flatten()
}

/// `[0-9]* . [0-9]*` with an exponent, at least one digit.
fn is_float(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['-', '+']).unwrap_or(exponent)),
        None => (digits, "0"),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    all_digits(whole)
        && all_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && !exponent.is_empty()
        && all_digits(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn core_schema() {
        let text = |value: &str| json!(value);
        let cases = [
            ("no", text("no")),
            ("on", text("on")),
            ("2021-12-10", text("2021-12-10")),
            ("1_000", text("1_000")),
            ("12:30", text("12:30")),
            ("3m", text("3m")),
            (".", text(".")),
            ("1.2.3", text("1.2.3")),
            ("0x", text("0x")),
            ("-", text("-")),
            (".inf", text(".inf")),
            ("~", json!(null)),
            ("True", json!(true)),
            ("-12", json!(-12)),
            ("+7", json!(7)),
            ("007", json!(7)),
            ("0o17", json!(15)),
            ("0xff", json!(255)),
            ("1.5", json!(1.5)),
            ("-.5e3", json!(-500.0)),
            ("18446744073709551615", json!(u64::MAX)),
            ("99999999999999999999", text("99999999999999999999")),
        ];
        for (written, expected) in cases {
            assert_eq!(plain(written).to_value(), expected, "{written}");
        }
    }

    #[test]
    fn tags() {
        assert_eq!(tagged("str", "5"), Some(NodeKind::Text("5".to_owned())));
        assert_eq!(tagged("int", "5").map(|kind| kind.to_value()), Some(json!(5)));
        assert_eq!(tagged("int", "five"), None);
        assert_eq!(tagged("bool", "no"), None);
    }
}
