//! Connections and variables.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use millrace_testkit::wait_until_blocking;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome};

#[test]
fn connections_are_kept_shown_masked_and_handed_on() {
    let mut home = TestHome::new();
    let secret = "p@ss/w0rd:with%signs";
    home.run_with_input(
        &["connections", "add", "shop", "--conn-json", "-"],
        &json!({"conn_type": "mysql", "host": "db.example", "port": 3306, "login": "me", "password": secret, "schema": "shop", "extra": {"api_token": "tok-12345", "charset": "utf8mb4"}}).to_string(),
    )
    .exits(0);
    home.ok(&["connections", "add", "lake", "--conn-uri", "aws://key:se%2Fcret%40x@/?region_name=eu-north-1"]);
    home.ok(&["connections", "add", "file", "--conn-type", "sqlite", "--conn-schema", "/tmp/x.db"]);
    home.run(&["connections", "add", "shop", "--conn-uri", "mysql://other"]).exits(1);
    home.run(&["connections", "add", "bad id", "--conn-uri", "mysql://other"]).exits(2);

    let shop = home.json(&["connections", "get", "shop"]);
    assert_eq!((&shop["host"], &shop["port"], &shop["password"]), (&json!("db.example"), &json!(3306), &json!("***")));
    assert_eq!(shop["extra"], json!({"api_token": "***", "charset": "utf8mb4"}));
    let list = home.json(&["connections", "list"]);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["conn_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["file", "lake", "shop"]);

    // What was printed is taken again, with another password or with the one that it hides.
    let mut given = shop.clone();
    for (password, kept) in [("***", secret), ("another", "another")] {
        given["password"] = json!(password);
        let again = ["connections", "add", "shop", "--overwrite", "--conn-json", "-"];
        home.run_with_input(&again, &given.to_string()).exits(0);
        let all = home.ok(&["connections", "export", "-", "--with-secrets"]).json();
        assert_eq!((&all["shop"]["password"], &all["shop"]["extra"]["api_token"]), (&json!(kept), &json!("tok-12345")));
    }
    home.run_with_input(&["connections", "add", "shop", "--overwrite", "--conn-json", "-"], &{
        given["password"] = json!(secret);
        given.to_string()
    })
    .exits(0);

    // Masked by default, and what is masked is not taken for a secret later.
    let masked = home.ok(&["connections", "export", "-"]).stdout;
    assert!(masked.contains("***"));
    let other = TestHome::new();
    other.run_with_input(&["connections", "import", "-"], &masked).exits(1);
    for format in ["json", "yaml", "env"] {
        let file = home.file(&format!("export.{format}"));
        home.ok(&["connections", "export", file.to_str().unwrap(), "--with-secrets"]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let other = TestHome::new();
        other.ok(&["connections", "import", file.to_str().unwrap()]);
        let back = other.ok(&["connections", "export", "-", "--with-secrets"]).json();
        assert_eq!(back["shop"]["password"], secret, "{format}");
        assert_eq!(back["shop"]["extra"]["api_token"], "tok-12345", "{format}");
        assert_eq!(back["lake"]["password"], "se/cret@x", "{format}");
        fs::remove_file(&file).unwrap();
    }

    // The environment comes first.
    home.set("AIRFLOW_CONN_SHOP", "mysql://env%40user:pw@elsewhere:3307/shop");
    let shop = home.json(&["connections", "get", "shop"]);
    assert_eq!(
        (&shop["host"], &shop["login"], &shop["origin"]),
        (&json!("elsewhere"), &json!("env@user"), &json!("environment"))
    );
    home.set("MILLRACE_CONN_SHOP", r#"{"conn_type": "mysql", "host": "nearer"}"#);
    assert_eq!(home.json(&["connections", "get", "shop"])["host"], "nearer");

    home.unset("AIRFLOW_CONN_SHOP").unset("MILLRACE_CONN_SHOP");
    home.ok(&["connections", "delete", "lake"]);
    home.run(&["connections", "delete", "lake"]).exits(1);
    home.ok(&["rotate-key"]);
    assert!(home.ok(&["connections", "export", "-", "--with-secrets"]).stdout.contains("utf8mb4"));
}

#[test]
fn a_daemon_that_runs_reads_a_new_key() {
    let home = TestHome::new();
    home.ok(&["variables", "set", "region", "north"]);
    home.write_dag(
        "says.yaml",
        "schedule: none\ntasks:\n  says: {operator: bash, retries: 60, retry_delay: 1s, bash_command: 'echo {{ var.value.region }}'}\n",
    );
    home.ok(&["dags", "unpause", "says"]);
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "says", "-r", "one", "--wait"]);
    home.ok(&["rotate-key"]);
    home.ok(&["dags", "trigger", "says", "-r", "two", "--wait"]);
    assert_eq!(home.json(&["tasks", "states-for-dag-run", "says", "two"])[0]["try_number"], 1);

    // A key that only another machine's file has is asked for, and may come before the next try.
    let key_file = home.file("encryption_key");
    let own = fs::read_to_string(&key_file).unwrap();
    fs::remove_file(&key_file).unwrap();
    home.ok(&["variables", "set", "region", "south"]);
    let foreign = fs::read_to_string(&key_file).unwrap();
    fs::write(&key_file, &own).unwrap();
    home.ok(&["dags", "trigger", "says", "-r", "three"]);
    let log = || home.run(&["tasks", "logs", "says", "says", "three", "--try", "1"]).stdout;
    let is_told = || log().contains(&format!("which is not in {}; put that line there", key_file.display()));
    wait_until_blocking("the missing key is told", PATIENCE, is_told).unwrap();
    fs::write(&key_file, own + &foreign).unwrap();
    let is_well = || home.ok(&["dags", "state", "says", "three"]).stdout == "success\n";
    wait_until_blocking("a later try reads it", PATIENCE, is_well).unwrap();
}

#[test]
fn variables_are_kept_and_sensitive_ones_shown_masked() {
    let mut home = TestHome::new();
    home.ok(&["variables", "set", "plain", "value"]);
    home.run_with_input(&["variables", "set", "my_api_key", "-"], "hidden-value\n").exits(0);
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "value\n");
    assert_eq!(home.ok(&["variables", "get", "my_api_key"]).stdout, "hidden-value\n");
    assert_eq!(home.ok(&["variables", "get", "missing", "--default", "x"]).stdout, "x\n");
    let list = home.ok(&["variables", "list"]).stdout;
    assert!(list.contains("value") && list.contains("***") && !list.contains("hidden-value"), "{list}");
    assert!(!home.ok(&["variables", "export", "-"]).stdout.contains("hidden-value"));

    let file = home.file("variables.json");
    fs::write(&file, r#"{"plain": "new", "nested": {"a": [1, 2]}}"#).unwrap();
    let file = file.to_str().unwrap();
    home.run(&["variables", "import", file, "--action-on-existing-key", "fail"]).exits(1);
    home.run(&["variables", "get", "nested"]).exits(1);
    home.ok(&["variables", "import", file, "--action-on-existing-key", "skip"]);
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "value\n");
    home.ok(&["variables", "import", file]);
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "new\n");
    let nested: Value = serde_json::from_str(&home.ok(&["variables", "get", "nested"]).stdout).unwrap();
    assert_eq!(nested, json!({"a": [1, 2]}));
    home.set("MILLRACE_VAR_PLAIN", "from the environment");
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "from the environment\n");
    home.ok(&["variables", "delete", "nested"]);
}

