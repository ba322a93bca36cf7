//! `millrace data ledger`: what was moved.

use std::io::{IsTerminal, stdout};

use millrace_model::ids::DagId;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::ledger::Checked;
use millrace_model::schedule::parse_zone;
use millrace_store::{LedgerFilter, LedgerLine};
use serde::Serialize;

use crate::app::App;
use crate::args::LedgerArgs;
use crate::lookup;
use crate::output::{Format, notice, print_list};

#[derive(Serialize)]
struct Row {
    id: i64,
    end_date: String,
    dag_id: String,
    run_id: String,
    logical_date: String,
    task_id: String,
    map_index: i32,
    try_number: u32,
    stage: String,
    source: String,
    target: String,
    rows_read: Option<u64>,
    rows_written: Option<u64>,
    rows_inserted: Option<u64>,
    rows_updated: Option<u64>,
    rows_unchanged: Option<u64>,
    rows_deleted: Option<u64>,
    rows_rejected: Option<u64>,
    bytes: Option<u64>,
    checksum: Option<String>,
    remote_ids: Vec<String>,
    checks: Vec<Checked>,
    start_date: String,
    /// Seconds.
    duration: f64,
    /// For the table: the numbers that are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<String>,
}

const COLUMNS: [&str; 12] = [
    "end_date",
    "dag_id",
    "run_id",
    "task_id",
    "try_number",
    "stage",
    "source",
    "target",
    "rows",
    "bytes",
    "duration",
    "checksum",
];

/// Characters of a source or target in a table on a terminal; elsewhere, and in other formats, stands all of it.
const LONGEST: usize = 40;

impl Row {
    fn of(line: LedgerLine, is_for_people: bool) -> Self {
        let entry = line.row.entry;
        let counts = [
            ("read", entry.rows_read),
            ("written", entry.rows_written),
            ("inserted", entry.rows_inserted),
            ("updated", entry.rows_updated),
            ("unchanged", entry.rows_unchanged()),
            ("deleted", entry.rows_deleted),
            ("rejected", entry.rows_rejected),
        ];
        let known = counts.iter().filter_map(|(name, count)| count.map(|count| format!("{count} {name}")));
        let passed = entry.checks_passed().map(|(passed, all)| format!("{passed} of {all} checks passed"));
        let rows = is_for_people.then(|| known.chain(passed).collect::<Vec<_>>().join(", "));
        let rows_unchanged = entry.rows_unchanged();
        Self {
            id: line.row.id,
            end_date: format_utc_micros(entry.ended_at),
            dag_id: line.dag_id.to_string(),
            run_id: line.run_id.to_string(),
            logical_date: format_utc_micros(line.logical_date),
            task_id: line.task_id.to_string(),
            map_index: line.map_index,
            try_number: line.row.try_number,
            stage: entry.stage,
            source: entry.source,
            target: entry.target,
            rows_read: entry.rows_read,
            rows_written: entry.rows_written,
            rows_inserted: entry.rows_inserted,
            rows_updated: entry.rows_updated,
            rows_unchanged,
            rows_deleted: entry.rows_deleted,
            rows_rejected: entry.rows_rejected,
            bytes: entry.bytes,
            checksum: entry.checksum,
            remote_ids: entry.remote_ids,
            checks: entry.checks,
            start_date: format_utc_micros(entry.started_at),
            duration: (entry.ended_at - entry.started_at).num_milliseconds() as f64 / 1000.0,
            rows,
        }
    }
}

impl Row {
    /// A query of a page and a sum of 64 digits leave no room for the numbers.
    fn cut(&mut self) {
        let shorten = |text: &mut String, most: usize| {
            if text.chars().count() > most {
                *text = text.chars().take(most - 1).chain(['…']).collect();
            }
        };
        shorten(&mut self.source, LONGEST);
        shorten(&mut self.target, LONGEST);
        if let Some(checksum) = &mut self.checksum {
            shorten(checksum, "sha256:".len() + 9);
        }
    }
}

pub async fn list(app: &App, args: LedgerArgs) -> anyhow::Result<()> {
    let store = app.store().await?;
    let dag = match &args.dag_id {
        Some(dag_id) => Some(lookup::dag(app, &store, dag_id).await?),
        None => None,
    };
    let run_id = match (&dag, args.run_id) {
        (Some(row), Some(run)) => Some(lookup::run(&store, &row.dag, &run).await?.run_id.to_string()),
        (_, run) => run,
    };
    let zone = match &dag {
        Some(row) => row.dag.timetable.timezone,
        None => parse_zone(&app.config.core.default_timezone)?,
    };
    let moment = |text: Option<String>| text.map(|text| parse_instant(&text, zone)).transpose();
    let filter = LedgerFilter {
        dag_id: args.dag_id.map(DagId::new_unchecked),
        run_id,
        task_id: args.task_id,
        stage: args.stage,
        since: moment(args.since)?,
        until: moment(args.until)?,
        target: args.target,
        limit: args.limit,
        offset: args.offset,
    };
    let page = store.ledger_lines(&filter).await?;
    let shown = page.rows.len() as u64;
    let is_for_people = matches!(app.format, Format::Table | Format::Plain);
    let mut rows: Vec<Row> = page.rows.into_iter().map(|line| Row::of(line, is_for_people)).collect();
    if app.format == Format::Table && stdout().is_terminal() {
        rows.iter_mut().for_each(Row::cut);
    }
    print_list(app.format, &COLUMNS, &rows)?;
    if is_for_people && shown + args.offset < page.total {
        notice(format!("{shown} of {} movements; --offset {} shows older ones", page.total, shown + args.offset));
    }
    Ok(())
}
