//! What of a JSON text would not be kept as it was written.

use std::fmt;

/// The first thing in a text that no value of ours holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flaw {
    /// The character NUL, which not every database keeps.
    Nul,
    /// A whole number that would become another one.
    WholeNumber(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nul => f.write_str("a text holds the character NUL (\\u0000), which cannot be kept; leave it out"),
            Self::WholeNumber(number) => write!(
                f,
                "the number {number} cannot be kept exactly: whole numbers go from {} to {}; send it as a text",
                i64::MIN,
                u64::MAX
            ),
        }
    }
}

/// Looks through a JSON text, valid or not, in one pass.
pub fn flaw(text: &[u8]) -> Option<Flaw> {
    let mut rest = text;
    let mut is_in_string = false;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            0 => return Some(Flaw::Nul),
            b'"' => is_in_string = !is_in_string,
            b'\\' if is_in_string => {
                if rest.starts_with(b"u0000") {
                    return Some(Flaw::Nul);
                }
                rest = rest.get(1..).unwrap_or_default();
            }
            b'-' | b'0'..=b'9' if !is_in_string => {
                let is_part = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let length = after.iter().take_while(is_part).count();
                let number = String::from_utf8_lossy(&[&[first], &after[..length]].concat()).into_owned();
                rest = &after[length..];
                let is_whole = number.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
                if is_whole && number != "-" && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(Flaw::WholeNumber(number.chars().take(40).collect()));
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_cannot_be_kept() {
        for whole in ["18446744073709551616", "-9223372036854775809", "123456789012345678901234567890"] {
            let text = format!(r#"{{"a": [1.5, {whole}]}}"#);
            assert_eq!(flaw(text.as_bytes()), Some(Flaw::WholeNumber(whole.to_owned())));
        }
        assert_eq!(flaw(br#"{"a": "x\u0000"}"#), Some(Flaw::Nul));
        assert_eq!(flaw(b"{\"a\0\": 1}"), Some(Flaw::Nul));
    }

    #[test]
    fn leaves_what_is_kept() {
        let kept = [
            r"[18446744073709551615, -9223372036854775808, 1e30, -0.5, 12345678901234567890.5, 0]",
            r#"{"18446744073709551616": "18446744073709551616 \\u0000 \" 99999999999999999999"}"#,
            r#""never closed 99999999999999999999"#,
            "-",
            r#""\"#,
            "",
        ];
        for text in kept {
            assert_eq!(flaw(text.as_bytes()), None, "{text}");
        }
    }
}
