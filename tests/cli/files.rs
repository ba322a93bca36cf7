//! DAG files: checked, broken, mended.

use serde_json::json;

use crate::{HELLO, home_with_hello, ids};

#[test]
fn validate_names_every_problem_with_its_place() {
    let home = home_with_hello();
    let output = home.ok(&["validate"]);
    assert!(output.stderr.contains("1 file is fine"), "{}", output.stderr);
    let bad = home.write_dag(
        "bad.yaml",
        "shedule: \"@daily\"\ntasks:\n  one:\n    opertor: bash\n    bash_command: echo\n  two:\n    operator: bash\n    depends_on: [on]\n",
    );
    let output = home.run(&["validate"]).exits(1);
    let path = bad.to_str().unwrap();
    for expected in [
        format!("{path}:1:1: error: unknown key 'shedule'"),
        "did you mean 'schedule'?".to_owned(),
        format!("{path}:4:5: error: unknown key 'opertor'"),
        format!("{path}:8:"),
    ] {
        assert!(output.stdout.contains(&expected), "{expected}\n---\n{}", output.stdout);
    }
    home.run(&["validate", path]).exits(1);
    home.ok(&["validate", home.file("dags/hello.yaml").to_str().unwrap()]);
    home.run(&["validate", "no/such/folder"]).exits(1);
    let report = home.run(&["validate", "-o", "json"]).exits(1).json();
    let file = report.as_array().unwrap().iter().find(|file| file["file"] == path).unwrap();
    assert_eq!((&file["diagnostics"][0]["line"], &file["diagnostics"][0]["column"]), (&json!(1), &json!(1)));
    assert!(!home.file("millrace.db").exists(), "validate stores nothing");
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_is_listed() {
    let home = home_with_hello();
    home.json(&["dags", "list"]);
    home.write_dag("hello.yaml", &HELLO.replace("operator: bash", "operator: bahs"));
    home.write_dag("twice.yaml", &format!("dag_id: twin\n{HELLO}"));
    assert_eq!(ids(&home.json(&["dags", "list"])), ["hello", "twin"]);
    let dag = home.json(&["dags", "show", "hello"]);
    assert_eq!(dag["version"], 1);
    let errors = home.json(&["dags", "list-import-errors"]);
    assert_eq!(errors[0]["fileloc"], "hello.yaml");
    assert!(errors[0]["error"].as_str().unwrap().contains("did you mean 'bash'?"), "{errors}");
    home.write_dag("hello.yaml", HELLO);
    assert_eq!(home.json(&["dags", "list-import-errors"]), json!([]));
}

#[test]
fn the_configured_environment_chooses_what_differs() {
    let mut home = home_with_hello();
    home.write_dag(
        "tables.yaml",
        "schedule: none\ntasks:\n  \"copy_${{ table }}\":\n    for_each: {table: [orders, items]}\n    operator: bash\n    bash_command: copy ${{ table }}\noverlays:\n  dev:\n    max_active_runs: 2\n  prod:\n    max_active_runs: 7\n    description: in production\n",
    );
    let path = home.file("dags/tables.yaml");
    let expanded = ["dev", "prod"].map(|environment| {
        home.set("MILLRACE__CORE__ENVIRONMENT", environment);
        home.ok(&["validate", "--expanded", path.to_str().unwrap()]).stdout
    });
    let [dev, prod] = expanded;
    assert!(dev.contains("max_active_runs: 2") && prod.contains("max_active_runs: 7"), "{dev}\n---\n{prod}");
    for text in ["copy_orders:", "copy_items:", "bash_command: copy items"] {
        assert!(dev.contains(text), "{text} is not in\n{dev}");
    }
    assert!(!dev.contains("for_each") && !dev.contains("overlays"), "{dev}");
    // What is stored, and run, is that of the environment.
    let listed = home.json(&["dags", "list"]);
    let tables = listed.as_array().unwrap().iter().find(|dag| dag["dag_id"] == "tables").unwrap();
    assert_eq!(tables["description"], "in production", "{listed}");
}
