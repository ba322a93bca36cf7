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

/// Parts of a file, the defaults of its folder and calendars are looked for where the scheduler looks.
#[test]
fn a_file_of_the_dags_folder_is_the_same_however_its_path_is_written() {
    let home = home_with_hello();
    home.write_dag("team/_defaults.yaml", "max_active_runs: 3\n");
    home.write_dag("team/_inc.yaml", "description: of the team\n");
    home.write_dag("calendars/hol.yaml", "days: [sat, sun]\n");
    home.write_dag("team/each.yaml", &format!("include: team/_inc.yaml{HELLO}"));
    home.write_dag(
        "team/sub/x.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\ncalendar: {exclude: hol}\ntasks: {a: {operator: bash, bash_command: 'echo {{ ds }}'}}\n",
    );
    std::os::unix::fs::symlink(home.file("dags"), home.file("linked")).unwrap();
    assert_eq!(home.json(&["dags", "list-import-errors"]), json!([]));
    let within = |folder: &str, path: &str| {
        let output = home.command(&["validate", path, "--expanded"]).current_dir(home.file(folder)).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{folder} {path}: {}", String::from_utf8_lossy(&output.stderr));
        said
    };
    for (folder, path) in [
        ("dags", "team/each.yaml"),
        ("dags/team", "each.yaml"),
        ("dags/team", "."),
        ("dags/team/sub", "../each.yaml"),
        ("", "dags/team"),
        ("", "linked/team/each.yaml"),
    ] {
        let said = within(folder, path);
        assert!(
            said.contains("description: of the team") && said.contains("max_active_runs: 3"),
            "{folder} {path}: {said}"
        );
    }
    for (folder, path) in [("", "dags/team/sub/x.yaml"), ("dags/team/sub", "x.yaml"), ("dags", "team/sub")] {
        assert!(within(folder, path).contains("max_active_runs: 3"), "{folder} {path}");
    }
    // Elsewhere a folder stands for itself.
    std::fs::create_dir_all(home.file("elsewhere/team")).unwrap();
    for name in ["each.yaml", "_inc.yaml"] {
        std::fs::copy(home.file("dags/team").join(name), home.file("elsewhere/team").join(name)).unwrap();
    }
    assert!(within("elsewhere", ".").contains("description: of the team"));
    home.write_dag("team/double.yaml", &format!("dag_id: hello{HELLO}"));
    let twice = home.run(&["validate", "dags"]).exits(1).stdout;
    let told = "DAG 'hello' is defined by several files: dags/hello.yaml, dags/team/double.yaml";
    assert_eq!(twice.matches(told).count(), 2, "{twice}");
}

#[test]
fn overlays_of_other_environments_are_checked_and_a_misspelt_one_is_warned_of() {
    let mut home = home_with_hello();
    let file = home.write_dag(
        "far.yaml",
        "schedule: none\ntasks:\n  t: {operator: bash, bash_command: x}\noverlays:\n  dev: {max_active_runs: 2}\n  prod:\n    max_active_rns: 3\n    tasks: {t: {operator: bassh}}\n",
    );
    for environment in ["", "dev", "prod"] {
        home.set("MILLRACE__CORE__ENVIRONMENT", environment);
        let said = home.run(&["validate", "--no-lint"]).exits(1).stdout;
        let place = if environment == "prod" { "" } else { "in the environment 'prod': " };
        assert!(said.contains(&format!("far.yaml:7:5: error: {place}unknown key 'max_active_rns'")), "{said}");
        assert_eq!(said.matches("'bassh'").count(), 1, "{said}");
    }
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("_rns", "_runs").replace("bassh", "bash")).unwrap();
    for (environment, warnings) in [("", 0), ("dev", 0), ("prodd", 1)] {
        home.set("MILLRACE__CORE__ENVIRONMENT", environment);
        let said = home.ok(&["validate"]).stdout;
        let warning =
            "far.yaml:5:3: warning: the configured environment 'prodd' has no overlay here, which has dev, prod";
        assert_eq!(said.matches(warning).count(), warnings, "{said}");
    }
}
