//! copy and upsert.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRows, RejectedRow};
use serde_json::{Value, json};

use crate::fakes::{World, problems, run_in};

fn copy(extra: Value) -> Value {
    let mut base = json!({
        "warehouse_conn_id": "redshift_dev", "s3_bucket": "b", "s3_key": "nps.csv", "schema": "analytics", "table": "nps"
    });
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    base
}

/// A world in which sql_to_s3 wrote `nps.csv` with columns score, id and a NULL.
fn written(extra: Value) -> Arc<World> {
    let world = World::with_rows(&["score", "ID"], &[&[Some("9"), Some("1")], &[None, Some("2")]]);
    let mut base = json!({"sql_conn_id": "c", "query": "q", "s3_bucket": "b", "s3_key": "nps.csv"});
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let result = world.run("sql_to_s3", base).unwrap().result.unwrap();
    world.results.lock().unwrap().insert("to_s3".to_owned(), result);
    *world.table.lock().unwrap() = vec!["id".to_owned(), "score".to_owned()];
    *world.load_report.lock().unwrap() = report(2, 2);
    world
}

fn report(read: u64, inserted: u64) -> LoadReport {
    LoadReport { rows_read: Some(read), rows_inserted: Some(inserted), rows_rejected: Some(0), ..LoadReport::default() }
}

fn message(result: Result<millrace_operator_api::Outcome, TaskError>) -> String {
    result.expect_err("it must fail").to_string()
}

#[test]
fn a_load_knows_from_the_file_what_the_user_did_not_say() {
    let world = written(json!({"header": true, "delimiter": "|", "compression": "gzip"}));
    let result =
        world.run("copy", copy(json!({"method": "replace", "copy_options": ["csv"]}))).unwrap().result.unwrap();
    let loads = world.loads.lock().unwrap();
    let [request] = &loads[..] else { panic!("one load") };
    assert_eq!(request.target.to_string(), "analytics.nps");
    assert_eq!(request.method, LoadMethod::Replace);
    // By name, in the table's spelling, in the order of the file.
    assert_eq!(request.columns.as_deref(), Some(&["score".to_owned(), "id".to_owned()][..]));
    assert_eq!(request.format.null_as.as_deref(), Some("\\N"));
    assert_eq!((request.format.ignore_header, request.format.delimiter, request.format.gzip), (1, Some('|'), true));
    let LoadRows::Objects(files) = &request.rows else { panic!("objects") };
    assert!(files.manifest_prefix.1.starts_with("_millrace/"));
    // The metadata of an object are sent before its rows are counted; the task that wrote it knows how many they were.
    assert_eq!(request.expected_rows, None);
    assert_eq!(
        (&result["rows_inserted"], &result["files"], &result["was_loaded_before"]),
        (&json!(2), &json!(1), &json!(false))
    );
    let entry = world.ledger().pop().unwrap();
    assert_eq!((entry.stage.as_str(), entry.rows_read, entry.rows_written), ("load", Some(2), Some(2)));
    assert_eq!((entry.source.as_str(), entry.target.as_str()), ("s3://b/nps.csv", "redshift_dev: analytics.nps"));
    drop(loads);
    let from_task = json!({"warehouse_conn_id": "w", "from_task": "to_s3", "table": "nps"});
    run_in(&world.context_of("load", 1), "copy", from_task).unwrap();
    assert_eq!(world.loads.lock().unwrap()[1].expected_rows, Some(2));
}

#[test]
fn case_79_an_exact_key_loads_one_object_and_a_prefix_is_asked_for() {
    let world = World::new();
    world.put_stranger("nps", "1\n");
    world.put_stranger("nps_old.csv", "2\n");
    world.put_stranger("nps/", "");
    world.run("copy", copy(json!({"s3_key": "nps"}))).unwrap();
    world.run("copy", copy(json!({"s3_key": "nps", "prefix": true}))).unwrap();
    let keys = |index: usize| -> Vec<String> {
        world.loads.lock().unwrap()[index].rows.objects().iter().map(|object| object.key.clone()).collect()
    };
    assert_eq!(keys(0), ["nps"]);
    assert_eq!(keys(1), ["nps", "nps_old.csv"]);
    assert!(message(world.run("copy", copy(json!({"s3_key": "np"})))).contains("there is no object s3://b/np;"));
    let nothing = copy(json!({"s3_key": "zzz", "prefix": true}));
    assert!(message(world.run("copy", nothing)).contains("no object's key begins with s3://b/zzz"));
    assert_eq!(world.loads.lock().unwrap().len(), 2);
}

