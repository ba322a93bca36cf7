//! Why is it not running, over REST and on the pages.

use serde_json::{Value, json};

use crate::site::Site;

#[test]
fn a_dag_a_run_and_a_task_are_explained() {
    let site = Site::start();
    let dag = site.get("/api/v1/dags/copy_orders/explain").is(200).json();
    assert_eq!(dag["dag_id"], "copy_orders");
    let texts: Vec<&str> =
        dag["conditions"].as_array().unwrap().iter().map(|one| one["text"].as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.starts_with("the run for 2024-03-03")), "{texts:?}");
    assert!(dag["answer"].as_str().unwrap().contains("no scheduler is running"), "{dag}");

    let runs = site.get("/api/v1/dags/copy_orders/dagRuns?state=running").is(200).json();
    let run = runs["dag_runs"][0]["dag_run_id"].as_str().unwrap();
    let base = format!("/api/v1/dags/copy_orders/dagRuns/{}", run.replace('+', "%2B"));
    let explained = site.get(&format!("{base}/explain")).is(200).json();
    assert_eq!((&explained["dag_run_id"], &explained["state"]), (&json!(run), &json!("running")));
    let waiting: Vec<&Value> = explained["tasks"].as_array().unwrap().iter().collect();
    assert!(!waiting.is_empty(), "{explained}");
    let task = waiting.last().unwrap()["task_id"].as_str().unwrap();
    let one = site.get(&format!("{base}/taskInstances/{task}/explain")).is(200).json();
    assert_eq!(one["task_id"], task);
    assert_eq!(site.get(&format!("{base}/taskInstances/{task}/dependencies")).is(200).json(), one);
    site.get(&format!("{base}/taskInstances/nothing/explain")).is(404);
    site.get(&format!("{base}/taskInstances/{task}/explain?map_index=9")).is(404);
    site.get("/api/v1/dags/nothing/explain").is(404);
    let page = site.get(&format!("/dags/copy_orders/runs/{}", run.replace('+', "%2B"))).is(200).body;
    assert!(page.contains("Why it has not ended"), "{page}");
    assert!(site.get("/dags/copy_orders").is(200).body.contains("The next run"));
}
