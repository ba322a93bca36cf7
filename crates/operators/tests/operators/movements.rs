//! extract, upload, sql_to_s3 and s3_cleanup.

use std::sync::atomic::Ordering;

use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::fakes::{Death, Object, World, at, problems, run_in};

const NPS: &[&[Option<&str>]] = &[&[Some("1"), Some("good, \"very\"")], &[Some("2"), None], &[Some("3"), Some("")]];
const NPS_CSV: &str = "1,\"good, \"\"very\"\"\"\n2,\\N\n3,\"\"\n";

fn to_s3(extra: Value) -> Value {
    merged(
        json!({"sql_conn_id": "mysql_prod", "query": "SELECT id, note FROM nps", "s3_bucket": "b", "s3_key": "nps.csv"}),
        extra,
    )
}

fn merged(mut base: Value, extra: Value) -> Value {
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    base
}

fn fail_text(result: Result<millrace_operator_api::Outcome, TaskError>) -> String {
    match result.expect_err("it must fail") {
        TaskError::Fail(text) => text,
        other => panic!("a failure for good is wanted, not {other:?}"),
    }
}

fn retry_text(result: Result<millrace_operator_api::Outcome, TaskError>) -> String {
    match result.expect_err("it must fail") {
        TaskError::Retry(text) => text,
        other => panic!("a failure that is retried is wanted, not {other:?}"),
    }
}

#[test]
fn rows_become_an_object_that_says_how_it_is_written() {
    let world = World::with_rows(&["id", "no te,%"], NPS);
    let result = world.run("sql_to_s3", to_s3(json!({}))).unwrap().result.unwrap();
    assert_eq!(world.body("nps.csv").unwrap(), NPS_CSV);
    assert_eq!(
        (&result["rows"], &result["bytes"], &result["url"]),
        (&json!(3), &json!(NPS_CSV.len()), &json!("s3://b/nps.csv"))
    );
    let metadata = world.metadata("nps.csv");
    assert_eq!(metadata["millrace-null"], "\\N");
    assert_eq!(metadata["millrace-columns"], "id,no%20te%2C%25");
    assert!(metadata["millrace-work"].starts_with("home1/%EB%A7%A4%EC%B6%9C/scheduled__2024"));
    let [entry] = &world.ledger()[..] else { panic!("one entry") };
    assert_eq!((entry.stage.as_str(), entry.rows_read, entry.bytes), ("extract", Some(3), Some(NPS_CSV.len() as u64)));
    assert_eq!(entry.source, "mysql_prod: SELECT id, note FROM nps");
    // sha256sum of NPS_CSV, as another program gives it.
    assert_eq!(
        entry.checksum.as_deref(),
        Some("sha256:b3510f3687ff3195b40c81d82357883cc19fa7d32a8d73d604ce62ad9bc9e99a")
    );
}

#[test]
fn case_74_a_taken_key_is_an_error_and_replace_replaces() {
    let world = World::with_rows(&["id", "note"], NPS);
    world.put_stranger("nps.csv", "old");
    let text = fail_text(world.run("sql_to_s3", to_s3(json!({}))));
    assert!(text.contains("key nps.csv in bucket b already exists") && text.contains("replace: true"), "{text}");
    assert_eq!(world.body("nps.csv").unwrap(), "old");
    assert!(world.queries.lock().unwrap().is_empty(), "the source must not be asked for nothing");
    assert!(world.ledger().is_empty());
    world.run("sql_to_s3", to_s3(json!({"replace": true}))).unwrap();
    assert_eq!(world.body("nps.csv").unwrap(), NPS_CSV);
}

#[test]
fn a_stranger_that_comes_in_between_is_not_overwritten() {
    let world = World::with_rows(&["id", "note"], NPS);
    world.race.store(true, Ordering::Relaxed);
    assert!(fail_text(world.run("sql_to_s3", to_s3(json!({})))).contains("already exists"));
    assert_eq!(world.body("nps.csv").unwrap(), "stranger");
}

