//! Files without problems: what comes out.

use chrono_tz::Tz;
use millrace_dagfile::{Defaults, ReadOptions, read_dag, read_dag_bytes};
use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::pool::PoolSizes;
use millrace_model::schedule::{RunImmediately, Schedule, TimetableKind};
use millrace_model::trigger_rule::TriggerRule;
use serde_json::json;

use crate::catalogue::CATALOGUE;

fn read(text: &str) -> Dag {
    read_with(text, &ReadOptions::new("dags/from_file_name.yaml", CATALOGUE))
}

fn read_with(text: &str, options: &ReadOptions<'_>) -> Dag {
    let result = read_dag(text, options);
    assert!(result.diagnostics.is_empty(), "{:#?}", result.diagnostics);
    result.dags.into_iter().next().unwrap()
}

const FULL: &str = r#"
dag_id: nps
description: one line
schedule: "0 2 * * *"
start_date: 2021-12-10
end_date: null
timezone: asia/seoul
catchup: true
max_active_runs: 1
max_active_tasks: 4
tags: [nps, redshift, nps]
params: {limit: 5, deep: {list: [1, no]}}
default_args: {owner: data, retries: 1, retry_delay: 3m, redshift_conn_id: redshift_dev, pool: small}
tasks:
  first:
    operator: shell
    command: echo {{ params.limit }}
    env: {DAY: "{{ ds }}"}
    retries: 0
    execution_timeout: 1h30m
  second:
    operator: copy
    depends_on: first
    trigger_rule: none_failed_or_skipped
    table: nps
    method: upsert
    upsert_keys: [id]
    limit: "{{ params.limit }}"
    checks: [{min_rows: 1}, {unique: [id]}]
    options: {header: true, nulls: ~}
    priority_weight: -3
    pool_slots: 2
  third:
    operator: empty
    depends_on: [first, second, first]
"#;

#[test]
fn everything_in_its_place() {
    let dag = read(FULL);
    assert_eq!(dag.dag_id.as_str(), "nps");
    assert_eq!(dag.timetable.timezone, Tz::Asia__Seoul);
    assert_eq!(dag.timetable.schedule.display_text(), "0 2 * * *");
    // Midnight in Seoul.
    assert_eq!(dag.start_date.unwrap().to_rfc3339(), "2021-12-09T15:00:00+00:00");
    assert_eq!(dag.end_date, None);
    assert!(dag.catchup);
    assert_eq!((dag.max_active_runs, dag.max_active_tasks), (1, 4));
    assert_eq!(dag.tags, ["nps", "redshift"]);
    assert_eq!(dag.owner.as_deref(), Some("data"));
    assert_eq!(serde_json::Value::Object(dag.params.clone()), json!({"limit": 5, "deep": {"list": [1, "no"]}}));
    assert!(dag.params_in_order().map(|(name, _)| name).eq(["limit", "deep"]), "as the file has them");

    let [first, second, third] = dag.tasks.as_slice() else { panic!("{:?}", dag.tasks) };
    assert_eq!(first.operator, "bash");
    assert_eq!(first.parameters, json!({"bash_command": "echo {{ params.limit }}", "env": {"DAY": "{{ ds }}"}}));
    assert_eq!((first.retries, first.retry_delay, first.pool.as_str()), (0, Span::from_minutes(3), "small"));
    assert_eq!(first.execution_timeout, Some(Span::from_minutes(90)));
    assert_eq!(second.depends_on.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["first"]);
    assert_eq!(second.trigger_rule, TriggerRule::NoneFailedMinOneSuccess);
    assert_eq!((second.retries, second.priority_weight, second.pool_slots), (1, -3, 2));
    assert_eq!(second.parameters["warehouse_conn_id"], "redshift_dev");
    assert_eq!(second.parameters["limit"], "{{ params.limit }}");
    assert!(!first.is_inline && third.is_inline);
    assert_eq!(third.parameters, json!({}));
    assert_eq!(third.depends_on.len(), 2);
}

