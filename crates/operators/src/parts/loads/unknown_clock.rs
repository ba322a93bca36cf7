//! Times of a clock whose zone nobody said, and days, on their way into a column of moments: every engine takes them for UTC,
//! without a word.

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{TableName, ValueType};

/// A column of the rows, and that of the table which its values go into.
pub struct Pair<'a> {
    pub name: &'a str,
    pub value: &'a ValueType,
    pub type_name: &'a str,
}

/// Where the zone is said.
pub struct Mend<'a> {
    /// Of times.
    pub of_clocks: &'a str,
    /// Of days, which become moments only where that is asked for.
    pub of_days: &'a str,
}

/// Whether some of the values may be such times, or days.
pub fn has_clocks(values: &[ValueType]) -> bool {
    values.iter().any(|value| is_clock(value) || is_day(value) || is_hour(value))
}

/// A time of day without a zone, or an array of them.
fn is_hour(value: &ValueType) -> bool {
    match value {
        ValueType::Time { zoned, .. } => !zoned,
        ValueType::Array { of } => is_hour(of),
        _ => false,
    }
}

/// A day, or an array of them: its midnight is another moment in every zone.
fn is_day(value: &ValueType) -> bool {
    match value {
        ValueType::Date => true,
        ValueType::Array { of } => is_day(of),
        _ => false,
    }
}

/// Such a time, or an array of them.
fn is_clock(value: &ValueType) -> bool {
    match value {
        ValueType::Timestamp { zoned } => !zoned,
        ValueType::Array { of } => is_clock(of),
        _ => false,
    }
}

/// Refuses them.
pub fn refuse<'a>(
    target: &TableName,
    pairs: impl IntoIterator<Item = Pair<'a>>,
    mend: &Mend<'_>,
) -> Result<(), TaskError> {
    let (mut clocks, mut days, mut hours) = (Vec::new(), Vec::new(), Vec::new());
    for pair in pairs {
        let named = || format!("{} ({})", pair.name, pair.type_name);
        if !is_moment_type(pair.type_name) {
            if is_hour(pair.value) && is_zoned_time_type(pair.type_name) {
                hours.push(named());
            }
        } else if is_clock(pair.value) {
            clocks.push(named());
        } else if is_day(pair.value) {
            days.push(named());
        }
    }
    let mut found = Vec::new();
    if !clocks.is_empty() {
        found.push(format!(
            "{target} wants moments in {}, and the rows give times without a zone, which would be taken for UTC: say in which \
             zone the clock ran, or that it was UTC, {}; or make the table's column a timestamp without a zone, which keeps what \
             the clock said",
            clocks.join(", "),
            mend.of_clocks
        ));
    }
    if !days.is_empty() {
        found.push(format!(
            "{target} wants moments in {}, and the rows give days, whose midnight would be taken for that of UTC: say whose \
             midnight it is, {}; or make the table's column a date",
            days.join(", "),
            mend.of_days
        ));
    }
    if !hours.is_empty() {
        found.push(format!(
            "{target} wants times with a zone in {}, and the rows give times without one, which would be taken for UTC: say it \
             in the query ((at || '+09')::timetz AS at), or make the table's column a time without time zone",
            hours.join(", "),
        ));
    }
    if found.is_empty() { Ok(()) } else { Err(TaskError::Fail(found.join(". "))) }
}

/// Whether a column of that type holds moments, in any engine's words.
pub fn is_moment_type(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("timestamp") && (name.contains("timestamptz") || name.contains(" with time zone"))
}

fn is_zoned_time_type(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("timetz")
        || (name.starts_with("time") && name.contains(" with time zone") && !is_moment_type(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_seen_in_arrays_too() {
        let clock = || ValueType::Timestamp { zoned: false };
        let array = |of: ValueType| ValueType::Array { of: Box::new(of) };
        assert!(has_clocks(&[ValueType::Date, array(array(clock()))]));
        assert!(has_clocks(&[array(ValueType::Date)]));
        assert!(!has_clocks(&[ValueType::Uuid, array(ValueType::Timestamp { zoned: true })]));
    }

    #[test]
    fn days_and_clocks_have_ways_out_of_their_own() {
        let target = TableName { schema: None, name: "t".to_owned() };
        let refused = |value: &ValueType, type_name: &str| {
            let pair = Pair { name: "at", value, type_name };
            let mend = Mend { of_clocks: "by the clock", of_days: "by the day" };
            refuse(&target, [pair], &mend).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(&ValueType::Timestamp { zoned: false }, "timestamptz").contains("UTC, by the clock; or make"));
        assert!(refused(&ValueType::Date, "timestamp with time zone").contains("it is, by the day; or make"));
        let hour = |zoned| ValueType::Time { beyond_day: false, zoned };
        assert!(refused(&hour(false), "time(3) with time zone").contains("times with a zone in at (time(3) with"));
        assert!(refused(&hour(false), "timetz").contains("taken for UTC"));
        assert_eq!(refused(&hour(true), "timetz"), "");
        assert_eq!(refused(&hour(false), "time without time zone"), "");
        assert_eq!(refused(&ValueType::Date, "timestamp"), "");
        assert_eq!(refused(&ValueType::TEXT, "timestamptz"), "", "texts are looked at one by one");
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
