//! Years of a DAG's runs, a square for each day; the days to come on which it is planned, too.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use chrono::{DateTime, Datelike, Days, NaiveDate, TimeZone, Utc};
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_model::state::RunState;
use millrace_planner::next_runs;
use millrace_store::DagRow;
use serde::Serialize;

use super::head::Tab;
use crate::access::person::Person;
use crate::format::words;
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::viewer::zone_for;
use crate::words::fill;

/// Dates of one year that are read and planned; those of an hourly DAG are fewer.
const MOST_DATES: usize = 10_000;
const YEARS_SHOWN: i32 = 2;

#[derive(Debug, Serialize)]
struct Day {
    /// Week of the year and day of the week, from 0, Monday first.
    week: u32,
    weekday: u32,
    state: &'static str,
    is_planned: bool,
    href: Option<String>,
    title: String,
}

#[derive(Debug, Serialize)]
struct Year {
    number: i32,
    days: Vec<Day>,
    /// Where each month begins, in weeks.
    months: Vec<(u32, u32)>,
    counts: Vec<(&'static str, usize)>,
    /// There are more runs than are shown.
    is_cut: bool,
}

/// What a day's runs came to.
#[derive(Default)]
struct Sum {
    counts: BTreeMap<&'static str, usize>,
    /// Of the worst run.
    worst: Option<(u8, String)>,
    planned: usize,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    let zone = zone_for(row.dag.timetable.timezone);
    let this_year = server.now().with_timezone(&zone).year();
    let latest = parameters.number::<i32>("year")?.unwrap_or(this_year);
    if !(1970..=9999).contains(&latest) {
        return Err(Problem::invalid(format!("parameter 'year' must be between 1970 and 9999, not {latest}")));
    }
    let mut years = Vec::new();
    for number in (0..YEARS_SHOWN).map(|back| latest - back) {
        let year = year(&server, &row, number, zone).await?;
        // An empty year before would only push the others off a small screen.
        if number == latest || !year.counts.is_empty() {
            years.push(year);
        }
    }
    let values = values! {
        dag => server.dag_head(&row, Tab::Calendar),
        years,
        zone => zone.name(),
        before => latest - YEARS_SHOWN,
        after => (latest < this_year + 1).then_some(latest + 1),
    };
    server.page("dag_calendar.html", Some(&person), &Wishes::of(&headers), values).await
}

async fn year(server: &Server, row: &DagRow, number: i32, zone: Tz) -> Answer<Year> {
    let first = NaiveDate::from_ymd_opt(number, 1, 1).unwrap_or_default();
    let (from, to) = (midnight(first, zone), midnight(first_of(number + 1), zone));
    let dates = server.store().run_dates(&row.dag_id, from, to, MOST_DATES as u64).await?;
    let is_cut = dates.len() == MOST_DATES;
    let mut sums: BTreeMap<NaiveDate, Sum> = BTreeMap::new();
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for date in dates {
        let sum = sums.entry(date.logical_date.with_timezone(&zone).date_naive()).or_default();
        *sum.counts.entry(date.state.as_str()).or_default() += 1;
        *counts.entry(date.state.as_str()).or_default() += 1;
        let weight = weight(date.state);
        if sum.worst.as_ref().is_none_or(|(worst, _)| weight > *worst) {
            sum.worst = Some((weight, date.run_id.to_string()));
        }
    }
    let now = server.now();
    if !row.is_paused && !row.is_stale && to > now {
        let previous = server.store().last_automated_interval(&row.dag_id).await?;
        let coming = next_runs(&row.dag, previous.as_ref(), now).take(MOST_DATES);
        for run in coming.take_while(|run| run.logical_date < to) {
            if run.logical_date >= from {
                sums.entry(run.logical_date.with_timezone(&zone).date_naive()).or_default().planned += 1;
            }
        }
    }
    let days = first.iter_days().take_while(|day| day.year() == number).map(|day| {
        let sum = sums.remove(&day).unwrap_or_default();
        draw(row.dag_id.as_str(), day, first, &sum)
    });
    let months = (1..=12).filter_map(|month| Some((month, week_of(NaiveDate::from_ymd_opt(number, month, 1)?, first))));
    Ok(Year { number, days: days.collect(), months: months.collect(), counts: counts.into_iter().collect(), is_cut })
}

fn first_of(year: i32) -> NaiveDate {
    NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or(NaiveDate::MAX)
}

/// The beginning of a day; where clocks skip it, the first moment after.
fn midnight(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    let start = day.and_time(chrono::NaiveTime::MIN);
    let hour = |hours: i64| zone.from_local_datetime(&(start + chrono::TimeDelta::hours(hours))).earliest();
    (0..4).find_map(hour).map_or_else(|| Utc.from_utc_datetime(&start), |at| at.with_timezone(&Utc))
}

fn week_of(day: NaiveDate, first: NaiveDate) -> u32 {
    (day.ordinal0() + first.weekday().num_days_from_monday()) / 7
}

const fn weight(state: RunState) -> u8 {
    match state {
        RunState::Failed => 3,
        RunState::Running => 2,
        RunState::Queued => 1,
        RunState::Success => 0,
    }
}

fn draw(dag_id: &str, day: NaiveDate, first: NaiveDate, sum: &Sum) -> Day {
    let state = RunState::ALL
        .iter()
        .filter(|state| sum.counts.contains_key(state.as_str()))
        .max_by_key(|state| weight(**state))
        .map_or("none", |state| state.as_str());
    let mut parts: Vec<String> = sum.counts.iter().map(|(state, count)| format!("{count} {}", words(state))).collect();
    if sum.planned > 0 {
        parts.push(fill("{n} planned", &[("n", &sum.planned.to_string())]));
    }
    let href = sum.worst.as_ref().map(|(_, run_id)| match sum.counts.values().sum::<usize>() {
        1 => links::run(dag_id, run_id),
        _ => format!("{}/runs?from={day}&to={}", links::dag(dag_id), day.checked_add_days(Days::new(1)).unwrap_or(day)),
    });
    Day {
        week: week_of(day, first),
        weekday: day.weekday().num_days_from_monday(),
        state,
        is_planned: sum.planned > 0 && sum.counts.is_empty(),
        href,
        title: if parts.is_empty() { day.to_string() } else { format!("{day}: {}", parts.join(", ")) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_run_of_a_day_gives_its_colour() {
        let first = first_of(2024);
        let day = NaiveDate::from_ymd_opt(2024, 2, 29).unwrap();
        let mut sum = Sum { counts: BTreeMap::from([("success", 22), ("failed", 1)]), ..Sum::default() };
        sum.worst = Some((3, "bad".to_owned()));
        let drawn = draw("a", day, first, &sum);
        assert_eq!((drawn.state, drawn.week, drawn.weekday), ("failed", 8, 3));
        assert_eq!(drawn.href.as_deref(), Some("/dags/a/runs?from=2024-02-29&to=2024-03-01"));
        assert_eq!(drawn.title, "2024-02-29: 1 failed, 22 success");
        let planned = draw("a", day, first, &Sum { planned: 24, ..Sum::default() });
        assert!(planned.is_planned && planned.state == "none" && planned.title.ends_with("24 planned"));
    }

    #[test]
    fn days_begin_where_clocks_say_so() {
        let zone = Tz::America__Sao_Paulo;
        // At this midnight the clocks went from 00:00 to 01:00.
        let day = NaiveDate::from_ymd_opt(2018, 11, 4).unwrap();
        assert_eq!(midnight(day, zone).to_rfc3339(), "2018-11-04T03:00:00+00:00");
    }
}