#[test]
fn a_list_of_tasks_is_the_same_as_a_map() {
    let map = read("tasks:\n  a: {operator: empty}\n  b: {operator: empty, depends_on: [a]}\n");
    let list = read("tasks:\n- {task_id: a, operator: empty}\n- {task_id: b, operator: empty, depends_on: [a]}\n");
    assert_eq!(map, list);
    assert_eq!(map.dag_id.as_str(), "from_file_name");
    assert_eq!(map.content_hash(), list.content_hash());
}

#[test]
fn defaults_come_from_the_options() {
    let dag = read("tasks: {a: {operator: empty}}");
    assert_eq!(dag.timetable.schedule, Schedule::None);
    assert_eq!((dag.max_active_runs, dag.max_active_tasks, dag.catchup), (16, 16, false));
    assert_eq!((dag.tasks[0].retries, dag.tasks[0].retry_delay), (0, Span::from_seconds(300)));

    let defaults = Defaults {
        timezone: Tz::Europe__Zurich,
        retries: 2,
        max_active_runs: 3,
        owner: Some("ops".to_owned()),
        ..Defaults::default()
    };
    let options = ReadOptions { defaults, ..ReadOptions::new("x.yml", CATALOGUE) };
    let dag = read_with("tasks: {a: {operator: empty}}", &options);
    assert_eq!((dag.dag_id.as_str(), dag.timetable.timezone, dag.max_active_runs), ("x", Tz::Europe__Zurich, 3));
    assert_eq!((dag.tasks[0].retries, dag.owner.as_deref()), (2, Some("ops")));
}

#[test]
fn schedules() {
    let tail = "start_date: 2024-01-01\ntasks: {a: {operator: empty}}\n";
    let cases = [
        ("schedule: '@daily'\n", "@daily"),
        ("schedule: none\n", "none"),
        ("schedule: ~\n", "none"),
        ("schedule: '@once'\n", "@once"),
        ("schedule: {every: 6h}\n", "every 6h"),
        ("schedule: ['0 1 * * *', '0 2 * * *']\n", "0 1 * * * | 0 2 * * *"),
        ("schedule: {at: [2024-01-01, 2024-02-01T10:00]}\n", "2 listed times"),
    ];
    for (schedule, expected) in cases {
        assert_eq!(read(&format!("{schedule}{tail}")).timetable.schedule.display_text(), expected, "{schedule}");
    }
    let kind = |text: &str| read(&format!("schedule: '@daily'\ntimetable: {text}\n{tail}")).timetable.kind;
    assert_eq!(kind("interval"), TimetableKind::Interval);
    assert_eq!(kind("trigger"), TimetableKind::Trigger { interval: None, run_immediately: RunImmediately::IfRecent });
    let TimetableKind::Trigger { interval, run_immediately } =
        kind("{kind: trigger, interval: 16h30m, run_immediately: 10m}")
    else {
        panic!()
    };
    assert_eq!(interval.unwrap().seconds(), 59_400);
    assert_eq!(run_immediately, RunImmediately::Within(Span::from_minutes(10)));
    assert_eq!(read(&format!("schedule: '@continuous'\n{tail}")).max_active_runs, 1);
}

#[test]
fn anchors_merges_tags_and_a_byte_order_mark() {
    let text = "\u{feff}---\nx-base: &base {operator: shell, retries: 3}\ntasks:\n  a:\n    <<: *base\n    bash_command: !!str 5\n    retries: 1\n  b: {<<: [*base], command: &c 'echo'}\n  c: {operator: bash, bash_command: *c}\n";
    let dag = read(text);
    assert_eq!(dag.tasks.iter().map(|task| task.retries).collect::<Vec<_>>(), [1, 3, 0]);
    assert_eq!(dag.tasks[0].parameters, json!({"bash_command": "5"}));
    assert_eq!(dag.tasks[2].parameters, json!({"bash_command": "echo"}));
}

