//! Brings one cron expression into the plain form that croner reads, checking every field on the way.
//!
//! croner knows the calendar (`L`, `5#2`, either-or of the two day fields), but refuses notations that people bring
//! along from elsewhere: `5/15`, `22-2`, `FRI-MON`, `L5`. Each field is therefore expanded to a list of numbers here,
//! which also lets every error name its field.

use std::collections::BTreeSet;

use super::ScheduleError;

struct FieldRule {
    name: &'static str,
    low: u32,
    high: u32,
    names: &'static [&'static str],
    unit: &'static str,
    /// The longest stride that makes sense: how many different numbers the field has.
    steps: u32,
}

const MONTH_NAMES: &[&str] = &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAY_NAMES: &[&str] = &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const MINUTE: usize = 0;
const HOUR: usize = 1;
const DAY_OF_MONTH: usize = 2;
const MONTH: usize = 3;
const DAY_OF_WEEK: usize = 4;

const RULES: [FieldRule; 5] = [
    FieldRule { name: "minute", low: 0, high: 59, names: &[], unit: "m", steps: 60 },
    FieldRule { name: "hour", low: 0, high: 23, names: &[], unit: "h", steps: 24 },
    FieldRule { name: "day of month", low: 1, high: 31, names: &[], unit: "d", steps: 31 },
    FieldRule { name: "month", low: 1, high: 12, names: MONTH_NAMES, unit: "mo", steps: 12 },
    FieldRule { name: "day of week", low: 0, high: 7, names: DAY_NAMES, unit: "d", steps: 7 },
];

/// One field, expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Field {
    /// A bare `*` stands in it: no restriction, and out of the either-or of the day fields.
    pub star: bool,
    /// The numbers that match.
    pub values: BTreeSet<u32>,
    /// `L` and `#` items in croner's notation.
    pub special: Vec<String>,
}

/// The five fields of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    fields: [Field; 5],
}

impl Fields {
    /// Reads the five fields; `shown` is the text that errors quote.
    pub(super) fn parse(five_fields: &str, shown: &str) -> Result<Self, ScheduleError> {
        let parts: Vec<&str> = five_fields.split_whitespace().collect();
        if parts.len() != RULES.len() {
            let hint = match parts.len() {
                6 | 7 => "seconds and years are not supported: keep minute hour day-of-month month day-of-week",
                _ => "write minute hour day-of-month month day-of-week, such as 0 2 * * *",
            };
            return Err(ScheduleError::Cron {
                text: shown.to_owned(),
                problem: format!("5 fields are wanted, got {}; {hint}", parts.len()),
            });
        }
        let mut fields: [Field; 5] = Default::default();
        for (index, part) in parts.iter().enumerate() {
            fields[index] = parse_field(index, part).map_err(|problem| ScheduleError::CronField {
                text: shown.to_owned(),
                field: index + 1,
                problem: format!("{} {problem}", RULES[index].name),
            })?;
        }
        let fields = Self { fields };
        if fields.never_fires() {
            return Err(ScheduleError::Cron {
                text: shown.to_owned(),
                problem:
                    "it never fires, because no month of field 4 has a day of field 3; choose an earlier day or write L"
                        .to_owned(),
            });
        }
        Ok(fields)
    }

    /// The text for croner.
    pub(super) fn normalised(&self) -> String {
        let texts: Vec<String> = self.fields.iter().enumerate().map(|(index, field)| field.text(index)).collect();
        texts.join(" ")
    }

    pub(super) fn minute(&self) -> &Field {
        &self.fields[MINUTE]
    }

    pub(super) fn hour(&self) -> &Field {
        &self.fields[HOUR]
    }

    pub(super) fn day_of_month(&self) -> &Field {
        &self.fields[DAY_OF_MONTH]
    }

    pub(super) fn month(&self) -> &Field {
        &self.fields[MONTH]
    }

    pub(super) fn day_of_week(&self) -> &Field {
        &self.fields[DAY_OF_WEEK]
    }

    /// Only plain days of the month can miss: every month has each weekday, each month has a last day, and a fifth
    /// weekday comes round in every month, in February too.
    fn never_fires(&self) -> bool {
        let days = self.day_of_month();
        if days.star || !days.special.is_empty() || !self.day_of_week().star {
            return false;
        }
        let first_day = days.values.first().copied().unwrap_or(1);
        let longest = |month: &u32| match month {
            2 => 29,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        !self.month().star && self.month().values.iter().all(|month| longest(month) < first_day)
    }
}

impl Field {
    /// Whether every number of a field with `count` numbers matches.
    pub(super) fn covers(&self, count: usize) -> bool {
        self.star || self.values.len() == count
    }