#[test]
fn methods_and_keys_reach_the_warehouse() {
    let world = written(json!({}));
    let keys = |keys: &[&str], order: Option<&str>| LoadMethod::Upsert {
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        order_key: order.map(str::to_owned),
    };
    let cases = [
        ("copy", json!({}), LoadMethod::Append),
        ("copy", json!({"truncate_table": true}), LoadMethod::Replace),
        ("replace", json!({}), LoadMethod::Replace),
        ("replace", json!({"truncate_table": true}), LoadMethod::Replace),
        ("swap", json!({}), LoadMethod::Swap),
        ("copy", json!({"method": "swap"}), LoadMethod::Swap),
        ("copy", json!({"truncate_table": false}), LoadMethod::Append),
        ("copy", json!({"method": "upsert", "upsert_keys": "id"}), keys(&["id"], None)),
        ("upsert", json!({"upsert_keys": ["id", "score"]}), keys(&["id", "score"], None)),
        ("upsert", json!({"upsert_keys": "[\"id\"]", "order_key": "score"}), keys(&["id"], Some("score"))),
    ];
    for (index, (operator, extra, expected)) in cases.into_iter().enumerate() {
        world.run(operator, copy(extra)).unwrap();
        assert_eq!(world.loads.lock().unwrap()[index].method, expected);
    }
    let text = message(world.run("upsert", copy(json!({"upsert_keys": "nope", "order_key": "created_at"}))));
    assert!(text.contains("upsert needs nope and created_at in the file, whose columns are score, id"), "{text}");
}

#[test]
fn the_header_of_a_foreign_file_is_read_whatever_packs_it() {
    let text = "score,id\n9,1\n";
    let mut gzip = Vec::new();
    std::io::Read::read_to_end(
        &mut flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::fast()),
        &mut gzip,
    )
    .unwrap();
    let zstd = zstd::encode_all(text.as_bytes(), 3).unwrap();
    for (packing, body) in [("quote as '\"'", text.as_bytes().to_vec()), ("gzip", gzip), ("zstd", zstd)] {
        let world = written(json!({}));
        world.put_stranger("theirs.csv", "");
        world.objects.lock().unwrap().get_mut("theirs.csv").unwrap().body = body;
        let load = |more: Value| {
            let mut load = json!({"s3_key": "theirs.csv", "copy_options": ["csv", "ignoreheader 1", packing]});
            load.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            copy(load)
        };
        let text = message(world.run("copy", load(json!({}))));
        let words = "the header of s3://b/theirs.csv names the columns of analytics.nps in another order (score, id)";
        assert!(text.contains(words), "{packing}: {text}");
        assert!(world.loads.lock().unwrap().is_empty(), "{packing}");
        let named = json!({"columns": ["score", "id"]});
        *world.load_report.lock().unwrap() = report(1, 1);
        world.run("copy", load(named)).unwrap();
    }
}