#[test]
fn files_become_part_of_the_dag() {
    let text = "tasks:\n  a: {operator: sql, sql: [sql/a.sql, SELECT 1]}\n  b: {operator: bash, bash_command: ./run.sh}\n  c: {operator: bash, bash_command: /opt/run.sh}\n  d: {operator: bash, bash_command: there/is/none.sh}\n";
    let files = |path: &str| match path {
        "sql/a.sql" => Some("SELECT '{{ ds }}'".to_owned()),
        "run.sh" => Some("echo hi\n".to_owned()),
        _ => None,
    };
    let options = ReadOptions { files: &files, ..ReadOptions::new("x.yaml", CATALOGUE) };
    let result = read_dag(text, &options);
    assert!(result.diagnostics.is_empty(), "{:#?}", result.diagnostics);
    let dag = result.dags.into_iter().next().unwrap();
    assert_eq!(dag.tasks[0].parameters, json!({"sql": ["SELECT '{{ ds }}'", "SELECT 1"]}));
    assert_eq!(dag.tasks[1].parameters, json!({"bash_command": "echo hi\n"}));
    assert_eq!(dag.tasks[2].parameters, json!({"bash_command": "/opt/run.sh"}));
    assert_eq!(result.files, ["_defaults.yaml", "run.sh", "sql/a.sql", "there/is/none.sh"]);
}

#[test]
fn warnings_do_not_keep_the_dag_back() {
    let text = "schedule_interval: '@daily'\nstart_date: 2024-01-01\ntasks: {a: {operator: empty}}\n";
    let result = read_dag_bytes(text.as_bytes(), &ReadOptions::new("x.yaml", CATALOGUE));
    assert_eq!(result.dags.into_iter().next().unwrap().timetable.schedule.display_text(), "@daily");
    assert_eq!(result.diagnostics.len(), 1);
    assert_eq!(
        result.diagnostics[0].one_line("x.yaml"),
        "x.yaml:1:1: warning: 'schedule_interval' is called 'schedule' here; write 'schedule'"
    );
}

#[test]
fn a_pool_that_is_not_there_is_an_error_for_whoever_knows_which_are() {
    let pools = PoolSizes::from([("etl".to_owned(), 2), ("default_pool".to_owned(), 128)]);
    let options = ReadOptions { pools: Some(&pools), ..ReadOptions::new("x.yaml", CATALOGUE) };
    let said = |text: &str| -> Vec<String> {
        read_dag(text, &options).diagnostics.iter().map(|found| found.one_line("x.yaml")).collect()
    };
    let task = "{operator: bash, bash_command: x}";
    assert_eq!(said(&format!("default_args: {{pool: etl}}\ntasks: {{a: {task}, b: {task}}}")), [""; 0]);
    let shared = said(&format!("default_args: {{pool: nowhere}}\ntasks: {{a: {task}, b: {task}}}"));
    let expected = "x.yaml:1:22: error: there is no pool 'nowhere'; `millrace pools set nowhere SLOTS` makes it";
    assert_eq!(shared, [expected], "once for all tasks");
    let near = said("tasks: {a: {operator: bash, bash_command: x, pool: elt}}");
    assert!(near[0].ends_with("did you mean 'etl'? `millrace pools set elt SLOTS` makes it"), "{near:?}");
    // It takes no slot.
    assert_eq!(said("tasks: {a: {operator: empty, pool: nowhere}}"), [""; 0]);
}

#[test]
fn a_diagnostic_survives_json() {
    let result = read_dag("tasks: {}", &ReadOptions::new("x.yaml", CATALOGUE));
    let text = serde_json::to_string(&result.diagnostics).unwrap();
    assert_eq!(serde_json::from_str::<Vec<millrace_dagfile::Diagnostic>>(&text).unwrap(), result.diagnostics);
}