    fn text(&self, index: usize) -> String {
        let rule = &RULES[index];
        let day_field = index == DAY_OF_MONTH || index == DAY_OF_WEEK;
        // A day field that lists everything still takes part in the either-or, so only a written star becomes one.
        if self.star || (!day_field && self.values.len() == (rule.high - rule.low + 1) as usize) {
            return "*".to_owned();
        }
        let numbers = self.values.iter().map(u32::to_string);
        numbers.chain(self.special.iter().cloned()).collect::<Vec<_>>().join(",")
    }
}

fn parse_field(index: usize, text: &str) -> Result<Field, String> {
    let mut field = Field::default();
    for item in text.split(',') {
        if item.is_empty() {
            return Err(format!("has an empty list entry in '{text}'"));
        }
        parse_item(index, item, &mut field)?;
    }
    if index == DAY_OF_WEEK && field.values.remove(&7) {
        field.values.insert(0);
    }
    if field.star {
        field.values.clear();
        field.special.clear();
    }
    Ok(field)
}

fn parse_item(index: usize, item: &str, field: &mut Field) -> Result<(), String> {
    let rule = &RULES[index];
    let day_field = index == DAY_OF_MONTH || index == DAY_OF_WEEK;
    if item == "*" || (day_field && item == "?") {
        field.star = true;
        return Ok(());
    }
    if day_field && let Some(special) = parse_special(index, item)? {
        field.special.push(special);
        return Ok(());
    }
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(parse_step(rule, step)?)),
        None => (item, None),
    };
    // A week has seven days: 7 is only another way of writing Sunday as a bound.
    let top = if index == DAY_OF_WEEK { 6 } else { rule.high };
    let (from, to) = if range == "*" {
        (rule.low, top)
    } else if let Some((from, to)) = range.split_once('-') {
        (parse_value(rule, from)?, parse_value(rule, to)?)
    } else {
        let from = parse_value(rule, range)?;
        (from, if step.is_some() { top.max(from) } else { from })
    };
    let numbers: Vec<u32> = if from <= to {
        (from..=to).collect()
    } else if index == DAY_OF_WEEK && from == 7 {
        (0..=to).collect()
    } else {
        (from..=top).chain(rule.low..=to).collect()
    };
    field.values.extend(numbers.into_iter().step_by(step.unwrap_or(1)));
    Ok(())
}

/// `L` and `#` items, in croner's notation.
fn parse_special(index: usize, item: &str) -> Result<Option<String>, String> {
    let rule = &RULES[index];
    if index == DAY_OF_MONTH {
        if item.eq_ignore_ascii_case("L") {
            return Ok(Some("L".to_owned()));
        }
        if item.ends_with(['W', 'w']) {
            return Err(format!("'{item}' (nearest weekday) is not supported"));
        }
        return Ok(None);
    }
    if let Some((day, nth)) = item.split_once('#') {
        let day = parse_value(rule, day)? % 7;
        return match nth.parse::<u32>() {
            Ok(nth @ 1..=5) => Ok(Some(format!("{day}#{nth}"))),
            _ => Err(format!("takes #1 to #5, got '{item}'")),
        };
    }
    if item.eq_ignore_ascii_case("L") {
        return Err("needs a day with L, such as L5 for the last Friday".to_owned());
    }
    let last = item.strip_prefix(['L', 'l']).or_else(|| item.strip_suffix(['L', 'l']));
    match last {
        Some(day) => Ok(Some(format!("{}L", parse_value(rule, day)? % 7))),
        None => Ok(None),
    }
}

fn parse_step(rule: &FieldRule, text: &str) -> Result<usize, String> {
    let step: u32 = text.parse().map_err(|_| format!("has a step that is not a number: '/{text}'"))?;
    if step == 0 {
        return Err("has a step of zero".to_owned());
    }
    if step > rule.steps {
        return Err(format!(
            "has a step of {step}, more than the {} there are (write every: {step}{})",
            rule.steps, rule.unit
        ));
    }
    Ok(step as usize)
}