#[test]
fn what_the_file_says_and_the_user_says_must_fit() {
    let world = written(json!({}));
    let text = message(world.run("copy", copy(json!({"copy_options": ["csv", "ignoreheader 1"]}))));
    assert!(text.contains("was written with 0 header lines"), "{text}");
    let text = message(world.run("copy", copy(json!({"copy_options": ["csv", "delimiter ';'"]}))));
    assert!(text.contains("was written with ','"), "{text}");
    let text = message(world.run("copy", copy(json!({"columns": ["a"]}))));
    assert!(text.contains("the file has 2 columns"), "{text}");
    *world.table.lock().unwrap() = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let text = message(world.run("copy", copy(json!({}))));
    assert!(text.contains("the file's columns (score, ID) do not fit table analytics.nps (a, b, c)"), "{text}");
    assert!(world.loads.lock().unwrap().is_empty());

    let text = message(world.run("copy", copy(json!({"copy_options": ["csv", "null as 'x'"], "columns": ["b", "a"]}))));
    assert!(text.contains("null as 'x', but s3://b/nps.csv was written with '\\N' for NULL"), "{text}");
    let quoted = json!({"copy_options": ["csv", "quote as '|'"], "columns": ["b", "a"]});
    let text = message(world.run("copy", copy(quoted)));
    assert!(text.contains("quote as '|', but s3://b/nps.csv was written with '\"'"), "{text}");
    // As many columns, none of which is known: that their order is meant has to be said.
    *world.table.lock().unwrap() = vec!["a".to_owned(), "b".to_owned()];
    let text = message(world.run("copy", copy(json!({}))));
    assert!(text.contains("list the table's names in columns"), "{text}");
    assert!(world.loads.lock().unwrap().is_empty());
    let options = json!({"copy_options": ["csv", "null as '\\N'"], "columns": ["b", "a"]});
    world.run("copy", copy(options)).unwrap();
    assert_eq!(world.loads.lock().unwrap()[0].columns, Some(vec!["b".to_owned(), "a".to_owned()]));

    let world = written(json!({"null_marker": ""}));
    let text = message(world.run("copy", copy(json!({"copy_options": ["csv", "null as 'x'"]}))));
    assert!(text.contains("was written with an empty field for NULL"), "{text}");
}

#[test]
fn an_empty_field_for_null_is_told_to_whoever_can_tell_it_from_an_empty_text() {
    let world = written(json!({"null_marker": ""}));
    world.run("copy", copy(json!({}))).unwrap();
    assert_eq!(world.loads.lock().unwrap()[0].format.null_as.as_deref(), Some(""));
    *world.engine.lock().unwrap() = "redshift";
    let text = message(world.run("copy", copy(json!({}))));
    assert!(text.contains("write it with a null_marker") && text.contains("emptyasnull"), "{text}");
    world.run("copy", copy(json!({"copy_options": ["csv", "emptyasnull"]}))).unwrap();
    assert_eq!(world.loads.lock().unwrap()[1].format.null_as, None);
}

#[test]
fn files_written_in_two_ways_are_not_loaded_as_one() {
    let world = written(json!({}));
    world.put_stranger("nps.csv2", "1,2\n");
    let text = message(world.run("copy", copy(json!({"prefix": true}))));
    assert!(text.contains("s3://b/nps.csv and s3://b/nps.csv2 are written differently"), "{text}");
    // Whichever comes first.
    let world = written(json!({}));
    world.put_stranger("nps.a", "1,2\n");
    let text = message(world.run("copy", copy(json!({"s3_key": "nps", "prefix": true}))));
    assert!(text.contains("s3://b/nps.csv and s3://b/nps.a are written differently"), "{text}");
    assert!(world.loads.lock().unwrap().is_empty());
}

/// As many columns with Korean names as no metadata of an object hold.
fn wide() -> (Vec<String>, Arc<World>) {
    let names: Vec<String> = (0..40).map(|number| format!("주문일시{number}")).collect();
    let columns: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::with_rows(&columns, &[&vec![Some("1"); 40]]);
    *world.table.lock().unwrap() = names.iter().rev().cloned().collect();
    *world.load_report.lock().unwrap() = report(1, 1);
    (names, world)
}