#[test]
fn a_lost_answer_to_our_own_publishing_is_a_success() {
    let world = World::with_rows(&["id", "note"], NPS);
    world.put_answer_is_lost.store(true, Ordering::Relaxed);
    assert_eq!(world.run("sql_to_s3", to_s3(json!({}))).unwrap().result.unwrap()["rows"], 3);
}

#[test]
fn a_try_after_one_that_died_overwrites_its_own_object_only() {
    let world = World::with_rows(&["id", "note"], NPS);
    *world.death.lock().unwrap() = Some(Death::Put);
    assert!(world.run("sql_to_s3", to_s3(json!({}))).is_err());
    assert!(world.body("nps.csv").is_some());
    world.run_try("sql_to_s3", to_s3(json!({})), 2).unwrap();
    assert_eq!(world.body("nps.csv").unwrap(), NPS_CSV);
    assert!(fail_text(run_in(&world.context_of("other", 1), "sql_to_s3", to_s3(json!({})))).contains("already exists"));
    let mut other_run = world.context(1);
    other_run.work.run_id.push_str("_2");
    assert!(fail_text(run_in(&other_run, "sql_to_s3", to_s3(json!({})))).contains("already exists"));
    // Whoever clears a task has it done again.
    let mut cleared = world.context(3);
    cleared.work.generation = 1;
    run_in(&cleared, "sql_to_s3", to_s3(json!({}))).unwrap();
    // Nor does the run that is made anew under the old one's name take what that one wrote.
    let mut made_anew = world.context(1);
    made_anew.work.run_created_at += chrono::TimeDelta::seconds(1);
    assert!(fail_text(run_in(&made_anew, "sql_to_s3", to_s3(json!({})))).contains("already exists"));
}

#[test]
fn a_source_that_breaks_publishes_nothing_and_says_its_own_words() {
    let world = World::with_rows(&["id", "note"], NPS);
    *world.source_breaks_after.lock().unwrap() = Some(2);
    let text = retry_text(world.run("sql_to_s3", to_s3(json!({}))));
    assert_eq!(text, "writing s3://b/nps.csv: the connection was cut");
    assert!(world.keys().is_empty() && world.ledger().is_empty());
}

#[test]
fn a_text_that_equals_the_null_marker_is_never_written() {
    let world = World::with_rows(&["id", "note"], &[&[Some("1"), Some("\\N")]]);
    let text = fail_text(world.run("sql_to_s3", to_s3(json!({}))));
    assert!(text.contains("row 1, column 2 (note)") && text.contains("null_marker"), "{text}");
    assert!(world.keys().is_empty());
    world.run("sql_to_s3", to_s3(json!({"null_marker": "<null>"}))).unwrap();
    assert_eq!(world.metadata("nps.csv")["millrace-null"], "<null>");
}

