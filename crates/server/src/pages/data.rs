//! What a DAG has moved: by target, how many rows each time, how fresh it is, and its last checksum.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use http::HeaderMap;
use millrace_store::{LedgerFilter, LedgerLine};
use serde::Serialize;

use super::head::Tab;
use crate::access::person::Person;
use crate::format::{When, count, length, size};
use crate::links;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::Shared;

/// The newest movements that are looked at.
const MOST_MOVEMENTS: u64 = 1000;
/// Movements in a chart.
const CHART: usize = 40;
const CHART_HEIGHT: f64 = 64.0;
const STEP: f64 = 12.0;

#[derive(Serialize)]
struct Bar {
    x: f64,
    y: f64,
    height: f64,
    href: String,
    title: String,
}

#[derive(Serialize)]
struct Flow {
    target: String,
    stage: String,
    source: String,
    task_id: String,
    bars: Vec<Bar>,
    chart_width: f64,
    most: String,
    rows: Option<String>,
    bytes: Option<String>,
    rejected: Option<String>,
    /// How many of the last time's passed, of how many.
    checks: Option<(usize, usize)>,
    took: String,
    at: When,
    href: String,
    checksum: Option<String>,
    movements: usize,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    let (now, zone) = (server.now(), row.dag.timetable.timezone);
    let filter = LedgerFilter { dag_id: Some(row.dag_id.clone()), limit: MOST_MOVEMENTS, ..LedgerFilter::default() };
    let page = server.store().ledger_lines(&filter).await?;
    // By what was written to; an object's name often holds the date, so a task and its stage stand for all of theirs.
    let mut groups: BTreeMap<(&str, &str, &str), Vec<&LedgerLine>> = BTreeMap::new();
    for line in &page.rows {
        let entry = &line.row.entry;
        let table = if entry.target.contains("://") { "" } else { entry.target.as_str() };
        groups.entry((line.task_id.as_str(), entry.stage.as_str(), table)).or_default().push(line);
    }
    let mut targets: Vec<Flow> = groups
        .values()
        .filter_map(|lines| {
            let (newest, at) = (lines.first()?, lines.first()?.row.entry.ended_at);
            let entry = &newest.row.entry;
            let (bars, most) = bars(lines);
            Some(Flow {
                target: server.masked_text(&entry.target),
                stage: entry.stage.clone(),
                source: server.masked_text(&entry.source),
                task_id: newest.task_id.to_string(),
                chart_width: bars.len() as f64 * STEP,
                bars,
                most: count(most),
                rows: moved(newest).map(count),
                bytes: entry.bytes.map(size),
                rejected: entry.rows_rejected.filter(|rows| *rows > 0).map(count),
                checks: entry.checks_passed(),
                took: length(entry.ended_at - entry.started_at),
                at: When::new(at, now, zone),
                href: links::task(&dag_id, newest.run_id.as_str(), newest.task_id.as_str()),
                checksum: entry.checksum.clone(),
                movements: lines.len(),
            })
        })
        .collect();
    targets.sort_by(|one, other| other.at.iso.cmp(&one.at.iso).then_with(|| one.task_id.cmp(&other.task_id)));
    let values = values! { dag => server.dag_head(&row, Tab::Data), targets, total => page.total };
    server.page("data.html", Some(&person), &Wishes::of(&headers), values).await
}

/// The rows that a movement brought to its target.
pub(super) fn moved(line: &LedgerLine) -> Option<u64> {
    let entry = &line.row.entry;
    let merged = match (entry.rows_inserted, entry.rows_updated) {
        (None, None) => None,
        (inserted, updated) => Some(inserted.unwrap_or(0) + updated.unwrap_or(0)),
    };
    merged.or(entry.rows_written).or(entry.rows_read)
}

/// Oldest first, and the most rows among them.
fn bars(newest_first: &[&LedgerLine]) -> (Vec<Bar>, u64) {
    let shown: Vec<&&LedgerLine> = newest_first.iter().take(CHART).rev().collect();
    let most = shown.iter().filter_map(|line| moved(line)).max().unwrap_or(0);
    let bar = |(place, line): (usize, &&&LedgerLine)| {
        let rows = moved(line);
        let share = rows.unwrap_or(0) as f64 / most.max(1) as f64;
        // None at all is seen too.
        let height = (share * (CHART_HEIGHT - 2.0)).round() + 2.0;
        let date = line.logical_date.format("%Y-%m-%d %H:%M UTC");
        Bar {
            x: place as f64 * STEP,
            y: CHART_HEIGHT - height,
            height,
            href: links::task(line.dag_id.as_str(), line.run_id.as_str(), line.task_id.as_str()),
            title: format!("{date}: {}", rows.map_or_else(|| "–".to_owned(), count)),
        }
    };
    (shown.iter().enumerate().map(bar).collect(), most)
}
