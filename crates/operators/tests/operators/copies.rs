//! table_copy: what is found when the file is read, and what it asks of its ports.

use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRows, RejectedRow, SmallResult};
use millrace_operator_api::{PortError, PortErrorKind};
use serde_json::{Value, json};

use crate::fakes::{World, problems};

fn copying(more: Value) -> Value {
    let mut table = json!({ "source": "public.orders", "target": "raw.orders", "primary_key": ["id"] });
    table.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "source_conn_id": "s", "target_conn_id": "w", "tables": table })
}

fn orders() -> std::sync::Arc<World> {
    let world = World::with_rows(&["id", "v"], &[&[Some("1"), Some("a")], &[Some("2"), Some("")]]);
    *world.load_report.lock().unwrap() =
        LoadReport { rows_read: Some(0), rows_inserted: Some(0), ..LoadReport::default() };
    world
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let found = problems("table_copy", copying(json!({ "sync_mode": "incremental_sync", "lookback": "1h" })));
    assert!(found.contains("tables.incremental_field: incremental_sync needs incremental_field"), "{found}");
    for (more, part) in [
        (json!({ "source": "orders" }), "tables.source: 'orders' has no dot"),
        (json!({ "target": "a.b.c" }), "tables.target: 'a.b.c' has 2 dots"),
        (json!({ "incremental_field_type": "epoch" }), "unknown variant `epoch`"),
        (json!({ "lookback": "1h" }), "with sync_mode: incremental_sync only"),
        (json!({ "batch_size": 0 }), "batch_size is 0"),
        (json!({ "columns": { "id": "mask" } }), "tables.primary_key: id is masked, so all rows would have one key"),
        (json!({ "primary_key": [] }), "names no column"),
        (json!({ "custom_where": " " }), "custom_where is empty"),
        (json!({ "timestamp_formats": ["%Q"] }), "'%Q' is no format"),
        (json!({ "sync_mode": "incremental" }), "unknown variant `incremental`"),
        (json!({ "primary_keys": "id" }), "unknown field `primary_keys`"),
        (json!({ "quarantine": "raw.refused" }), "no row gets there while max_error is 0"),
        (json!({ "columns": { "mail": "hash" } }), "tables.columns.mail: hash needs hash_conn_id"),
        (json!({ "source_timezone": "Seoul" }), "'Seoul' is no time zone"),
    ] {
        let found = problems("table_copy", copying(more));
        assert!(found.contains(part), "{part}: {found}");
    }
    let twice = json!({
        "source_conn_id": "s", "target_conn_id": "w", "max_parallel_tables": 0,
        "tables": [{ "source": "a.t", "target": "raw.t" }, { "source": "b.t", "target": "raw.t" }]
    });
    let found = problems("table_copy", twice);
    assert!(found.contains("tables.1.target: raw.t is the target of two tables"), "{found}");
    assert!(found.contains("max_parallel_tables is 0"), "{found}");
    let merged = json!({ "sync_mode": "incremental_sync", "incremental_field": "at", "watermark_op": ">" });
    let mut limited = copying(merged);
    limited["limit"] = json!(100);
    let found = problems("table_copy", limited);
    assert!(found.contains("watermark_op: with a limit, rows that share the last value"), "{found}");
}

#[test]
fn tables_that_differ_by_their_case_alone_are_one_where_case_does_not_count() {
    let tables = json!({
        "source_conn_id": "s", "target_conn_id": "w", "tables": [
            { "source": "public.Orders", "target": "raw.Orders", "primary_key": "id", "verify": [] },
            { "source": "public.orders", "target": "raw.orders", "primary_key": "id", "verify": [] }
        ]
    });
    for (engine, are_one) in [("redshift", true), ("sqlite", true), ("postgres", false)] {
        let world = orders();
        *world.engine.lock().unwrap() = engine;
        let ended = world.run("table_copy", tables.clone());
        let said = ended.map(|_| String::new()).unwrap_or_else(|error| error.to_string());
        assert_eq!(said.contains("raw.orders and raw.Orders are one table"), are_one, "{engine}: {said}");
        assert_eq!(world.loads.lock().unwrap().is_empty(), are_one, "{engine}");
    }
}