#[test]
fn what_the_table_cannot_hold_stops_the_extract_before_anything_is_written() {
    let world = World::with_rows(&["id", "note"], NPS);
    *world.longest.lock().unwrap() = Some(10);
    let for_table = |more: Value| {
        let table = merged(json!({"warehouse_conn_id": "redshift", "schema": "dw", "table": "nps", "key": "ID"}), more);
        to_s3(json!({"for_table": table}))
    };
    *world.table.lock().unwrap() = vec!["ID".to_owned(), "Note".to_owned()];
    let text = retry_text(world.run("sql_to_s3", for_table(json!({}))));
    assert_eq!(
        text,
        "writing s3://b/nps.csv: dw.nps: row 1 (id=1), column note: the value of 12 characters, not shown (show_values: true \
         shows it), is too long for 10 bytes"
    );
    assert!(world.keys().is_empty() && world.ledger().is_empty());
    let text = retry_text(world.run("sql_to_s3", for_table(json!({"show_values": true}))));
    assert!(text.contains("the value 'good, \"very\"' is too long"), "{text}");
    // A file of the run is held against the table as well.
    let mut parameters = for_table(json!({}));
    for name in ["s3_bucket", "s3_key"] {
        parameters.as_object_mut().unwrap().remove(name);
    }
    assert!(retry_text(world.run("extract", parameters)).contains("dw.nps: row 1 (id=1), column note"));
    assert!(world.scratch.lock().unwrap().is_empty());
    // What the load does to values, or refuses by itself, is no error; nor is a column that the table does not have.
    for options in [json!({"copy_options": ["csv", "truncatecolumns"]}), json!({"copy_options": ["csv", "maxerror 3"]})]
    {
        world.run("sql_to_s3", for_table(options)).unwrap();
        assert_eq!(world.body("nps.csv").unwrap(), NPS_CSV);
        world.objects.lock().unwrap().clear();
    }
    *world.table.lock().unwrap() = vec!["ID".to_owned()];
    world.run("sql_to_s3", for_table(json!({}))).unwrap();
    assert!(world.log().contains("values are held against the columns of dw.nps (redshift)"), "{}", world.log());
    // Mistakes are found when the file is read.
    let wrong = for_table(json!({"table": "", "warehouse_conn_id": " ", "copy_options": "maxerror many"}));
    let found = problems("sql_to_s3", wrong);
    for field in ["for_table.warehouse_conn_id", "for_table.table", "for_table.copy_options"] {
        assert!(found.contains(&format!("{field}: ")), "{found}");
    }
}

#[test]
fn a_table_that_is_not_there_has_no_limits_to_be_held_against() {
    let world = World::with_rows(&["id", "note"], NPS);
    let table = json!({"warehouse_conn_id": "redshift", "table": "nps"});
    let text = retry_text(world.run("sql_to_s3", to_s3(json!({"for_table": table}))));
    assert!(text.starts_with("for_table: looking at nps of redshift: "), "{text}");
    assert!(world.keys().is_empty());
}

#[test]
fn a_stop_in_the_middle_leaves_nothing() {
    let row: &[Option<&str>] = &[Some("1234567890"), Some("abcdefghijklmnopqrstuvwxyz")];
    let world = World::with_rows(&["id", "note"], &vec![row; 120_000]);
    *world.cancel_after_chunks.lock().unwrap() = Some(2);
    let error = world.run("sql_to_s3", to_s3(json!({}))).unwrap_err();
    assert!(matches!(&error, TaskError::Cancelled(reason) if reason == "a person asked"), "{error:?}");
    assert!(world.keys().is_empty() && world.ledger().is_empty());
    // Asked for before it began, nothing is even looked at.
    assert!(matches!(world.run("sql_to_s3", to_s3(json!({}))), Err(TaskError::Cancelled(_))));
}

#[test]
fn pieces_stay_small_and_progress_is_reported() {
    let row: &[Option<&str>] = &[Some("1234567890"), Some("abcdefghijklmnopqrstuvwxyz")];
    let world = World::with_rows(&["id", "note"], &vec![row; 250_000]);
    world.run("sql_to_s3", to_s3(json!({}))).unwrap();
    assert!(world.largest_chunk.load(Ordering::Relaxed) < 2 << 20);
    let checkpoints = world.checkpoints.lock().unwrap();
    assert!(checkpoints.len() > 2);
    assert_eq!(checkpoints.last().unwrap().rows, Some(250_000));
    assert!(checkpoints.is_sorted_by_key(|checkpoint| checkpoint.rows));
}

#[test]
fn gzip_header_delimiter_and_extension_are_options() {
    let world = World::with_rows(&["id", "note"], NPS);
    let extra =
        json!({"header": true, "delimiter": "|", "compression": "gzip", "append_extension": true, "s3_key": "nps"});
    world.run("sql_to_s3", to_s3(extra)).unwrap();
    let packed = world.objects.lock().unwrap()["nps.csv.gz"].body.clone();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
    assert_eq!(text, "id|note\n1|\"good, \"\"very\"\"\"\n2|\\N\n3|\"\"\n");
    assert_eq!(world.metadata("nps.csv.gz")["millrace-compression"], "gzip");
}

