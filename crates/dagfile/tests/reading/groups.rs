//! Task groups: the names of their tasks, and what depends on what.

use std::collections::BTreeMap;

use millrace_dagfile::{ReadOptions, read_dag};
use millrace_model::dag::Dag;

use crate::catalogue::CATALOGUE;

fn read(text: &str) -> Dag {
    let result = read_dag(text, &ReadOptions::new("dags/d.yaml", CATALOGUE));
    assert!(result.diagnostics.is_empty(), "{:#?}", result.diagnostics);
    result.dags.into_iter().next().unwrap()
}

fn dependencies(dag: &Dag) -> BTreeMap<&str, Vec<&str>> {
    let ids = |task: &millrace_model::dag::Task| {
        let mut ids: Vec<String> = task.depends_on.iter().map(ToString::to_string).collect();
        ids.sort();
        ids
    };
    dag.tasks
        .iter()
        .map(|task| {
            let names = ids(task);
            let known = |name: &String| dag.tasks.iter().find(|task| task.task_id.as_str() == name).unwrap();
            (task.task_id.as_str(), names.iter().map(|name| known(name).task_id.as_str()).collect())
        })
        .collect()
}

const NESTED: &str = "
tasks:
  extract: {operator: empty}
  report: {operator: empty, depends_on: [load]}
groups:
  load:
    description: into the warehouse
    depends_on: extract
    default_args: {retries: 2, owner: data}
    tasks:
      orders: {operator: empty}
      customers: {operator: empty, retries: 0}
      join: {operator: empty, depends_on: [orders, customers]}
    groups:
      checks:
        depends_on: [join]
        default_args: {retries: 5}
        tasks:
          rows: {operator: empty}
          sums: {operator: empty, depends_on: extract}
      flat:
        prefix_ids: false
        depends_on: checks
        tasks:
          publish: {operator: empty}
";

#[test]
fn a_group_stands_for_its_first_tasks_and_its_last() {
    let dag = read(NESTED);
    let expected = BTreeMap::from([
        ("extract", vec![]),
        ("report", vec!["load.publish"]),
        ("load.orders", vec!["extract"]),
        ("load.customers", vec!["extract"]),
        ("load.join", vec!["load.customers", "load.orders"]),
        ("load.checks.rows", vec!["load.join"]),
        ("load.checks.sums", vec!["extract", "load.join"]),
        ("load.publish", vec!["load.checks.rows", "load.checks.sums"]),
    ]);
    assert_eq!(dependencies(&dag), expected);
}

#[test]
fn groups_know_where_they_stand_and_share_their_defaults() {
    let dag = read(NESTED);
    let groups: Vec<(&str, Option<&str>)> =
        dag.groups.iter().map(|g| (g.group_id.as_str(), g.parent.as_ref().map(|id| id.as_str()))).collect();
    assert_eq!(groups, [("load", None), ("load.checks", Some("load")), ("load.flat", Some("load"))]);
    assert_eq!(dag.groups[0].description.as_deref(), Some("into the warehouse"));
    let of = |id: &str| {
        let task = dag.task(id).unwrap();
        (task.group.as_ref().map(|id| id.as_str()), task.retries, task.owner.as_deref())
    };
    assert_eq!(of("extract"), (None, 0, None));
    assert_eq!(of("load.orders"), (Some("load"), 2, Some("data")));
    assert_eq!(of("load.customers"), (Some("load"), 0, Some("data")));
    assert_eq!(of("load.checks.rows"), (Some("load.checks"), 5, Some("data")));
    assert_eq!(of("load.publish"), (Some("load.flat"), 2, Some("data")));
}

#[test]
fn groups_alone_make_a_dag_and_names_may_be_full_or_near() {
    let dag = read(
        "groups:
           a: {tasks: {x: {operator: empty}, y: {operator: empty, depends_on: x}}}
           b:
             depends_on: a.x
             tasks: {x: {operator: empty, depends_on: a}, y: {operator: empty, depends_on: [a.y, x]}}",
    );
    let expected = BTreeMap::from([
        ("a.x", vec![]),
        ("a.y", vec!["a.x"]),
        ("b.x", vec!["a.x", "a.y"]),
        ("b.y", vec!["a.y", "b.x"]),
    ]);
    assert_eq!(dependencies(&dag), expected);
}

#[test]
fn a_dag_without_groups_is_stored_as_before() {
    let dag = read("tasks: {a: {operator: empty}}");
    let text = serde_json::to_string(&dag).unwrap();
    for key in ["group", "expand", "map_index"] {
        assert!(!text.contains(key), "{key} in {text}");
    }
}