#[test]
fn columns_go_by_name_however_many_there_are() {
    let base = json!({"sql_conn_id": "c", "query": "q", "s3_bucket": "b", "s3_key": "nps.csv"});
    let from_task = json!({"warehouse_conn_id": "w", "from_task": "to_s3", "table": "nps"});
    let (names, world) = wide();
    let result = world.run("sql_to_s3", base.clone()).unwrap().result.unwrap();
    assert_eq!(result["columns"], json!(names));
    // Nothing tells them any more: neither the metadata nor the file.
    let text = message(world.run("copy", copy(json!({}))));
    assert!(text.contains("the names of the columns of s3://b/nps.csv were too long for its metadata"), "{text}");
    assert!(world.loads.lock().unwrap().is_empty());
    world.run("copy", copy(json!({"columns": names.clone()}))).unwrap();
    world.results.lock().unwrap().insert("to_s3".to_owned(), result);
    run_in(&world.context_of("load", 1), "copy", from_task.clone()).unwrap();
    for load in &*world.loads.lock().unwrap() {
        assert_eq!(load.columns.as_ref(), Some(&names));
    }

    // Parts: their list knows.
    let (names, world) = wide();
    let mut parts = base.clone();
    parts["max_rows_per_file"] = json!(1);
    world.run("sql_to_s3", parts).unwrap();
    world.run("copy", copy(json!({}))).unwrap();
    assert_eq!(world.loads.lock().unwrap()[0].columns.as_ref(), Some(&names));

    // Parquet: the file knows, whoever wrote it.
    let (names, world) = wide();
    let mut parquet = base;
    parquet["format"] = json!("parquet");
    world.run("sql_to_s3", parquet).unwrap();
    world.run("copy", copy(json!({}))).unwrap();
    world.objects.lock().unwrap().get_mut("nps.csv").unwrap().metadata.clear();
    world.run("copy", copy(json!({"copy_options": ["parquet"]}))).unwrap();
    for load in &*world.loads.lock().unwrap() {
        assert_eq!(load.columns.as_ref(), Some(&names));
    }
    world.put_stranger("nps.csv", "no such file");
    let text = message(world.run("copy", copy(json!({"copy_options": ["parquet"]}))));
    assert!(text.contains("it is no Parquet file"), "{text}");
}

#[test]
fn a_task_loads_the_object_that_was_handed_to_it_and_no_other() {
    let from_task = json!({"warehouse_conn_id": "w", "from_task": "to_s3", "table": "nps"});
    for extra in [json!({}), json!({"max_rows_per_file": 1})] {
        let world = written(extra.clone());
        run_in(&world.context_of("load", 1), "copy", from_task.clone()).unwrap();
        // Another run writes the key before this one has read it.
        let handed = world.results.lock().unwrap()["to_s3"].clone();
        let mut other = world.context(1);
        other.work.run_id = "scheduled__2024-01-02T00:00:00+00:00".to_owned();
        *world.rows.lock().unwrap() = vec![vec![Some(b"8".to_vec()), Some(b"3".to_vec())]; 2];
        let mut base =
            json!({"sql_conn_id": "c", "query": "q", "s3_bucket": "b", "s3_key": "nps.csv", "replace": true});
        base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let theirs = run_in(&other, "sql_to_s3", base).unwrap().result.unwrap();
        assert_ne!(handed["etag"], theirs["etag"]);
        let text = message(run_in(&world.context_of("load", 1), "copy", from_task.clone()));
        assert!(text.contains("s3://b/nps.csv is not the object any more that task 'to_s3' wrote"), "{text}");
        assert_eq!(world.loads.lock().unwrap().len(), 1);
        world.results.lock().unwrap().insert("to_s3".to_owned(), theirs);
        run_in(&world.context_of("load", 1), "copy", from_task.clone()).unwrap();
    }
}

#[test]
fn a_load_by_key_takes_no_object_of_another_run_of_its_dag() {
    let world = written(json!({}));
    let by_key = json!({"warehouse_conn_id": "w", "s3_bucket": "b", "s3_key": "nps.csv", "table": "nps"});
    let mut other = world.context_of("load", 1);
    other.work.run_id = "scheduled__2024-01-02T00:00:00+00:00".to_owned();
    let text = message(run_in(&other, "copy", by_key.clone()));
    let writer = &world.context(1).work.run_id;
    assert!(text.contains(&format!("s3://b/nps.csv was written by the run '{writer}' of this DAG")), "{text}");
    assert_eq!(world.loads.lock().unwrap().len(), 0);
    // All that lies under a prefix may be of many runs, and another DAG's files are what cross-DAG loads are for.
    let mut by_prefix = by_key.clone();
    by_prefix["prefix"] = json!(true);
    run_in(&other, "copy", by_prefix).unwrap();
    other.work.dag_id = millrace_model::ids::DagId::new_unchecked("another");
    run_in(&other, "copy", by_key.clone()).unwrap();
    run_in(&world.context_of("load", 1), "copy", by_key).unwrap();
    assert_eq!(world.loads.lock().unwrap().len(), 3);
}