#[test]
fn an_empty_table_is_an_empty_object() {
    let world = World::with_rows(&["id"], &[]);
    assert_eq!(world.run("sql_to_s3", to_s3(json!({}))).unwrap().result.unwrap()["rows"], 0);
    assert_eq!(world.body("nps.csv").unwrap(), "");
}

fn extract_and_hand_over(world: &std::sync::Arc<World>) {
    let parameters = json!({"sql_conn_id": "mysql_prod", "query": "SELECT 1"});
    let result = world.run("extract", parameters).unwrap().result.unwrap();
    assert_eq!((&result["file"], &result["rows"]), (&json!("extract_nps.csv"), &json!(3)));
    world.results.lock().unwrap().insert("extract_nps".to_owned(), result);
}

fn upload() -> Value {
    json!({"from_task": "extract_nps", "s3_bucket": "b", "s3_key": "nps.csv"})
}

#[test]
fn a_file_goes_from_extract_to_upload_and_is_removed() {
    let world = World::with_rows(&["id", "note"], NPS);
    extract_and_hand_over(&world);
    let result = run_in(&world.context_of("up", 1), "upload", upload()).unwrap().result.unwrap();
    assert_eq!(world.body("nps.csv").unwrap(), NPS_CSV);
    assert!(world.scratch.lock().unwrap().is_empty());
    assert_eq!(result["rows"], 3);
    let metadata = world.metadata("nps.csv");
    assert_eq!((metadata["millrace-rows"].as_str(), metadata["millrace-columns"].as_str()), ("3", "id,note"));
    let stages: Vec<String> = world.ledger().into_iter().map(|entry| entry.stage).collect();
    assert_eq!(stages, ["extract", "upload"]);
}

#[test]
fn an_upload_that_died_is_finished_by_the_next_try() {
    for death in [Death::Put, Death::Remove] {
        let world = World::with_rows(&["id", "note"], NPS);
        extract_and_hand_over(&world);
        *world.death.lock().unwrap() = Some(death);
        assert!(run_in(&world.context_of("up", 1), "upload", upload()).is_err());
        let result = run_in(&world.context_of("up", 2), "upload", upload()).unwrap().result.unwrap();
        assert_eq!((world.body("nps.csv").unwrap().as_str(), &result["rows"]), (NPS_CSV, &json!(3)), "{death:?}");
        assert!(world.scratch.lock().unwrap().is_empty());
    }
}

#[test]
fn a_file_that_changed_since_extract_is_never_published() {
    let world = World::with_rows(&["id", "note"], NPS);
    extract_and_hand_over(&world);
    world.scratch.lock().unwrap().insert("extract_nps.csv".to_owned(), NPS_CSV.replace('1', "7").into_bytes());
    let text = fail_text(run_in(&world.context_of("up", 1), "upload", upload()));
    assert!(text.contains("not what the task that wrote it reported"), "{text}");
    assert!(world.keys().is_empty());
}

#[test]
fn a_missing_file_and_a_missing_result_are_told_apart() {
    let world = World::with_rows(&["id", "note"], NPS);
    assert!(fail_text(world.run("upload", upload())).contains("task 'extract_nps' has no result in this run"));
    extract_and_hand_over(&world);
    world.scratch.lock().unwrap().clear();
    assert!(retry_text(world.run("upload", upload())).contains("there is no file extract_nps.csv"));
}

#[test]
fn a_file_of_the_machine_is_uploaded_and_kept() {
    let world = World::new();
    world.run("upload", json!({"file": "/data/in.csv", "s3_bucket": "b", "s3_key": "k"})).unwrap();
    assert_eq!(world.body("k").unwrap(), "outside");
    assert!(!world.metadata("k").contains_key("millrace-null"));
}

