//! unload.

use millrace_operator_api::ports::{Existing, ObjectInfo, UnloadReport};
use serde_json::{Value, json};

use crate::fakes::{World, problems};

fn unload(extra: Value) -> Value {
    let mut base = json!({"warehouse_conn_id": "rs", "s3_bucket": "b", "s3_key": "out/nps"});
    base.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    base
}

fn written(keys: &[&str]) -> UnloadReport {
    let object = |key: &&str| ObjectInfo {
        bucket: "b".to_owned(),
        key: (*key).to_owned(),
        size: 10,
        etag: None,
        last_modified: None,
        metadata: std::collections::BTreeMap::default(),
    };
    UnloadReport {
        rows: Some(3),
        objects: keys.iter().map(object).collect(),
        remote_ids: vec!["query:7".to_owned()],
        ..UnloadReport::default()
    }
}

#[test]
fn a_query_goes_to_the_warehouse_with_its_options() {
    let world = World::new();
    *world.unload_report.lock().unwrap() = written(&["out/nps0000_part_00.gz"]);
    let options = json!(["csv", "gzip", "allowoverwrite"]);
    let parameters = unload(json!({"query": "select 1;", "unload_options": options, "include_header": true}));
    let result = world.run("unload", parameters).unwrap().result.unwrap();
    let unloads = world.unloads.lock().unwrap();
    let [request] = &unloads[..] else { panic!("one unload") };
    assert_eq!((request.query.as_str(), request.to.url().as_str()), ("select 1", "s3://b/out/nps"));
    assert_eq!(request.options, ["FORMAT AS CSV", "GZIP", "HEADER"]);
    assert_eq!(request.existing, Existing::Overwrite);
    assert_eq!((&result["key"], &result["rows"]), (&json!("out/nps0000_part_00.gz"), &json!(3)));
    let entry = world.ledger().pop().unwrap();
    assert_eq!((entry.stage.as_str(), entry.rows_written, entry.bytes), ("extract", Some(3), Some(10)));
    assert_eq!((entry.target.as_str(), &entry.remote_ids[..]), ("s3://b/out/nps", &["query:7".to_owned()][..]));
}

#[test]
fn a_table_may_name_the_files_and_the_manifest_is_the_result() {
    let world = World::new();
    *world.unload_report.lock().unwrap() = written(&["out/nps/nps_000", "out/nps/nps_001", "out/nps/nps_manifest"]);
    let parameters = unload(json!({
        "schema": "analytics", "table": "nps", "table_as_file_name": true, "unload_options": "csv manifest"
    }));
    let result = world.run("unload", parameters).unwrap().result.unwrap();
    let unloads = world.unloads.lock().unwrap();
    assert_eq!(unloads[0].query, "SELECT * FROM analytics.nps");
    assert_eq!(unloads[0].to.key, "out/nps/nps_");
    assert_eq!((&result["key"], &result["parts"]), (&json!("out/nps/nps_manifest"), &json!(2)));
}

#[test]
fn mistakes_are_found_when_the_file_is_read() {
    let cases = [
        (json!({}), "say which rows: query or table"),
        (json!({"query": "select 1", "table": "t"}), "query and table exclude each other"),
        (json!({"query": "select 1 limit 5"}), "query: an UNLOAD takes no LIMIT in its outer SELECT"),
        (json!({"query": " "}), "query: query is empty"),
        (json!({"query": "select 1", "schema": "s"}), "schema has a meaning with table only"),
        (json!({"query": "select 1", "table_as_file_name": true}), "has a meaning with table only"),
        (json!({"query": "select 1", "s3_key": ""}), "s3_key is empty"),
        (json!({"query": "select 1", "unload_options": ["csv", "parquet"]}), "unload_options: csv and parquet exclude"),
        (json!({"query": "select 1", "unload_options": "json", "include_header": true}), "json and header exclude"),
        (json!({"query": "select 1", "unload_options": "csv maxfilesize 1 mb"}), "from 5 mb to 6.2 gb"),
        (json!({"query": "select 1", "unload_optoins": "csv"}), "unknown field `unload_optoins`"),
    ];
    for (parameters, expected) in cases {
        let found = problems("unload", unload(parameters.clone()));
        assert!(found.contains(expected), "{parameters}: {found:?}");
    }
    let shown =
        problems("unload", unload(json!({"query": "select 1", "unload_options": ["csv", "iam_role 'arn:hunter22'"]})));
    assert!(shown.contains("credentials belong to the connection") && !shown.contains("hunter22"), "{shown}");
    // Of what is a template still, nothing is said.
    assert_eq!(problems("unload", unload(json!({"query": "{{ q }} limit 1", "unload_options": "{{ o }}"}))), "");
}
