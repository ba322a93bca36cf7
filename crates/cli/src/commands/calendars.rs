//! `millrace calendars …`: the files in the dags folder's `calendars`, and what they make of a DAG.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use chrono::{Datelike, NaiveDate, TimeDelta};
use millrace_dagfile::{CalendarFile, calendar_path, read_calendar};
use millrace_scheduler::calendar_names;
use millrace_store::DagFilter;
use serde::Serialize;

use crate::app::App;
use crate::args::CalendarsCommand;
use crate::commands::plan;
use crate::dag_files;
use crate::lookup;
use crate::output::{notice, print_list};

/// How far ahead the next dates of a DAG are looked for.
const AHEAD: TimeDelta = TimeDelta::days(800);

pub async fn run(app: &App, command: CalendarsCommand) -> anyhow::Result<()> {
    match command {
        CalendarsCommand::List => list(app).await,
        CalendarsCommand::Show { name, year } => show(app, &name, year),
        CalendarsCommand::Next { dag_id, num_dates } => {
            let store = app.store().await?;
            let row = lookup::dag(app, &store, &dag_id).await?;
            if row.dag.calendar.is_none() {
                notice(format!("{dag_id} names no calendar"));
            }
            let until = app.now().checked_add_signed(AHEAD).context("the clock is out of range")?;
            // As many as were asked for: that there are more is plain.
            let (entries, _) = plan::ahead(app, &store, Some(&row.dag_id), until, num_dates).await?;
            print_list(app.format, plan::COLUMNS, &entries)
        }
    }
}

fn read(app: &App, name: &str) -> anyhow::Result<CalendarFile> {
    Ok(dag_files::folder_options(app)?.reading(&calendar_path(name), None, |options| read_calendar(name, options)))
}

/// What is wrong with it, each with its place.
fn problems(file: &CalendarFile) -> Vec<String> {
    file.problems.iter().map(|(path, problem)| problem.one_line(path)).collect()
}

#[derive(Serialize)]
struct CalendarView {
    calendar: String,
    description: Option<String>,
    /// Of this year.
    days: usize,
    /// The DAGs that name it.
    dags: Vec<String>,
    problems: Vec<String>,
}

async fn list(app: &App) -> anyhow::Result<()> {
    let store = app.store().await?;
    dag_files::sync(app, &store).await?;
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in store.dags(&DagFilter::default()).await?.rows {
        let rule = row.dag.calendar.iter();
        for calendar in rule.flat_map(|rule| rule.exclude.iter().chain(&rule.include)) {
            users.entry(calendar.name.clone()).or_default().push(row.dag_id.to_string());
        }
    }
    let names = calendar_names(&app.dags_folder());
    if names.is_empty() {
        notice(format!("there are no calendars; one is a file {} in the DAGs folder", calendar_path("NAME")));
    }
    let year = app.now().year();
    let views: Vec<CalendarView> = names
        .into_iter()
        .map(|name| {
            let file = read(app, &name)?;
            Ok(CalendarView {
                days: days_of(&file, year).len(),
                description: file.calendar.as_ref().and_then(|calendar| calendar.description.clone()),
                dags: users.remove(&name).unwrap_or_default(),
                problems: problems(&file),
                calendar: name,
            })
        })
        .collect::<anyhow::Result<_>>()?;
    print_list(app.format, &["calendar", "description", "days", "dags", "problems"], &views)
}

#[derive(Serialize)]
struct DayView {
    date: String,
    weekday: String,
    name: String,
}

fn days_of(file: &CalendarFile, year: i32) -> Vec<DayView> {
    let Some(calendar) = &file.calendar else { return Vec::new() };
    let first = NaiveDate::from_ymd_opt(year, 1, 1);
    let dates = first.into_iter().flat_map(|first| first.iter_days()).take_while(|date| date.year() == year);
    dates
        .filter_map(|date| {
            let name = calendar.covers(date)?.to_owned();
            Some(DayView { date: date.to_string(), weekday: date.weekday().to_string(), name })
        })
        .collect()
}

fn show(app: &App, name: &str, year: Option<i32>) -> anyhow::Result<()> {
    let names = calendar_names(&app.dags_folder());
    if !names.iter().any(|known| known == name) {
        bail!(
            "there is no calendar '{name}'; `millrace calendars list` lists those in {}",
            app.dags_folder().display()
        );
    }
    let file = read(app, name)?;
    if file.calendar.is_none() {
        bail!("the calendar '{name}' can't be used:\n{}", problems(&file).join("\n"));
    }
    let days = days_of(&file, year.unwrap_or_else(|| app.now().year()));
    print_list(app.format, &["date", "weekday", "name"], &days)
}
