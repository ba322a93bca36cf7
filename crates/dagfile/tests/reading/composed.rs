//! DAGs that are made of several files and of lists.

use std::collections::BTreeMap;

use millrace_dagfile::{Defaults, ReadOptions, ReadResult, read_dag, render_all};

use crate::catalogue::CATALOGUE;

/// Reads `path` with the other files beside it.
fn read_in(path: &str, text: &str, others: &[(&str, &str)], environment: Option<&str>) -> ReadResult {
    let others: BTreeMap<&str, &str> = others.iter().copied().collect();
    let files = |path: &str| others.get(path).map(|text| (*text).to_owned());
    let defaults = Defaults { environment: environment.map(str::to_owned), ..Defaults::default() };
    read_dag(text, &ReadOptions { defaults, files: &files, ..ReadOptions::new(path, CATALOGUE) })
}

fn problems(result: &ReadResult, path: &str, text: &str) -> String {
    render_all(&result.diagnostics, path, text)
}

const ONE_TASK: &str = "tasks: {a: {operator: empty}}\n";

#[test]
fn the_nearer_defaults_win_and_the_file_itself_most() {
    let others = [
        ("_defaults.yaml", "owner: all\nmax_active_runs: 1\ndefault_args: {retries: 1, pool: slow}\n"),
        ("sales/_defaults.yaml", "owner: sales\ndefault_args: {retries: 2}\n"),
    ];
    let text = format!("max_active_runs: 3\n{ONE_TASK}");
    let result = read_in("sales/orders.yaml", &text, &others, None);
    let dag = &result.dags[0];
    assert_eq!((dag.owner.as_deref(), dag.max_active_runs), (Some("sales"), 3));
    assert_eq!((dag.tasks[0].retries, dag.tasks[0].pool.as_str()), (2, "slow"));
    assert_eq!(result.files, ["_defaults.yaml", "sales/_defaults.yaml"]);
    let elsewhere = read_in("other/orders.yaml", &text, &others, None);
    assert_eq!(elsewhere.dags[0].owner.as_deref(), Some("all"));
    assert_eq!(elsewhere.files, ["_defaults.yaml", "other/_defaults.yaml"], "one that appears later is noticed");
}

#[test]
fn included_files_lie_below_and_may_include() {
    let others = [
        ("_a.yaml", "include: _b.yaml\ntags: [a]\ntasks: {a: {operator: empty}, b: {operator: empty, retries: 1}}\n"),
        ("_b.yaml", "owner: b\ntags: [b]\n"),
    ];
    let text = "include: [_a.yaml]\ntasks: {b: {retries: 5}, c: {operator: empty, depends_on: b}}\n";
    let dag = read_in("x.yaml", text, &others, None).dags.remove(0);
    assert_eq!((dag.owner.as_deref(), dag.tags.as_slice()), (Some("b"), &["a".to_owned()][..]));
    let tasks: Vec<_> = dag.tasks.iter().map(|task| (task.task_id.as_str(), task.retries)).collect();
    assert_eq!(tasks, [("a", 0), ("b", 5), ("c", 0)]);
}

#[test]
fn includes_in_a_circle_end() {
    let others = [("_a.yaml", "include: _b.yaml\n"), ("_b.yaml", "include: _a.yaml\n")];
    let text = format!("include: _a.yaml\n{ONE_TASK}");
    let result = read_in("x.yaml", &text, &others, None);
    let shown = problems(&result, "x.yaml", &text);
    assert!(shown.contains("_b.yaml:1:10: error: '_a.yaml' is included by files that include each other"), "{shown}");
}

#[test]
fn a_problem_in_an_included_file_names_that_file_and_its_line() {
    let others = [("_common.yaml", "owner: me\ndefault_args:\n  retrys: 3\n")];
    let text = format!("include: _common.yaml\n{ONE_TASK}");
    let result = read_in("x.yaml", &text, &others, None);
    let shown = problems(&result, "x.yaml", &text);
    assert!(shown.contains("_common.yaml:3:3: error: unknown key 'retrys' in default_args"), "{shown}");
    assert!(shown.contains("3 |   retrys: 3"), "{shown}");
    let broken = read_in("x.yaml", &text, &[("_common.yaml", "a: [\n")], None);
    assert!(problems(&broken, "x.yaml", &text).contains("_common.yaml:2:1: error: the YAML cannot be read"));
    let missing = read_in("x.yaml", &text, &[], None);
    assert!(problems(&missing, "x.yaml", &text).contains("x.yaml:1:10: error: there is no file '_common.yaml'"));
    let outside = read_in("x.yaml", &text.replace("_common", "../../etc/x"), &[], None);
    assert!(problems(&outside, "x.yaml", &text).contains("leads out of the dags folder"));
}

