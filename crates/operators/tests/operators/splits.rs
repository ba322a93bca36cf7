//! sql_to_s3 into several objects with a list of them, and what a load makes of the list.

use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::fakes::{Death, World, problems, run_in};

fn numbers(count: usize) -> std::sync::Arc<World> {
    let texts: Vec<String> = (1..=count).map(|number| number.to_string()).collect();
    let rows: Vec<Vec<Option<&str>>> = texts.iter().map(|text| vec![Some(text.as_str())]).collect();
    let rows: Vec<&[Option<&str>]> = rows.iter().map(Vec::as_slice).collect();
    World::with_rows(&["n"], &rows)
}

fn split(extra: Value) -> Value {
    let mut base = json!({
        "sql_conn_id": "mysql_prod", "query": "SELECT n FROM numbers", "s3_bucket": "b", "s3_key": "n",
        "max_rows_per_file": 1000,
    });
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    base
}

fn parts(world: &World) -> Vec<String> {
    world.keys().into_iter().filter(|key| key != "n").collect()
}

/// What the list names, each with its bytes and rows.
fn listed(world: &World) -> Vec<(String, u64, u64)> {
    listed_in(world, "n")
}

fn listed_in(world: &World, list: &str) -> Vec<(String, u64, u64)> {
    let list: Value = serde_json::from_str(&world.body(list).unwrap()).unwrap();
    list["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            assert_eq!(entry["mandatory"], true);
            let key = entry["url"].as_str().unwrap().strip_prefix("s3://b/").unwrap().to_owned();
            let meta = &entry["meta"];
            (key, meta["content_length"].as_u64().unwrap(), meta["record_count"].as_u64().unwrap())
        })
        .collect()
}

