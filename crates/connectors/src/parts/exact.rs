//! What a column would change in a value while it takes it, without a word: digits behind the point, parts of a second,
//! the time of a day, an offset, the last digits of a float. Such a value is refused instead.

mod arrays;
mod intervals;

use intervals::Unit;

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
    /// So many digits of a second. Where `zone` is false an offset would be dropped, where `day` is a day before the time.
    Seconds { digits: usize, zone: bool, day: bool, type_name: String },
    /// Of a length of time what is not less than the unit.
    Interval { lowest: Unit, type_name: String },
    /// Of each element what its type keeps.
    Array(Box<Keeps>),
    /// The day alone.
    Day,
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
        let digits = || numbers.first().and_then(|digits| usize::try_from(*digits).ok()).unwrap_or(6);
        let is_zoned = type_name.ends_with("with time zone");
        match name {
            "numeric" if !numbers.is_empty() => Self::Scale { digits: numbers.get(1).copied().unwrap_or(0), type_name },
            "money" => Self::Scale { digits: 2, type_name },
            "timestamp" | "timestamp without time zone" | "timestamp with time zone" => {
                Self::Seconds { digits: digits(), zone: is_zoned, day: true, type_name }
            }
            "time" | "time without time zone" | "time with time zone" => {
                Self::Seconds { digits: digits(), zone: is_zoned, day: false, type_name }
            }
            _ if name.starts_with("interval") => match Unit::lowest_of(name) {
                Some(lowest) => Self::Interval { lowest, type_name },
                None => Self::Seconds { digits: digits(), zone: true, day: true, type_name },
            },
            "name" => Self::Bytes { most: 63, type_name },
            "\"char\"" => Self::Bytes { most: 1, type_name },
            "date" => Self::Day,
            "real" => Self::Float { is_double: false },
            "double precision" => Self::Float { is_double: true },
            "character varying" => match numbers.first().and_then(|most| usize::try_from(*most).ok()) {
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

    /// True where only digits would go, which a load may allow.
    fn is_rounding(&self) -> bool {
        matches!(self, Self::Scale { .. } | Self::Seconds { .. } | Self::Float { .. } | Self::SqliteNumber { .. })
    }

    /// What would be lost; `None` when nothing would.
    pub fn change(&self, value: &[u8], may_round: bool) -> Option<String> {
        if matches!(self, Self::All) {
            return None;
        }
        let text = std::str::from_utf8(value).ok()?;
        let trimmed = text.trim();
        if matches!(self, Self::Seconds { .. } | Self::Day) && names_moment(trimmed) {
            return Some(
                "is one of PostgreSQL's words such as 'now' and 'today', which would become the moment of the load; a column \
                 of text keeps it"
                    .to_owned(),
            );
        }
        if let Self::Seconds { zone: false, type_name, .. } = self
            && has_offset(trimmed)
        {
            return Some(format!(
                "has an offset from UTC or a zone, which {type_name} would drop; a column with time zone keeps the moment"
            ));
        }
        if let Self::Seconds { day: false, type_name, .. } = self
            && behind_day(trimmed).is_some()
        {
            return Some(format!(
                "has a day before the time, which {type_name} would drop; a timestamp column keeps it"
            ));
        }
        if matches!(self, Self::Seconds { .. } | Self::Day) && has_short_year(trimmed) {
            return Some(
                "is a day with a year of two digits, whose order cannot be told; write it as 2024-01-31".to_owned(),
            );
        }
        if may_round && self.is_rounding() {
            return None;
        }
        match self {
            Self::All => None,
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
            Self::Seconds { digits, type_name, .. } => {
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
            Self::Day => has_time(trimmed)
                .then(|| "has a time of day, which date would drop; a timestamp column keeps it".to_owned()),
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

const ROUNDEC: &str = "copy_options: roundec allows that";

/// Significant digits that every double and every float keeps.
const DOUBLE_DIGITS: usize = 15;
const FLOAT_DIGITS: usize = 6;

/// A number as written: its digits without zeros at either end, and the exponent of the last of them.
#[derive(PartialEq, Eq)]
struct Written {
    is_negative: bool,
    digits: String,
    exponent: i32,
}

fn written(text: &str) -> Option<Written> {
    let (is_negative, rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_plain(whole) || !is_plain(fraction) {
        return None;
    }
    let all = [whole, fraction].concat();
    let from_left = all.trim_start_matches('0');
    let digits = from_left.trim_end_matches('0');
    if digits.is_empty() {
        return Some(Written { is_negative: false, digits: String::new(), exponent: 0 });
    }
    let zeros = i32::try_from(from_left.len() - digits.len()).ok()?;
    let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
    Some(Written { is_negative, digits: digits.to_owned(), exponent })
}

/// `None` for what is no number.
fn digits_behind_point(text: &str) -> Option<i32> {
    // As nearly every number comes, in few steps.
    let is_plain = !text.bytes().any(|byte| byte == b'e' || byte == b'E');
    if is_plain && let Some((_, fraction)) = text.split_once('.') {
        let fraction = fraction.trim_end_matches('0');
        if !fraction.is_empty() {
            return fraction.bytes().all(|byte| byte.is_ascii_digit()).then(|| i32::try_from(fraction.len()).ok())?;
        }
    }
    written(text).map(|number| -number.exponent)
}

/// Digits behind the point of a second, without zeros at the end.
fn fraction(text: &str) -> usize {
    let Some((_, rest)) = text.split_once('.') else { return 0 };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].trim_end_matches('0').len()
}

/// What follows the day in `2024-01-31 10:00:00`, where it is written so.
fn behind_day(text: &str) -> Option<&str> {
    let bytes = text.as_bytes();
    let is_day = bytes.len() > 10
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && (bytes[10] == b' ' || bytes[10] == b'T')
        && bytes.get(11).is_some_and(u8::is_ascii_digit);
    if is_day { text.get(11..) } else { None }
}

/// Words that the engine reads as a day or a time, most of them as another one at every load.
const MOMENTS: [&str; 6] = ["now", "today", "tomorrow", "yesterday", "epoch", "allballs"];

/// True of a text with such a word: `today`, `tomorrow 10:00`.
fn names_moment(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && text
            .split(|letter: char| !letter.is_alphanumeric())
            .any(|word| MOMENTS.iter().any(|known| known.eq_ignore_ascii_case(word)))
}

fn has_time(text: &str) -> bool {
    let Some(time) = behind_day(text) else { return false };
    let clock = time.split(['+', '-', 'Z', 'z', ' ']).next().unwrap_or_default();
    clock.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}

/// Of a text that is to be a time without a zone; PostgreSQL would pass over one.
fn has_offset(text: &str) -> bool {
    if text.split(|letter: char| !letter.is_ascii_alphabetic()).any(is_zone) {
        return true;
    }
    let bare_time = || text.get(..3).filter(|hour| hour.ends_with(':')).map(|_| text);
    let at = match behind_day(text).or_else(bare_time) {
        Some(time) => time.find(['+', '-']).map(|at| &time[at..]),
        // Written in another way, where a minus may stand between the parts of the day.
        None => text.find('+').map(|at| &text[at..]),
    };
    at.is_some_and(|offset| offset.bytes().any(|byte| (b'1'..=b'9').contains(&byte)))
}

fn is_zone(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let is_part_of_a_day = word.len() >= 3 && CALENDAR.iter().any(|name| name.starts_with(&word));
    !word.is_empty() && !is_part_of_a_day && !NO_ZONES.contains(&word.as_str())
}

/// Words beside a time that are no zone, or that of UTC.
const NO_ZONES: [&str; 12] = ["t", "z", "ut", "utc", "etc", "gmt", "zulu", "am", "pm", "bc", "ad", "infinity"];
const CALENDAR: [&str; 19] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// `1/2/24`, `2-Jan-24`: each engine, and each session of one, has its own order for them.
fn has_short_year(text: &str) -> bool {
    let bytes = text.as_bytes();
    let clock = (1..bytes.len()).find(|at| bytes[*at] == b'T' && bytes[at - 1].is_ascii_digit());
    let parts: Vec<&str> = text[..clock.unwrap_or(text.len())]
        .split([' ', '/', '.', '-', ','])
        .filter(|part| !part.is_empty())
        .take_while(|part| !part.contains(':'))
        .collect();
    let is_short = |part: &&str| part.len() <= 2 && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_month = |part: &&str| part.bytes().all(|byte| byte.is_ascii_alphabetic()) && !is_zone(part);
    let numbers = parts.iter().filter(|part| is_short(part)).count();
    parts.len() == 3 && numbers >= 2 && parts.iter().all(|part| is_short(part) || is_month(part))
}

/// Whether the float that a text becomes is written as that text again.
fn float_keeps(text: &str, is_double: bool) -> bool {
    let (double, float) = (text.parse::<f64>(), text.parse::<f32>());
    let (Ok(double), Ok(float)) = (double, float) else { return true };
    let Some(number) = written(text) else { return true };
    let (is_usual, most) =
        if is_double { (double.is_normal(), DOUBLE_DIGITS) } else { (float.is_normal(), FLOAT_DIGITS) };
    if number.digits.is_empty() || (is_usual && number.digits.len() <= most) {
        return true;
    }
    if is_double {
        is_nearest(&number, double)
    } else {
        // A double may itself be only near a whole number of so many digits.
        let is_another = || text.trim().parse::<i128>().is_ok_and(|whole| whole != float as i128);
        written(&format!("{float:e}")).is_some_and(|kept| kept == number)
            || (double.is_finite()
                && double.to_bits() == f64::from(float).to_bits()
                && number.digits.len() > 9
                && !is_another())
    }
}

/// Digits that tell every double from every other one.
const MOST_DOUBLE_DIGITS: usize = 17;

/// Whether the double is the number as far as its digits go: off by half of its last digit at most. Writers do not agree
/// on the last digit where two are as good.
fn is_nearest(number: &Written, double: f64) -> bool {
    let count = number.digits.len();
    if !double.is_finite() || double == 0.0 {
        return false;
    }
    if count > MOST_DOUBLE_DIGITS {
        // All of the double's own digits, which are as many as there are.
        return written(&format!("{double:.*e}", count - 1)).is_some_and(|kept| kept == *number);
    }
    if double.is_subnormal() {
        return written(&format!("{double:e}")).is_some_and(|kept| kept == *number);
    }
    let Some(exact) = written(&format!("{:.*e}", count + 17, double)) else { return false };
    let unit = |exponent: i32| u32::try_from(exponent).ok().and_then(|exponent| 10_u128.checked_pow(exponent));
    let lowest = exact.exponent.min(number.exponent - 1);
    let scaled = |digits: &str, exponent: i32| digits.parse::<u128>().ok()?.checked_mul(unit(exponent - lowest)?);
    let (Some(exact), Some(wanted), Some(last)) = (
        scaled(&exact.digits, exact.exponent),
        scaled(&number.digits, number.exponent),
        unit(number.exponent - lowest),
    ) else {
        return false;
    };
    exact.abs_diff(wanted) <= last / 2
}

fn sqlite_number_keeps(text: &str) -> bool {
    text.parse::<i64>().is_ok() || float_keeps(text, true)
}

fn sqlite_text_changes(text: &str) -> bool {
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    if trimmed.is_empty() || written(trimmed).is_none() {
        return false;
    }
    if let Ok(number) = trimmed.parse::<i64>() {
        return number.to_string() != text;
    }
    let is_same = trimmed.parse::<f64>().is_ok_and(|number| number.fract() != 0.0 && format!("{number:?}") == text);
    !is_same || !float_keeps(trimmed, true)
}

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
            ("time without time zone", "-10:00:00"),
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
