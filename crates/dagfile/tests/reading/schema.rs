//! The JSON Schema for editors.

use millrace_dagfile::dag_schema;
use serde_json::Value;

use crate::catalogue::CATALOGUE;

#[test]
fn knows_every_operator_and_key() {
    let schema = dag_schema(CATALOGUE);
    let task = &schema["definitions"]["task"];
    let names: Vec<&str> =
        task["properties"]["operator"]["enum"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(names, ["bash", "shell", "choose", "copy", "empty", "sql"]);
    let cases = task["allOf"].as_array().unwrap();
    assert_eq!(cases.len(), CATALOGUE.len());
    let copy = &cases[2]["then"];
    for key in ["table", "warehouse_conn_id", "redshift_conn_id", "depends_on", "retries", "task_id"] {
        assert!(copy["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(copy["additionalProperties"], Value::Bool(false));
    for key in ["dag_id", "schedule", "schedule_interval", "tasks", "default_args", "params", "timetable"] {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert!(schema["properties"]["default_args"]["properties"].get("redshift_conn_id").is_some());
}