#[test]
fn secrets_show_up_nowhere() {
    let mut home = TestHome::new();
    let (stored, spoken, env) = ("correct-horse-battery", "staple/with+signs", "from-the-environment");
    home.run_with_input(
        &["connections", "add", "shop", "--conn-json", "-"],
        &json!({"conn_type": "mysql", "password": stored}).to_string(),
    )
    .exits(0);
    home.run_with_input(&["variables", "set", "my_api_token", "-"], spoken).exits(0);
    home.set("MILLRACE_CONN_OTHER", format!("mysql://u:{env}@127.0.0.1:1/x"));
    home.write_dag(
        "tells.yaml",
        "schedule: none\ntasks:\n  tells:\n    operator: bash\n    bash_command: |\n      echo 'a {{ conn.shop.password }} b {{ var.value.my_api_token }} c {{ conn.other.password }}'\n      echo '{{ conn.shop.password }}' >&2; exit 1\n  connects:\n    operator: sql_to_s3\n    sql_conn_id: other\n    aws_conn_id: nowhere\n    query: SELECT 1\n    s3_bucket: b\n    s3_key: k\n",
    );
    let told = home.run(&["tasks", "test", "tells", "tells", "2024-01-01"]).exits(1);
    assert!(told.stdout.contains("a *** b *** c ***"), "{}", told.stdout);
    home.run(&["tasks", "run", "tells", "tells", "2024-01-01"]).exits(1);
    home.run(&["tasks", "test", "tells", "connects", "2024-01-01"]).exits(1);
    home.run(&["connections", "test", "other"]).exits(1);
    home.ok(&["tasks", "render", "tells", "tells", "2024-01-01"]);
    home.ok(&["tasks", "logs", "tells", "tells", "2024-01-01"]);
    home.ok(&["connections", "list", "-o", "json"]);
    home.ok(&["connections", "export", "-", "--file-format", "env"]);
    home.ok(&["config", "list"]);
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "tells"]);
    home.run(&["dags", "trigger", "tells", "--run-id", "r", "--wait"]).exits(1);
    home.ok(&["tasks", "logs", "tells", "tells", "r"]);
    // In a run's conf, by its name or because it is known to be one.
    home.run_with_input(&["variables", "set", "other_token", "-"], "known-from-elsewhere").exits(0);
    let conf = json!({"api_token": "said-at-the-start", "note": "x known-from-elsewhere y", "day": 7}).to_string();
    home.run(&["dags", "trigger", "tells", "--run-id", "with-conf", "--conf", &conf, "--wait"]).exits(1);
    let runs = home.json(&["dags", "list-runs", "tells"]);
    let run = runs.as_array().unwrap().iter().find(|run| run["run_id"] == "with-conf").unwrap().clone();
    assert_eq!(run["conf"], json!({"api_token": "***", "note": "x *** y", "day": 7}));
    assert_eq!(home.json(&["dags", "state", "tells", "with-conf"])["conf"], run["conf"]);
    scheduler.terminate(Duration::from_secs(10)).unwrap();
    let printed = home.printed();
    // But for the commands themselves.
    let printed: Vec<&str> = printed.lines().filter(|line| !line.starts_with("$ ")).collect();
    let printed = printed.join("\n");
    assert!(!printed.contains("said-at-the-start") && !printed.contains("known-from-elsewhere"), "{printed}");

    let mut seen = home.files();
    seen.insert("printed by commands".to_owned(), home.printed().into_bytes());
    seen.insert("printed by the daemon".to_owned(), (scheduler.stdout() + &scheduler.stderr()).into_bytes());
    for secret in [stored, spoken, env] {
        for (place, bytes) in &seen {
            assert!(!String::from_utf8_lossy(bytes).contains(secret), "{secret} stands in: {place}");
        }
    }
    assert_eq!(fs::metadata(home.file("encryption_key")).unwrap().permissions().mode() & 0o777, 0o600);
}
