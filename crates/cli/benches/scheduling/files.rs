//! The DAG files of the workloads.

use chrono::{Timelike, Utc};

/// How many files there are when there are many, each with five tasks.
pub const MANY: usize = 1_000;

pub type File = (String, String);

fn dag(head: &str, tasks: &str) -> String {
    format!("{head}\nmax_active_tasks: 100000\ntasks:\n{tasks}")
}

fn task(name: &str, operator: &str, after: Option<&str>) -> String {
    let after = after.map(|after| format!("    depends_on: [{after}]\n")).unwrap_or_default();
    let command = if operator == "bash" { "    bash_command: \"true\"\n" } else { "" };
    format!("  {name}:\n    operator: {operator}\n{command}{after}")
}

fn abreast(count: usize, operator: &str) -> String {
    (0..count).map(|n| task(&format!("t{n}"), operator, None)).collect()
}

fn chain(count: usize, operator: &str) -> String {
    let before = |n: usize| n.checked_sub(1).map(|m| format!("t{m}"));
    (0..count).map(|n| task(&format!("t{n}"), operator, before(n).as_deref())).collect()
}

pub fn workloads() -> Vec<File> {
    let by_hand = "schedule: none\nstart_date: 2020-01-01";
    let daily = "schedule: \"@daily\"\nstart_date: 2100-01-01";
    vec![
        ("warm_up.yaml".to_owned(), dag(by_hand, &abreast(1, "noop"))),
        ("chain.yaml".to_owned(), dag(by_hand, &chain(40, "bash"))),
        ("fan.yaml".to_owned(), dag(by_hand, &abreast(200, "bash"))),
        ("noops.yaml".to_owned(), dag(by_hand, &abreast(10_000, "noop"))),
        ("backfilled.yaml".to_owned(), dag(daily, &chain(3, "bash"))),
    ]
}

fn many(head: &str) -> Vec<File> {
    (0..MANY).map(|n| (format!("dag_{n:04}.yaml"), dag(head, &chain(5, "noop")))).collect()
}

/// Unpaused and scheduled, but in a distant year.
pub fn never_due() -> Vec<File> {
    many("schedule: \"@daily\"\nstart_date: 2100-01-01")
}

pub fn due_every_minute() -> Vec<File> {
    let minute = Utc::now().with_second(0).and_then(|now| now.with_nanosecond(0)).unwrap();
    many(&format!("schedule: \"* * * * *\"\nstart_date: {}", minute.format("%Y-%m-%dT%H:%M:%SZ")))
}
