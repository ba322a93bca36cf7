//! The sql_check family, and the checks of summary tables that go by values and age.

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::TableCheck;
use serde_json::{Value, json};

use crate::fakes::{World, problems};

fn answering(columns: &[&str], row: &[Option<&str>]) -> std::sync::Arc<World> {
    World::with_rows(columns, &[row])
}

fn message(result: Result<millrace_operator_api::Outcome, TaskError>) -> String {
    result.expect_err("it must fail").to_string()
}

fn result(outcome: Result<millrace_operator_api::Outcome, TaskError>) -> Value {
    outcome.expect("it must pass").result.expect("a record")
}

#[test]
fn the_first_row_must_be_true() {
    let parameters = json!({"sql_conn_id": "w", "sql": "SELECT a, b FROM t;"});
    let world = answering(&["a", "b"], &[Some("1"), Some("t")]);
    let record = result(world.run("sql_check", parameters.clone()));
    assert_eq!(record["kind"], "data_quality");
    assert_eq!(record["checks"][1], json!({"name": "b", "passed": true, "found": "t"}));
    assert_eq!(*world.queries.lock().unwrap(), ["SELECT a, b FROM t"]);
    assert_eq!(world.ledger()[0].stage, "check");

    let world = answering(&["a", "b"], &[Some("1"), None]);
    let text = message(world.run("sql_check", parameters.clone()));
    assert!(text.contains("b: found NULL"), "{text}");
    let record: Vec<_> = world.ledger()[0].checks.iter().map(|check| (check.passed, check.found.clone())).collect();
    assert_eq!(record, [(true, "1".to_owned()), (false, "NULL".to_owned())], "what failed is on record, too");
    let world = World::with_rows(&["a"], &[]);
    assert!(message(world.run("sql_check", parameters)).contains("no row came back"));
    let at_once = json!({"sql_conn_id": "w", "sql": "SELECT 0", "retry_on_failure": false});
    assert!(matches!(answering(&["a"], &[Some("0")]).run("SQLCheckOperator", at_once), Err(TaskError::Fail(_))));
    assert_eq!(problems("sql_check", json!({"sql_conn_id": "", "sql": " "})).lines().count(), 2);
}

