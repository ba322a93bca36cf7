//! A file that has every key that a DAG and a task can have: each value arrives where it belongs.

use millrace_dagfile::{ReadOptions, dag_schema, read_dag};
use millrace_model::dag::Dag;
use serde_json::{Value, json};

use crate::catalogue::CATALOGUE;

/// Names of keys that are other names of one that the file has, or that make several DAGs or tasks of one.
const NOT_HERE: &[&str] = &[
    "schedule_interval",
    "task_groups",
    "for_each",
    "templates",
    "expand_zip",
    "command",
    "catchup",
    "overlays",
    "include",
    "task_id",
];

fn read(text: &str) -> Dag {
    let files = |path: &str| match path {
        "calendars/holidays.yaml" => Some("days: {12-25: Christmas}\n".to_owned()),
        "calendars/workdays.yaml" => Some("days: [mon, 2026-05-02]\n".to_owned()),
        _ => None,
    };
    let calendars = || ["holidays", "workdays"].map(str::to_owned).to_vec();
    let options = ReadOptions { files: &files, calendars: &calendars, ..ReadOptions::new("dags/all.yaml", CATALOGUE) };
    let result = read_dag(text, &options);
    assert!(result.diagnostics.is_empty(), "{:#?}", result.diagnostics);
    result.dags.into_iter().next().unwrap()
}

const EVERY_KEY: &str = r#"
dag_id: all
description: all of them
schedule: {assets: {any: [a, {all: [b, c]}]}, cron: "30 2 * * 1-5"}
timetable: {kind: trigger, interval: 1mo, run_immediately: 2h}
timezone: Asia/Seoul
start_date: 2024-01-01
end_date: 2024-12-31
misfire: {within: 6h, max: 10}
calendar: {exclude: holidays, include: [workdays], shift: next_business_day, compare: logical_date}
maintenance: ["Sat 22:00..Sun 04:00"]
max_active_runs: 3
max_active_tasks: 5
concurrency: {key: "{{ params.region }}", limit: 2}
fail_fast: true
dagrun_timeout: 3h
tags: [nightly]
owner: data
params: {region: eu}
deadline: {within: 2h, reference: start_date}
longer_than_usual: {percent: 150, min_runs: 7}
max_consecutive_failed_dag_runs: 4
on_failure: {command: echo dag failed}
on_success: {command: echo dag well}
on_alert: {webhook: chat}
default_args: {retries: 1}
groups:
  load:
    description: what loads
    depends_on: [create]
    expand: {item: [x, y]}
    tasks:
      each: {operator: bash, bash_command: "echo {{ item }}"}
tasks:
  create: {operator: empty, setup: true}
  work:
    operator: bash
    bash_command: echo
    description: what it does
    owner: ann
    depends_on: [create]
    depends_on_past: true
    wait_for_downstream: true
    wait_for_past_depends_before_skipping: true
    retries: 4
    retry_delay: 10s
    retry_exponential_backoff: 1.5
    max_retry_delay: 1h
    execution_timeout: 20m
    pool: narrow
    pool_slots: 2
    priority_weight: 9
    weight_rule: upstream
    max_active_tis_per_dag: 6
    max_active_tis_per_dagrun: 7
    concurrency: {key: "{{ ds }}", limit: 8}
    outlets: [orders]
    on_failure: {webhook: chat}
    on_success: {command: echo well}
    on_retry: [{command: echo again}, {webhook: chat}]
    on_execute: {command: echo begins}
    on_skipped: {command: echo skipped}
  many:
    operator: bash
    bash_command: "echo {{ item }}"
    depends_on: [work]
    trigger_rule: all_success
    expand: {item: [1, 2, 3]}
    map_index_template: "number {{ item }}"
  drop: {operator: empty, depends_on: [many], teardown_of: create, on_failure_fail_dagrun: true}
  clean: {operator: empty, depends_on: [drop], teardown: true}
"#;

#[test]
fn every_key_is_in_the_file() {
    let schema = dag_schema(CATALOGUE);
    let own = schema["properties"].as_object().unwrap();
    let of_tasks = schema["definitions"]["task"]["properties"].as_object().unwrap();
    for key in own.keys().chain(of_tasks.keys()).filter(|key| !NOT_HERE.contains(&key.as_str())) {
        let is_there = [format!("\n{key}:"), format!(" {key}:"), format!("{{{key}:")];
        assert!(is_there.iter().any(|text| EVERY_KEY.contains(text.as_str())), "the file lacks {key}");
    }
}

