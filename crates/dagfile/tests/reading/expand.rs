//! Mapped tasks and groups: what stands in the DAG.

use millrace_dagfile::{Defaults, ReadOptions, read_dag};
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::mapping::{Expand, Items, NamedItems};
use serde_json::json;

use crate::catalogue::CATALOGUE;

fn read(text: &str) -> Dag {
    let files = |path: &str| (path == "load.sh").then(|| "load {{ ds }}".to_owned());
    let result = read_dag(text, &ReadOptions { files: &files, ..ReadOptions::new("dags/d.yaml", CATALOGUE) });
    assert!(result.diagnostics.is_empty(), "{:#?}", result.diagnostics);
    result.dags.into_iter().next().unwrap()
}

fn expand<'a>(dag: &'a Dag, task: &str) -> Option<&'a Expand> {
    dag.expand_of(dag.task(task).unwrap())
}

fn named(name: &str, items: Items) -> NamedItems {
    NamedItems { name: name.to_owned(), items }
}

#[test]
fn every_form_of_expand() {
    let dag = read(
        "tasks:
           list: {operator: bash, command: echo}
           product:
             operator: bash
             command: 'copy {{ item.table }} {{ item.region }}'
             map_index_template: '{{ item.table }}'
             expand: {table: {results_of: list}, region: [eu, us]}
           zip: {operator: bash, expand_zip: {command: [a, load.sh], env: [{A: b}, {A: c}]}}
           each: {operator: bash, expand: [{command: a}, {command: load.sh}]}
           results: {operator: bash, expand: {results_of: list}}",
    );
    let list = || Items::ResultsOf(TaskId::new_unchecked("list"));
    let literal = |value: serde_json::Value| Items::List(value.as_array().unwrap().clone());
    assert_eq!(
        expand(&dag, "product"),
        Some(&Expand::Product(vec![named("table", list()), named("region", literal(json!(["eu", "us"])))]))
    );
    assert_eq!(
        expand(&dag, "zip"),
        Some(&Expand::Zip(vec![
            named("command", literal(json!(["a", "load {{ ds }}"]))),
            named("env", literal(json!([{"A": "b"}, {"A": "c"}])))
        ]))
    );
    assert_eq!(
        expand(&dag, "each"),
        Some(&Expand::Each(literal(json!([{"command": "a"}, {"command": "load {{ ds }}"}]))))
    );
    assert_eq!(expand(&dag, "results"), Some(&Expand::Each(list())));
    let product = dag.task("product").unwrap();
    assert_eq!(product.depends_on, [TaskId::new_unchecked("list")]);
    assert_eq!(product.map_index_template.as_deref(), Some("{{ item.table }}"));
    assert_eq!(dag.task("zip").unwrap().parameters, json!({}));
}

#[test]
fn a_mapped_group_waits_for_its_list_and_gives_its_tasks_the_item() {
    let dag = read(
        "groups:
           a: {tasks: {list: {operator: bash, command: echo}}}
           g:
             expand: {table: {results_of: a.list}}
             tasks:
               x: {operator: bash, command: '{{ item.table }}'}
               y: {operator: bash, command: '{{ item.table }}', depends_on: x}
             groups: {inner: {tasks: {z: {operator: bash, command: '{{ item.table }}'}}}}",
    );
    assert_eq!(dag.task("g.x").unwrap().depends_on, [TaskId::new_unchecked("a.list")]);
    assert_eq!(dag.task("g.y").unwrap().depends_on, [TaskId::new_unchecked("g.x")]);
    assert_eq!(dag.task("g.inner.z").unwrap().depends_on, [TaskId::new_unchecked("a.list")]);
    for task in ["g.x", "g.y", "g.inner.z"] {
        assert_eq!(expand(&dag, task).and_then(|expand| expand.producers().next()).unwrap().as_str(), "a.list");
    }
    assert!(dag.is_mapped_together(dag.task("g.x").unwrap(), dag.task("g.inner.z").unwrap()));
    assert!(!dag.is_mapped_together(dag.task("g.x").unwrap(), dag.task("a.list").unwrap()));
}

#[test]
fn case_51_a_list_in_the_file_that_is_too_long_is_found_at_once() {
    let text = |x: usize, y: usize| {
        format!(
            "tasks: {{t: {{operator: bash, command: '{{{{ item.x }}}}{{{{ item.y }}}}', expand: {{x: {:?}, y: {:?}}}}}}}",
            vec![1; x],
            vec![1; y]
        )
    };
    let defaults = Defaults { max_map_length: 6, ..Defaults::default() };
    let options = ReadOptions { defaults, ..ReadOptions::new("dags/d.yaml", CATALOGUE) };
    assert!(!read_dag(&text(2, 3), &options).has_errors());
    let result = read_dag(&text(3, 3), &options);
    assert_eq!(result.diagnostics[0].message, "these are 9 items; a mapped task has at most 6 (max_map_length)");
    let options = ReadOptions::new("dags/d.yaml", CATALOGUE);
    assert!(!read_dag(&text(1, 1024), &options).has_errors());
    assert!(read_dag(&text(1, 1025), &options).has_errors());
}