#[test]
fn an_object_that_is_gone_is_written_by_its_task_again() {
    let world = written(json!({}));
    world.objects.lock().unwrap().remove("nps.csv");
    let from_task = json!({"warehouse_conn_id": "w", "from_task": "to_s3", "table": "nps"});
    let text = message(run_in(&world.context_of("load", 1), "copy", from_task));
    assert!(
        text.contains("task 'to_s3' wrote s3://b/nps.csv in this run, and it is gone; clear 'to_s3' too"),
        "{text}"
    );
    assert!(!text.contains("prefix"), "{text}");
}

#[test]
fn what_the_warehouse_says_of_a_load_is_told_and_kept() {
    let world = written(json!({}));
    let remote_ids = vec!["query:7".to_owned(), "statement".to_owned()];
    *world.load_report.lock().unwrap() =
        LoadReport { computed: vec!["score".to_owned()], remote_ids: remote_ids.clone(), ..report(2, 2) };
    world.run("copy", copy(json!({}))).unwrap();
    assert_eq!(world.ledger().pop().unwrap().remote_ids, remote_ids);
    assert!(world.log().contains("analytics.nps: score is computed by the table itself"), "{}", world.log());
}

#[test]
fn what_stands_in_the_way_goes_with_the_load_and_is_told_with_it() {
    let of = |hinders: bool| {
        let world = World::with_rows(&["id"], &[&[Some("1")]]);
        world.hinders.store(hinders, Ordering::Relaxed);
        *world.table.lock().unwrap() = vec!["id".to_owned()];
        world.answer(&[&[Some("1")]]);
        *world.load_report.lock().unwrap() =
            LoadReport { rows_deleted: Some(u64::from(hinders)), rows_rejected: Some(0), ..report(1, 0) };
        let parameters = json!({
            "warehouse_conn_id": "w", "sql_conn_id": "s", "query": "SELECT id FROM users", "table": "nps", "upsert_keys": "id",
            "delete_missing": {"sql_conn_id": "s", "query": "SELECT id FROM all_users"},
        });
        let result = world.run("upsert", parameters).unwrap().result.unwrap();
        (world, result["rows_deleted"].clone())
    };
    let (rows, keys) = ("SELECT id FROM users".to_owned(), "SELECT id FROM all_users".to_owned());
    let (world, deleted) = of(true);
    assert_eq!(*world.queries.lock().unwrap(), [keys.clone(), rows.clone(), keys.clone()]);
    let loads = world.loads.lock().unwrap();
    let gone: Vec<usize> = loads.iter().map(|load| load.gone.len()).collect();
    assert_eq!(gone, [0, 1, 0]);
    assert!(loads[1].gone[0].contains("FROM millrace_keys_"), "{}", loads[1].gone[0]);
    assert_ne!(loads[0].work, loads[2].work, "each reading of the keys is a work of its own");
    let told: Vec<_> = world.ledger().iter().map(|entry| (entry.stage.clone(), entry.rows_deleted)).collect();
    assert_eq!(told, [("load".to_owned(), Some(1)), ("reconcile".to_owned(), Some(1))]);
    assert_eq!(deleted, 2);
    let log = world.log();
    assert!(log.contains("nps has a unique rule besides that on its keys") && log.contains("1 deleted"), "{log}");

    let (world, deleted) = of(false);
    assert_eq!(*world.queries.lock().unwrap(), [rows, keys]);
    assert_eq!(deleted, 1);
    assert!(!world.log().contains("unique rule"), "{}", world.log());
}

#[test]
fn numbers_that_disagree_fail_the_task() {
    let from_task = json!({"warehouse_conn_id": "w", "from_task": "to_s3", "table": "nps"});
    let cases = [
        (report(2, 2), None),
        (report(1, 1), Some("2 rows were written to the files, but 1 were read")),
        (report(2, 1), Some("2 rows were read, but 1 were inserted and 0 rejected")),
        (LoadReport { rows_rejected: Some(1), ..report(2, 1) }, None),
        (LoadReport { was_loaded_before: true, ..LoadReport::default() }, None),
    ];
    for (report, expected) in cases {
        let world = written(json!({}));
        *world.load_report.lock().unwrap() = report.clone();
        match (run_in(&world.context_of("load", 1), "copy", from_task.clone()), expected) {
            (Ok(_), None) => {}
            (Err(TaskError::Fail(text)), Some(expected)) => assert!(text.contains(expected), "{text}"),
            other => panic!("{report:?}: {other:?}"),
        }
        assert_eq!(world.ledger().last().unwrap().stage, "load");
    }
    let world = written(json!({}));
    *world.load_report.lock().unwrap() = LoadReport { rows_updated: Some(1), ..report(2, 2) };
    let text = message(world.run("upsert", copy(json!({"upsert_keys": "id"}))));
    assert!(text.contains("2 rows were read, but 3 were inserted or updated"), "{text}");
}

