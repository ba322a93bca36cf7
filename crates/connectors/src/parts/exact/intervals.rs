//! What an interval that was declared with fields (`interval day`, `interval year to month`) keeps.

/// From the longest to the shortest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    /// The shortest unit of the type's fields; `None` where it keeps seconds.
    pub fn lowest_of(type_name: &str) -> Option<Self> {
        match type_name.rsplit(' ').next()? {
            "year" => Some(Self::Year),
            "month" => Some(Self::Month),
            "day" => Some(Self::Day),
            "hour" => Some(Self::Hour),
            "minute" => Some(Self::Minute),
            _ => None,
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        match word.trim_end_matches('s') {
            "year" => Some(Self::Year),
            "mon" | "month" => Some(Self::Month),
            "day" => Some(Self::Day),
            "hour" => Some(Self::Hour),
            "min" | "minute" => Some(Self::Minute),
            "sec" | "second" => Some(Self::Second),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Year => "a year",
            Self::Month => "a month",
            Self::Day => "a day",
            Self::Hour => "an hour",
            Self::Minute => "a minute",
            Self::Second => "a second",
        }
    }

    /// What a type whose shortest unit this is would change in the text.
    pub fn change(self, text: &str, type_name: &str) -> Option<String> {
        match shortest(text) {
            Ok(found) if found > Some(self) => Some(format!(
                "has a part of less than {}, which {type_name} would drop; interval keeps it",
                self.name()
            )),
            Ok(_) => None,
            Err(Unread) => Some(format!(
                "is not written as '1 mon 2 days 10:20:30', so that what {type_name} would drop cannot be seen; interval keeps \
                 all of it"
            )),
        }
    }
}

/// What is not written as PostgreSQL writes an interval.
struct Unread;

/// The shortest unit that is not zero; `None` where all are.
fn shortest(text: &str) -> Result<Option<Unit>, Unread> {
    let mut found = None;
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let number = word.trim_start_matches(['-', '+']);
        let is_zero = |number: &str| number.bytes().all(|byte| matches!(byte, b'0' | b'.'));
        if number.is_empty() || !number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b':')) {
            return Err(Unread);
        }
        if number.contains(':') {
            let parts = number.split(':').zip([Unit::Hour, Unit::Minute, Unit::Second]);
            found = found.max(parts.filter(|(part, _)| !is_zero(part)).map(|(_, unit)| unit).last());
        } else {
            let unit = words.next().and_then(Unit::of_word).ok_or(Unread)?;
            found = found.max((!is_zero(number)).then_some(unit));
        }
    }
    Ok(found)
}
