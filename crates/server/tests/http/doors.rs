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