#[test]
fn a_load_that_an_earlier_try_committed_is_told() {
    let world = written(json!({}));
    *world.load_report.lock().unwrap() = LoadReport { was_loaded_before: true, ..LoadReport::default() };
    let result = world.run_try("copy", copy(json!({})), 2).unwrap().result.unwrap();
    assert_eq!(result["was_loaded_before"], true);
    assert!(world.log().contains("nothing was loaded again"));
}

#[test]
fn other_engines_refuse_what_they_can_not_do() {
    let world = written(json!({}));
    let options = copy(json!({"copy_options": ["csv", "trimblanks", "statupdate off"]}));
    assert!(
        message(world.run("copy", options.clone())).contains("trimblanks has no meaning for sqlite (redshift_dev)")
    );
    *world.engine.lock().unwrap() = "redshift";
    world.run("copy", options).unwrap();
    assert_eq!(world.loads.lock().unwrap()[0].format.other, ["TRIMBLANKS", "STATUPDATE OFF"]);
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let cases = [
        (
            "copy",
            copy(json!({"copy_options": ["csv", "ignorheader 1"]})),
            "copy_options: 'ignorheader' is not an option of COPY; did you mean 'ignoreheader'?",
        ),
        ("copy", copy(json!({"copy_options": ["csv", "escape", "{{ x }}"]})), "copy_options: csv refuses escape"),
        ("copy", copy(json!({"copy_options": []})), "copy_options: the format is missing"),
        ("copy", copy(json!({"copy_options": "json 'bogus'"})), "copy_options: json needs 'auto', 'auto ignorecase'"),
        ("copy", copy(json!({"copy_options": "csv timeformat 'nonsense'"})), "copy_options: timeformat needs 'auto'"),
        ("copy", copy(json!({"copy_options": "fixedwidth 'a:1,b:x'"})), "copy_options: fixedwidth needs labels"),
        ("copy", copy(json!({"method": "upsert"})), "upsert_keys: an upsert needs upsert_keys"),
        (
            "copy",
            copy(json!({"method": "append", "truncate_table": true})),
            "truncate_table: truncate_table: true means",
        ),
        ("copy", copy(json!({"order_key": "x"})), "order_key: order_key has a meaning for an upsert only"),
        (
            "copy",
            copy(json!({"schema": null, "table": "a.b"})),
            "table: 'a.b' has a dot in it; write the schema by itself: schema: a and table: b",
        ),
        ("copy", copy(json!({"from_task": "t"})), "s3_key: from_task gives the object"),
        ("copy", json!({"warehouse_conn_id": "w", "table": "t"}), "s3_bucket: s3_bucket is missing"),
        ("copy", copy(json!({"columns": ["a", "a"]})), "columns: column a stands there twice"),
        ("copy", copy(json!({"method": "merge"})), "unreadable"),
        ("upsert", copy(json!({"upsert_keys": ["id"], "order_key": "id"})), "order_key: rows with one key"),
        ("upsert", copy(json!({"upsert_keys": []})), "upsert_keys: names of columns are wanted"),
        ("upsert", copy(json!({})), "upsert_keys: an upsert needs upsert_keys"),
        (
            "upsert",
            copy(json!({"upsert_keys": "id", "method": "append"})),
            "method: this operator is the method upsert",
        ),
        ("replace", copy(json!({"method": "swap"})), "method: this operator is the method replace"),
        ("swap", copy(json!({"upsert_keys": "id"})), "upsert_keys: upsert_keys has a meaning for an upsert only"),
        ("copy", copy(json!({"quarantine": "bad"})), "quarantine: no row may be refused"),
        ("copy", copy(json!({"quarantine": "a.b.c"})), "quarantine: 'a.b.c' has 2 dots in it"),
        ("copy", copy(json!({"copy_options": ["parquet", "maxerror 3"]})), "copy_options: parquet refuses maxerror"),
        ("copy", copy(json!({"schema_drift": {"added": "drop"}})), "unreadable"),
        ("copy", copy(json!({"schema_drift": {"adds": "add"}})), "unreadable"),
    ];
    for (operator, parameters, expected) in cases {
        let found = problems(operator, parameters.clone());
        assert!(found.contains(expected), "{operator} {parameters}: {found:?}");
    }
    assert_eq!(problems("copy", copy(json!({"copy_options": ["{{ params.x }}", "gzip"]}))), "");
    assert_eq!(problems("upsert", copy(json!({"upsert_keys": "{{ k }}", "order_key": "{{ o }}"}))), "");
}

