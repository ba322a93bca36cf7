//! What `validate` warns of.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::TestHome;

const LOAD: &str = "warehouse_conn_id: w, aws_conn_id: a, s3_bucket: b, table: t";

/// A lint, where it is found, and a file that it is found in.
#[expect(clippy::too_many_lines, reason = "a list of cases")]
fn cases() -> Vec<(&'static str, usize, String)> {
    let bash = |command: &str| format!("tasks: {{a: {{operator: bash, bash_command: '{command}'}}}}\n");
    let many: String = (0..501).map(|n| format!("  t{n}: {{operator: empty}}\n")).collect();
    let by_change = "sync_mode: incremental_sync, primary_key: id, incremental_field: at";
    vec![
        ("too-many-tasks", 2, format!("schedule: none\ntasks:\n{many}")),
        (
            "long-single-task",
            3,
            "schedule: none\ntasks: {a: {operator: bash, bash_command: x,\n  execution_timeout: 2h}}\n".to_owned(),
        ),
        (
            "hidden-failure",
            6,
            "schedule: none\ntasks:\n  a: {operator: bash, bash_command: x}\n  b:\n    operator: bash\n    trigger_rule: all_done\n    depends_on: [a]\n    bash_command: y\n".to_owned(),
        ),
        ("backfill-ready", 2, format!("schedule: '@daily'\ncatchup: true\nstart_date: 2024-01-01\n{}", bash("echo hello"))),
        (
            "unnamed-environment",
            3,
            "schedule: none\noverlays:\n  dev: {max_active_runs: 2}\ntasks: {a: {operator: empty}}\n".to_owned(),
        ),
        (
            "more-than-slots",
            2,
            "schedule: none\nmax_active_runs: 33\ntasks: {a: {operator: bash, bash_command: x}}\n".to_owned(),
        ),
        (
            "interval-in-trigger",
            4,
            format!("schedule: '@daily'\ntimetable: trigger\nstart_date: 2024-01-01\n{}", bash("echo {{ data_interval_end }}")),
        ),
        (
            "param-in-command",
            3,
            format!("schedule: none\nparams: {{n: {{type: integer, default: 1}}, who: you}}\n{}", bash("echo {{ params.n }} {{ params.who }}")),
        ),
        (
            "missed-windows",
            6,
            "schedule: '@daily'\nstart_date: 2024-01-01\ntasks:\n  a:\n    operator: extract\n    query: SELECT 1 WHERE at >= '{{ data_interval_start }}'\n    sql_conn_id: s\n".to_owned(),
        ),
        ("start-in-future", 2, format!("schedule: '@daily'\nstart_date: 2999-01-01\n{}", bash("x"))),
        (
            "utc-date",
            4,
            format!("schedule: '@daily'\ntimezone: Asia/Seoul\nstart_date: 2024-01-01\n{}", bash("echo {{ ds }}")),
        ),
        (
            "full-refresh",
            5,
            format!("schedule: none\ntasks:\n  a:  # lint: rows 50_000_000\n    operator: copy\n    method: replace # lint: rows 50_000_000\n    {}\n    s3_key: k\n", LOAD.replace(", ", "\n    ")),
        ),
        (
            "truncate-commits",
            5,
            "schedule: none\ntasks:\n  a:\n    operator: sql\n    sql: 'TRUNCATE t; INSERT INTO t SELECT 1'\n    sql_conn_id: w\n".to_owned(),
        ),
        (
            "upsert-without-order",
            3,
            format!("schedule: none\ntasks: {{a: {{operator: upsert, {LOAD}, s3_key: k,\n  upsert_keys: [id]}}}}\n"),
        ),
        (
            "missing-keys-differ",
            8,
            "schedule: none\ntasks:\n  a: {operator: sql_to_s3, sql_conn_id: s, query: SELECT 1, s3_bucket: b, s3_key: k,\n    hash_conn_id: h, columns: {email: hash}}\n  b:\n    operator: upsert\n    depends_on: [a]\n    delete_missing: {sql_conn_id: s, query: SELECT email FROM t}\n    warehouse_conn_id: w\n    from_task: a\n    table: t\n    order_key: at\n    upsert_keys: [email]\n".to_owned(),
        ),
        (
            "key-tells-nothing",
            13,
            "schedule: none\ntasks:\n  a: {operator: sql_to_s3, sql_conn_id: s, query: SELECT 1, s3_bucket: b, s3_key: k,\n    columns: {email: mask}}\n  b:\n    operator: upsert\n    depends_on: [a]\n    warehouse_conn_id: w\n    s3_bucket: b\n    s3_key: k\n    table: t\n    order_key: at\n    upsert_keys: [email]\n".to_owned(),
        ),
        (
            "prefix-over-match",
            3,
            format!("schedule: none\ntasks: {{a: {{operator: copy, prefix: true, {LOAD},\n  s3_key: exports/orders}}}}\n"),
        ),
        (
            "page-without-order",
            3,
            "schedule: none\ntasks: {a: {operator: sql, sql_conn_id: w,\n  sql: SELECT 1 FROM t LIMIT 5 OFFSET 10}}\n".to_owned(),
        ),
        (
            "change-without-modified",
            3,
            "schedule: none\ntasks: {a: {operator: extract, sql_conn_id: s, query: SELECT 1,\n  incremental: {created_field: at, source_timezone: UTC}}}\n".to_owned(),
        ),
        (
            "change-without-zone",
            3,
            "schedule: none\ntasks: {a: {operator: extract, sql_conn_id: s, query: SELECT 1,\n  incremental: {modified_field: at}}}\n".to_owned(),
        ),
        (
            "shared-temp-table",
            3,
            "schedule: none\ntasks: {a: {operator: sql, sql_conn_id: w,\n  sql: CREATE TABLE tmp_orders (id INT)}}\n".to_owned(),
        ),
        (
            "shared-object",
            5,
            "schedule: \"@daily\"\nstart_date: 2024-01-01\ntasks:\n  a: {operator: sql_to_s3, sql_conn_id: s, query: \"SELECT '{{ ds }}'\", replace: true, s3_bucket: b,\n    s3_key: \"{{ params.p }}/k\"}\nparams: {p: x}\n".to_owned(),
        ),
        (
            "shared-watermark",
            5,
            format!(
                "schedule: none\ntasks:\n  a: {{operator: table_copy, source_conn_id: s, target_conn_id: w, tables: {{source: a.t, target: dw.t, {by_change}}}}}\n  b: {{operator: table_copy, source_conn_id: a, target_conn_id: w,\n    tables: {{source: b.t, target: dw.t, {by_change}}}}}\n  c: {{operator: table_copy, source_conn_id: h, target_conn_id: w, tables: {{source: c.t, target: dw.t, watermark: stored, {by_change}}}}}\n"
            ),
        ),
        (
            "result-not-there",
            7,
            "schedule: none\ntasks:\n  a: {operator: bash, bash_command: x}\n  b:\n    operator: bash\n    depends_on: [a]\n    bash_command: \"echo {{ ti.xcom_pull('aa') }} {{ ti.xcom_pull('a') }}\"\n".to_owned(),
        ),
        (
            "unknown-connection",
            3,
            "schedule: none\ntasks: {a: {operator: sql, sql: SELECT 1,\n  sql_conn_id: nosuch}}\n".to_owned(),
        ),
        (
            "pool-too-small",
            3,
            "schedule: none\ntasks: {a: {operator: bash, bash_command: x,\n  pool_slots: 129}}\n".to_owned(),
        ),
    ]
}