#[test]
fn a_value_may_be_off_by_its_tolerance() {
    let parameters = |more: Value| {
        let mut all = json!({"sql_conn_id": "w", "sql": "SELECT COUNT(*) FROM t", "pass_value": 100});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let world = answering(&["n"], &[Some("105")]);
    result(world.run("sql_value_check", parameters(json!({"tolerance": 0.1}))));
    let text = message(world.run("sql_value_check", parameters(json!({}))));
    assert!(text.contains("n = 100: found 105"), "{text}");
    let nothing = World::with_rows(&["n"], &[]);
    assert!(message(nothing.run("sql_value_check", parameters(json!({})))).contains("no row"));
    let found = problems("sql_value_check", parameters(json!({"pass_value": "done", "tolerance": 0.1})));
    assert!(found.contains("numbers only"), "{found}");
}

#[test]
fn a_value_lies_between_its_thresholds() {
    let parameters = json!({"sql_conn_id": "w", "sql": "SELECT n", "min_threshold": 5, "max_threshold": "7"});
    result(answering(&["n"], &[Some("7.0")]).run("sql_threshold_check", parameters.clone()));
    let text = message(answering(&["n"], &[Some("8")]).run("sql_threshold_check", parameters));
    assert!(text.contains("5 <= n <= 7: found 8"), "{text}");
    // A threshold that is a query: the fake answers every question alike.
    let asked = json!({"sql_conn_id": "w", "sql": "SELECT n", "min_threshold": "SELECT 8", "max_threshold": 9});
    let world = answering(&["n"], &[Some("8")]);
    result(world.run("sql_threshold_check", asked));
    assert_eq!(world.queries.lock().unwrap()[0], "SELECT 8");
    let upside_down = json!({"sql_conn_id": "w", "sql": "SELECT n", "min_threshold": 9, "max_threshold": 7});
    assert!(problems("sql_threshold_check", upside_down).contains("above max_threshold"));
}

#[test]
fn a_day_is_compared_with_an_earlier_one() {
    let parameters = |more: Value| {
        let mut all = json!({"sql_conn_id": "w", "table": "analytics.nps", "metrics_thresholds": {"COUNT(*)": 1.5}});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let world = answering(&["n"], &[Some("10")]);
    result(world.run("sql_interval_check", parameters(json!({"days_back": -7, "date_filter_column": "day"}))));
    assert_eq!(
        *world.queries.lock().unwrap(),
        [
            "SELECT COUNT(*) FROM analytics.nps WHERE day = '2024-01-01'",
            "SELECT COUNT(*) FROM analytics.nps WHERE day = '2023-12-25'"
        ]
    );
    let zero = answering(&["n"], &[Some("0")]);
    result(zero.run("sql_interval_check", parameters(json!({"date": "2024-05-05"}))));
    let text = message(zero.run("sql_interval_check", parameters(json!({"ignore_zero": false}))));
    assert!(text.contains("0 against 0: no ratio"), "{text}");
    let same = answering(&["n"], &[Some("5")]);
    let diff = json!({"ratio_formula": "relative_diff", "metrics_thresholds": {"SUM(x)": 0.0}});
    assert!(message(same.run("sql_interval_check", parameters(diff))).contains("ratio 0.0000"), "must stay below");
    let found = problems(
        "sql_interval_check",
        parameters(json!({"days_back": 0, "metrics_thresholds": {"COUNT(*)": 0.5}, "date": "soon"})),
    );
    for part in ["compared with itself", "never below 1", "'soon' is not a date"] {
        assert!(found.contains(part), "{part}: {found}");
    }
}

#[test]
fn columns_and_tables_are_checked_by_figures() {
    let world = answering(&["found"], &[Some("3")]);
    let parameters = json!({
        "sql_conn_id": "w", "table": "analytics.nps", "partition_clause": "day = '2024-01-01'",
        "column_mapping": {"score": {"min": {"geq_to": 0}, "null_check": {"leq_to": 3, "partition_clause": "id > 5"}}}
    });
    let record = result(world.run("SQLColumnCheckOperator", parameters));
    assert_eq!(record["checks"][0]["name"], "null_check(score) <= 3");
    assert_eq!(
        *world.queries.lock().unwrap(),
        [
            "SELECT SUM(CASE WHEN score IS NULL THEN 1 ELSE 0 END) AS found FROM analytics.nps WHERE (day = '2024-01-01') AND (id > 5)",
            "SELECT MIN(score) AS found FROM analytics.nps WHERE (day = '2024-01-01')"
        ]
    );
    let none = json!({"sql_conn_id": "w", "table": "t", "accept_none": false, "column_mapping": {"a": {"max": {"leq_to": 3}}}});
    assert!(message(answering(&["found"], &[None]).run("sql_column_check", none)).contains("found NULL"));
    let unbounded = json!({"sql_conn_id": "w", "table": "t", "column_mapping": {"a": {"max": {}}}});
    assert!(problems("sql_column_check", unbounded).contains("max has no bound"));

    let conditions = json!({"sql_conn_id": "w", "table": "t", "checks": {"rows": {"check_statement": "COUNT(*) > 5"}}});
    let world = answering(&["found"], &[Some("0")]);
    let text = message(world.run("sql_table_check", conditions.clone()));
    assert!(text.contains("rows: COUNT(*) > 5: found not true"), "{text}");
    assert!(message(answering(&["found"], &[None]).run("sql_table_check", conditions)).contains("found no row"));
}

#[test]
fn summary_tables_are_checked_by_values_and_age() {
    let world = World::new();
    let parameters = json!({
        "warehouse_conn_id": "w", "table": "t",
        "checks": {"min_rows": 0, "accepted_values": {"state": ["new", 5]}, "freshness": {"at": "1d"}}
    });
    message(world.run("summary_check", parameters));
    *world.build.lock().unwrap() =
        millrace_operator_api::ports::BuildReport { was_swapped: true, ..Default::default() };
    let summary = json!({
        "warehouse_conn_id": "w", "table": "t", "select": "SELECT 1",
        "checks": {"accepted_values": {"state": ["new", 5]}, "freshness": {"at": "1d"}}
    });
    world.run("summary_table", summary).unwrap();
    let builds = world.builds.lock().unwrap();
    assert_eq!(
        builds[0].checks[1],
        TableCheck::Accepted { column: "state".to_owned(), values: vec!["new".to_owned(), "5".to_owned()] }
    );
    assert!(matches!(&builds[0].checks[2], TableCheck::Fresh { column, not_before }
        if column == "at" && *not_before < crate::fakes::at(0) && *not_before > crate::fakes::at(-86_401)));
    let nothing = json!({"warehouse_conn_id": "w", "table": "t", "checks": {"accepted_values": {"state": []}}});
    assert!(problems("summary_check", nothing).contains("lists no value for state"));
}

#[test]
fn the_number_of_rows_may_come_from_a_template() {
    let world = World::new();
    *world.build.lock().unwrap() =
        millrace_operator_api::ports::BuildReport { was_swapped: true, ..Default::default() };
    let summary = |min_rows: Value| json!({"warehouse_conn_id": "w", "table": "t", "select": "SELECT 1", "checks": {"min_rows": min_rows}});
    world.run("summary_table", summary(json!("7"))).unwrap();
    assert!(world.builds.lock().unwrap()[0].checks.contains(&TableCheck::MinRows(7)));
}