#[test]
fn an_overlay_changes_what_its_environment_needs() {
    let text = "schedule: '@daily'\nstart_date: 2024-01-01\n\
                overlays:\n  prod: {schedule: '@hourly', tasks: {a: {pool: big}}}\n  dev: {schedule: null}\n\
                tasks: {a: {operator: empty, retries: 2}}\n";
    let schedule = |environment| {
        let dag = read_in("x.yaml", text, &[], environment).dags.remove(0);
        (dag.schedule_text(), dag.tasks[0].pool.clone(), dag.tasks[0].retries)
    };
    assert_eq!(schedule(None), ("@daily".to_owned(), "default_pool".to_owned(), 2));
    assert_eq!(schedule(Some("prod")), ("@hourly".to_owned(), "big".to_owned(), 2));
    assert_eq!(schedule(Some("dev")).0, "none");
}

#[test]
fn a_task_for_each_of_three_hundred_tables() {
    let tables: Vec<String> = (0..300).map(|n| format!("- {{name: t{n}, slots: {}}}", n % 3 + 1)).collect();
    let tables = tables.join("\n");
    let text = "tasks:\n  begin: {operator: empty}\n  copy_${{ table.name }}:\n    for_each: {table: {file: tables.yaml}}\n    \
                operator: bash\n    bash_command: \"echo ${{ table.name }} {{ ds }}\"\n    \
                pool_slots: ${{ table.slots }}\n    depends_on: begin\n";
    let result = read_in("x.yaml", text, &[("tables.yaml", &tables)], None);
    assert_eq!(problems(&result, "x.yaml", text), "");
    let dag = &result.dags[0];
    assert_eq!(dag.tasks.len(), 301);
    let task = dag.task("copy_t7").unwrap();
    assert_eq!((task.pool_slots, task.parameters["bash_command"].as_str()), (2, Some("echo t7 {{ ds }}")));
    assert_eq!(result.files, ["_defaults.yaml", "tables.yaml"]);
}

#[test]
fn a_dag_for_each_and_every_combination() {
    let text = "for_each: {region: [eu, us], kind: [full, delta]}\ndag_id: load_${{ region }}_${{ kind }}\n\
                tags: ['${{ region }}']\ntasks: {a: {operator: empty}}\n";
    let result = read_in("x.yaml", text, &[], None);
    let ids: Vec<_> = result.dags.iter().map(|dag| (dag.dag_id.as_str(), dag.tags[0].as_str())).collect();
    let expected = [("load_eu_full", "eu"), ("load_eu_delta", "eu"), ("load_us_full", "us"), ("load_us_delta", "us")];
    assert_eq!(ids, expected);
    assert_eq!(result.expanded[2]["dag_id"], "load_us_full");
}

#[test]
fn a_problem_names_the_item() {
    let text = "tasks:\n  copy_${{ table.name }}:\n    for_each: {table: [{name: a, retries: 1}, {name: b, retries: many}]}\n    \
                operator: empty\n    retries: ${{ table.retries }}\n";
    let result = read_in("x.yaml", text, &[], None);
    let shown = problems(&result, "x.yaml", text);
    assert!(
        shown.contains("x.yaml:5:14: error: 'retries' must be a whole number, not text (for_each: table = b)"),
        "{shown}"
    );
    assert_eq!(result.diagnostics.len(), 1, "{shown}");
}

