//! Every address with every role: the table of addresses says who may, and the server keeps to it.

use millrace_server::{Access, Act, Door, Role, doors};

use crate::site::{RUNNING_RUN, Site};

/// An address with something in the place of each name; where nothing is there, whoever may is told so.
pub fn address(door: &Door) -> String {
    let run = RUNNING_RUN.replace(':', "%3A").replace('+', "%2B");
    let filled = [
        ("{dag_id}", "copy_orders"),
        ("{run_id}", &run),
        ("{task_id}", "load"),
        ("{try_number}", "1"),
        ("{map_index}", "0"),
        ("{key}", "7"),
        ("{id}", "7"),
        ("{action}", "pause"),
        ("{conn_id}", "nothing"),
        ("{name}", "nothing"),
        ("{username}", "nobody"),
        ("{variable_key}", "nothing"),
        ("{xcom_key}", "return_value"),
        ("{version_number}", "1"),
        ("{group_id}", "nothing"),
        ("{asset_id}", "nothing"),
        ("{file_token}", "copy_orders.yaml"),
        ("{section}", "core"),
        ("{option}", "parallelism"),
        ("{*name}", "app.css"),
    ];
    let path = filled.iter().fold(door.path.clone(), |path, (name, value)| path.replace(name, value));
    assert!(!path.contains('{'), "the test knows no value for {path}");
    // Nobody waits for a run that does not end.
    if path.ends_with("/wait") { format!("{path}?timeout=0") } else { path }
}

/// A stream that is let in goes on for ever: looked at elsewhere.
fn is_stream(door: &Door) -> bool {
    ["/events", "/api/v1/events"].contains(&door.path.as_str()) || door.path.ends_with("/log-events")
}

fn least(door: &Door) -> Option<Role> {
    match door.access {
        Access::Open => None,
        Access::Act(act) | Access::OfSomeDag(act) => Some(act.least()),
    }
}

#[test]
fn every_address_asks_every_role() {
    let site = Site::start();
    let people: Vec<(Role, String)> =
        Role::ALL.iter().map(|role| (*role, site.token_of(&format!("a-{role}"), role.as_str()))).collect();
    let all = doors();
    assert!(all.len() > 100, "{}", all.len());
    for door in &all {
        let path = address(door);
        let ask = |who: Option<&str>| {
            let mut headers = vec![("content-type", "application/json")];
            headers.extend(who.map(|who| ("authorization", who)));
            // What is stored may be tried by more people than what is not.
            let body =
                if path.ends_with("/connections/test") { "{\"connection_id\": \"x\"}" } else { "{\"nonsense\": 1}" };
            let body = (door.method != "GET").then_some(body);
            site.call(door.method.as_str(), &path, &headers, body)
        };
        let line = format!("{} {}", door.method, door.path);
        if door.access != Access::Open {
            let stranger = ask(None);
            let to_sign_in = stranger.status == 303 && stranger.header("location").starts_with("/sign-in?next=");
            assert!(stranger.status == 401 || to_sign_in, "{line}: {} {}", stranger.status, stranger.body);
        }
        for (role, token) in &people {
            let may = least(door).is_none_or(|least| *role >= least);
            if may && is_stream(door) {
                continue;
            }
            let answer = ask(Some(token));
            assert!(answer.status < 500, "{line} as {role}: {} {}", answer.status, answer.body);
            if door.access != Access::Open {
                assert_eq!(answer.status != 403, may, "{line} as {role}: {} {}", answer.status, answer.body);
                assert_ne!(answer.status, 401, "{line} as {role}");
            }
        }
    }
}

