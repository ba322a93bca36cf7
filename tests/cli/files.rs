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