#[test]
fn case_80_secrets_in_the_wrong_place_are_not_repeated() {
    let entry = millrace_operator_api::entry::find(millrace_operators::ALL, "copy").unwrap();
    let options = json!(["csv", "credentials 'aws_access_key_id=AKIA1;aws_secret_access_key=hunter22'"]);
    let found = problems("copy", copy(json!({"copy_options": options})));
    assert!(found.contains("credentials belong to the connection") && !found.contains("hunter22"), "{found}");
    let world = written(json!({}));
    let operator = (entry.parse)(copy(json!({"copy_options": options}))).unwrap();
    let text = message(crate::fakes::block_on(operator.run(&world.context(1))));
    assert!(!text.contains("hunter22") && !world.log().contains("hunter22"), "{text}");
}

#[test]
fn what_the_table_does_not_have_is_passed_over_added_or_refused() {
    let columns = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let world = written(json!({}));
    *world.table.lock().unwrap() = columns(&["id", "note"]);
    let result = world.run("copy", copy(json!({}))).unwrap().result.unwrap();
    {
        let loads = world.loads.lock().unwrap();
        assert_eq!(loads[0].columns, Some(columns(&["score", "id"])));
        assert_eq!(loads[0].ignored, ["score"]);
    }
    assert_eq!(
        result["schema_drift"],
        json!([
            "column score comes in, and the table does not have it: it is passed over",
            "column note of the table does not come in: new rows get NULL, rows that are updated keep what they have"
        ])
    );
    assert!(world.log().contains("Warning schema of analytics.nps: column score comes in"), "{}", world.log());

    let drift = |policy: Value| copy(json!({"schema_drift": policy}));
    let text = message(world.run("copy", drift(json!({"added": "fail"}))));
    assert!(text.contains("column score comes in") && text.contains("schema_drift"), "{text}");
    let text = message(world.run("copy", drift(json!({"removed": "fail"}))));
    assert!(text.contains("column note of the table does not come in"), "{text}");
    let text = message(world.run("upsert", copy(json!({"upsert_keys": "id", "order_key": "score"}))));
    assert!(text.contains("upsert needs score in the file"), "{text}");

    let text = message(world.run("upsert", copy(json!({"upsert_keys": "id"}))));
    assert!(text.contains("nothing but the key (id) would come into the table"), "{text}");

    world.run("copy", drift(json!({"added": "add"}))).unwrap();
    assert_eq!(*world.made.lock().unwrap(), ["add score text to analytics.nps"]);
    assert_eq!(world.loads.lock().unwrap()[1].ignored, Vec::<String>::new());
}

