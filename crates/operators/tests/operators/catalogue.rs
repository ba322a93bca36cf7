//! The table of operators, and what is derived from each line of it.

use std::collections::BTreeSet;
use std::path::Path;

use millrace_operators::ALL;
use serde_json::Value;

#[test]
fn the_table_lists_exactly_the_files_in_the_folder() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| !["lib", "parts", "permissions"].contains(&name.as_str()))
        .collect();
    let listed: BTreeSet<String> = ALL.iter().map(|entry| entry.name.to_owned()).collect();
    assert_eq!(files, listed);
    assert_eq!(listed.len(), ALL.len());
    assert!(ALL.is_sorted_by_key(|entry| entry.name));
}

#[test]
fn a_name_means_one_operator() {
    let mut names = BTreeSet::new();
    for entry in ALL {
        for name in std::iter::once(&entry.name).chain(entry.aliases) {
            assert!(names.insert(*name), "{name} means two operators");
        }
    }
    for (alias, name) in [("s3_delete", "s3_cleanup"), ("s3_to_redshift", "copy"), ("dummy", "empty")] {
        assert_eq!(millrace_operator_api::entry::find(ALL, alias).unwrap().name, name);
    }
    assert_eq!(ALL.iter().filter(|entry| entry.is_inline).map(|entry| entry.name).collect::<Vec<_>>(), ["empty"]);
}

#[test]
fn every_parameter_is_described_and_aliases_lead_to_parameters() {
    for entry in ALL {
        let schema: Value = (entry.schema)().into();
        assert_eq!(schema["additionalProperties"], false, "{} must refuse unknown parameters", entry.name);
        assert!(schema["description"].as_str().is_some_and(|text| text.len() > 40), "{} has no page", entry.name);
        let empty = serde_json::Map::new();
        let properties = schema["properties"].as_object().unwrap_or(&empty);
        for (name, property) in properties {
            assert!(property["description"].as_str().is_some(), "{}.{name} has no description", entry.name);
        }
        for (alias, name) in entry.parameter_aliases {
            assert!(properties.contains_key(*name), "{}: {alias} leads to {name}, which is no parameter", entry.name);
            assert!(!properties.contains_key(*alias), "{}: {alias} is a parameter itself", entry.name);
        }
    }
}

#[test]
fn renderable_parameters_are_marked() {
    let marked = |name: &str| {
        let schema: Value = (millrace_operator_api::entry::find(ALL, name).unwrap().schema)().into();
        let is_marked = |property: &Value| property.to_string().contains("\"x-template\":true");
        let properties = schema["properties"].as_object().unwrap().clone();
        properties
            .iter()
            .filter(|(_, property)| is_marked(property))
            .map(|(name, _)| name.clone())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let sorted = |text: String| {
        let mut names: Vec<String> = text.split(' ').map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(sorted(marked("bash")), "bash_command cwd env");
    assert_eq!(
        sorted(marked("sql_to_s3")),
        "aws_conn_id delimiter for_table hash_conn_id incremental null_marker query s3_bucket s3_key source_timezone split_by sql_conn_id"
    );
    assert_eq!(
        sorted(marked("extract")),
        "delimiter file for_table hash_conn_id incremental null_marker query source_timezone sql_conn_id"
    );
    assert_eq!(sorted(marked("upload")), "aws_conn_id file from_task s3_bucket s3_key");
    assert_eq!(sorted(marked("s3_cleanup")), "aws_conn_id bucket from_datetime keys prefix to_datetime");
    assert_eq!(
        sorted(marked("copy")),
        "aws_conn_id columns copy_options delete_missing from_task hash_conn_id order_key quarantine query s3_bucket s3_key schema \
         source_timezone sql_conn_id table upsert_keys warehouse_conn_id"
    );
    assert_eq!(sorted(marked("summary_table")), "checks columns schema select table warehouse_conn_id");
    assert_eq!(sorted(marked("sql")), "sql sql_conn_id");
}

#[test]
fn parameters_that_nobody_knows_are_refused_where_some_are_shared() {
    let read = serde_json::json!({"sql_conn_id": "prod", "query": "SELECT 1", "zero_date": "null"});
    let mut to_s3 = read.clone();
    to_s3.as_object_mut().unwrap().extend([("s3_bucket".to_owned(), "b".into()), ("s3_key".to_owned(), "k".into())]);
    for (name, parameters) in [("extract", read), ("sql_to_s3", to_s3)] {
        let problems = crate::fakes::problems(name, parameters);
        assert!(problems.contains("unknown field `zero_date`"), "{name}: {problems}");
    }
}

#[test]
fn nothing_is_done_by_noop_and_empty() {
    let world = crate::fakes::World::new();
    for name in ["noop", "empty"] {
        assert_eq!(world.run(name, serde_json::json!({})).unwrap().result, None);
        assert!(crate::fakes::problems(name, serde_json::json!({"sleep": 1})).contains("unknown field"));
    }
    assert!(world.ledger().is_empty());
}
