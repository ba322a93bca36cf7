//! s3_list, s3_head, s3_get, s3_put, s3_copy, s3_move and s3_presign.

use std::sync::atomic::Ordering;

use millrace_operator_api::{Outcome, TaskError};
use serde_json::{Value, json};

use crate::fakes::{Death, World, problems, run_in};

fn fail_text(result: Result<Outcome, TaskError>) -> String {
    match result.expect_err("it must fail") {
        TaskError::Fail(text) => text,
        other => panic!("a failure for good is wanted, not {other:?}"),
    }
}

fn retry_text(result: Result<Outcome, TaskError>) -> String {
    match result.expect_err("it must fail") {
        TaskError::Retry(text) => text,
        other => panic!("a failure that is retried is wanted, not {other:?}"),
    }
}

fn result(outcome: Result<Outcome, TaskError>) -> Value {
    outcome.unwrap().result.unwrap()
}

#[test]
fn a_list_is_made_for_expand_and_never_shortened() {
    let world = World::new();
    for key in ["in/1.csv", "in/2.csv", "in/2.csv.done", "other"] {
        world.put_stranger(key, "abc");
    }
    let list = |extra: Value| {
        let mut parameters = json!({"s3_bucket": "b", "s3_prefix": "in/"});
        parameters.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.run("s3_list", parameters)
    };
    assert_eq!(result(list(json!({}))), json!(["in/1.csv", "in/2.csv", "in/2.csv.done"]));
    assert_eq!(result(list(json!({"pattern": "*.csv"}))), json!(["in/1.csv", "in/2.csv"]));
    assert_eq!(result(list(json!({"pattern": "*.csv", "details": true, "max_keys": 2})))[0]["size"], 3);
    assert_eq!(result(list(json!({"to_datetime": "2024-01-01"}))), json!([]));
    assert!(fail_text(list(json!({"max_keys": 2}))).contains("more than 2 objects"));
    assert_eq!(result(world.run("S3ListOperator", json!({"s3_bucket": "b"}))).as_array().unwrap().len(), 4);
}

