//! What was moved, over REST.

use serde_json::json;

use crate::site::Site;

#[test]
fn the_ledger_is_listed_filtered_and_paged() {
    let site = Site::start();
    let all = site.get("/api/v1/ledger?limit=1").is(200).json();
    let total = all["total_entries"].as_u64().unwrap();
    assert!(total >= 1 && all["ledger"].as_array().unwrap().len() == 1, "{all}");
    let line = &all["ledger"][0];
    assert_eq!(line["source"], "mysql_prod: SELECT id, created_at, score FROM prod.nps");
    assert!(line["end_date"].as_str().unwrap().ends_with('Z') && line["duration"].as_f64().unwrap() >= 0.0, "{line}");
    let check = &line["checks"][0];
    assert_eq!((&check["name"], &check["passed"]), (&json!("rows >= 1"), &json!(true)), "{line}");
    assert!(check["found"].as_str().unwrap().ends_with(" rows"), "{line}");
    let dag = line["dag_id"].as_str().unwrap();
    let of_dag = site.get(&format!("/api/v1/ledger?dag_id={dag}&limit=100")).is(200).json();
    assert!(of_dag["ledger"].as_array().unwrap().iter().all(|line| line["dag_id"] == dag));
    let count = |query: &str| site.get(&format!("/api/v1/ledger?{query}")).is(200).json()["total_entries"].clone();
    assert_eq!(count("dag_id=nobody"), json!(0));
    assert_eq!(count("until=2000-01-01"), json!(0));
    assert_eq!(count("since=2000-01-01"), json!(total));
    assert_eq!(count("target=s3%3A%2F%2Fwarehouse-landing%2Fnps%2F2024-03-01.csv"), json!(total));
    assert_eq!(site.get(&format!("/api/v1/ledger?offset={total}")).is(200).json()["ledger"], json!([]));
    for bad in ["limit=-1", "since=someday", "offset=x"] {
        site.get(&format!("/api/v1/ledger?{bad}")).is(422);
    }
}
