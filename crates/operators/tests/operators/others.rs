//! summary_table, summary_check, sql and bash.

use std::sync::atomic::Ordering;

use millrace_operator_api::ports::{BuildReport, CheckResult, ProcessExit, SmallResult, TableCheck};
use millrace_operator_api::{PortError, PortErrorKind, TaskError};
use serde_json::{Value, json};

use crate::fakes::{World, problems};

fn message(result: Result<millrace_operator_api::Outcome, TaskError>) -> String {
    result.expect_err("it must fail").to_string()
}

fn checked(name: &str, passed: bool, found: &str) -> CheckResult {
    CheckResult { name: name.to_owned(), passed, found: found.to_owned() }
}

fn summary(checks: Value) -> Value {
    json!({"warehouse_conn_id": "w", "schema": "analytics", "table": "nps_summary", "select": "SELECT 1 ;\n", "checks": checks})
}

#[test]
fn case_85_a_summary_without_rows_fails_and_the_live_table_stays() {
    let world = World::new();
    *world.build.lock().unwrap() = BuildReport {
        rows: Some(0),
        checks: vec![checked("rows >= 1", false, "0 rows")],
        kept_as: Some("analytics.nps_summary__failed".to_owned()),
        ..BuildReport::default()
    };
    let text = message(
        world.run("summary_table", json!({"warehouse_conn_id": "w", "table": "nps_summary", "select": "SELECT 1"})),
    );
    for part in
        ["no records", "rows >= 1: found 0 rows", "live table is untouched", "kept as analytics.nps_summary__failed"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(world.builds.lock().unwrap()[0].checks, [TableCheck::MinRows(1)]);
    assert_eq!(world.ledger()[0].rows_written, Some(0));

    *world.build.lock().unwrap() = BuildReport {
        rows: Some(365),
        checks: vec![checked("rows >= 1", true, "365 rows")],
        was_swapped: true,
        ..BuildReport::default()
    };
    let result = world.run("summary_table", summary(json!({}))).unwrap().result.unwrap();
    assert_eq!(result["rows"], 365);
    assert_eq!(world.builds.lock().unwrap()[1].select, "SELECT 1");
    assert!(world.builds.lock().unwrap()[1].keep_failed);
}

#[test]
fn a_table_that_was_not_swapped_is_no_success() {
    let world = World::new();
    *world.build.lock().unwrap() = BuildReport { rows: Some(5), ..BuildReport::default() };
    assert!(message(world.run("summary_table", summary(json!({})))).contains("live table is untouched"));
    *world.build.lock().unwrap() = BuildReport { was_built_before: true, ..BuildReport::default() };
    world.run_try("summary_table", summary(json!({})), 2).unwrap();
}

#[test]
fn checks_are_read_in_their_short_forms() {
    let world = World::new();
    *world.build.lock().unwrap() = BuildReport { was_swapped: true, ..BuildReport::default() };
    let long = json!({
        "min_rows": 10, "unique": [["day"], ["id", "n"]], "not_null": "day",
        "sql": {"no future": "SELECT max(day) <= current_date FROM {table};"}
    });
    world.run("summary_table", summary(long)).unwrap();
    world.run("summary_table", summary(json!({"min_rows": 0, "unique": ["a", "b"]}))).unwrap();
    let builds = world.builds.lock().unwrap();
    let text = |name: &str| name.to_owned();
    assert_eq!(
        builds[0].checks,
        [
            TableCheck::MinRows(10),
            TableCheck::Unique(vec![text("day")]),
            TableCheck::Unique(vec![text("id"), text("n")]),
            TableCheck::NotNull(vec![text("day")]),
            TableCheck::Sql { name: text("no future"), sql: text("SELECT max(day) <= current_date FROM {table}") },
        ]
    );
    assert_eq!(builds[1].checks, [TableCheck::Unique(vec![text("a"), text("b")])]);
}

#[test]
fn a_check_that_is_not_passed_or_not_answered_fails() {
    let world = World::new();
    let parameters = json!({"warehouse_conn_id": "w", "table": "t", "checks": {"unique": "id"}});
    *world.checks.lock().unwrap() = vec![checked("rows >= 1", true, "5 rows"), checked("unique(id)", false, "2 keys")];
    assert!(message(world.run("summary_check", parameters.clone())).contains("unique(id): found 2 keys"));
    assert!(world.log().contains("Error check failed: unique(id)"));
    world.checks.lock().unwrap().pop();
    assert!(
        message(world.run("summary_check", parameters.clone()))
            .contains("2 checks were asked of t, but 1 were answered")
    );
    world.checks.lock().unwrap().push(checked("unique(id)", true, "no doubles"));
    assert_eq!(world.run("summary_check", parameters).unwrap().result.unwrap()["checks"][1]["passed"], true);
}

#[test]
fn a_script_goes_to_the_warehouse_as_a_whole() {
    let world = World::new();
    world.run("sql", json!({"sql_conn_id": "w", "sql": "a; b"})).unwrap();
    world.run("sql", json!({"sql_conn_id": "w", "sql": ["a", "b; c"], "autocommit": true})).unwrap();
    world.run("sql", json!({"sql_conn_id": "w", "sql": "BEGIN; a; COMMIT; b"})).unwrap();
    let executed: Vec<String> = world
        .executed
        .lock()
        .unwrap()
        .iter()
        .map(|(statements, autocommit)| format!("{} {autocommit}", statements.join("+")))
        .collect();
    assert_eq!(executed, ["a+b false", "a+b+c true", "BEGIN+a+COMMIT+b false"]);
    assert!(world.log().contains("Warning statement 1 (BEGIN) changes nothing"));
    assert!(world.log().contains("Warning statement 3 is the script's own COMMIT"));
}

#[test]
fn an_error_keeps_the_databases_words() {
    let world = World::new();
    let error = PortError::new(PortErrorKind::Data, "statement 2: duplicate key (SQLSTATE 23505)").with_code("23505");
    *world.execute_error.lock().unwrap() = Some(error);
    let text = message(world.run("sql", json!({"sql_conn_id": "w", "sql": "a; bad"})));
    assert_eq!(text, "running SQL on w: statement 2: duplicate key (SQLSTATE 23505)");
    assert!(message(world.run("sql", json!({"sql_conn_id": "w", "sql": ";"}))).contains("holds no statement"));
}

#[test]
fn rows_become_the_result_when_asked_for() {
    let world = World::new();
    *world.small.lock().unwrap() = SmallResult {
        columns: vec!["n".to_owned(), "m".to_owned()],
        rows: vec![vec![Some("7".to_owned()), None]],
        // As some databases count what a query returns.
        rows_affected: Some(0),
        ..SmallResult::default()
    };
    assert_eq!(world.run("sql", json!({"sql_conn_id": "w", "sql": "a"})).unwrap().result, None);
    assert!(world.log().contains("Info statement 1: 1 rows returned"), "{}", world.log());
    let result = world.run("sql", json!({"sql_conn_id": "w", "sql": "a", "return_rows": true})).unwrap().result;
    assert_eq!(result, Some(json!([{"n": "7", "m": null}])));
}

fn exit(code: Option<i32>, signal: Option<i32>) -> ProcessExit {
    ProcessExit { code, signal, last_line: None }
}

#[test]
fn exit_codes_decide() {
    let world = World::new();
    let command = json!({"bash_command": "echo hello", "env": {"X": "new"}, "cwd": "/tmp"});
    assert_eq!(world.run("bash", command.clone()).unwrap().result, Some(json!("hello")));
    let spec = world.processes.lock().unwrap()[0].clone();
    assert_eq!((spec.program.as_str(), spec.args.join(" ").as_str()), ("bash", "-c echo hello"));
    assert_eq!(spec.env, [("DAG_ID".to_owned(), "d".to_owned()), ("X".to_owned(), "new".to_owned())]);
    assert!(!spec.inherit_env && spec.cwd == Some("/tmp".into()));
    assert!(world.log().contains("Info hello") && world.log().contains("Warning it broke"));

    *world.exit.lock().unwrap() = Some(exit(Some(99), None));
    assert!(matches!(world.run("bash", command.clone()), Err(TaskError::Skip(text)) if text.contains("99")));
    *world.exit.lock().unwrap() = Some(exit(Some(3), None));
    let error = world.run("bash", command.clone()).unwrap_err();
    assert!(
        matches!(&error, TaskError::Retry(text) if text == "bash exited with code 3; its last lines:\nhello\nit broke")
    );
    let mut skipping = command.clone();
    skipping["skip_exit_codes"] = json!([3, 4]);
    assert!(matches!(world.run("bash", skipping), Err(TaskError::Skip(_))));
    *world.exit.lock().unwrap() = Some(exit(None, Some(9)));
    assert!(message(world.run("bash", command.clone())).contains("ended by signal 9"));
    world.cancelled.store(true, Ordering::Relaxed);
    assert!(matches!(world.run("bash", command), Err(TaskError::Cancelled(_))));
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let cases = [
        ("bash", json!({"bash_command": " "}), "bash_command: bash_command is empty"),
        ("bash", json!({"bash_command": "x", "skip_exit_codes": 0}), "skip_exit_codes: an exit code that skips"),
        ("bash", json!({"bash_command": "x", "env": {"A=B": "1"}}), "env.A=B: 'A=B' can't be the name"),
        ("sql", json!({"sql_conn_id": "w", "sql": [" "]}), "sql: sql is empty"),
        ("sql", json!({"sql_conn_id": "w", "sql": 5}), "unreadable"),
        ("summary_table", json!({"warehouse_conn_id": "w", "table": "t", "select": ""}), "select: select is empty"),
        (
            "summary_table",
            json!({"warehouse_conn_id": "w", "table": "t", "select": "s", "columns": "a int"}),
            "columns: columns is the text",
        ),
        ("summary_table", summary(json!({"min_row": 1})), "unknown field `min_row`"),
        ("summary_table", summary(json!({"unique": []})), "checks: unique names no column"),
        ("summary_table", summary(json!({"sql": {"x": ""}})), "checks: the SQL of check 'x' is empty"),
        (
            "summary_check",
            json!({"warehouse_conn_id": "w", "table": "t", "checks": {"min_rows": 0}}),
            "checks: nothing is checked",
        ),
    ];
    for (operator, parameters, expected) in cases {
        let found = problems(operator, parameters.clone());
        assert!(found.contains(expected), "{operator} {parameters}: {found:?}");
    }
}
