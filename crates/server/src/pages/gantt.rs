//! When each task of a run waited and ran, on one scale of time.

use std::collections::HashMap;

use axum::extract::{Path, State};
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use millrace_model::change::InstanceKey;
use millrace_model::state::TaskState;
use millrace_store::{InstanceRow, RunRow, TryRow};
use serde::Serialize;

use super::head::Tab;
use super::instances;
use crate::access::person::Person;
use crate::format::{length, words};
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;
use crate::viewer::zone_for;
use crate::words::fill;

/// The scale, in units of the picture.
const WIDTH: f64 = 1000.0;
const STEPS: i32 = 5;
/// Instances of a run that are drawn.
const MOST_ROWS: usize = 500;
/// Instances whose earlier tries are drawn, too.
const MOST_RETRIED: usize = 50;

#[derive(Serialize)]
struct Line {
    name: String,
    href: String,
    state: &'static str,
    title: String,
    took: Option<String>,
    /// From when it was queued to its start.
    wait: Option<(f64, f64)>,
    work: Option<(f64, f64)>,
    /// What was tried before, in the colour of how it ended.
    earlier: Vec<Tried>,
}

#[derive(Serialize)]
struct Tried {
    state: &'static str,
    title: String,
    from: f64,
    width: f64,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let row = server.dag_row(&dag_id, 0).await?;
    let (run, runs) = server.chosen_run(&row, &parameters, "gantt").await?;
    let rows = match &run {
        Some(run) => server.store().instances(run.key).await?,
        None => Vec::new(),
    };
    let now = server.now();
    let mut earlier: HashMap<InstanceKey, Vec<TryRow>> = HashMap::new();
    for row in rows.iter().take(MOST_ROWS).filter(|row| row.try_number > 1).take(MOST_RETRIED) {
        let mut tries = server.store().tries(row.key).await?;
        tries.retain(|one| one.start_date != row.start_date);
        earlier.insert(row.key, tries);
    }
    let scale = run.as_ref().and_then(|run| Scale::of(run, &rows, earlier.values().flatten(), now));
    let zone = zone_for(row.dag.timetable.timezone);
    let lines: Vec<Line> = match (&run, &scale) {
        (Some(run), Some(scale)) => {
            let tries = |row: &InstanceRow| earlier.get(&row.key).map_or(&[][..], Vec::as_slice);
            rows.iter().take(MOST_ROWS).map(|row| line(run, (row, tries(row)), scale, now)).collect()
        }
        _ => Vec::new(),
    };
    let marks: Vec<(f64, String)> = scale.iter().flat_map(|scale| scale.marks(zone)).collect();
    let address = match &run {
        Some(run) => format!("{}/gantt?run={}", links::dag(&dag_id), links::encode(run.run_id.as_str())),
        None => format!("{}/gantt", links::dag(&dag_id)),
    };
    let values = values! {
        dag => server.dag_head_of(&row, Tab::Gantt, parameters.text("run")),
        lines, marks, runs, address,
        more => rows.len().saturating_sub(MOST_ROWS),
        took => scale.as_ref().map(|scale| length(scale.to - scale.from)),
        run => run.as_ref().map(|run| values! {
            run_id => run.run_id.as_str(),
            href => links::run(&dag_id, run.run_id.as_str()),
            state => run.state.as_str(),
        }),
        run_id => run.as_ref().map(|run| run.run_id.to_string()),
    };
    let template = if wishes.wants("gantt") { "parts/gantt.html" } else { "gantt.html" };
    server.page(template, Some(&person), &wishes, values).await
}