fn parse_value(rule: &FieldRule, text: &str) -> Result<u32, String> {
    if let Some(position) = rule.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return Ok(position as u32 + rule.low);
    }
    let range = if rule.names.is_empty() {
        format!("must be {}-{}", rule.low, rule.high)
    } else {
        format!("must be {}-{} or a name such as {}", rule.low, rule.high, rule.names[1])
    };
    match text.parse::<u32>() {
        Ok(value) if (rule.low..=rule.high).contains(&value) => Ok(value),
        Ok(value) => Err(format!("must be {}-{}, got {value}", rule.low, rule.high)),
        Err(_) => Err(format!("{range}, got '{text}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_to_what_croner_reads() {
        let cases = [
            ("* * * * *", "* * * * *"),
            ("*/15 2 * * *", "0,15,30,45 2 * * *"),
            ("5/15 * * * *", "5,20,35,50 * * * *"),
            ("0 22-2 * * *", "0 0,1,2,22,23 * * *"),
            ("0 20-4/3 * * *", "0 2,20,23 * * *"),
            ("0 0 * * FRI-MON", "0 0 * * 0,1,5,6"),
            ("0 0 * * 5-7", "0 0 * * 0,5,6"),
            ("0 0 * * 7-2", "0 0 * * 0,1,2"),
            ("0 0 * * sun-tue", "0 0 * * 0,1,2"),
            ("0 0 * * 5-2/2", "0 0 * * 0,2,5"),
            ("0 0 * * */2", "0 0 * * 0,2,4,6"),
            ("0 0 * * 7", "0 0 * * 0"),
            ("0 0 * * L5", "0 0 * * 5L"),
            ("0 0 * * Lfri,1#1", "0 0 * * 5L,1#1"),
            ("0 0 * * 7#2", "0 0 * * 0#2"),
            ("0 0 L,15 * *", "0 0 15,L * *"),
            ("0 0 ? * 1", "0 0 * * 1"),
            ("0 0 10,* * 1", "0 0 * * 1"),
            ("0 0 1 nov-feb *", "0 0 1 1,2,11,12 *"),
            ("0-59 */1 * * *", "* * * * *"),
            ("*/60 */24 * * *", "0 0 * * *"),
        ];
        for (text, want) in cases {
            assert_eq!(Fields::parse(text, text).unwrap().normalised(), want, "{text}");
        }
        let every_day = Fields::parse("0 0 */1 * 5", "").unwrap().normalised();
        assert!(every_day.starts_with("0 0 1,2,3,") && every_day.ends_with(",31 * 5"), "{every_day}");
    }

    #[test]
    fn names_the_field_and_how_to_mend_it() {
        let cases = [
            ("0 0 1 13 0", "month must be 1-12, got 13 in field 4 of '0 0 1 13 0'"),
            ("60 0 * * *", "minute must be 0-59, got 60 in field 1"),
            ("0 24 * * *", "hour must be 0-23, got 24 in field 2"),
            ("0 0 0 * *", "day of month must be 1-31, got 0 in field 3"),
            ("0 0 * * 8", "day of week must be 0-7, got 8 in field 5"),
            ("0 0 * * FRY", "day of week must be 0-7 or a name such as MON, got 'FRY' in field 5"),
            ("0 0 * FEBR *", "month must be 1-12 or a name such as FEB, got 'FEBR' in field 4"),
            ("*/0 * * * *", "minute has a step of zero in field 1"),
            ("*/90 * * * *", "minute has a step of 90, more than the 60 there are (write every: 90m) in field 1"),
            ("0 0 15W * *", "day of month '15W' (nearest weekday) is not supported in field 3"),
            ("0 0 * * L", "day of week needs a day with L"),
            ("0 0 * * 5#6", "day of week takes #1 to #5, got '5#6' in field 5"),
            ("1,,2 * * * *", "minute has an empty list entry in '1,,2' in field 1"),
            ("-5 * * * *", "minute must be 0-59, got '' in field 1"),
            ("0 2 * *", "5 fields are wanted, got 4; write minute hour"),
            ("0 0 2 * * *", "5 fields are wanted, got 6; seconds and years are not supported"),
            ("0 0 30 2 *", "it never fires"),
            ("0 0 31 4,6,9-11/2 *", "it never fires"),
        ];
        for (text, want) in cases {
            let error = Fields::parse(text, text).unwrap_err().to_string();
            assert!(error.contains(want), "{text}: {error}");
        }
        for fine in ["0 0 29 2 *", "0 0 30 2 1", "0 0 L 2 *", "0 0 31 4-5 *"] {
            assert!(Fields::parse(fine, fine).is_ok(), "{fine}");
        }
    }
}
