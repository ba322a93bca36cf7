//! Files with problems, and beside each the diagnostics a user sees. `UPDATE_CASES=1` writes them anew; read the diff.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use millrace_dagfile::{ReadOptions, read_dag, render_all};
use serde_json::{Map, Value};

use crate::catalogue::CATALOGUE;

/// Under a DAG or a group.
fn tasks_in(written: &Value) -> usize {
    let size = |value: &Value| value.as_object().map_or_else(|| value.as_array().map_or(0, Vec::len), Map::len);
    let groups = ["groups", "task_groups"].iter().filter_map(|key| written.get(key)?.as_object());
    written.get("tasks").map_or(0, size) + groups.flat_map(Map::values).map(tasks_in).sum::<usize>()
}

fn check(name: &str) -> Result<(), String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let text = fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap();
    let file_name = format!("dags/{name}.yaml");
    let files = |path: &str| match path {
        "sql/good.sql" => Some("SELECT '{{ ds }}'\n".to_owned()),
        "sql/bad.sql" => Some("SELECT 1,\n  '{{ dss }}'\n".to_owned()),
        "calendars/kr_holidays.yaml" => Some("include: weekends\ndays: {12-25: Christmas}\n".to_owned()),
        "calendars/weekends.yaml" => Some("days: [sat, sun]\n".to_owned()),
        "calendars/broken.yaml" => Some("days: {13-25: X, 2026-01-01: 3}\ninclude: [weekend, broken]\n".to_owned()),
        _ => None,
    };
    let calendars = || ["broken", "kr_holidays", "weekends"].map(str::to_owned).to_vec();
    let options = ReadOptions { files: &files, calendars: &calendars, ..ReadOptions::new(&file_name, CATALOGUE) };
    let result = read_dag(&text, &options);
    assert_eq!(result.dags.is_empty(), result.has_errors(), "{name}: a DAG comes out exactly when there is no error");
    for (dag, written) in result.dags.iter().zip(&result.expanded) {
        assert_eq!(
            dag.tasks.len(),
            tasks_in(written),
            "{name}: what brings a warning only is left out of {}",
            dag.dag_id
        );
    }
    for diagnostic in &result.diagnostics {
        let line = text.lines().nth(diagnostic.line - 1).unwrap_or_default();
        assert!(diagnostic.column <= line.chars().count() + 1, "{name}: {diagnostic:?} points beside its line");
    }
    let found = render_all(&result.diagnostics, &file_name, &text) + "\n";
    let expected_path = folder.join(format!("{name}.diagnostics"));
    if std::env::var_os("UPDATE_CASES").is_some() {
        fs::write(&expected_path, &found).unwrap();
    }
    let expected = fs::read_to_string(&expected_path).unwrap_or_default();
    if found == expected { Ok(()) } else { Err(format!("=== {name}: expected\n{expected}=== found\n{found}")) }
}

#[test]
fn every_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let names: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    assert!(names.len() >= 15, "the cases are gone: {names:?}");
    let failures: Vec<String> = names.iter().filter_map(|name| check(name).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