#[test]
fn case_75_missing_keys_batches_and_empty_prefixes() {
    let world = World::new();
    world.run("s3_cleanup", json!({"bucket": "b", "keys": "none.csv"})).unwrap();
    world.put_stranger("there", "x");
    let both = json!({"bucket": "b", "keys": ["there", "gone"], "on_missing": "error"});
    assert!(retry_text(world.run("s3_cleanup", both)).contains("1 of 2 keys do not exist in s3://b"));
    assert_eq!(world.keys(), ["there"]);

    world.deletes.lock().unwrap().clear();
    let keys: Vec<String> = (0..1_500).map(|number| format!("k{number}")).collect();
    let result = world.run("s3_cleanup", json!({"bucket": "b", "keys": keys})).unwrap().result.unwrap();
    assert_eq!(*world.deletes.lock().unwrap(), [1_000, 500]);
    assert_eq!(result["requests"], 2);

    let entry = millrace_operator_api::entry::find(millrace_operators::ALL, "s3_cleanup").unwrap();
    for rendered in [
        json!({"bucket": "b", "prefix": " "}),
        json!({"bucket": "b", "keys": ["a", ""]}),
        json!({"bucket": "b", "keys": "[]"}),
    ] {
        let operator = (entry.parse)(rendered).unwrap();
        assert!(fail_text(crate::fakes::block_on(operator.run(&world.context(1)))).contains("nothing was removed"));
    }
    assert_eq!(world.keys(), ["there"]);
}

#[test]
fn a_cleanup_that_died_does_not_miss_what_it_removed_itself() {
    let world = World::new();
    world.put_stranger("a", "x");
    *world.death.lock().unwrap() = Some(Death::Delete);
    let parameters = json!({"bucket": "b", "keys": ["a"], "on_missing": "error"});
    assert!(world.run("s3_cleanup", parameters.clone()).is_err());
    assert!(world.keys().is_empty());
    world.run_try("s3_cleanup", parameters.clone(), 2).unwrap();
    let mut cleared = world.context(3);
    cleared.work.generation = 1;
    assert!(retry_text(run_in(&cleared, "s3_cleanup", parameters)).contains("1 of 1 keys"));
}

#[test]
fn a_prefix_and_a_window_choose_what_is_removed() {
    let world = World::new();
    for (key, seconds) in [("nps/1", 0), ("nps/2", 100), ("nps/3", 200), ("other", 100)] {
        let object = Object { body: Vec::new(), metadata: Default::default(), modified: at(seconds) };
        world.objects.lock().unwrap().insert(key.to_owned(), object);
    }
    let window = json!({"bucket": "b", "prefix": "nps/", "from_datetime": "2024-01-01T00:01:40Z", "to_datetime": at(200).to_rfc3339()});
    world.run("s3_cleanup", window).unwrap();
    assert_eq!(world.keys(), ["nps/1", "nps/3", "other"]);
    world.run("s3_cleanup", json!({"bucket": "b", "prefix": "nps/"})).unwrap();
    assert_eq!(world.keys(), ["other"]);
    let text = retry_text(world.run("s3_cleanup", json!({"bucket": "b", "keys": ["locked"]})));
    assert!(text.contains("1 keys were not removed; locked: AccessDenied"), "{text}");
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let cases = [
        ("s3_cleanup", json!({"bucket": "b"}), ": say what to remove"),
        ("s3_cleanup", json!({"bucket": "b", "keys": "a", "prefix": "p"}), "keys: keys excludes prefix"),
        ("s3_cleanup", json!({"bucket": "b", "prefix": ""}), "prefix: an empty prefix is the whole bucket"),
        ("s3_cleanup", json!({"bucket": "b", "keys": []}), "keys: a key is empty"),
        ("s3_cleanup", json!({"bucket": "b", "to_datetime": "2024-01-01"}), "both from_datetime and to_datetime"),
        ("s3_cleanup", json!({"bucket": "b", "prefix": "p", "to_datetime": "soon"}), "to_datetime: cannot read 'soon'"),
        ("s3_cleanup", json!({"bucket": "b", "keys": "k", "on_missing": "explode"}), "unreadable"),
        ("upload", json!({"s3_bucket": "b", "s3_key": "k"}), ": say which file"),
        ("upload", json!({"s3_bucket": "b", "s3_key": "k", "file": "f", "from_task": "t"}), "exclude each other"),
        ("extract", json!({"sql_conn_id": "c", "query": " "}), "query: query is empty"),
        ("extract", json!({"sql_conn_id": "c", "query": "q", "file": "../x"}), "is not a plain name"),
        ("extract", json!({"sql_conn_id": "c", "query": "q", "delimiter": ";;"}), "delimiter: ';;' is not one ASCII"),
        (
            "extract",
            json!({"sql_conn_id": "c", "query": "q", "null_marker": "a,b"}),
            "neither a quote nor the delimiter",
        ),
        ("sql_to_s3", json!({"sql_conn_id": "c", "query": "q", "s3_bucket": "", "s3_key": "k"}), "s3_bucket is empty"),
        ("sql_to_s3", to_s3(json!({"s3_kee": "k"})), "unknown field `s3_kee`"),
    ];
    for (operator, parameters, expected) in cases {
        let found = problems(operator, parameters.clone());
        assert!(found.contains(expected), "{operator} {parameters}: {found:?}");
    }
    // Of what is a template still, nothing is said.
    assert_eq!(problems("s3_cleanup", json!({"bucket": "{{ b }}", "prefix": "{{ p }}", "to_datetime": "{{ t }}"})), "");
    assert_eq!(
        problems("extract", json!({"sql_conn_id": "c", "query": "q", "file": "{{ f }}", "delimiter": "{{ d }}"})),
        ""
    );
}

