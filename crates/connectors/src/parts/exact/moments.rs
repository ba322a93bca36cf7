//! What a date, a time of day or a moment loses of a text. PostgreSQL reads many more forms than are taken here: years of
//! two digits, whose order it guesses, days of a year, words; and in all of them it passes over what the column has no
//! place for.

use std::sync::LazyLock;

use regex::Regex;

use super::ROUNDEC;

/// What a column of PostgreSQL keeps of a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moment {
    has_day: bool,
    has_clock: bool,
    has_zone: bool,
    /// Of a second.
    digits: usize,
    type_name: String,
}

impl Moment {
    /// `None` for a type of something else.
    pub fn of(name: &str, digits: Option<usize>, type_name: &str) -> Option<Self> {
        let (has_day, has_clock) = match name {
            "date" => (true, false),
            "timestamp" | "timestamp without time zone" | "timestamp with time zone" => (true, true),
            "time" | "time without time zone" | "time with time zone" => (false, true),
            _ => return None,
        };
        let has_zone = type_name.ends_with("with time zone");
        Some(Self { has_day, has_clock, has_zone, digits: digits.unwrap_or(6), type_name: type_name.to_owned() })
    }

    pub fn is_day(&self) -> bool {
        self.has_day && !self.has_clock
    }

    /// True of what comes nearly always, such as 2024-01-31 and 2024-01-31 10:20:30.5 and UTC's offset behind it.
    pub fn is_plain(&self, text: &[u8]) -> bool {
        if !self.has_day || text.len() < 10 || !is_shaped(&text[..10], b"0000-00-00") {
            return false;
        }
        let rest = &text[10..];
        if rest.is_empty() {
            return true;
        }
        let rest = rest.strip_suffix(b"+00").unwrap_or(rest);
        self.has_clock
            && rest.len() >= 9
            && is_shaped(&rest[..9], b" 00:00:00")
            && match rest[9..].split_first() {
                None => true,
                Some((point, digits)) => {
                    *point == b'.' && digits.len() <= self.digits && digits.iter().all(u8::is_ascii_digit)
                }
            }
    }

    /// What would be lost of a text that stands without blanks around it.
    pub fn change(&self, text: &str, may_round: bool) -> Option<String> {
        if names_moment(text) {
            return Some(
                "is one of PostgreSQL's words such as 'now' and 'today', which would become the moment of the load; a column \
                 of text keeps it"
                    .to_owned(),
            );
        }
        if text.is_empty() || (self.has_day && is_endless(text)) {
            return None;
        }
        let type_name = &self.type_name;
        let Some(found) = Written::read(text) else {
            let example = match (self.has_day, self.has_clock) {
                (true, false) => "2024-01-31",
                (false, _) => "10:20:30.5",
                _ => "2024-01-31 10:20:30.5",
            };
            return Some(format!(
                "is not written in a form that every reader takes for the same (a year of two digits is none); write it as \
                 {example}{}, or let a column of text keep it",
                if self.has_zone { "+09" } else { "" }
            ));
        };
        if self.has_clock && !self.has_zone && found.zone.is_some_and(|zone| !is_utc(zone)) {
            return Some(format!(
                "has an offset from UTC or a zone, which {type_name} would drop; a column with time zone keeps the moment"
            ));
        }
        if found.zone.is_some_and(|zone| !is_utc(zone) && zone.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            return Some(
                "has letters behind it that name no zone, or not one alone as CST; write an offset (+09) or a zone's place \
                 (Asia/Seoul)"
                    .to_owned(),
            );
        }
        if found.has_day && !self.has_day {
            return Some(format!(
                "has a day before the time, which {type_name} would drop; a timestamp column keeps it"
            ));
        }
        let clock = found.clock.unwrap_or_default();
        if !self.has_clock {
            return clock
                .bytes()
                .any(|byte| matches!(byte, b'1'..=b'9' | b'p' | b'P'))
                .then(|| "has a time of day, which date would drop; a timestamp column keeps it".to_owned());
        }
        let digits = clock.split_once('.').map_or(0, |(_, digits)| digits.trim_end_matches('0').len());
        (digits > self.digits && !may_round).then(|| {
            format!("has {digits} digits of a second, and {type_name} would round it to {}; {ROUNDEC}", self.digits)
        })
    }
}