/// Every key that the original knew, with its values as they stood there.
#[test]
fn a_table_config_of_old_is_read_as_it_is() {
    let config = json!({
        "source": "schema.table_name",
        "target": "schema.table_name",
        "primary_key": ["id"],
        "sync_mode": "incremental_sync",
        "incremental_field": "updated_at",
        "incremental_field_type": "timestamp",
        "batch_size": 10000,
        "custom_where": "status = 'active'",
        "custom_select": "SELECT * FROM ...",
        "custom_count": "SELECT COUNT(*) FROM ..."
    });
    let parameters = json!({ "source_conn_id": "s", "target_conn_id": "w", "tables": config });
    assert_eq!(problems("table_copy", parameters), "");
}

#[test]
fn a_table_that_is_missing_is_made_and_filled() {
    let world = orders();
    *world.load_report.lock().unwrap() =
        LoadReport { rows_read: Some(5), rows_inserted: Some(5), ..LoadReport::default() };
    let error = world.run("table_copy", copying(json!({ "verify": ["counts"] }))).unwrap_err().to_string();
    assert!(error.contains("0 rows of the source arrived: found 5 read"), "numbers that disagree fail: {error}");
    assert_eq!(*world.made.lock().unwrap(), ["create raw.orders (id, v) keys (id)"]);
    let loads = world.loads.lock().unwrap();
    assert_eq!(loads[0].method, LoadMethod::Replace);
    assert!(matches!(loads[0].rows, LoadRows::Direct(_)));
    assert_eq!(loads[0].work.task_id.as_str(), "extract_nps#raw.orders");
    let queries = world.queries.lock().unwrap();
    assert_eq!(queries[0], "SELECT * FROM public.orders WHERE 1 = 0");
    assert_eq!(queries[1], "SELECT \"id\", \"v\" FROM public.orders");
}

#[test]
fn rows_that_the_target_refuses_are_told() {
    let world = orders();
    let row = RejectedRow {
        file: "public.orders".to_owned(),
        line: Some(2),
        column: Some("v".to_owned()),
        value: Some("of 3 characters, not shown".to_owned()),
        reason: "is refused by a check".to_owned(),
    };
    *world.load_report.lock().unwrap() = LoadReport {
        rows_read: Some(2),
        rows_inserted: Some(1),
        rows_rejected: Some(3),
        rows_quarantined: Some(1),
        rejected: vec![row],
        ..LoadReport::default()
    };
    let more = json!({ "verify": [], "max_error": 5, "quarantine": "refused" });
    world.run("table_copy", copying(more)).unwrap();
    assert_eq!(world.loads.lock().unwrap()[0].quarantine.as_ref().unwrap().to_string(), "raw.refused");
    for said in [
        "1 inserted, 3 rejected",
        "Warning rows were rejected, within what max_error allows",
        "line 2, column v, value of 3 characters, not shown: is refused by a check",
        "Warning raw.refused holds the first 1 of the 3 rejected rows",
    ] {
        assert!(world.log().contains(said), "{said}: {}", world.log());
    }
}

#[test]
fn a_look_at_the_target_is_tried_three_times() {
    let world = orders();
    *world.table.lock().unwrap() = vec!["id".to_owned(), "v".to_owned()];
    *world.describe_errors.lock().unwrap() =
        vec![PortError::new(PortErrorKind::Unavailable, "too many connections"); 2];
    let _ = world.run("table_copy", copying(json!({ "verify": [] })));
    let pauses: Vec<i64> = world.sleeps.lock().unwrap().iter().map(chrono::TimeDelta::num_seconds).collect();
    assert_eq!(pauses, [2, 4]);
    assert!(world.log().contains("looking at raw.orders failed (1 of 3), once more in 2 s"), "{}", world.log());
    assert_eq!(world.loads.lock().unwrap().len(), 1, "the third look was enough");

    let world = orders();
    *world.describe_errors.lock().unwrap() =
        vec![PortError::new(PortErrorKind::Unavailable, "too many connections"); 3];
    let error = world.run("table_copy", copying(json!({}))).unwrap_err().to_string();
    assert_eq!(error, "ensure_table of s: public.orders -> w: raw.orders: too many connections");
    assert!(world.loads.lock().unwrap().is_empty());
}