fn warnings(home: &TestHome) -> BTreeMap<String, Vec<(String, u64)>> {
    let files = home.json(&["validate"]);
    let found = |file: &Value| {
        let name = file["file"].as_str().unwrap().rsplit('/').next().unwrap().trim_end_matches(".yaml").to_owned();
        let diagnostics = file["diagnostics"].as_array().unwrap().iter();
        let one = |d: &Value| (d["code"].as_str().unwrap().to_owned(), d["line"].as_u64().unwrap());
        (name, diagnostics.map(one).collect())
    };
    files.as_array().unwrap().iter().map(found).collect()
}

#[test]
fn every_lint_finds_its_mistake_at_its_place_and_nothing_else() {
    let mut home = TestHome::new();
    home.set("MILLRACE__CORE__ENVIRONMENT", "far");
    let cases = cases();
    for (code, _, text) in &cases {
        home.write_dag(&format!("{code}.yaml"), text);
    }
    // Which pools there are is known from the metadata database.
    home.ok(&["pools", "list"]);
    for conn_id in ["w", "a", "s", "h", "aws_default"] {
        home.ok(&["connections", "add", conn_id, "--conn-type", "postgres", "--conn-host", "127.0.0.1"]);
    }
    let found = warnings(&home);
    for (code, line, text) in &cases {
        assert_eq!(found[*code], [((*code).to_owned(), *line as u64)], "{text}");
    }
    let listed = home.json(&["validate", "--list-lints"]);
    let codes: Vec<&str> = listed.as_array().unwrap().iter().map(|lint| lint["code"].as_str().unwrap()).collect();
    for code in &codes {
        assert!(cases.iter().any(|(known, ..)| known == code), "no case for the lint {code}");
    }
    assert_eq!(codes.len(), cases.len());
}