#[test]
fn mistakes_around_for_each_are_told() {
    let cases = [
        ("for_each: [a]\ntasks: {a: {operator: empty}}", "'for_each' must be a map"),
        ("for_each: {t: [a, b]}\ntasks: {a: {operator: empty}}", "which all would have one dag_id"),
        ("for_each: {t: 3}\ndag_id: x${{ t }}\ntasks: {a: {operator: empty}}", "'t' must be a list"),
        ("for_each: {t: [a, a]}\ndag_id: x${{ t }}\ntasks: {a: {operator: empty}}", "this file makes two DAGs 'xa'"),
        ("tasks: {a: {for_each: {t: [a, b]}, operator: empty}}", "there are two 'a'"),
        ("tasks: {'a${{ x }}': {operator: empty}}", "there is no for_each around it"),
        ("tasks: {'a${{ x }}': {for_each: {t: [1]}, operator: empty}}", "'x' is not defined here; there is t"),
        (
            "for_each: {t: {file: no.yaml}}\ndag_id: x${{ t }}\ntasks: {a: {operator: empty}}",
            "there is no file 'no.yaml'",
        ),
        ("overlays: 3\ntasks: {a: {operator: empty}}", "'overlays' must be a map"),
        ("include: {a: b}\ntasks: {a: {operator: empty}}", "'include' must be the path"),
    ];
    for (text, expected) in cases {
        let result = read_in("x.yaml", text, &[], None);
        let shown = problems(&result, "x.yaml", text);
        assert!(shown.contains(expected), "{text}\n{shown}");
        assert!(result.dags.is_empty(), "{text}");
    }
}

#[test]
fn what_a_lost_part_would_have_held_is_not_missed() {
    let cases = [
        "tasks: {'a${{ t }}': {for_each: {t: 3}, operator: empty}}",
        "tasks: {'a${{ t }}': {for_each: [1], operator: empty}, z: {operator: empty, depends_on: a1}}",
        "tasks: {z: {operator: empty}}\ngroups: {g: {tasks: {'a${{ t }}': {for_each: {t: {file: no.yaml}}, operator: empty}}}}",
        "default_args: {bash_command: echo}\ntasks: {'a${{ t }}': {for_each: {t: x}, operator: bash}}",
        "include: no.yaml\nschedule: '@daily'",
        "include: no.yaml\ntasks: {a: {retries: 1}}",
    ];
    for text in cases {
        let result = read_in("x.yaml", text, &[], None);
        let shown = problems(&result, "x.yaml", text);
        assert_eq!(result.diagnostics.len(), 1, "{text}\n{shown}");
    }
    let also_wrong = "tasks: {'a${{ t }}': {for_each: {t: 3}, operator: empty}, b: {operator: empty, retries: many}}";
    let shown = problems(&read_in("x.yaml", also_wrong, &[], None), "x.yaml", also_wrong);
    assert!(shown.contains("'t' must be a list") && shown.contains("'retries' must be a whole number"), "{shown}");
    let none = "tasks: {'a${{ t }}': {for_each: {t: []}, operator: empty}}";
    let shown = problems(&read_in("x.yaml", none, &[], None), "x.yaml", none);
    assert!(shown.contains("a DAG needs at least one task"), "{shown}");
}

#[test]
fn a_schedule_that_cannot_be_read_is_the_only_thing_said_of_it() {
    let text =
        format!("schedule: 0 2 * *\ncalendar: {{include: [mon]}}\nmisfire: all\nstart_date: 2024-01-01\n{ONE_TASK}");
    let shown = problems(&read_in("x.yaml", &text, &[], None), "x.yaml", &text);
    assert!(shown.contains("5 fields are wanted") && !shown.contains("means nothing"), "{shown}");
    let text = format!("schedule: none\nmisfire: all\n{ONE_TASK}");
    let shown = problems(&read_in("x.yaml", &text, &[], None), "x.yaml", &text);
    assert!(shown.contains("'misfire' means nothing with the schedule none"), "{shown}");
}

#[test]
fn copies_are_bounded() {
    let items: Vec<String> = (0..1_900).map(|n| n.to_string()).collect();
    let text = format!(
        "tasks:\n  \"t${{{{ n }}}}\":\n    for_each: {{n: [{}]}}\n    operator: bash\n    bash_command: echo\n    params: {{{}}}\n",
        items.join(", "),
        (0..100).map(|n| format!("k{n}: v")).collect::<Vec<_>>().join(", ")
    );
    let shown = problems(&read_in("x.yaml", &text, &[], None), "x.yaml", &text);
    assert!(shown.contains("for_each makes more than 100000 values"), "{}", &shown[..shown.len().min(500)]);
}

#[test]
fn a_file_with_neither_is_read_as_before() {
    let result = read_in("x.yaml", ONE_TASK, &[], None);
    assert_eq!(result.dags.len(), 1);
    assert_eq!(result.expanded[0]["tasks"]["a"]["operator"], "empty");
}