#[test]
fn parts_hold_every_row_once_and_the_list_names_exactly_them() {
    let world = numbers(2_500);
    let result = world.run("sql_to_s3", split(json!({}))).unwrap().result.unwrap();
    assert_eq!((&result["rows"], &result["parts"], &result["key"]), (&json!(2_500), &json!(3), &json!("n")));
    let listed = listed(&world);
    assert_eq!(listed.iter().map(|(_, _, rows)| *rows).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert_eq!(listed.iter().map(|(key, ..)| key.clone()).collect::<Vec<_>>(), parts(&world));
    assert!(listed[0].0.starts_with("n.parts/") && listed[0].0.ends_with("-1/00001.csv"), "{}", listed[0].0);
    let all: String = listed.iter().map(|(key, ..)| world.body(key).unwrap()).collect();
    assert_eq!(all, (1..=2_500).map(|number| format!("{number}\n")).collect::<String>());
    assert_eq!(result["bytes"], json!(all.len()));
}

#[test]
fn parts_end_by_size_too_and_each_has_its_header() {
    let world = numbers(5_000);
    let extra = json!({"max_rows_per_file": null, "split_size": "4 KiB", "header": true});
    world.run("sql_to_s3", split(extra)).unwrap();
    let listed = listed(&world);
    // The source gives a thousand rows at a time.
    assert_eq!(listed.iter().map(|(_, _, rows)| *rows).sum::<u64>(), 5_000);
    assert_eq!(listed.len(), 4);
    assert!(listed.iter().all(|(key, ..)| world.body(key).unwrap().starts_with("n\n")));
}

#[test]
fn an_empty_answer_is_published_and_said() {
    let world = numbers(0);
    let result = world.run("sql_to_s3", split(json!({}))).unwrap().result.unwrap();
    assert_eq!((&result["rows"], &result["parts"]), (&json!(0), &json!(1)));
    assert!(world.log().contains("the answer was empty"));
    let world = numbers(0);
    world.run("sql_to_s3", split(json!({"max_rows_per_file": null}))).unwrap();
    assert_eq!(world.body("n").unwrap(), "");
    assert!(world.log().contains("the answer was empty"));
}

#[test]
fn a_try_that_fails_takes_its_parts_away_and_one_that_died_is_cleaned_up_after() {
    let world = numbers(2_500);
    *world.source_breaks_after.lock().unwrap() = Some(2_100);
    assert!(world.run("sql_to_s3", split(json!({}))).is_err());
    assert!(world.keys().is_empty(), "{:?}", world.keys());
    *world.source_breaks_after.lock().unwrap() = None;
    // A stop asked for while the second part is on its way.
    *world.cancel_after_chunks.lock().unwrap() = Some(1);
    assert!(matches!(world.run("sql_to_s3", split(json!({}))), Err(TaskError::Cancelled(_))));
    assert!(world.keys().is_empty(), "{:?}", world.keys());
    *world.cancel_after_chunks.lock().unwrap() = None;
    world.cancelled.store(false, std::sync::atomic::Ordering::Relaxed);
    // Left behind by a try whose process was killed.
    let mark = world.context(1).work.short_hash();
    world.put_stranger(&format!("n.parts/{mark}-1/00001.csv"), "old");
    world.put_stranger("n.parts/0000000000000000-1/00001.csv", "another's");
    world.run_try("sql_to_s3", split(json!({})), 2).unwrap();
    assert!(parts(&world).iter().all(|key| !key.contains(&format!("{mark}-1/"))), "{:?}", parts(&world));
    assert!(parts(&world).contains(&"n.parts/0000000000000000-1/00001.csv".to_owned()));
    assert_eq!(listed(&world).len(), 3);
}

#[test]
fn a_replaced_list_loses_its_parts_after_the_new_one_is_there() {
    let world = numbers(2_500);
    world.run("sql_to_s3", split(json!({}))).unwrap();
    let old = parts(&world);
    let mut next = world.context(1);
    next.work.run_id = "scheduled__2024-01-02T00:00:00+00:00".to_owned();
    let text = run_in(&next, "sql_to_s3", split(json!({}))).unwrap_err().to_string();
    assert!(text.contains("already exists"), "{text}");
    assert_eq!(parts(&world), old);
    run_in(&next, "sql_to_s3", split(json!({"replace": true}))).unwrap();
    assert_eq!(parts(&world), listed(&world).into_iter().map(|(key, ..)| key).collect::<Vec<_>>());
    assert!(parts(&world).iter().all(|key| !old.contains(key)));
    // One object in the place of the list.
    run_in(&next, "sql_to_s3", split(json!({"replace": true, "max_rows_per_file": null}))).unwrap();
    assert_eq!(world.keys(), ["n"]);
}

#[test]
fn a_try_after_one_that_died_behind_the_list_begins_anew() {
    let world = numbers(1_500);
    *world.death.lock().unwrap() = Some(Death::Delete);
    world.run("sql_to_s3", split(json!({}))).unwrap();
    world.run_try("sql_to_s3", split(json!({})), 2).ok();
    world.run_try("sql_to_s3", split(json!({})), 3).unwrap();
    let keys: Vec<String> = listed(&world).into_iter().map(|(key, ..)| key).collect();
    assert_eq!(parts(&world), keys);
}

#[test]
fn a_load_by_the_list_takes_its_parts_and_nothing_beside() {
    let world = numbers(2_500);
    world.run("sql_to_s3", split(json!({"compression": "gzip"}))).unwrap();
    world.put_stranger("n.parts/stray.csv", "1\n");
    *world.table.lock().unwrap() = vec!["n".to_owned()];
    let copy = json!({"warehouse_conn_id": "w", "s3_bucket": "b", "s3_key": "n", "table": "t"});
    world.run("copy", copy.clone()).unwrap();
    let loads = world.loads.lock().unwrap();
    let keys: Vec<String> = loads[0].rows.objects().iter().map(|object| object.key.clone()).collect();
    assert_eq!(keys, listed(&world).into_iter().map(|(key, ..)| key).collect::<Vec<_>>());
    assert!(loads[0].format.gzip);
    drop(loads);
    let mut by_prefix = copy.clone();
    by_prefix["prefix"] = json!(true);
    let text = world.run("copy", by_prefix).unwrap_err().to_string();
    assert!(text.contains("is a list of parts"), "{text}");
    let lost = listed(&world)[1].0.clone();
    world.objects.lock().unwrap().remove(&lost);
    let text = world.run("copy", copy).unwrap_err().to_string();
    assert!(text.contains("lists s3://b/n.parts/") && text.contains("there is no such object"), "{text}");
}

#[test]
fn an_entry_of_a_foreign_list_may_be_missing_where_that_is_said() {
    let world = numbers(1);
    *world.table.lock().unwrap() = vec!["n".to_owned()];
    world.put_stranger("ok.csv", "1\n");
    let copy = json!({
        "warehouse_conn_id": "w", "s3_bucket": "b", "s3_key": "list", "table": "t", "copy_options": ["csv", "manifest"],
        "columns": ["n"],
    });
    let list =
        |more: &str| format!(r#"{{"entries": [{{"url": "s3://b/ok.csv"}}, {{"url": "s3://b/gone.csv"{more}}}]}}"#);
    world.put_stranger("list", &list(""));
    let text = world.run("copy", copy.clone()).unwrap_err().to_string();
    assert!(text.contains("lists s3://b/gone.csv") && text.contains("says mandatory: false"), "{text}");
    assert!(world.loads.lock().unwrap().is_empty());
    world.put_stranger("list", &list(r#", "mandatory": false"#));
    world.run("copy", copy).unwrap();
    assert!(world.log().contains("Warning s3://b/list lists s3://b/gone.csv, which is not there"), "{}", world.log());
    assert_eq!(world.loads.lock().unwrap()[0].rows.objects().len(), 1);
}

#[test]
fn formats_are_written_and_remembered() {
    let world = numbers(10);
    let whole = |extra: Value| {
        let mut base = split(json!({"max_rows_per_file": null, "replace": true}));
        base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        base
    };
    world.run("sql_to_s3", whole(json!({"format": "parquet", "compression": "zstd"}))).unwrap();
    let body = world.objects.lock().unwrap()["n"].body.clone();
    assert!(body.starts_with(b"PAR1") && body.ends_with(b"PAR1"));
    assert_eq!(world.metadata("n")["millrace-format"], "parquet");
    world.run("sql_to_s3", whole(json!({"compression": "zstd", "append_extension": true}))).unwrap();
    assert_eq!(world.metadata("n.csv.zst")["millrace-compression"], "zstd");
    let result =
        world.run("extract", json!({"sql_conn_id": "m", "query": "q", "format": "parquet"})).unwrap().result.unwrap();
    assert_eq!(result["file"], "extract_nps.parquet");
    let text = problems("sql_to_s3", whole(json!({"format": "parquet", "header": true})));
    assert_eq!(text, "header: a Parquet file always knows its columns' names; leave header out\n");
    assert!(problems("sql_to_s3", split(json!({"split_size": "much"}))).contains("'much' is no size"));
    assert!(problems("sql_to_s3", split(json!({"max_rows_per_file": 0}))).contains("unreadable"));
}

#[test]
fn a_prefix_over_parts_loads_what_their_list_names_or_nothing() {
    let world = numbers(2_500);
    world.run("sql_to_s3", split(json!({}))).unwrap();
    *world.table.lock().unwrap() = vec!["n".to_owned()];
    let load = |prefix: &str| {
        let parameters =
            json!({"warehouse_conn_id": "w", "s3_bucket": "b", "s3_key": prefix, "prefix": true, "table": "t"});
        world.run("copy", parameters)
    };
    load("n.parts/").unwrap();
    let written = parts(&world);
    // A part that is asked for by itself is one.
    load(&written[1]).unwrap();
    let lost = world.objects.lock().unwrap().remove(&written[1]).unwrap();
    let text = load("n.parts/").unwrap_err().to_string();
    assert!(text.contains(&format!("s3://b/n names s3://b/{}, which is gone", written[1])), "{text}");
    world.objects.lock().unwrap().insert(written[1].clone(), lost);
    world.put_stranger("n.parts/of-another-try/00001.csv", "7\n");
    let text = load("n.parts/").unwrap_err().to_string();
    assert!(text.contains("s3://b/n.parts/of-another-try/00001.csv is not on s3://b/n:"), "{text}");
    assert_eq!(world.loads.lock().unwrap().len(), 2);
    // Without a list all that is there is what was asked for.
    world.objects.lock().unwrap().remove("n");
    world.objects.lock().unwrap().remove("n.parts/of-another-try/00001.csv");
    load("n.parts/").unwrap();
}

#[test]
fn parts_go_where_their_list_goes() {
    let deaths = [None, Some(Death::Copy), Some(Death::Put), Some(Death::Delete)];
    let ways = [
        (json!({"s3_bucket": "b", "s3_key": "n", "dest_key": "arch/n"}), "arch/n"),
        (json!({"s3_bucket": "b", "s3_prefix": "n", "dest_prefix": "arch/old"}), "arch/old"),
    ];
    for (operator, death, (way, list)) in ["s3_copy", "s3_move"]
        .into_iter()
        .flat_map(|operator| deaths.into_iter().map(move |death| (operator, death)))
        .flat_map(|(operator, death)| ways.iter().map(move |way| (operator, death, way)))
    {
        let world = numbers(2_500);
        world.run("sql_to_s3", split(json!({}))).unwrap();
        let before = world.keys();
        let said = format!("{operator} {way} {death:?}");
        *world.death.lock().unwrap() = death;
        let result = world.run(operator, way.clone()).or_else(|_| world.run_try(operator, way.clone(), 2)).unwrap();
        assert!(result.result.unwrap()["objects"].as_u64().unwrap() <= 4, "{said}");
        *world.death.lock().unwrap() = None;
        let parts = listed_in(&world, list);
        assert!(parts.iter().all(|(key, ..)| key.starts_with(&format!("{list}.parts/"))), "{said}: {parts:?}");
        let all: String = parts.iter().map(|(key, ..)| world.body(key).unwrap()).collect();
        assert_eq!(all, (1..=2_500).map(|number| format!("{number}\n")).collect::<String>(), "{said}");
        assert_eq!(world.metadata(list)["millrace-rows"], "2500", "{said}");
        let stays: Vec<String> = world.keys().into_iter().filter(|key| key.starts_with('n')).collect();
        assert_eq!(stays, if operator == "s3_move" { Vec::new() } else { before }, "{said}");
    }
}

#[test]
fn parts_of_a_list_that_is_replaced_go_with_it() {
    let to_archive = json!({"s3_bucket": "b", "s3_key": "n", "dest_key": "arch", "replace": true});
    let world = numbers(2_500);
    world.run("sql_to_s3", split(json!({}))).unwrap();
    world.run("s3_copy", to_archive.clone()).unwrap();
    let first: Vec<String> = listed_in(&world, "arch").into_iter().map(|(key, ..)| key).collect();
    world.put_stranger("arch.parts/1", "somebody's own");
    world.put_stranger("n", "an object of another's");
    world.run("s3_copy", to_archive).unwrap();
    let left: Vec<String> = world.keys().into_iter().filter(|key| key.starts_with("arch")).collect();
    assert_eq!(left, ["arch", "arch.parts/1"], "without {first:?}");
}

#[test]
fn parts_are_removed_with_their_list() {
    let world = numbers(2_500);
    world.run("sql_to_s3", split(json!({}))).unwrap();
    world.put_stranger("x", "an object");
    world.put_stranger("x.parts/1", "somebody's own");
    *world.death.lock().unwrap() = Some(Death::Delete);
    let keys = json!({"bucket": "b", "keys": ["n", "x"]});
    assert!(world.run("s3_cleanup", keys.clone()).is_err());
    world.run_try("s3_cleanup", keys, 2).unwrap();
    assert_eq!(world.keys(), ["x.parts/1"]);
}
