//! What was counted as it happened: sums, how long things took, and when something was last so.

use std::collections::{BTreeSet, HashSet};

use chrono::{DateTime, Utc};
use millrace_store::{Counted, CounterRow, RUN_ENDS, TURN_ENDS, WAIT_ENDS};

use super::Page;

/// What all processes together have counted, also before they were started last.
pub(super) fn counters(page: &mut Page, rows: &[CounterRow]) {
    let simple: [(Counted, &str, &str, &[&str]); 16] = [
        (Counted::Tries, "task_tries_total", "Tries that have ended", &["operator", "outcome"]),
        (Counted::TryTime, "task_try_seconds_total", "Time that tries took", &["operator"]),
        (Counted::Lost, "task_tries_lost_total", "Tries whose worker died or was cut off", &[]),
        (
            Counted::Adopted,
            "task_tries_adopted_total",
            "Tries of other processes that a scheduler has taken into care",
            &[],
        ),
        (Counted::Runs, "runs_ended_total", "Runs that have ended", &["state"]),
        (
            Counted::Rows,
            "moved_rows_total",
            "Rows of the ledger, by stage and by what became of them",
            &["stage", "rows"],
        ),
        (Counted::Bytes, "moved_bytes_total", "Bytes of the ledger", &["stage"]),
        (Counted::RunsMade, "runs_created_total", "Runs that were created", &["run_type"]),
        (Counted::AssetEvents, "asset_events_total", "Things that happened to assets, by who did them", &["by"]),
        (Counted::Commits, "commits_total", "Transactions with what was planned and done", &[]),
        (Counted::CommitTime, "commit_seconds_total", "Time that those took", &[]),
        (Counted::Plans, "plans_total", "Looks at what waits: which tasks, runs and dates may go on", &[]),
        (Counted::PlanTime, "plan_seconds_total", "Time that those took", &[]),
        (Counted::FilesRead, "dag_files_read_total", "DAG files that were read and checked", &[]),
        (Counted::LogLinesLost, "log_lines_lost_total", "Lines of logs that could not be written", &[]),
        (Counted::ReadTime, "dag_file_read_seconds_total", "Time that reading and checking them took", &[]),
    ];
    for (of, name, help, labels) in simple {
        page.metric(name, "counter", help);
        let mut found = rows.iter().filter(|row| row.of == of).peekable();
        if labels.is_empty() && found.peek().is_none() {
            page.line(name, &[], 0.0);
        }
        for row in found {
            let labels: Vec<(&str, &str)> = labels.iter().copied().zip(row.labels.iter().map(String::as_str)).collect();
            let is_time = matches!(of, Counted::TryTime | Counted::CommitTime | Counted::PlanTime | Counted::ReadTime);
            let unit = if is_time { 1e6 } else { 1.0 };
            page.line(name, &labels, row.value as f64 / unit);
        }
    }
}

/// A metric that says how many took at most so long.
struct Lengths {
    name: &'static str,
    help: &'static str,
    parts: Counted,
    sum: Counted,
    /// Seconds.
    ends: &'static [f64],
    label: Option<&'static str>,
}

const LENGTHS: [Lengths; 5] = [
    Lengths {
        name: "scheduler_turn_seconds",
        help: "Turns of the scheduler: planning, committing and starting",
        parts: Counted::Turns,
        sum: Counted::TurnTime,
        ends: TURN_ENDS,
        label: None,
    },
    Lengths {
        name: "run_seconds",
        help: "Runs that have ended, from their start to their end",
        parts: Counted::RunLengths,
        sum: Counted::RunTime,
        ends: RUN_ENDS,
        label: Some("state"),
    },
    Lengths {
        name: "run_delay_seconds",
        help: "Scheduled runs that have started, by how long after they were due",
        parts: Counted::RunDelays,
        sum: Counted::RunDelayTime,
        ends: WAIT_ENDS,
        label: None,
    },
    Lengths {
        name: "task_wait_seconds",
        help: "Tries that have started, by how long they had waited for a slot",
        parts: Counted::TryWaits,
        sum: Counted::TryWaitTime,
        ends: WAIT_ENDS,
        label: None,
    },
    Lengths {
        name: "task_return_wait_seconds",
        help: "Tries that came back from waiting outside, by how long they then waited for a slot",
        parts: Counted::ReturnWaits,
        sum: Counted::ReturnWaitTime,
        ends: WAIT_ENDS,
        label: None,
    },
];

pub(super) fn histograms(page: &mut Page, rows: &[CounterRow]) {
    for of in &LENGTHS {
        page.metric(of.name, "histogram", of.help);
        let mut groups: BTreeSet<&[String]> = rows
            .iter()
            .filter(|row| row.of == of.parts)
            .filter_map(|row| row.labels.split_last().map(|(_, labels)| labels))
            .collect();
        if of.label.is_none() {
            groups.insert(&[]);
        }
        for group in groups {
            histogram(page, rows, of, group);
        }
    }
}

fn histogram(page: &mut Page, rows: &[CounterRow], of: &Lengths, group: &[String]) {
    let name = of.name;
    let labels: Vec<(&str, &str)> = of.label.into_iter().zip(group.iter().map(String::as_str)).collect();
    let part = |index: usize| {
        let index = index.to_string();
        let is_it = |row: &&CounterRow| {
            row.of == of.parts && row.labels.split_last().is_some_and(|(end, rest)| *end == index && rest == group)
        };
        rows.iter().find(is_it).map_or(0, |row| row.value)
    };
    let mut all = 0;
    let ends = of.ends.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
    for (index, end) in ends.enumerate() {
        all += part(index);
        let labels = [labels.as_slice(), &[("le", end.as_str())]].concat();
        page.line(&format!("{name}_bucket"), &labels, all as f64);
    }
    let sum = rows.iter().find(|row| row.of == of.sum && row.labels == group).map_or(0, |row| row.value);
    page.line(&format!("{name}_sum"), &labels, sum as f64 / 1e6);
    page.line(&format!("{name}_count"), &labels, all as f64);
}

/// How long ago something was last so. DAGs that are gone load nothing more, and are left out.
pub(super) fn marks(page: &mut Page, rows: &[CounterRow], in_service: &HashSet<&str>, now: DateTime<Utc>) {
    let age = |row: &CounterRow| (now.timestamp_micros() as f64 - row.value as f64).max(0.0) / 1e6;
    let marks: [(Counted, &str, &str, &[&str]); 3] = [
        (Counted::FolderSeen, "dag_files_age_seconds", "Since the folder of DAG files was last looked through", &[]),
        (Counted::Loaded, "load_age_seconds", "Since a task last loaded rows into a table", &["dag", "task", "target"]),
        (
            Counted::LoadedUpTo,
            "load_lag_seconds",
            "How far the newest row that a task has loaded into a table lies behind the present",
            &["dag", "task", "target"],
        ),
    ];
    for (of, name, help, labels) in marks {
        page.metric(name, "gauge", help);
        for row in rows.iter().filter(|row| row.of == of) {
            if row.labels.first().is_some_and(|dag| !in_service.contains(dag.as_str())) {
                continue;
            }
            let labels: Vec<(&str, &str)> = labels.iter().copied().zip(row.labels.iter().map(String::as_str)).collect();
            page.line(name, &labels, age(row));
        }
    }
}
