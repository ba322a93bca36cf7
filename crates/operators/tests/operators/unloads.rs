//! unload.

use millrace_operator_api::ports::{CsvFormat, Existing, FileKind, ObjectInfo, UnloadReport};
use serde_json::{Value, json};

use crate::fakes::{World, problems, run_in};

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
    assert_eq!(request.options, ["FORMAT AS CSV", "GZIP", "HEADER", r"NULL AS '\\N'"]);
    assert_eq!(request.null_marker.as_deref(), Some(r"\N"));
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

/// What `copy` makes of the files of an unload with these options.
fn copied(unload_options: Value, copy: Value) -> Result<(CsvFormat, Option<Vec<String>>), String> {
    let world = World::new();
    *world.engine.lock().unwrap() = "redshift";
    world.put_stranger("out/nps_000", "1");
    world.put_stranger("out/nps_manifest", r#"{"entries": [{"url": "s3://b/out/nps_000", "mandatory": true}]}"#);
    let has_manifest = unload_options.to_string().contains("manifest");
    let mut report = written(&["out/nps_000", if has_manifest { "out/nps_manifest" } else { "out/nps_001" }]);
    report.columns = ["score", "day", "ID"].map(str::to_owned).to_vec();
    *world.unload_report.lock().unwrap() = report;
    let parameters = unload(json!({"query": "select 1", "unload_options": unload_options, "s3_key": "out/nps_"}));
    let result = world.run("unload", parameters).unwrap().result.unwrap();
    world.results.lock().unwrap().insert("out".to_owned(), result);
    *world.table.lock().unwrap() = ["id", "score", "day"].map(str::to_owned).to_vec();
    let mut load = json!({"warehouse_conn_id": "redshift_dev", "from_task": "out", "table": "nps"});
    load.as_object_mut().unwrap().extend(copy.as_object().unwrap().clone());
    run_in(&world.context_of("load", 1), "copy", load).map_err(|error| error.to_string())?;
    let loads = world.loads.lock().unwrap();
    assert_eq!(loads[0].rows.objects()[0].key, "out/nps_000");
    Ok((loads[0].format.clone(), loads[0].columns.clone()))
}

#[test]
fn a_copy_reads_the_files_as_they_were_unloaded() {
    let format = |options: Value| copied(options, json!({})).unwrap().0;
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    let (plain, columns) = copied(json!(["csv", "manifest"]), json!({})).unwrap();
    assert_eq!((plain.null_as.as_deref(), plain.ignore_header, plain.gzip), (Some(r"\N"), 0, false));
    assert_eq!(columns, names(&["score", "day", "id"]), "by name, in the order of the files");
    let all = format(json!(["csv header", "gzip", "delimiter ';'", "null as 'it''s \\ null'", "manifest"]));
    assert_eq!((all.null_as.as_deref(), all.ignore_header, all.gzip), (Some(r"it's \ null"), 1, true));
    assert_eq!((all.delimiter, &all.kind), (Some(';'), &FileKind::Csv));
    let text = format(json!(["manifest", "escape", "addquotes", "bzip2"]));
    assert_eq!((text.delimiter, &text.kind), (Some('|'), &FileKind::Delimited));
    assert_eq!(text.other, ["REMOVEQUOTES", "ESCAPE", "BZIP2"]);
    assert_eq!(format(json!("parquet manifest")).kind, FileKind::Parquet);
    assert_eq!(format(json!("json manifest")).kind, FileKind::Other("JSON 'auto'".to_owned()));
    assert_eq!(format(json!("fixedwidth 'id:3' manifest")).kind, FileKind::Other("FIXEDWIDTH 'id:3'".to_owned()));
    let (_, columns) = copied(json!("csv manifest partition by (day)"), json!({})).unwrap();
    assert_eq!(columns, names(&["score", "id"]), "the day is in the keys alone");
    let (_, columns) = copied(json!("csv manifest partition by (day) include"), json!({})).unwrap();
    assert_eq!(columns, names(&["score", "day", "id"]));
    let emptied = copied(json!("csv manifest null as ''"), json!({"copy_options": "csv emptyasnull"})).unwrap().0;
    assert_eq!((emptied.null_as, emptied.empty_as_null), (None, true));
}

#[test]
fn a_copy_that_would_read_unloaded_files_otherwise_is_refused() {
    let cases = [
        ("csv manifest", "csv null as 'x'", r"written with '\N' for NULL"),
        ("csv manifest null as ''", "csv", "cannot tell from an empty text"),
        ("csv manifest header", "csv ignoreheader 2", "was written with 1 header lines"),
        ("csv manifest", "csv delimiter ';'", "was written with ','"),
        ("csv manifest", "parquet", "was written as CSV"),
        ("manifest", "delimiter ','", "was written with '|'"),
        ("manifest", "delimiter '|' escape", "say escape, but"),
        ("json manifest", "delimiter '|'", "was written as JSON"),
        ("csv", "csv", "add manifest to its unload_options"),
    ];
    for (unloaded, copy, expected) in cases {
        let error = copied(json!(unloaded), json!({"copy_options": copy})).expect_err(unloaded);
        assert!(error.contains(expected), "{unloaded}, {copy}: {error}");
    }
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