#[test]
fn the_proof_of_an_extract_may_be_left_out() {
    for (wanted, size) in
        [(json!({}), None), (json!({"fingerprint": false}), None), (json!({"fingerprint": false}), Some(1))]
    {
        let world = World::with_rows(&["id", "note"], NPS);
        let parts = size.map_or(json!({}), |rows| json!({"max_rows_per_file": rows}));
        world.run("sql_to_s3", to_s3(merged(wanted.clone(), parts))).unwrap();
        let read = world.ledger().pop().unwrap().read.unwrap();
        assert_eq!(read.fingerprint.is_some(), wanted == json!({}), "{:?}", read.fingerprint);
    }
}

#[test]
fn columns_that_nobody_expects_are_kept_dropped_or_refused() {
    let expecting =
        |more: Value| to_s3(json!({"replace": true, "expected_columns": merged(json!({"columns": ["ID"]}), more)}));
    let world = World::with_rows(&["id", "note"], NPS);
    let result = world.run("sql_to_s3", expecting(json!({}))).unwrap().result.unwrap();
    assert_eq!(result["columns"], json!(["id", "note"]), "by default the night goes on");
    assert_eq!(result["types"], json!(["t", "t"]));
    assert!(
        world.log().contains("note (text) came to the source and is not expected: it is written too"),
        "{}",
        world.log()
    );

    world.run("sql_to_s3", expecting(json!({"added": "drop"}))).unwrap();
    assert_eq!(world.body("nps.csv").unwrap(), "1\n2\n3\n");
    let read = world.ledger().pop().unwrap().read.unwrap();
    assert_eq!(read.changed.get("note").map(String::as_str), Some("dropped"));
    assert_eq!(read.fingerprint, None, "the query gives other rows than were written");

    let text = fail_text(world.run("sql_to_s3", expecting(json!({"added": "fail"}))));
    assert!(text.contains("note (text) came to the source") && text.contains("nothing was written"), "{text}");
    let gone = json!({"columns": ["id", "note", "at"]});
    let text = fail_text(world.run("sql_to_s3", expecting(gone.clone())));
    assert!(text.contains("at is expected and does not come any more"), "{text}");
    world.run("sql_to_s3", expecting(merged(gone, json!({"removed": "ignore"})))).unwrap();
    assert!(
        problems("extract", json!({"sql_conn_id": "c", "query": "q", "expected_columns": {"columns": []}}))
            .contains("no column is expected")
    );
}
