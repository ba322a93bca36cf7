//! What a column would change in a value while it takes it, without a word: digits behind the point, parts of a second,
//! the time of a day, an offset, the last digits of a float. Such a value is refused instead.

mod arrays;
mod intervals;
mod moments;
mod numbers;

use intervals::Unit;
use moments::Moment;
pub use moments::says_zone;
use numbers::{digits_behind_point, float_keeps, fraction, sqlite_number_keeps, sqlite_text_changes};

/// What takes a value that a column does not hold.
pub const WIDER: &str = "a wider column holds it (table_copy makes it one: widen_columns: true)";
/// What else takes a text that is too long.
pub const CUT: &str =
    "copy and upsert would cut it (copy_options: truncatecolumns), table_copy by LEFT in custom_select";

/// What a column keeps of a value, read from its type once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keeps {
    /// All of it, or the engine says by itself what it does not take.
    #[default]
    All,
    /// So many digits behind the point; of a negative number, as many zeros before it.
    Scale { digits: i32, type_name: String },
    /// Of a date, a time or both what it has a place for.
    Moment(Moment),
    /// Of a length of time so many digits of a second.
    Seconds { digits: usize, type_name: String },
    /// Of a length of time what is not less than the unit.
    Interval { lowest: Unit, type_name: String },
    /// Of each element what its type keeps.
    Array(Box<Keeps>),
    /// So many characters: blanks beyond them would be cut off.
    Characters { most: usize, type_name: String },
    /// So many bytes.
    Bytes { most: usize, type_name: String },
    /// The bits of a float.
    Float { is_double: bool },
    /// What SQLite makes of a text in a column of numbers: an integer of 64 bits, or a double.
    SqliteNumber { type_name: String },
    /// The same in a column that is declared as something else, whose texts SQLite takes for numbers where it can.
    SqliteText { type_name: String },
}

impl Keeps {
    /// Of a column of PostgreSQL, by its type with its modifiers: `numeric(10,2)`, `timestamp(0) without time zone`.
    pub fn of_postgres(type_name: &str) -> Self {
        if let Some(element) = type_name.strip_suffix("[]") {
            return match Self::of_postgres(element) {
                Self::All => Self::All,
                keeps => Self::Array(Box::new(keeps)),
            };
        }
        let name = type_name.split('(').next().unwrap_or_default().trim();
        let numbers: Vec<i32> = type_name
            .split_once('(')
            .and_then(|(_, rest)| rest.split(')').next())
            .map(|numbers| numbers.split(',').filter_map(|number| number.trim().parse().ok()).collect())
            .unwrap_or_default();
        let type_name = type_name.to_owned();
        let length = || numbers.first().and_then(|digits| usize::try_from(*digits).ok());
        if let Some(moment) = Moment::of(name, length(), &type_name) {
            return Self::Moment(moment);
        }
        match name {
            "numeric" if !numbers.is_empty() => Self::Scale { digits: numbers.get(1).copied().unwrap_or(0), type_name },
            "money" => Self::Scale { digits: 2, type_name },
            _ if name.starts_with("interval") => match Unit::lowest_of(name) {
                Some(lowest) => Self::Interval { lowest, type_name },
                None => Self::Seconds { digits: length().unwrap_or(6), type_name },
            },
            "name" => Self::Bytes { most: 63, type_name },
            "\"char\"" => Self::Bytes { most: 1, type_name },
            "real" => Self::Float { is_double: false },
            "double precision" => Self::Float { is_double: true },
            "character varying" => match length() {
                Some(most) => Self::Characters { most, type_name },
                None => Self::All,
            },
            _ => Self::All,
        }
    }

    /// Of a column of SQLite: its declared type is all there is, and most names mean numbers.
    pub fn of_sqlite(type_name: &str) -> Self {
        let upper = type_name.to_ascii_uppercase();
        let has = |words: &[&str]| words.iter().any(|word| upper.contains(word));
        if has(&["INT", "CHAR", "CLOB", "TEXT", "BLOB", "BYTEA", "BINARY"]) || upper.trim().is_empty() {
            return Self::All;
        }
        if has(&["REAL", "FLOA", "DOUB"]) {
            return Self::Float { is_double: true };
        }
        let type_name = type_name.to_owned();
        if has(&["NUM", "DEC", "MONEY"]) { Self::SqliteNumber { type_name } } else { Self::SqliteText { type_name } }
    }