#[test]
fn instances_that_fill_one_table_from_its_highest_value_are_found_and_those_with_a_mark_each_are_not() {
    let home = TestHome::new();
    let by_change = "sync_mode: incremental_sync, primary_key: id, incremental_field: at";
    let copy = "operator: table_copy, target_conn_id: w, expand: [x, y]";
    home.write_dag(
        "mapped.yaml",
        &format!(
            "schedule: none\ntasks:\n  a: {{{copy}, source_conn_id: '{{{{ item }}}}',\n    tables: {{source: a.t, target: dw.t, {by_change}}}}}\n  b: {{{copy}, source_conn_id: s, tables: {{source: a.t, target: 'dw.{{{{ item }}}}', {by_change}}}}}\n  c: {{{copy}, source_conn_id: s, tables: {{source: a.t, target: dw.u, watermark: stored, {by_change}}}}}\n"
        ),
    );
    home.ok(&["pools", "list"]);
    for conn_id in ["w", "s"] {
        home.ok(&["connections", "add", conn_id, "--conn-type", "postgres", "--conn-host", "127.0.0.1"]);
    }
    let found = warnings(&home);
    let found: Vec<_> = found["mapped"].iter().filter(|(code, _)| code == "shared-watermark").collect();
    assert_eq!(found, [&("shared-watermark".to_owned(), 4)]);
}

#[test]
fn a_load_that_reads_its_source_itself_misses_no_connection_for_objects() {
    let home = TestHome::new();
    for conn_id in ["w", "s"] {
        home.ok(&["connections", "add", conn_id, "--conn-type", "postgres", "--conn-host", "127.0.0.1"]);
    }
    let load = "operator: copy, warehouse_conn_id: w, table: t";
    home.write_dag(
        "straight.yaml",
        &format!("schedule: none\ntasks:\n  a: {{{load}, sql_conn_id: s, query: SELECT 1}}\n"),
    );
    home.write_dag("files.yaml", &format!("schedule: none\ntasks:\n  a: {{{load}, s3_bucket: b, s3_key: k}}\n"));
    let found = warnings(&home);
    let misses = |dag: &str| found[dag].iter().any(|(code, _)| code == "unknown-connection");
    assert!(misses("files") && !misses("straight"), "{found:?}");
}

/// `code line message` of the warnings of one file.
fn told(text: &str) -> Vec<String> {
    let home = TestHome::new();
    home.write_dag("d.yaml", text);
    let files: Value = serde_json::from_str(&home.run(&["validate", "-o", "json"]).stdout).unwrap();
    let lines = files[0]["diagnostics"].as_array().unwrap().iter();
    lines.map(|d| format!("{} {} {}", d["code"].as_str().unwrap(), d["line"], d["message"].as_str().unwrap())).collect()
}