#[test]
fn what_changes_something_is_nobodys_by_default() {
    for door in doors() {
        let line = format!("{} {}", door.method, door.path);
        let is_own = matches!(door.access, Access::Act(Act::OwnAccount));
        match least(&door) {
            None => assert!(
                matches!(
                    door.path.as_str(),
                    "/api/v1/health"
                        | "/api/v1/monitor/health"
                        | "/api/v1/auth/token"
                        | "/api/v1/webhooks/{name}"
                        | "/sign-in"
                        | "/sign-in/oidc"
                        | "/sign-in/oidc/callback"
                        | "/view"
                        | "/favicon.ico"
                        | "/static/{*name}"
                ),
                "{line} is open"
            ),
            // A body only says which.
            Some(Role::Viewer) if door.path.ends_with("/list") && door.method == "POST" => {}
            Some(Role::Viewer) if door.method != "GET" => assert!(is_own, "{line} lets a viewer change something"),
            Some(_) => {}
        }
        let secret = ["/connections", "/variables"].iter().any(|part| door.path.contains(part));
        assert!(!secret || least(&door) >= Some(Role::Operator), "{line}");
        let of_people = ["/users", "/grants", "/eventLogs"].iter().any(|part| door.path.contains(part));
        assert!(!of_people || least(&door) == Some(Role::Admin), "{line}");
    }
}

/// The page about security lists the acts as the table has them.
#[test]
fn the_page_about_security_lists_every_act() {
    let page = include_str!("../../../../docs/security.md");
    let lines: String = Act::ALL
        .iter()
        .map(|act| {
            let of_dag = if act.is_of_dag() { "yes" } else { "" };
            format!("| `{}` | {} | {} | {of_dag} |\n", act.name(), act.least(), act.describe())
        })
        .collect();
    assert!(page.contains(&lines), "docs/security.md must hold these lines:\n{lines}");
}

/// A fixed address such as `/connections/test` is found before one with a name in it: it must take whatever the other takes,
/// or nobody could reach the thing of that name.
#[test]
fn no_fixed_address_hides_a_thing_of_its_name() {
    // What stands in these is a number.
    let numbers = ["{key}", "{id}", "{map_index}", "{try_number}", "{version_number}"];
    let segments = |door: &Door| door.path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let all = doors();
    let api = || all.iter().filter(|door| door.path.starts_with("/api/"));
    for (fixed, named) in api().flat_map(|fixed| api().map(move |named| (fixed, named))) {
        let (here, there) = (segments(fixed), segments(named));
        let mut hides = false;
        let is_like = here.len() == there.len()
            && here.iter().zip(&there).all(|(here, there)| {
                let stands_for = there.starts_with('{') && !here.starts_with('{');
                hides |= stands_for && !numbers.contains(&there.as_str());
                here == there || (stands_for && !numbers.contains(&there.as_str()))
            });
        if is_like && hides {
            let takes = all.iter().any(|door| door.path == fixed.path && door.method == named.method);
            assert!(takes, "{} {} cannot be reached where {} is", named.method, named.path, fixed.path);
        }
    }
}

#[test]
fn a_connection_named_as_an_address_is_a_connection_like_others() {
    let site = Site::start();
    let path = "/api/v1/connections/test";
    site.get(path).is(404);
    let connection = serde_json::json!({"connection_id": "test", "conn_type": "sqlite", "schema": "/nowhere/x.db"});
    site.send("POST", "/api/v1/connections", &connection).is(201);
    assert_eq!(site.get(path).is(200).json()["schema"], "/nowhere/x.db");
    site.send("PATCH", path, &serde_json::json!({"description": "mine"})).is(200);
    assert_eq!(site.get(path).json()["description"], "mine");
    let tried = site.send("POST", path, &serde_json::json!({"connection_id": "test"})).is(200).json();
    assert_eq!(tried["status"], true, "{tried}");
    site.send("DELETE", path, &serde_json::json!({})).is(204);
    site.get(path).is(404);
    // What no address can name is not made.
    for name in [".", ".."] {
        for (path, body) in [
            ("connections", serde_json::json!({"connection_id": name, "conn_type": "sqlite"})),
            ("pools", serde_json::json!({"name": name, "slots": 1})),
            ("variables", serde_json::json!({"key": name, "value": "x"})),
            ("users", serde_json::json!({"username": name, "password": "long enough for one", "role": "viewer"})),
        ] {
            site.send("POST", &format!("/api/v1/{path}"), &body).is(422);
        }
    }
}