    /// Of a column of days.
    pub fn is_day(&self) -> bool {
        matches!(self, Self::Moment(moment) if moment.is_day())
    }

    /// True where only digits would go, which a load may allow.
    fn is_rounding(&self) -> bool {
        matches!(self, Self::Scale { .. } | Self::Seconds { .. } | Self::Float { .. } | Self::SqliteNumber { .. })
    }

    /// True where the first look shows that the value is kept, which it is for nearly every one.
    pub fn is_plain(&self, value: &[u8]) -> bool {
        match self {
            Self::All => true,
            Self::Moment(moment) => moment.is_plain(value),
            Self::Scale { digits, .. } => numbers::is_plain_decimal(value, *digits),
            Self::Float { is_double } => numbers::is_plain_float(value, *is_double),
            Self::SqliteNumber { .. } => numbers::is_plain_float(value, true),
            Self::Bytes { most, .. } | Self::Characters { most, .. } => value.len() <= *most,
            _ => false,
        }
    }

    /// What would be lost; `None` when nothing would.
    pub fn change(&self, value: &[u8], may_round: bool) -> Option<String> {
        if self.is_plain(value) || (may_round && self.is_rounding()) {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        let trimmed = text.trim();
        match self {
            Self::All => None,
            Self::Moment(moment) => moment.change(trimmed, may_round),
            Self::Scale { digits, type_name } => {
                let behind = digits_behind_point(trimmed)?;
                (behind > *digits).then(|| match *digits {
                    0.. => format!(
                        "has {behind} digits behind the point, and {type_name} would round it to {digits}; {ROUNDEC}, a \
                         column with more digits keeps them"
                    ),
                    _ => format!("would be rounded to tens, hundreds, … by {type_name}; {ROUNDEC}"),
                })
            }
            Self::Seconds { digits, type_name } => {
                let found = fraction(trimmed);
                (found > *digits).then(|| {
                    format!("has {found} digits of a second, and {type_name} would round it to {digits}; {ROUNDEC}")
                })
            }
            Self::Interval { lowest, type_name } => lowest.change(trimmed, type_name),
            Self::Array(element) => arrays::elements(trimmed)
                .find_map(|value| element.change(value.as_bytes(), may_round))
                .map(|change| format!("holds an element that {change}")),
            Self::Bytes { most, type_name } => (text.len() > *most)
                .then(|| format!("is {} bytes long, and {type_name} would cut it to {most}; text keeps it", text.len())),
            Self::Characters { most, type_name } => (text.len() > *most && text.chars().count() > *most).then(|| {
                format!(
                    "is too long for {type_name} ({} characters); {WIDER}; {CUT}",
                    text.chars().count()
                )
            }),
            Self::Float { is_double } => (!float_keeps(trimmed, *is_double)).then(|| {
                let name = if *is_double { "double precision" } else { "real" };
                format!("has more digits than {name} holds; {ROUNDEC}, a decimal or wider column keeps them")
            }),
            Self::SqliteNumber { type_name } => (!sqlite_number_keeps(trimmed)).then(|| {
                format!("has more digits than SQLite keeps in a column declared {type_name}; declare it TEXT, or {ROUNDEC}")
            }),
            Self::SqliteText { type_name } => sqlite_text_changes(text).then(|| {
                format!(
                    "looks like a number, and SQLite would write it differently in a column declared {type_name}; declare \
                     it TEXT"
                )
            }),
        }
    }
}

/// What lets digits go.
pub const ROUNDEC: &str = "copy and upsert round it by copy_options: roundec, table_copy by what custom_select says";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::too_many_lines, reason = "a flat table")]
    fn what_a_column_of_postgres_would_change_is_seen() {
        let kept = [
            ("numeric(10,2)", "12.50"),
            ("numeric(10,2)", "12.5000"),
            ("numeric(10,2)", "-1e3"),
            ("numeric(10,2)", "1.25e1"),
            ("numeric(10,2)", "NaN"),
            ("numeric", "0.00000000000000000001"),
            ("numeric(4,-2)", "1200"),
            ("money", "-1234.50"),
            ("timestamp(0) without time zone", "2024-01-01 00:00:00.000"),
            ("timestamp without time zone", "2024-01-01 00:00:00.123456"),
            ("timestamp without time zone", "2024-01-01 00:00:00+00"),
            ("timestamp without time zone", "2024-01-01T00:00:00Z"),
            ("timestamp without time zone", "0044-03-15 00:00:00 BC"),
            ("timestamp with time zone", "2024-01-01 00:00:00+09"),
            ("date", "2024-01-01"),
            ("date", "2024-01-01 00:00:00"),
            ("date", "0044-03-15 BC"),
            ("date", "infinity"),
            ("timestamp with time zone", "Mon Jan 01 10:00:00 2024 Asia/Seoul"),
            ("real", "0.1"),
            ("real", "1.1754944e-38"),
            ("real", "0.10000000149011612"),
            ("real", "Infinity"),
            ("double precision", "0.1"),
            ("double precision", "5e-324"),
            ("double precision", "0.10000000000000001"),
            ("double precision", "888665714285714.2"),
            ("double precision", "888665714285714.3"),
            ("double precision", "0.30000000000000004"),
            ("double precision", "9007199254740992"),
            ("double precision", "1.7976931348623157e308"),
            ("double precision", "2.2250738585072014e-308"),
            ("double precision", "-0"),
            ("interval", "-838:59:59.000000"),
            ("interval(0)", "25:00:00"),
            ("character varying(3)", "주문서"),
            ("numeric(10,2)[]", "{1.25,NULL,{-3.500,1e3}}"),
            ("numeric[]", "{0.00000000000000000001}"),
            ("timestamp without time zone[]", "{\"2024-01-01 10:00:00.123456\",infinity}"),
            ("date[]", "[0:1]={2024-01-01,\"2024-01-01 00:00:00\"}"),
            ("time without time zone", "10:00:00+00"),
            ("time without time zone", "10:00:00 PM"),
            ("timestamp without time zone", "0044-03-15 10:00:00 BC"),
            ("timestamp without time zone", "2024-01-01T10:00:00Z"),
            ("timestamp without time zone", "2024-01-01 10:00:00 UTC"),
            ("timestamp without time zone", "2024-01-01 10:00:00 Etc/UTC"),
            ("timestamp without time zone", "Tue Jan 02 10:00:00 2024"),
            ("timestamp without time zone", "-infinity"),
            ("date", "2-Jan-2024"),
            ("date", "2024/1/2"),
            ("date", "31/Jan/2024"),
            ("timestamp without time zone", "Jan 31, 2024, 10:20:30 AM"),
            ("timestamp with time zone", "Tue Jan  2 10:00:00 UTC 2024"),
            ("timestamp without time zone", "Tue Jan  2 10:00:00 UTC 2024"),
            ("timestamp with time zone", "2024-01-02 10:00 Etc/GMT+9"),
            ("timestamp with time zone", "2024-01-02 10:00 America/Port-au-Prince"),
            ("date", "20240102"),
            ("date", "Tue, 2 Jan 2024"),
            ("timestamp without time zone", "20240102T100000.5Z"),
            ("timestamp with time zone", "Tue, 02 Jan 2024 10:00:00 +0900"),
            ("timestamp with time zone", "2024-01-02 10:00:00-03:30:12 BC"),
            ("timestamp with time zone", "12024-01-02 10:00:00+09"),
            ("time with time zone", "10:00:00+09"),
            ("interval day", "-1 days"),
            ("interval day", "1 year 2 mons 3 days 00:00:00"),
            ("interval year to month", "1 year -2 mons"),
            ("interval hour to minute", "10:20:00"),
            ("interval day to second(3)", "1 day 10:20:30.123"),
            ("name", "a"),
            ("\"char\"", "a"),
        ];
        for (type_name, value) in kept {
            assert_eq!(Keeps::of_postgres(type_name).change(value.as_bytes(), false), None, "{type_name} {value}");
        }
        let changed = [
            ("numeric(10,2)", "12.3456", "4 digits behind the point"),
            ("numeric(10,2)", "1e-3", "3 digits behind the point"),
            ("numeric(10,0)", "0.5", "round it to 0"),
            ("numeric(4,-2)", "1234", "rounded to tens"),
            ("money", "1.239", "3 digits"),
            ("timestamp(0) without time zone", "2024-01-01 00:00:00.5", "1 digits of a second"),
            ("timestamp without time zone", "2024-01-01 00:00:00.1234567", "7 digits of a second"),
            ("timestamp without time zone", "2024-01-01 00:00:00+09", "offset"),
            ("timestamp without time zone", "2024-01-01T00:00:00-03:30", "offset"),
            ("timestamp without time zone", "2024-01-01 10:00 PST", "a zone"),
            ("timestamp without time zone", "2024-01-01 10:00:00 America/New_York", "a zone"),
            ("time without time zone", "10:00 EST", "a zone"),
            ("time without time zone", "9:00 PST", "a zone"),
            ("timestamp without time zone", "20240102T100000+09", "a zone"),
            ("timestamp without time zone", "2024-1-2 10:00 PST", "a zone"),
            ("timestamp without time zone", "2024-01-02 +09", "a zone"),
            ("timestamp without time zone", "Tue Jan 02 10:00:00 2024 PST", "a zone"),
            ("timestamp without time zone", "Jan 2 1030 2024", "write it as"),
            ("timestamp with time zone", "2024-01-02 10:00:00 UTC+9", "write it as"),
            ("time with time zone", "10:00 KST-9", "write it as"),
            ("timestamp without time zone", "Tue Jan  2 10:00:00 KST 2024", "a zone"),
            ("timestamp without time zone", "240102", "write it as 2024-01-31 10:20:30.5,"),
            ("timestamp with time zone", "99.008", "write it as 2024-01-31 10:20:30.5+09,"),
            ("timestamp without time zone", "1704067200", "write it as"),
            ("timestamp without time zone", "J2460000", "write it as"),
            ("date", "2024-1-2 10:00", "time of day"),
            ("date", "20240102 100000", "write it as 2024-01-31,"),
            ("date", "20240102T100000", "time of day"),
            ("date", "2024-01-02 00:00 PM", "time of day"),
            ("date", "2024-01-02 PM", "letters behind it"),
            ("timestamp with time zone", "2024-01-02 10:00 IST", "letters behind it"),
            ("timestamp with time zone", "Tue Jan  2 10:00:00 KST 2024", "letters behind it"),
            ("time with time zone", "12:30 BC", "letters behind it"),
            ("date", "Tue Jan 02 10:00:00 2024", "time of day"),
            ("date", "294276-12-31 23:59:59.999999", "time of day"),
            ("time without time zone", "-10:00:00", "write it as 10:20:30.5,"),
            ("time without time zone", "100000+09", "write it as 10:20:30.5,"),
            ("time with time zone", "2024-1-2 10:00", "a day before the time"),
            ("timestamp without time zone", "1/2/24", "a year of two digits"),
            ("timestamp with time zone", "05.01.24 10:00", "a year of two digits"),
            ("date", "1-2-24", "a year of two digits"),
            ("date", "2-Jan-24", "a year of two digits"),
            ("timestamp without time zone", "January 2, 24 10:00", "a year of two digits"),
            ("timestamp with time zone", "1/2/24T10:00", "a year of two digits"),
            ("date", "2024-01-01 10:00:00", "time of day"),
            ("date", "today", "the moment of the load"),
            ("date", "EPOCH", "the moment of the load"),
            ("timestamp without time zone", " Now ", "the moment of the load"),
            ("timestamp with time zone", "tomorrow 10:00", "the moment of the load"),
            ("timestamp with time zone[]", "{2024-01-01,yesterday}", "the moment of the load"),
            ("time without time zone", "allballs", "the moment of the load"),
            ("real", "0.30000000000000004", "more digits than real"),
            ("real", "16777217", "more digits than real"),
            ("real", "9007199254740993", "more digits than real"),
            ("double precision", "1234567890123456789012345678.0123456789", "more digits"),
            ("double precision", "1e-400", "more digits"),
            ("double precision", "9007199254740993", "more digits"),
            ("double precision", "12345678901234567.5", "more digits"),
            ("interval(0)", "00:00:00.5", "1 digits of a second"),
            ("character varying(3)", "abc ", "too long"),
            ("numeric(10,2)[]", "{2.5,{1.239}}", "an element that has 3 digits behind the point"),
            ("date[]", "{\"2024-01-01 10:20:30\"}", "an element that has a time of day"),
            ("real[]", "{0.1234567890123}", "an element that has more digits than real"),
            ("timestamp without time zone[]", "{\"2024-01-01 10:00:00+09\"}", "an element that has an offset"),
            ("character varying(3)[]", "{\"a\\\"b \"}", "too long"),
            ("time without time zone", "10:00:00+09", "an offset from UTC"),
            ("time without time zone", "2024-01-01 10:00:00", "a day before the time"),
            ("time with time zone", "2024-01-01 10:00:00+09", "a day before the time"),
            ("interval day", "1 day 10:20:30", "less than a day"),
            ("interval year to month", "1 mon 2 days", "less than a month"),
            ("interval year", "1 year 2 mons", "less than a year"),
            ("interval hour to minute", "-10:20:30", "less than a minute"),
            ("interval day to hour", "10:20:00", "less than an hour"),
            ("interval day", "P1DT10H", "is not written as '1 mon 2 days 10:20:30'"),
            ("name", "1234567890123456789012345678901234567890123456789012345678901234", "cut it to 63"),
            ("\"char\"", "abcdef", "cut it to 1"),
        ];
        for (type_name, value, reason) in changed {
            let said = Keeps::of_postgres(type_name).change(value.as_bytes(), false).unwrap_or_default();
            assert!(said.contains(reason), "{type_name} {value}: {said:?}");
        }
        let rounded = Keeps::of_postgres("numeric(10,2)").change(b"12.3456", true);
        assert_eq!(rounded, None, "where it is allowed");
        assert!(Keeps::of_postgres("date").change(b"2024-01-01 10:00:00", true).is_some(), "that is no rounding");
        assert!(Keeps::of_postgres("timestamp(0)").change(b"now", true).is_some(), "that is no rounding");
    }

    #[test]
    fn what_sqlite_would_change_is_seen() {
        let kept = [
            ("DECIMAL(38,10)", "12.50"),
            ("NUMERIC", "9223372036854775807"),
            ("NUMERIC", "0.1"),
            ("REAL", "0.30000000000000004"),
            ("TEXT", "007"),
            ("", "007"),
            ("STRING", "7"),
            ("STRING", "1.5"),
            ("JSON", "{\"a\": 1.0}"),
            ("JSON", ""),
            ("UUID", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ("TIMESTAMP", "2024-01-01 00:00:00.5"),
        ];
        for (type_name, value) in kept {
            assert_eq!(Keeps::of_sqlite(type_name).change(value.as_bytes(), false), None, "{type_name} {value}");
        }
        let changed = [
            ("DECIMAL(38,10)", "1234567890123456789012345678.0123456789"),
            ("NUMERIC", "18446744073709551615"),
            ("STRING", "007"),
            ("STRING", " 7"),
            ("JSON", "1.0"),
            ("JSON", "1e2"),
            ("UUID", "1e5"),
        ];
        for (type_name, value) in changed {
            assert!(Keeps::of_sqlite(type_name).change(value.as_bytes(), false).is_some(), "{type_name} {value}");
        }
    }
}
