//! A schedule in words.

use chrono_tz::Tz;

use super::Schedule;
use super::cron::CronExpression;
use super::fields::Field;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// More times of day than this are not worth spelling out.
const MOST_TIMES: usize = 6;

pub(super) fn describe(schedule: &Schedule, zone: Tz) -> String {
    match schedule {
        Schedule::None => "only when triggered".to_owned(),
        Schedule::Once => "once".to_owned(),
        Schedule::Continuous => "continuously, one run after another".to_owned(),
        Schedule::Delta(step) => format!("every {step}"),
        Schedule::Events(events) if events.len() == 1 => "at 1 listed time".to_owned(),
        Schedule::Events(events) => format!("at {} listed times", events.len()),
        Schedule::Cron { expressions } => {
            let texts: Vec<String> = expressions
                .iter()
                .map(|cron| in_words(cron).unwrap_or_else(|| format!("cron {}", cron.as_str())))
                .collect();
            format!("{} ({})", texts.join(", and "), zone.name())
        }
    }
}

fn in_words(cron: &CronExpression) -> Option<String> {
    let fields = cron.fields();
    let days = days_in_words(cron)?;
    let hours: Vec<u32> = fields.hour().values.iter().copied().collect();
    let minutes: Vec<u32> = fields.minute().values.iter().copied().collect();
    let every_day = days == "every day";
    let within = |clock: String| if every_day { clock } else { format!("{clock}, {days}") };
    if fields.hour().covers(24) {
        return match (stride(fields.minute(), 0, 59), minutes.as_slice()) {
            (Some(1), _) => Some(within("every minute".to_owned())),
            (Some(stride), _) => Some(within(format!("every {stride} minutes"))),
            (None, [0]) => Some(within("every hour".to_owned())),
            (None, [minute]) => Some(within(format!("every hour at minute {minute}"))),
            _ => None,
        };
    }
    let [minute] = minutes.as_slice() else { return None };
    if *minute == 0
        && let Some(stride) = stride(fields.hour(), 0, 23)
    {
        return Some(within(format!("every {stride} hours")));
    }
    if hours.len() > MOST_TIMES {
        return None;
    }
    let times: Vec<String> = hours.iter().map(|hour| format!("{hour:02}:{minute:02}")).collect();
    Some(format!("{days} at {}", listed(&times)))
}

/// `n` when the field is all of `low..=high` in steps of `n`, from `low` on, and the last step is a full one.
fn stride(field: &Field, low: u32, high: u32) -> Option<u32> {
    if field.covers((high - low + 1) as usize) {
        return Some(1);
    }
    let values: Vec<u32> = field.values.iter().copied().collect();
    let [first, second, ..] = values.as_slice() else { return None };
    let step = second - first;
    let regular = *first == low && (high - low + 1).is_multiple_of(step);
    let wanted = (low..=high).step_by(step as usize);
    (regular && values.iter().copied().eq(wanted)).then_some(step)
}

fn days_in_words(cron: &CronExpression) -> Option<String> {
    let fields = cron.fields();
    let (month_days, week_days, month) = (fields.day_of_month(), fields.day_of_week(), fields.month());
    let months = if month.covers(12) {
        None
    } else {
        let names: Vec<String> = month.values.iter().map(|month| MONTHS[(*month - 1) as usize].to_owned()).collect();
        Some(listed(&names))
    };
    let days = match (month_days.star, week_days.star) {
        (true, true) => return Some(months.map_or_else(|| "every day".to_owned(), |m| format!("every day in {m}"))),
        (false, true) => day_of_month_in_words(month_days, months.as_deref())?,
        (true, false) => day_of_week_in_words(week_days, months.as_deref())?,
        (false, false) => return None,
    };
    Some(days)
}

fn day_of_month_in_words(field: &Field, months: Option<&str>) -> Option<String> {
    let mut names: Vec<String> = field.values.iter().map(u32::to_string).collect();
    let last = !field.special.is_empty();
    if names.len() > MOST_TIMES {
        return None;
    }
    let of = months.map_or_else(|| "every month".to_owned(), str::to_owned);
    if names.is_empty() {
        return Some(format!("on the last day of {of}"));
    }
    if last {
        names.push("the last".to_owned());
    }
    let day = if names.len() == 1 { "day" } else { "days" };
    Some(format!("on {day} {} of {of}", listed(&names)))
}

fn day_of_week_in_words(field: &Field, months: Option<&str>) -> Option<String> {
    const ORDER: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
    let within = months.map_or_else(String::new, |months| format!(" in {months}"));
    if field.special.is_empty() {
        let values: Vec<u32> = field.values.iter().copied().collect();
        if values == [1, 2, 3, 4, 5] {
            return Some(format!("Monday to Friday{within}"));
        }
        let names: Vec<String> = values.iter().map(|day| DAYS[*day as usize].to_owned()).collect();
        return Some(format!("every {}{within}", listed(&names)));
    }
    let [only] = field.special.as_slice() else { return None };
    if !field.values.is_empty() {
        return None;
    }
    let of = months.unwrap_or("every month");
    let name = |day: &str| day.parse::<usize>().ok().and_then(|day| DAYS.get(day)).copied();
    if let Some((day, nth)) = only.split_once('#') {
        let nth = ORDER.get(nth.parse::<usize>().ok()?.checked_sub(1)?)?;
        return Some(format!("on the {nth} {} of {of}", name(day)?));
    }
    Some(format!("on the last {} of {of}", name(only.strip_suffix('L')?)?))
}

fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