#[test]
fn what_a_copy_by_change_never_brings_is_told() {
    let answers = |cell: &str| SmallResult { rows: vec![vec![Some(cell.to_owned())]], ..SmallResult::default() };
    let by_change = |more: Value| {
        let mut all = json!({ "sync_mode": "incremental_sync", "incremental_field": "v", "verify": [] });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        copying(all)
    };
    let world = World::with_rows(&["id", "v", "c"], &[&[Some("1"), Some("42"), Some("5")]]);
    *world.table.lock().unwrap() = vec!["id".to_owned(), "v".to_owned()];
    *world.small.lock().unwrap() = answers("41");
    world.run("table_copy", by_change(json!({ "incremental_field_type": "integer", "new_columns": "add" }))).unwrap();
    let said =
        "Warning raw.orders: c is new in the target and stays NULL in those of its 41 rows that are not read now";
    assert!(world.log().contains(said), "{}", world.log());

    let world = orders();
    *world.table.lock().unwrap() = vec!["id".to_owned(), "v".to_owned()];
    *world.small.lock().unwrap() = answers("2999-01-01 00:00:00");
    world.run("table_copy", by_change(json!({}))).unwrap();
    let said = "Warning raw.orders: the watermark, v from 2999-01-01 00:00:00, lies in the future";
    assert!(world.log().contains(said), "{}", world.log());
}

