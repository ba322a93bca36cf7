//! How the values of a column were spelled that a file keeps as numbers: Parquet has moments and decimals, and not whether a
//! source writes `12.50` or `12.5`, or `+00` behind a moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spelling {
    /// Digits behind the point, where all values have as many; otherwise none that are zeros at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digits: Option<usize>,
    /// What every value ends in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub end: String,
}

/// Of the columns of a Parquet file, by name.
pub type Spellings = BTreeMap<String, Spelling>;

/// The key of a Parquet file's own metadata that has them, as JSON.
pub const SPELLINGS: &str = "millrace.spellings";

/// Values of UTC end so.
const UTC: &str = "+00";

impl Spelling {
    /// Looks at one value more; `known` is what was found of those before, `None` where there are none.
    pub fn look(known: Option<Self>, value: &[u8]) -> Self {
        let (value, end) = value.strip_suffix(UTC.as_bytes()).map_or((value, ""), |value| (value, UTC));
        let point = value.iter().rposition(|byte| *byte == b'.').map_or(value.len(), |at| at + 1);
        let digits = Some(value.len() - point);
        match known {
            None => Self { digits, end: end.to_owned() },
            Some(mut known) => {
                if known.digits != digits {
                    known.digits = None;
                }
                if known.end != end {
                    known.end.clear();
                }
                known
            }
        }
    }

    /// Spells a number or a moment so.
    pub fn apply(&self, text: &mut String) {
        if let Some(digits) = self.digits {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            let fraction = fraction.trim_end_matches('0');
            if fraction.len() <= digits {
                let point = if digits == 0 { "" } else { "." };
                *text = format!("{whole}{point}{fraction:0<digits$}");
            }
        }
        text.push_str(&self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(values: &[&str], kept: &str) -> String {
        let spelling = values.iter().fold(None, |known, value| Some(Spelling::look(known, value.as_bytes())));
        let mut text = kept.to_owned();
        spelling.unwrap_or_default().apply(&mut text);
        text
    }

    #[test]
    fn a_value_is_spelled_as_those_of_its_column_were() {
        assert_eq!(again(&["-1234.50", "0.00"], "-1234.5000"), "-1234.50");
        assert_eq!(again(&["1234", "-7"], "1234.0000"), "1234");
        assert_eq!(
            again(&["2024-01-01 00:00:00+00", "2024-01-01 00:00:00.5+00"], "2024-01-01 00:00:00.5"),
            "2024-01-01 00:00:00.5+00"
        );
        assert_eq!(again(&["2024-01-01 00:00:00.500000"], "2024-01-01 00:00:00.5"), "2024-01-01 00:00:00.500000");
        assert_eq!(again(&["2024-01-01 00:00:00"], "2024-01-01 00:00:00"), "2024-01-01 00:00:00");
        assert_eq!(
            again(&["2024-01-01 09:00:00+09", "2024-01-01 00:00:00+00"], "2024-01-01 00:00:00"),
            "2024-01-01 00:00:00"
        );
        assert_eq!(again(&[], "12.5000"), "12.5000", "nothing is known of it");
    }
}