#[test]
fn what_stands_in_groups_or_is_made_for_each_item_is_found_at_its_place() {
    let full = "operator: replace, warehouse_conn_id: w, aws_conn_id: a, s3_bucket: b, table: t, s3_key: k";
    let found = told(&format!(
        "schedule: none\ngroups:\n  load:\n    groups:\n      deep:\n        prefix_ids: false\n        tasks:\n          a: {{ # lint: rows 50_000_000\n            {full}}}\n"
    ));
    assert_eq!(found, ["full-refresh 8 task 'load.a' loads all of about 50000000 rows with each run"]);
    let found = told(
        "schedule: none\ntasks:\n  \"copy_${{ table }}\":\n    for_each: {table: [a, b, c]}\n    operator: sql\n    sql_conn_id: w\n    sql: SELECT 1 FROM t LIMIT 5 OFFSET 10\n",
    );
    assert_eq!(
        found,
        [
            "page-without-order 7 task 'copy_a' reads by LIMIT and OFFSET without ORDER BY (for_each: table = a), and so for 2 more"
        ]
    );
}

#[test]
fn a_point_in_time_holds_nothing_that_a_window_could_read() {
    let fires = |task: &str| {
        told(&format!("schedule: '@daily'\ntimetable: trigger\nstart_date: 2024-01-01\ntasks:\n  a: {task}\n"))
    };
    let empty = |name: &str| {
        vec![format!("interval-in-trigger 5 task 'a' uses {name}, but with 'timetable: trigger' the interval is empty")]
    };
    assert_eq!(fires("{operator: bash, bash_command: 'load $DATA_INTERVAL_START'}"), empty("$DATA_INTERVAL_START"));
    let extract = "{operator: extract, sql_conn_id: s, query: SELECT 1";
    let block = "incremental: {modified_field: at, source_timezone: UTC}}";
    assert_eq!(fires(&format!("{extract}, {block}")), empty("incremental"));
    assert!(fires("{operator: bash, bash_command: 'load $LOGICAL_DATE'}").is_empty());
}

#[test]
fn days_in_utc_are_told_under_each_of_their_names() {
    let seoul = |text: &str| {
        told(&format!(
            "schedule: '@daily'\ntimezone: Asia/Seoul\nstart_date: 2024-01-01\ntasks:\n  a: {{operator: bash, bash_command: 'x {{{{ {text} }}}}'}}\n"
        ))
    };
    for name in ["ds_nodash", "yesterday_ds", "tomorrow_ds", "prev_ds", "next_ds_nodash"] {
        let expected = format!("utc-date 5 task 'a' uses {name}, which is the date in UTC, not in Asia/Seoul");
        assert_eq!(seoul(name), [expected]);
    }
    assert_eq!(
        seoul("data_interval_end | ds"),
        ["utc-date 5 task 'a' uses | ds, which is the date in UTC, not in Asia/Seoul"]
    );
    for fine in ["ds_local", "ts", "data_interval_end | ts"] {
        assert!(seoul(fine).is_empty(), "{fine}");
    }
}

#[test]
fn items_of_a_list_want_a_slot_each() {
    let wide = told(
        "schedule: none\nmax_active_runs: 4\ntasks:\n  a: {operator: bash, bash_command: 'x {{ item }}', expand: {item: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n",
    );
    assert_eq!(wide, ["more-than-slots 2 4 runs at a time may want 36 of 32 worker slots"]);
    let narrow = told(
        "schedule: none\nmax_active_runs: 4\ntasks:\n  a: {operator: bash, bash_command: 'x {{ item }}', max_active_tis_per_dagrun: 2, expand: {item: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n",
    );
    assert!(narrow.is_empty(), "{narrow:?}");
}

#[test]
fn results_are_those_of_tasks_before() {
    let load = |before: &str, from: &str| {
        told(&format!(
            "schedule: none\ntasks:\n  a: {{operator: sql_to_s3, sql_conn_id: s, query: SELECT 1, s3_bucket: b, s3_key: k}}\n  \
             b: {{operator: upload, depends_on: [{before}], file: f, s3_bucket: b, s3_key: l, replace: true}}\n  \
             c:\n    operator: copy\n    depends_on: [b]\n    warehouse_conn_id: w\n    table: t\n    upsert_keys: [id]\n    method: upsert\n    order_key: at\n    from_task: {from}\n"
        ))
    };
    assert_eq!(load("a", "a"), Vec::<String>::new(), "a task before that one");
    assert_eq!(load("", "a"), ["result-not-there 13 task 'c' asks for the result of 'a', which is not before it"]);
    assert_eq!(load("a", "z"), ["unknown-task 13 task 'c' takes what 'z' hands over, but there is no such task"]);
    assert_eq!(load("a", "\"{{ params.t }}\""), Vec::<String>::new());
}