#[test]
fn names_that_differ_in_case_alone_are_told_apart() {
    let world = World::with_rows(&["Id", "id", "V"], &[&[Some("A"), Some("1"), None]]);
    let more = json!({ "sync_mode": "incremental_sync", "incremental_field": "v", "columns": { "id": "mask" } });
    let mut params = copying(more);
    params["tables"]["primary_key"] = json!(["Id"]);
    let _ = world.run("table_copy", params);
    let loads = world.loads.lock().unwrap();
    assert!(
        format!("{:?}", loads[0].method).contains(r#"keys: ["Id"], order_key: Some("V")"#),
        "{:?}",
        loads[0].method
    );
    drop(loads);
    let ambiguous = world.run("table_copy", copying(json!({ "primary_key": ["ID"] }))).unwrap_err().to_string();
    assert!(ambiguous.contains("the source has no column ID; it has Id, id, V"), "{ambiguous}");
}

#[test]
fn what_was_copied_before_is_not_copied_again() {
    let world = orders();
    *world.load_report.lock().unwrap() = LoadReport { was_loaded_before: true, ..LoadReport::default() };
    let result = world.run_try("table_copy", copying(json!({})), 2).unwrap().result.unwrap();
    assert_eq!(result["tables"][0]["was_loaded_before"], true);
    assert_eq!(result["tables"][0]["checks"], json!([]));
    let stages: Vec<String> = world.checkpoints.lock().unwrap().iter().map(|point| point.name.clone()).collect();
    assert_eq!(stages[..2], ["describe", "ensure_table"]);
}

#[test]
fn a_check_that_was_asked_for_and_not_made_is_told() {
    let upsert = json!({ "sync_mode": "incremental_sync", "incremental_field": "v",
        "incremental_field_type": "integer", "max_error": 5
    });
    let all = json!(["counts", "keys", "watermark", "checksums"]);
    let before = LoadReport { was_loaded_before: true, ..LoadReport::default() };
    let refused = LoadReport { rows_rejected: Some(1), ..LoadReport::default() };
    for (verify, report, expected) in [
        (all.clone(), before, &["counts: how many", "watermark: the rows", "checksums: the rows"][..]),
        (json!(["checksums"]), refused.clone(), &["checksums: 1 rows were refused"]),
        (all, refused, &["counts: the target", "watermark: 1 rows were refused", "checksums: 1 rows were refused"]),
    ] {
        let world = World::with_rows(&["id", "v"], &[&[Some("1"), Some("1")], &[Some("2"), Some("2")]]);
        *world.load_report.lock().unwrap() = report.clone();
        let mut parameters = copying(upsert.clone());
        parameters["tables"]["verify"] = verify;
        let result = world.run("table_copy", parameters).unwrap().result.unwrap();
        let told: Vec<&str> =
            result["tables"][0]["not_checked"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(told.len(), expected.len(), "{report:?}: {told:?}");
        for (told, expected) in told.iter().zip(expected) {
            assert!(told.starts_with(expected), "{told}");
            assert!(world.log().contains(&format!("not checked: {told}")), "{}", world.log());
        }
    }
}

#[test]
fn an_extract_by_change_reads_a_half_open_range_of_the_bare_column() {
    let extract = |block: Value| json!({ "sql_conn_id": "s", "query": "SELECT * FROM t;", "incremental": block });
    let world = World::with_rows(&["id", "at", "made"], &[&[Some("1"), Some("2023-12-31 23:30:00"), None]]);
    world
        .run("extract", extract(json!({ "modified_field": "at", "source_timezone": "UTC", "lookback": "1h" })))
        .unwrap();
    let asked = || world.queries.lock().unwrap().last().cloned().unwrap();
    assert_eq!(
        asked(),
        "SELECT * FROM (\nSELECT * FROM t\n) AS millrace_source WHERE \"at\" >= '2023-12-31 23:00:00' AND \"at\" < '2024-01-02'",
        "a text of the day alone comes before one of its midnight"
    );
    let late = world.ledger().into_iter().find(|entry| entry.stage == "lookback").unwrap();
    assert_eq!(late.rows_read, Some(1), "a row of before the interval");

    let mut both = extract(json!({ "modified_field": "at", "created_field": "made", "source_timezone": "Asia/Seoul" }));
    both["query"] = json!("SELECT * FROM t WHERE {incremental_filter} AND id > 0");
    world.run("extract", both).unwrap();
    assert_eq!(
        asked(),
        "SELECT * FROM t WHERE ((\"at\" >= '2024-01-01 09:00:00' AND \"at\" < '2024-01-02 09:00:00') OR (\"at\" IS NULL AND \
         \"made\" >= '2024-01-01 09:00:00' AND \"made\" < '2024-01-02 09:00:00')) AND id > 0"
    );

    let zoneless = world.run("extract", extract(json!({ "modified_field": "at" }))).unwrap_err().to_string();
    assert!(zoneless.contains("at (text) has no time zone") && zoneless.contains("source_timezone: UTC"), "{zoneless}");
    let unknown = world.run("extract", extract(json!({ "modified_field": "changed" }))).unwrap_err().to_string();
    assert!(unknown.contains("no column changed; it has id, at, made"), "{unknown}");

    *world.replica_lag.lock().unwrap() = Some(chrono::TimeDelta::seconds(301));
    let behind = json!({ "modified_field": "at", "source_timezone": "UTC", "max_replica_lag": "5m" });
    let error = world.run("extract", extract(behind)).unwrap_err().to_string();
    assert!(error.contains("a replica 301 s behind"), "{error}");

    let found = problems(
        "sql_to_s3",
        json!({
            "sql_conn_id": "s", "query": "SELECT 1", "s3_bucket": "b", "s3_key": "k",
            "incremental": { "deleted_field": "gone", "source_timezone": "Seoul" }
        }),
    );
    assert!(found.contains("neither modified_field nor created_field"), "{found}");
    assert!(found.contains("'Seoul' is no time zone"), "{found}");
}