/// True where there is a digit wherever the shape has a 0, and else the shape's own byte.
fn is_shaped(text: &[u8], shape: &[u8]) -> bool {
    text.iter().zip(shape).all(|(byte, wanted)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted })
}

/// A text taken apart.
struct Written<'a> {
    has_day: bool,
    clock: Option<&'a str>,
    zone: Option<&'a str>,
}

impl<'a> Written<'a> {
    fn read(text: &'a str) -> Option<Self> {
        FORMS.iter().find_map(|form| {
            let parts = form.captures(text)?;
            let part = |name| parts.name(name).map(|part| part.as_str());
            Some(Self {
                has_day: part("day").is_some(),
                clock: part("clock").or(part("clock_behind_t")),
                zone: part("zone").or(part("zone_before_year")),
            })
        })
    }
}

/// ISO 8601 at length and in short, with the year first and slashes or points, a month by its name as Oracle and mails have
/// it, a time alone, and what `date` prints.
static FORMS: LazyLock<[Regex; 3]> = LazyLock::new(|| {
    let weekday = "(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,?[ ]+)?";
    let month = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*";
    let day = format!(
        r"(?<day>\d{{4,}}(?:-\d\d?-|/\d\d?/|\.\d\d?\.)\d\d?|\d{{8}}|\d\d?[ ./-]{month}[ ./-]\d{{4,}}|{month}[ -]\d\d?(?:,[ ]*|[ -])\d{{4,}}|\d{{4,}}-{month}-\d\d?)"
    );
    let colons = r"\d\d?:\d\d(?::\d\d(?:\.\d*)?)?";
    let half = "(?:[ ]*[ap]m)?";
    // A sign behind letters counts to the west, which nobody means who writes UTC+9; only names of the Etc area have one.
    let name = r"etc/[a-z]+(?:[+-]?\d+)?|[a-z][a-z0-9_]+(?:/[a-z_-]+)*";
    let zone = format!(r"(?:[ ]*(?<zone>z|[+-]\d\d?(?::?\d\d(?::?\d\d)?)?|{name}))??");
    let era = "(?:[ ]+(?:bc|ad))?";
    [
        format!(r"^{weekday}{day}(?:,?[ ]+(?<clock>{colons}{half})|t(?<clock_behind_t>{colons}|\d{{4}}|\d{{6}}(?:\.\d*)?))?{zone}{era}$"),
        format!("^(?<clock>{colons}{half}){zone}$"),
        format!(
            r"^{weekday}(?<day>{month}[ ]+\d\d?|\d\d?[ ]+{month})[ ]+(?<clock>{colons})(?:[ ]+(?<zone_before_year>{name}))?[ ]+\d{{4,}}{zone}{era}$"
        ),
    ]
    .map(|form| Regex::new(&format!("(?i-u){form}")).unwrap_or_else(|error| unreachable!("{error}")))
});

/// All of time that has been or will be.
fn is_endless(text: &str) -> bool {
    ["infinity", "-infinity", "+infinity"].iter().any(|word| word.eq_ignore_ascii_case(text))
}

/// Whether a text in a known form says how far its clock was from UTC, or needs not.
pub fn says_zone(text: &str) -> bool {
    is_endless(text) || Written::read(text).is_some_and(|written| written.zone.is_some())
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

/// Of an offset or the name of a zone.
fn is_utc(zone: &str) -> bool {
    const NAMES: [&str; 6] = ["z", "ut", "utc", "uct", "gmt", "zulu"];
    let zone = zone.to_ascii_lowercase();
    let name = zone.strip_prefix("etc/").unwrap_or(&zone);
    NAMES.contains(&name)
        || (zone.starts_with(['+', '-']) && zone.bytes().all(|byte| matches!(byte, b'+' | b'-' | b':' | b'0')))
}
