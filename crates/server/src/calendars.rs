//! Calendars, as the stored DAGs keep them.

use std::collections::BTreeMap;

use chrono::{Datelike, NaiveDate};
use millrace_model::calendar::Calendar;
use millrace_store::{DagFilter, DagRow};
use schemars::JsonSchema;
use serde::Serialize;

use crate::problem::Answer;
use crate::server::Server;

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Day {
    pub date: String,
    pub weekday: String,
    pub name: String,
}

/// One that some DAG names, directly or by another calendar.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Calendar")]
pub(crate) struct NamedCalendar {
    pub name: String,
    pub description: Option<String>,
    pub year: i32,
    pub days: Vec<Day>,
    /// Who names it in its rule.
    pub dag_ids: Vec<String>,
}

fn days_of(calendar: &Calendar, year: i32) -> Vec<Day> {
    let first = NaiveDate::from_ymd_opt(year, 1, 1);
    let dates = first.into_iter().flat_map(|first| first.iter_days()).take_while(|date| date.year() == year);
    let day = |date: NaiveDate| {
        let name = calendar.covers(date)?.to_owned();
        Some(Day { date: date.to_string(), weekday: date.weekday().to_string(), name })
    };
    dates.filter_map(day).collect()
}

fn add<'r>(found: &mut BTreeMap<&'r str, (&'r Calendar, Vec<String>)>, calendar: &'r Calendar, dag: Option<&DagRow>) {
    let entry = found.entry(&calendar.name).or_insert((calendar, Vec::new()));
    entry.1.extend(dag.map(|row| row.dag_id.to_string()));
    calendar.include.iter().for_each(|included| add(found, included, None));
}

impl Server {
    /// By name.
    pub async fn calendars(&self, year: Option<i32>) -> Answer<Vec<NamedCalendar>> {
        let year = year.unwrap_or_else(|| self.now().year());
        let rows = self.store().dags(&DagFilter::default()).await?.rows;
        let mut found = BTreeMap::new();
        for row in &rows {
            let rule = row.dag.calendar.iter();
            for calendar in rule.flat_map(|rule| rule.include.iter().chain(&rule.exclude)) {
                add(&mut found, calendar, Some(row));
            }
        }
        let named = |(name, (calendar, dag_ids)): (&str, (&Calendar, Vec<String>))| NamedCalendar {
            name: name.to_owned(),
            description: calendar.description.clone(),
            year,
            days: days_of(calendar, year),
            dag_ids,
        };
        Ok(found.into_iter().map(named).collect())
    }
}
