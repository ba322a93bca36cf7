//! Users, their roles, tokens and grants.

use serde_json::{Value, json};

use crate::support::TestHome;

fn create(home: &TestHome, name: &str, role: &str, password: &str) {
    home.run_with_input(&["users", "create", name, "--role", role], password).exits(0);
}

#[test]
fn users_are_added_changed_shut_out_and_deleted() {
    let home = TestHome::new();
    assert_eq!(home.json(&["users", "list"]), json!([]));
    create(&home, "root", "admin", "correct horse\n");
    create(&home, "ada", "viewer", "battery staple");
    let made = home.json(&["users", "create", "bob", "--role", "user", "--random"]);
    assert_eq!(made["password"].as_str().map(str::len), Some(24));
    let users = home.json(&["users", "list"]);
    let roles: Vec<(&str, &str)> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|user| (user["user"].as_str().unwrap(), user["role"].as_str().unwrap()))
        .collect();
    assert_eq!(roles, [("ada", "viewer"), ("bob", "operator"), ("root", "admin")]);
    assert!(home.ok(&["users", "list", "-o", "plain"]).stdout.starts_with("user  role"));

    for (arguments, input, why) in [
        (vec!["users", "create", "ada"], "battery staple", "already"),
        (vec!["users", "set-role", "nobody", "viewer"], "", "there is no user 'nobody'"),
        (vec!["users", "delete", "root"], "", "last admin"),
        (vec!["users", "disable", "root"], "", "last admin"),
        (vec!["users", "set-role", "root", "viewer"], "", "last admin"),
    ] {
        let refused = home.run_with_input(&arguments, input).exits(1);
        assert!(refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
    }
    for (arguments, input, why) in [
        (vec!["users", "create", "eve"], "short", "at least 10"),
        (vec!["users", "create", "a b"], "battery staple", "no spaces"),
        (vec!["users", "create", "eve", "--role", "king"], "battery staple", "no role 'king'"),
        (vec!["users", "set-password", "ada"], "short", "at least 10"),
    ] {
        let refused = home.run_with_input(&arguments, input).exits(2);
        assert!(refused.stderr.contains(why), "{arguments:?}: {}", refused.stderr);
    }
    home.ok(&["users", "set-role", "ada", "editor"]);
    home.ok(&["users", "disable", "bob"]);
    let users = home.json(&["users", "list"]);
    assert_eq!((&users[0]["role"], &users[1]["disabled"]), (&json!("editor"), &json!(true)));
    home.ok(&["users", "enable", "bob"]);
    home.ok(&["users", "delete", "bob"]);
    home.run(&["users", "delete", "bob"]).exits(1);
    let acts = home.json(&["roles", "list"]);
    let act = |name: &str| acts.as_array().unwrap().iter().find(|row| row["act"] == name).cloned().unwrap();
    assert_eq!((&act("runs:trigger")["role"], &act("audit:read")["per_dag"]), (&json!("operator"), &json!(false)));
}

#[test]
fn tokens_and_grants_are_made_listed_and_ended() {
    let home = TestHome::new();
    create(&home, "ada", "viewer", "battery staple");
    let made = home.json(&["tokens", "create", "ada", "ci", "--scope", "viewer runs:trigger", "--days", "7"]);
    assert!(made["token"].as_str().is_some_and(|token| token.starts_with("mrt_")), "{made}");
    let listed = home.json(&["tokens", "list"]);
    assert_eq!((&listed[0]["label"], &listed[0]["scope"]), (&json!("ci"), &json!("viewer runs:trigger")));
    assert!(!listed.to_string().contains("mrt_"), "it is shown once");
    home.run(&["tokens", "create", "nobody", "ci"]).exits(1);
    home.run(&["tokens", "create", "ada", "ci", "--days", "1000"]).exits(2);
    let unknown = home.run(&["tokens", "create", "ada", "ci", "--scope", "runs:delete"]).exits(2);
    assert!(unknown.stderr.contains("runs:trigger"), "it lists what there is: {}", unknown.stderr);

    home.ok(&["grants", "add", "ada", "operator", "--dag", "sales"]);
    home.ok(&["grants", "add", "ada", "editor", "--tag", "finance"]);
    home.ok(&["grants", "add", "ada", "editor", "--dag", "sales"]);
    let grants = home.json(&["grants", "list", "--user", "ada"]);
    assert_eq!(grants.as_array().map(Vec::len), Some(2), "one for a DAG: {grants}");
    assert_eq!((&grants[0]["dag_id"], &grants[0]["role"]), (&json!("sales"), &json!("editor")));
    home.run(&["grants", "add", "ada", "operator"]).exits(2);
    home.run(&["grants", "add", "ada", "operator", "--dag", "x", "--tag", "y"]).exits(2);
    home.ok(&["grants", "delete", &grants[0]["id"].to_string()]);
    home.run(&["grants", "delete", &grants[0]["id"].to_string()]).exits(1);

    // Whoever has another password begins anew.
    home.run_with_input(&["users", "set-password", "ada"], "another battery").exits(0);
    assert_eq!(home.json(&["tokens", "list"]), json!([]));
    let again = home.json(&["tokens", "create", "ada", "ci"]);
    home.ok(&["tokens", "revoke", &again["id"].to_string()]);
    assert_eq!(home.json(&["tokens", "list"]), Value::Array(vec![]));
    home.run(&["tokens", "revoke", "99"]).exits(1);
}
