//! DAG files.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use millrace_dagfile::{LintOptions, ReadOptions, Severity, backfill_problems, lint, read_dag_bytes, render_all};
use millrace_model::dag::Dag;
use millrace_testkit::Fuzz;

const WORDS: &[&str] = &[
    "tasks:",
    "task_groups:",
    "schedule: ",
    "'@daily'",
    "depends_on: ",
    "operator: ",
    "bash",
    "sql_to_s3",
    "copy",
    "expand:",
    "default_args:",
    "trigger_rule: all_done",
    "retries: ",
    "params:",
    "for_each:",
    "include: ",
    "overlays:",
    "timezone: Asia/Seoul",
    "start_date: 2024-01-01",
    "setup: true",
    "teardown: ",
    "outlets: ",
    "{{ params.x }}",
    "${x}",
    "extends: ",
    "  ",
    "\n  ",
    "\n    ",
    "<<: *a",
    "&a",
    "? ",
    "!!binary ",
];

#[test]
fn fuzz_dag_files() {
    let now: DateTime<Utc> = "2024-03-10T00:00:00Z".parse().unwrap();
    let fuzz = Fuzz::new("dag_files", 1_500).files("dags", ".yaml").files("crates/dagfile/tests/cases", ".yaml");
    fuzz.words(WORDS).run(|bytes| {
        let options = ReadOptions::new("fuzz.yaml", millrace_operators::catalogue());
        let read = read_dag_bytes(bytes, &options);
        let text = String::from_utf8_lossy(bytes);
        let lines = text.lines().count() + 1;
        for problem in &read.diagnostics {
            assert!(problem.line >= 1 && problem.column >= 1, "{problem:?}");
            assert!(problem.file.is_some() || problem.line <= lines, "behind the end: {problem:?}");
            assert!(!problem.message.trim().is_empty(), "{problem:?}");
            let shown = [Some(&problem.message), problem.hint.as_ref(), Some(&problem.text)];
            let is_plain = |text: &String| !text.chars().any(|letter| letter.is_control() && letter != '\n');
            assert!(shown.into_iter().flatten().all(is_plain), "{problem:?}");
        }
        render_all(&read.diagnostics, "fuzz.yaml", &text);
        assert!(!read.dags.is_empty() || read.has_errors(), "no DAG and no reason");
        let mut ways: BTreeSet<String> =
            read.diagnostics.iter().map(|problem| format!("{} {}", problem.code, problem.hint.is_some())).collect();
        for dag in &read.dags {
            let stored = serde_json::to_string(dag).unwrap();
            let again: Dag = serde_json::from_str(&stored).unwrap_or_else(|error| panic!("{error}: {stored}"));
            assert_eq!(again, *dag, "what is stored is what was read");
            backfill_problems(dag, now);
            ways.insert(format!("{} tasks", dag.tasks.len().min(4)));
        }
        let found = lint(&read.dags, &text, &options, &LintOptions::new(now));
        assert!(found.iter().all(|problem| problem.severity == Severity::Warning || !problem.message.is_empty()));
        ways.extend(found.iter().map(|problem| problem.code.to_string()));
        ways
    });
}