/// `every_key.json` is the DAG as it is stored.
#[test]
fn every_value_is_where_it_belongs() {
    let expected: Value = serde_json::from_str(include_str!("every_key.json")).unwrap();
    assert_eq!(serde_json::to_value(read(EVERY_KEY)).unwrap(), expected);
}

#[test]
fn what_default_args_say_is_as_if_each_task_said_it() {
    let keys = [
        "trigger_rule: none_failed",
        "depends_on_past: true",
        "wait_for_downstream: true",
        "wait_for_past_depends_before_skipping: true",
        "retries: 4",
        "retry_delay: 10s",
        "retry_exponential_backoff: true",
        "max_retry_delay: 1h",
        "execution_timeout: 20m",
        "pool: narrow",
        "pool_slots: 2",
        "priority_weight: 9",
        "weight_rule: absolute",
        "max_active_tis_per_dag: 6",
        "max_active_tis_per_dagrun: 7",
        "concurrency: {key: x, limit: 8}",
        "on_failure: {webhook: chat}",
        "on_retry: {webhook: chat}",
    ]
    .join(", ");
    let shared = read(&format!("default_args: {{{keys}}}\ntasks: {{a: {{operator: bash, bash_command: x}}}}\n"));
    let own = read(&format!("tasks: {{a: {{operator: bash, bash_command: x, {keys}}}}}\n"));
    assert_eq!(shared.tasks, own.tasks);
    let task = &own.tasks[0];
    assert_eq!(task.trigger_rule.as_str(), "none_failed");
    assert_eq!((task.retry_exponential_backoff, task.max_active_tis_per_dagrun), (Some(2.0), Some(7)));
    let bare = read("tasks: {a: {operator: bash, bash_command: x}}\n");
    let (said, unsaid) = (serde_json::to_value(task).unwrap(), serde_json::to_value(&bare.tasks[0]).unwrap());
    let changed = said.as_object().unwrap().iter().filter(|(key, value)| unsaid.get(key.as_str()) != Some(*value));
    assert_eq!(changed.count(), 17, "each key changes something, two of them the callbacks: {said:#}");
}

#[test]
fn short_forms_mean_what_the_long_ones_say() {
    let own = |keys: &str| {
        let text = format!("schedule: '@daily'\nstart_date: 2024-01-01\n{keys}\ntasks: {{a: {{operator: empty}}}}\n");
        serde_json::to_value(read(&text)).unwrap()
    };
    for (keys, name, expected) in [
        ("deadline: 2h", "deadline", json!({"reference": "run_after", "within": "2h"})),
        (
            "deadline: {within: 1h, reference: logical_date}",
            "deadline",
            json!({"reference": "logical_date", "within": "1h"}),
        ),
        ("longer_than_usual: true", "longer_than_usual", json!({"percent": 200, "min_runs": 5})),
        ("longer_than_usual: false", "longer_than_usual", Value::Null),
        ("misfire: all", "misfire", json!("all")),
        ("misfire: latest", "misfire", json!("latest")),
        ("catchup: true", "catchup", json!(true)),
    ] {
        assert_eq!(own(keys).get(name).cloned().unwrap_or_default(), expected, "{keys}");
    }
    for (factor, expected) in [("true", Some(2.0)), ("false", None), ("3", Some(3.0)), ("0", None)] {
        let text = format!("tasks: {{a: {{operator: bash, bash_command: x, retry_exponential_backoff: {factor}}}}}\n");
        assert_eq!(read(&text).tasks[0].retry_exponential_backoff, expected, "{factor}");
    }
    for (schedule, condition, times) in [
        ("{assets: a}", "a", "none"),
        ("{assets: [a, b]}", "a and b", "none"),
        ("{assets: {any: [a, {all: [b, c]}]}, every: 6h}", "a or (b and c)", "every 6h"),
    ] {
        let dag = read(&format!("schedule: {schedule}\nstart_date: 2024-01-01\ntasks: {{a: {{operator: empty}}}}\n"));
        assert_eq!(dag.assets.unwrap().to_string(), condition, "{schedule}");
        assert_eq!(dag.timetable.schedule.display_text(), times, "{schedule}");
    }
}