#[test]
fn past_dates_are_judged_by_what_really_depends_on_them() {
    let load = format!("{LOAD}, s3_key: 'x/{{{{ ds }}}}'");
    let appended =
        told(&format!("schedule: '@daily'\nstart_date: 2024-01-01\ntasks: {{a: {{operator: copy, {load}}}}}\n"));
    assert_eq!(appended, ["backfill-ready 3 task 'a' appends, and no key tells rows that are there already"]);
    let inserted = |sql: &str| {
        told(&format!(
            "schedule: '@daily'\nstart_date: 2024-01-01\ntasks: {{a: {{operator: sql, sql_conn_id: w, sql: \"{sql}\"}}}}\n"
        ))
    };
    assert_eq!(inserted("INSERT INTO t SELECT * FROM s WHERE d = '{{ ds }}'").len(), 1);
    assert_eq!(inserted("DELETE FROM t WHERE d = '{{ ds }}'; INSERT INTO t SELECT * FROM s").len(), 0);
    // A window of change is the run's data interval, though no template says so.
    let by_change = told(
        "schedule: '@daily'\ncatchup: true\nstart_date: 2024-01-01\ntasks: {a: {operator: extract, sql_conn_id: s, query: SELECT 1, incremental: {modified_field: at, source_timezone: UTC}}}\n",
    );
    assert_eq!(by_change, Vec::<String>::new());
    // How many rows: a comment says it, of every operator that loads a whole table.
    let copied = told(
        "schedule: none\ntasks:\n  a: # lint: rows 20_000_000\n    operator: table_copy # lint: rows 20_000_000\n    source_conn_id: s\n    target_conn_id: t\n    tables: {source: public.orders}\n",
    );
    assert_eq!(copied, ["full-refresh 7 task 'a' loads all of about 20000000 rows with each run"]);
}