struct Scale {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

impl Scale {
    /// None: nothing of it has begun.
    fn of<'t>(
        run: &RunRow,
        rows: &[InstanceRow],
        earlier: impl Iterator<Item = &'t TryRow>,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let begun = rows.iter().filter(|row| row.try_number > 0);
        let from = begun.clone().flat_map(|row| [row.queued_at, row.start_date]).flatten().min()?;
        let from = earlier.map(|one| one.queued_at).fold(from.min(run.start_date.unwrap_or(from)), DateTime::min);
        let to = begun.map(|row| row.end_date.unwrap_or(now)).max()?;
        // A length that can be divided by.
        Some(Self { from, to: to.max(from + TimeDelta::milliseconds(1)) })
    }

    fn at(&self, instant: DateTime<Utc>) -> f64 {
        let micros = |delta: TimeDelta| delta.num_microseconds().unwrap_or(i64::MAX) as f64;
        let share = micros(instant - self.from) / micros(self.to - self.from);
        // Tenths are finer than anybody sees.
        (share.clamp(0.0, 1.0) * WIDTH * 10.0).round() / 10.0
    }

    fn marks(&self, zone: chrono_tz::Tz) -> Vec<(f64, String)> {
        let whole = self.to - self.from;
        // So short that the seconds of neighbours would be the same.
        let form = if whole < TimeDelta::seconds(i64::from(STEPS)) { "%H:%M:%S%.3f" } else { "%H:%M:%S" };
        (0..STEPS)
            .map(|step| {
                let at = self.from + whole * step / STEPS;
                (self.at(at), at.with_timezone(&zone).format(form).to_string())
            })
            .collect()
    }
}

fn line(run: &RunRow, (row, earlier): (&InstanceRow, &[TryRow]), scale: &Scale, now: DateTime<Utc>) -> Line {
    let (dag_id, run_id, id) = (run.dag_id.as_str(), run.run_id.as_str(), row.task_id.as_str());
    let name = if row.map_index < 0 { id.to_owned() } else { format!("{id} [{}]", instances::name(row)) };
    let has_run = row.try_number > 0 || row.state == TaskState::Running;
    let start = row.start_date.filter(|_| has_run);
    let end = start.map(|_| row.end_date.unwrap_or(now));
    let bar = |from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>>| {
        let (from, to) = (scale.at(from?), scale.at(to?));
        // Whatever ran is seen.
        (to >= from).then_some((from, (to - from).max(2.0)))
    };
    let tried = |one: &TryRow| {
        let (from, width) = bar(one.start_date, one.end_date)?;
        let title =
            fill("Try {n}: {state}", &[("n", &one.try_number.to_string()), ("state", &words(one.state.as_str()))]);
        Some(Tried { state: one.state.as_str(), title, from, width })
    };
    let earlier = earlier.iter().filter_map(tried).collect();
    let took = start.zip(end).map(|(start, end)| length(end - start));
    Line {
        href: links::task(dag_id, run_id, id),
        state: row.state.as_str(),
        title: match &took {
            Some(took) => format!("{name}: {}, {took}", words(row.state.as_str())),
            None => format!("{name}: {}", words(row.state.as_str())),
        },
        name,
        took,
        wait: bar(row.queued_at.filter(|at| start.is_some_and(|start| *at < start)), start),
        work: bar(start, end),
        earlier,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_run_is_as_long_as_it_was_and_no_two_marks_are_alike() {
        let from: DateTime<Utc> = "2024-03-01T02:00:00Z".parse().unwrap();
        let short = Scale { from, to: from + TimeDelta::milliseconds(100) };
        assert_eq!(length(short.to - short.from), "0.1s");
        assert!((short.at(from + TimeDelta::milliseconds(50)) - WIDTH / 2.0).abs() < 0.1);
        let marks: Vec<String> = short.marks(chrono_tz::UTC).into_iter().map(|(_, text)| text).collect();
        assert_eq!(marks, ["02:00:00.000", "02:00:00.020", "02:00:00.040", "02:00:00.060", "02:00:00.080"]);
        let long = Scale { from, to: from + TimeDelta::seconds(50) };
        assert_eq!(long.marks(chrono_tz::UTC)[1].1, "02:00:10");
    }
}