#[test]
fn rejected_rows_are_told_and_values_hidden() {
    let world = written(json!({}));
    *world.load_report.lock().unwrap() = LoadReport {
        rows_rejected: Some(1),
        rejected: vec![RejectedRow {
            file: "s3://b/nps.csv".to_owned(),
            line: Some(7),
            column: Some("score".to_owned()),
            value: Some("of 3 characters, not shown".to_owned()),
            reason: "is not a number".to_owned(),
        }],
        ..report(2, 1)
    };
    let options = json!({"copy_options": ["csv", "maxerror 5"], "quarantine": "refused", "nul_bytes": "remove"});
    *world.engine.lock().unwrap() = "redshift";
    let refused = world.run("copy", copy(options.clone())).unwrap_err().to_string();
    assert!(refused.contains("nul_bytes: remove has no meaning here: Redshift"), "{refused}");
    *world.engine.lock().unwrap() = "postgres";
    world.run("copy", copy(options)).unwrap();
    let loads = world.loads.lock().unwrap();
    assert_eq!(loads[0].quarantine.as_ref().unwrap().to_string(), "analytics.refused");
    assert!(loads[0].format.remove_nul && !loads[0].show_values);
    drop(loads);
    let said = "rejected: s3://b/nps.csv line 7, column score, value of 3 characters, not shown: is not a number";
    assert!(world.log().contains(said), "{}", world.log());
    assert!(world.log().contains("Info the rejected rows are in analytics.refused"), "{}", world.log());
    // Redshift tells of the first few only.
    let told = LoadReport { rows_rejected: Some(900), rows_quarantined: Some(400), ..report(902, 2) };
    *world.load_report.lock().unwrap() = told;
    let options = json!({"copy_options": ["csv", "maxerror 1000"], "quarantine": "refused"});
    drop(world.run("copy", copy(options)));
    let said = "Warning analytics.refused holds the first 400 of the 900 rejected rows";
    assert!(world.log().contains(said), "{}", world.log());
    for (name, expected) in [("other.refused", "other.refused"), ("\"a.b\"", "analytics.a.b")] {
        let options = json!({"copy_options": ["csv", "maxerror 1000"], "quarantine": name});
        drop(world.run("copy", copy(options)));
        let loads = world.loads.lock().unwrap();
        assert_eq!(loads.last().unwrap().quarantine.as_ref().unwrap().to_string(), expected);
    }
}

#[test]
fn rows_without_an_object_are_asked_for_with_both_or_neither() {
    let direct = |extra: Value| {
        let mut base = json!({"warehouse_conn_id": "dw", "table": "nps", "sql_conn_id": "c", "query": "q"});
        base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        base
    };
    assert_eq!(problems("copy", direct(json!({}))), "");
    let cases = [
        (direct(json!({"from_task": "t"})), "leave from_task out"),
        (direct(json!({"s3_key": "k"})), "leave s3_key out"),
        (json!({"warehouse_conn_id": "dw", "table": "nps", "query": "q"}), "sql_conn_id is missing"),
        (copy(json!({"zero_dates": "null"})), "zero_dates has a meaning with sql_conn_id only"),
        (
            copy(json!({"treat": {"a": "mask"}})),
            "treat has a meaning with sql_conn_id only; the task that wrote the file has it, as columns",
        ),
        (direct(json!({"treat": {"a": "hash"}})), "hash needs hash_conn_id"),
        (direct(json!({"source_timezone": "Seoul"})), "'Seoul' is no time zone"),
        (
            copy(json!({"source_timezone": "Asia/Seoul"})),
            "files are loaded as they are, and their times are not moved from Asia/Seoul",
        ),
        (
            copy(json!({"delete_missing": {"sql_conn_id": "c", "query": "q"}})),
            "delete_missing has a meaning for an upsert only",
        ),
    ];
    for (parameters, expected) in cases {
        let found = problems("copy", parameters);
        assert!(found.contains(expected), "{expected:?} is missing in {found}");
    }
    let world = World::with_rows(&["ID", "score"], &[&[Some("1"), Some("9")]]);
    *world.table.lock().unwrap() = vec!["score".to_owned(), "id".to_owned()];
    *world.load_report.lock().unwrap() = report(1, 1);
    world.run("copy", direct(json!({}))).unwrap();
    let loads = world.loads.lock().unwrap();
    assert_eq!(loads[0].columns.as_deref(), Some(&["id".to_owned(), "score".to_owned()][..]));
    assert!(matches!(loads[0].rows, LoadRows::Direct(_)));
    let entry = world.ledger().pop().unwrap();
    let (read, written) = (entry.read.unwrap(), entry.written.unwrap());
    assert_eq!((read.conn_id.as_str(), read.query.as_str(), written.table.as_str()), ("c", "q", "nps"));
}
