//! Times of a clock whose zone nobody said, on their way into a column of moments: every engine takes them for UTC, without a
//! word.

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{TableName, ValueType};

/// A column of the rows, and that of the table which its values go into.
pub struct Pair<'a> {
    pub name: &'a str,
    pub value: &'a ValueType,
    pub type_name: &'a str,
}

/// Whether some of the values may be such times.
pub fn has_clocks(values: &[ValueType]) -> bool {
    values.iter().any(is_clock)
}

/// Such a time, or an array of them.
fn is_clock(value: &ValueType) -> bool {
    match value {
        ValueType::Timestamp { zoned } => !zoned,
        ValueType::Array { of } => is_clock(of),
        _ => false,
    }
}

/// Refuses them. `mend` says where the zone is said.
pub fn refuse<'a>(target: &TableName, pairs: impl IntoIterator<Item = Pair<'a>>, mend: &str) -> Result<(), TaskError> {
    let unknown: Vec<String> = pairs
        .into_iter()
        .filter(|pair| is_clock(pair.value) && is_moment_type(pair.type_name))
        .map(|pair| format!("{} ({})", pair.name, pair.type_name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "{target} wants moments in {}, and the rows give times without a zone, which would be taken for UTC: say in which zone \
         the clock ran, or that it was UTC, {mend}; or make the table's column a timestamp without a zone, which keeps what the \
         clock said",
        unknown.join(", ")
    )))
}

/// Whether a column of that type holds moments, in any engine's words.
fn is_moment_type(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("timestamp") && (name.contains("timestamptz") || name.contains(" with time zone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_seen_in_arrays_too() {
        let clock = || ValueType::Timestamp { zoned: false };
        let array = |of: ValueType| ValueType::Array { of: Box::new(of) };
        assert!(has_clocks(&[ValueType::Date, array(array(clock()))]));
        assert!(!has_clocks(&[ValueType::Date, array(ValueType::Timestamp { zoned: true })]));
    }

    #[test]
    fn columns_of_moments_are_known_by_the_names_of_every_engine() {
        for name in [
            "timestamptz",
            "timestamp with time zone",
            "timestamp(3) with time zone",
            "timestamp with time zone[]",
            "TIMESTAMPTZ",
        ] {
            assert!(is_moment_type(name), "{name}");
        }
        for name in [
            "timestamp",
            "timestamp without time zone",
            "timestamp(3) without time zone",
            "TIMESTAMP",
            "date",
            "timetz",
        ] {
            assert!(!is_moment_type(name), "{name}");
        }
    }
}