#[test]
fn a_text_is_put_once_and_read_back() {
    let world = World::new();
    let parameters = json!({"s3_key": "s3://b/marks/done.json", "text": {"rows": 3, "of": ["a"]}});
    let put = result(world.run("s3_put", parameters.clone()));
    assert_eq!(put["url"], "s3://b/marks/done.json");
    assert_eq!(world.body("marks/done.json").unwrap(), r#"{"of":["a"],"rows":3}"#);
    // Another try of the same task may write its own again; a stranger's object stays.
    world.run_try("s3_put", parameters, 2).unwrap();
    world.put_stranger("taken", "theirs");
    assert!(fail_text(world.run("s3_put", json!({"s3_key": "s3://b/taken", "text": "x"}))).contains("already exists"));
    assert_eq!(world.body("taken").unwrap(), "theirs");
    world.run("s3_put", json!({"s3_bucket": "b", "s3_key": "taken", "text": "x", "replace": true})).unwrap();
    assert_eq!(world.body("taken").unwrap(), "x");
    world.run("s3_put", json!({"s3_bucket": "b", "s3_key": "copied", "file": "/data/in.csv"})).unwrap();
    assert_eq!(world.body("copied").unwrap(), "outside");

    let get = |extra: Value| {
        let mut parameters = json!({"s3_bucket": "b", "s3_key": "marks/done.json"});
        parameters.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        world.run("s3_get", parameters)
    };
    assert_eq!(result(get(json!({"as": "json"})))["rows"], 3);
    assert_eq!(result(get(json!({"as": "text"}))), r#"{"of":["a"],"rows":3}"#);
    assert!(fail_text(get(json!({"as": "text", "max_bytes": 5}))).contains("fetch it as: file"));
    let file = result(get(json!({})));
    assert_eq!((&file["file"], &file["bytes"]), (&json!("done.json"), &json!(21)));
    assert_eq!(world.scratch.lock().unwrap()["done.json"], br#"{"of":["a"],"rows":3}"#);
    assert!(retry_text(world.run("s3_get", json!({"s3_key": "s3://b/none"}))).contains("s3://b/none does not exist"));
}

#[test]
fn a_copy_keeps_what_the_object_says_and_overwrites_only_its_own() {
    let world = World::new();
    world.put_stranger("a.csv", "1,2");
    world.objects.lock().unwrap().get_mut("a.csv").unwrap().metadata.insert("millrace-null".into(), "\\N".into());
    let parameters = json!({"s3_bucket": "b", "s3_key": "a.csv", "dest_key": "archive/a.csv"});
    let copied = result(world.run("s3_copy", parameters.clone()));
    assert_eq!((&copied["objects"], &copied["bytes"]), (&json!(1), &json!(3)));
    assert_eq!(world.metadata("archive/a.csv")["millrace-null"], "\\N");
    world.run_try("s3_copy", parameters, 2).unwrap();
    world.put_stranger("taken", "theirs");
    let onto = json!({"s3_key": "s3://b/a.csv", "dest_key": "s3://b/taken"});
    assert!(fail_text(world.run("s3_copy", onto.clone())).contains("s3://b/taken already exists"));
    assert_eq!(world.body("taken").unwrap(), "theirs");
    let mut replacing = onto;
    replacing["replace"] = json!(true);
    world.run("s3_copy", replacing).unwrap();
    assert_eq!(world.body("taken").unwrap(), "1,2");
    let itself = json!({"s3_key": "s3://b/a.csv", "dest_key": "a.csv"});
    assert!(fail_text(world.run("s3_copy", itself)).contains("onto itself"));
}

#[test]
fn a_move_that_died_anywhere_ends_right() {
    for death in [Death::Copy, Death::Delete] {
        for parameters in [
            json!({"s3_bucket": "b", "s3_key": "in/1", "dest_key": "out/1"}),
            json!({"s3_bucket": "b", "s3_prefix": "in/", "dest_prefix": "out/"}),
        ] {
            let world = World::new();
            world.put_stranger("in/1", "one");
            *world.death.lock().unwrap() = Some(death);
            assert!(world.run("s3_move", parameters.clone()).is_err(), "{death:?}");
            world.run_try("s3_move", parameters.clone(), 2).unwrap();
            assert_eq!(world.keys(), ["out/1"], "{death:?} {parameters}");
            assert_eq!(world.body("out/1").unwrap(), "one");
            // Cleared, it is new work, and there is nothing to move.
            let mut cleared = world.context(3);
            cleared.work.generation = 1;
            world.scratch.lock().unwrap().clear();
            assert!(run_in(&cleared, "s3_move", parameters).is_err());
            assert_eq!(world.keys(), ["out/1"]);
        }
    }
}

#[test]
fn a_move_that_is_refused_removes_nothing() {
    let world = World::new();
    world.put_stranger("in/1", "one");
    world.put_stranger("in/2", "two");
    world.put_stranger("out/2", "theirs");
    let parameters = json!({"s3_bucket": "b", "s3_prefix": "in/", "dest_prefix": "out/"});
    assert!(fail_text(world.run("s3_move", parameters)).contains("s3://b/out/2 already exists"));
    assert!(world.body("in/1").is_some() && world.body("in/2").is_some());
    assert_eq!(world.body("out/2").unwrap(), "theirs");
    let entry = millrace_operator_api::entry::find(millrace_operators::ALL, "s3_move").unwrap();
    let blank = (entry.parse)(json!({"s3_bucket": "b", "s3_prefix": " ", "dest_prefix": "out/"})).unwrap();
    assert!(fail_text(crate::fakes::block_on(blank.run(&world.context(1)))).contains("the whole bucket"));
    let nested = json!({"s3_bucket": "b", "s3_prefix": "in/", "dest_prefix": "in/old/"});
    assert!(fail_text(world.run("s3_move", nested)).contains("lies under s3_prefix"));
}

#[test]
fn what_is_taken_up_a_level_never_comes_onto_what_is_still_to_be_taken() {
    for operator in ["s3_move", "s3_copy"] {
        let world = World::new();
        world.put_stranger("a/b/x", "one");
        world.put_stranger("a/b/b/x", "two");
        let up = json!({"s3_bucket": "b", "s3_prefix": "a/b/", "dest_prefix": "a/", "replace": true});
        let said = fail_text(world.run(operator, up.clone()));
        assert!(said.contains("s3://b/a/b/b/x would be") && said.contains("to s3://b/a/b/x"), "{said}");
        assert_eq!((world.body("a/b/x").unwrap(), world.body("a/b/b/x").unwrap()), ("one".into(), "two".into()));
        assert!(world.body("a/x").is_none());
        world.objects.lock().unwrap().remove("a/b/b/x");
        world.put_stranger("a/b/c/x", "two");
        world.run(operator, up).unwrap();
        assert_eq!((world.body("a/x").unwrap(), world.body("a/c/x").unwrap()), ("one".into(), "two".into()));
    }
}

#[test]
fn an_object_is_looked_at_without_being_read() {
    let world = World::new();
    world.put_stranger("report.csv", "a,b");
    let seen = result(world.run("s3_head", json!({"s3_key": "s3://b/report.csv"})));
    assert_eq!((&seen["exists"], &seen["url"], &seen["size"]), (&json!(true), &json!("s3://b/report.csv"), &json!(3)));
    assert!(seen["etag"].is_string() && seen["metadata"].is_object(), "{seen}");
    let missing = |must_exist| world.run("s3_head", json!({"s3_key": "s3://b/none", "must_exist": must_exist}));
    assert!(retry_text(missing(true)).contains("s3://b/none does not exist"));
    assert_eq!(result(missing(false)), json!({"exists": false, "url": "s3://b/none"}));
    assert_eq!(world.largest_chunk.load(Ordering::Relaxed), 0, "nothing was read");
}

#[test]
fn a_url_stands_in_the_result_and_in_no_log() {
    let world = World::new();
    world.put_stranger("report.csv", "x");
    let signed = result(world.run("s3_presign", json!({"s3_key": "s3://b/report.csv", "expires": "15m"})));
    assert!(signed["url"].as_str().unwrap().contains("X-Amz-Expires=900"));
    assert!(signed["expires_at"].as_str().unwrap().starts_with("2024-01-01T00:15"), "{signed}");
    assert!(!world.log().contains("Signature"), "{}", world.log());
    assert!(world.log().contains("s3://b/report.csv"));
    assert!(retry_text(world.run("s3_presign", json!({"s3_key": "s3://b/none"}))).contains("does not exist"));
    assert_eq!(world.largest_chunk.load(Ordering::Relaxed), 0, "nothing was read");
}

#[test]
fn mistakes_in_places_are_found_when_the_file_is_read() {
    let cases = [
        ("s3_list", json!({"s3_bucket": ""}), "s3_bucket is empty"),
        ("s3_list", json!({"s3_bucket": "b", "from_datetime": "soon"}), "from_datetime: cannot read"),
        ("s3_get", json!({"s3_key": "k"}), "s3_bucket: say which bucket"),
        ("s3_get", json!({"s3_key": "s3://b"}), "'s3://b' is no s3://bucket/key"),
        ("s3_get", json!({"s3_bucket": "b", "s3_key": "s3://b/k"}), "leave s3_bucket out"),
        ("s3_get", json!({"s3_key": "s3://b/k", "file": "../x"}), "is not a plain name"),
        ("s3_get", json!({"s3_key": "s3://b/k", "file": "x", "as": "text"}), "with as: file only"),
        ("s3_put", json!({"s3_key": "s3://b/k"}), "say what to write"),
        ("s3_put", json!({"s3_key": "s3://b/k", "text": "x", "file": "f"}), "exclude each other"),
        ("s3_copy", json!({"s3_bucket": "b"}), "say what to copy"),
        ("s3_copy", json!({"s3_bucket": "b", "s3_key": "k"}), "goes to dest_key"),
        ("s3_move", json!({"s3_bucket": "b", "s3_prefix": "", "dest_prefix": "x"}), "the whole bucket"),
        ("s3_move", json!({"s3_prefix": "a", "dest_prefix": "x"}), "say which bucket"),
        ("s3_presign", json!({"s3_key": "s3://b/k", "expires": "8d"}), "from 1 second to 7 days"),
    ];
    for (operator, parameters, expected) in cases {
        let found = problems(operator, parameters.clone());
        assert!(found.contains(expected), "{operator} {parameters}: {found:?}");
    }
    assert_eq!(problems("s3_get", json!({"s3_bucket": "{{ b }}", "s3_key": "{{ k }}"})), "");
    assert_eq!(problems("s3_copy", json!({"s3_key": "{{ k }}", "s3_bucket": "b", "dest_key": "{{ k }}.old"})), "");
}