#[test]
fn warnings_are_errors_when_asked_and_can_be_silenced() {
    let home = TestHome::new();
    let text = "schedule: '@daily'\nstart_date: 2999-01-01\ntasks: {a: {operator: empty}}\n";
    home.write_dag("later.yaml", text);
    let output = home.ok(&["validate"]);
    assert!(
        output.stdout.contains("later.yaml:2:1: warning: nothing is scheduled before 2999-01-01"),
        "{}",
        output.stdout
    );
    assert!(output.stderr.contains("1 warning"), "{}", output.stderr);
    home.run(&["validate", "--strict"]).exits(1);
    assert_eq!(home.ok(&["validate", "--no-lint", "--strict"]).stdout, "");
    home.write_dag("later.yaml", &format!("# lint: ignore start-in-future\n{text}"));
    home.ok(&["validate", "--strict"]);
    // A warning keeps nothing from running.
    assert_eq!(home.json(&["dags", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_backfill_that_makes_no_sense_says_so() {
    let home = TestHome::new();
    home.write_dag(
        "same.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\ntasks: {a: {operator: bash, bash_command: echo hello}}\n",
    );
    let dry = home.ok(&["dags", "backfill", "same", "-s", "2024-01-01", "-e", "2024-01-03", "--dry-run"]);
    assert!(dry.stderr.contains("no task uses the date of its run"), "{}", dry.stderr);
}

#[test]
fn case_71_an_unknown_pool_is_an_import_error_and_too_many_slots_are_told_of_before_anything_runs() {
    let home = TestHome::new();
    home.write_dag(
        "d.yaml",
        "schedule: none\ntasks:\n  lost: {operator: bash, bash_command: x, pool: etl}\n  big:\n    operator: bash\n    bash_command: x\n    pool_slots: 129\n",
    );
    // Without a metadata database nobody knows which pools there are.
    assert_eq!(home.ok(&["validate"]).stdout, "");
    let errors = || -> Vec<String> {
        let listed = home.json(&["dags", "list-import-errors"]);
        let one = |row: &Value| format!("{} {} {}", row["place"], row["severity"], row["error"]).replace('"', "");
        listed.as_array().unwrap().iter().map(one).collect()
    };
    let dags = || home.json(&["dags", "list"]).as_array().unwrap().len();
    assert_eq!(errors(), ["d.yaml:3:49 error there is no pool 'etl'; `millrace pools set etl SLOTS` makes it"]);
    assert_eq!(dags(), 0);
    let said = home.run(&["validate"]).exits(1).stdout;
    assert!(said.contains("d.yaml:3:49: error: there is no pool 'etl'"), "{said}");
    // Making the pool mends it.
    home.ok(&["pools", "set", "etl", "1"]);
    assert_eq!(dags(), 1);
    let too_small = "the task 'big' can never run: it needs 129 slots, and the pool 'default_pool' has 128";
    let said = home.ok(&["validate"]).stdout;
    assert!(said.contains(&format!("d.yaml:7:5: warning: {too_small}")), "{said}");
    home.run(&["validate", "--strict"]).exits(1);
    assert!(matches!(&errors()[..], [one] if one.contains("warning") && one.contains(too_small)), "{:?}", errors());
    home.ok(&["pools", "set", "default_pool", "129"]);
    home.ok(&["validate", "--strict"]);
    assert!(errors().is_empty());
    // Without it the file is an error again, and the DAG stays what it was.
    home.ok(&["pools", "delete", "etl"]);
    let again = errors();
    assert!(again[0].starts_with("d.yaml:3:49 error there is no pool 'etl'"), "{again:?}");
    assert!(again[1].contains("warning the task 'lost' can never run"), "{again:?}");
    assert_eq!(dags(), 1);
}

#[test]
fn a_connection_that_says_its_zone_need_not_be_asked_for_it() {
    let home = TestHome::new();
    home.write_dag(
        "changes.yaml",
        "schedule: none\ntasks:\n  a: {operator: extract, sql_conn_id: s, query: SELECT 1, incremental: {modified_field: at}}\n",
    );
    let told = || {
        let output = home.run(&["validate", "-o", "json"]);
        let files: Value = serde_json::from_str(&output.stdout).unwrap();
        let found = files[0]["diagnostics"].as_array().unwrap().clone();
        found.into_iter().find(|found| found["code"] == "change-without-zone")
    };
    let hint = |found: Option<Value>| found.unwrap()["hint"].as_str().unwrap().to_owned();
    assert!(hint(told()).contains("extra settings of 's', which could not be looked at, or in the task"));
    home.ok(&["connections", "add", "s", "--conn-type", "postgres", "--conn-host", "127.0.0.1"]);
    assert!(hint(told()).contains("extra settings of 's', which do not have it, or in the task"));
    home.ok(&["connections", "delete", "s"]);
    let form = r#"{"conn_type": "postgres", "host": "127.0.0.1", "extra": {"source_timezone": "Asia/Seoul"}}"#;
    home.run_with_input(&["connections", "add", "s", "--conn-json", "-"], form).exits(0);
    assert_eq!(told(), None);
}

#[test]
fn intervals_that_an_outage_leaves_out_are_told_of_where_only_they_are_read() {
    let daily = |more: &str, task: &str| {
        told(&format!("schedule: '@daily'\nstart_date: 2024-01-01\n{more}tasks:\n  a: {task}\n  b: {task}\n"))
    };
    let extract = "{operator: extract, sql_conn_id: s, query: SELECT 1";
    let window = format!("{extract}, incremental: {{modified_field: at, source_timezone: UTC}}}}");
    let missed = |line: u32, policy: &str| {
        vec![format!(
            "missed-windows {line} task 'a' (and one more) reads its run's interval only, and with '{policy}' intervals whose \
             runs were missed are read by none"
        )]
    };
    assert_eq!(daily("", &window), missed(4, "catchup: false"));
    assert_eq!(daily("misfire: none\n", &window), missed(5, "misfire: none"));
    for fine in ["catchup: true\n", "misfire: all\n", "misfire: {within: 7d}\n"] {
        assert!(daily(fine, &window).is_empty(), "{fine}");
    }
    assert!(daily("", &format!("{extract}}}")).is_empty(), "all rows, each time");
}
