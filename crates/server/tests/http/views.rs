//! The other pages of a DAG, and what is browsed across all of them.

use millrace_model::dag::Task;
use millrace_model::ids::TaskId;
use serde_json::json;

use crate::plant::dag;
use crate::site::{ADMIN, FAILED_RUN, RUNNING_RUN, Site, now};

fn part(site: &Site, path: &str, part: &str) -> String {
    site.call("GET", path, &[("authorization", ADMIN), ("x-part", part)], None).is(200).body
}

/// As it stands in an address or a form.
fn encoded(text: &str) -> String {
    let letter = |letter: char| match letter {
        ':' | '+' | '&' | '?' | '=' | '\n' => format!("%{:02X}", u32::from(letter)),
        other => other.to_string(),
    };
    text.chars().map(letter).collect()
}

/// Sends a form with the token of our own pages.
fn post(site: &Site, path: &str, fields: &str) -> crate::site::Answer {
    let page = site.get("/account").is(200).body;
    let token = page.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [
        ("authorization", ADMIN),
        ("x-csrf-token", token.as_str()),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    site.call("POST", path, &headers, Some(fields))
}

#[test]
fn the_graph_shows_a_run_s_states_and_leads_to_its_tasks() {
    let site = Site::start();
    let page = site.get(&format!("/dags/copy_orders/graph?run={}", encoded(FAILED_RUN))).is(200).body;
    assert!(page.contains("node s-failed") && page.contains("node s-upstream_failed"), "{page}");
    assert_eq!(page.matches("class=\"edge\"").count(), 2, "{page}");
    assert!(page.contains(&format!("data-cell=\"{FAILED_RUN}|load\"")), "{page}");
    let alone = part(&site, &format!("/dags/copy_orders/graph?run={}", encoded(RUNNING_RUN)), "graph");
    assert!(alone.trim_start().starts_with("<section id=\"graph\"") && alone.contains("node s-running"), "{alone}");
    site.get("/dags/copy_orders/graph?run=nothing").is(404);
}

#[test]
fn the_gantt_draws_what_ran_and_not_what_never_did() {
    let site = Site::start();
    let page = part(&site, &format!("/dags/copy_orders/gantt?run={}", encoded(FAILED_RUN)), "gantt");
    assert_eq!(page.matches("class=\"work\"").count(), 2, "extract and load ran, notify did not: {page}");
    assert!(page.contains("notify: upstream failed"), "{page}");
}

#[test]
fn the_calendar_has_every_day_of_its_years() {
    let site = Site::start();
    let page = site.get("/dags/copy_orders/calendar?year=2024").is(200).body;
    assert_eq!(page.matches("class=\"day ").count(), 366, "the year before has no run");
    let both = site.get("/dags/copy_orders/calendar?year=2025").is(200).body;
    assert_eq!(both.matches("class=\"day ").count(), 365 + 366);
    assert!(page.contains("day s-failed"), "{page}");
    site.get("/dags/copy_orders/calendar?year=99999").is(422);
}

#[test]
fn the_data_page_charts_rows() {
    let site = Site::start();
    let page = site.get("/dags/copy_orders/data").is(200).body;
    assert!(page.contains("1,234,567") && page.contains("class=\"bar-of\""), "{page}");
    assert!(site.get("/dags/quiet/data").is(200).body.contains("It has moved no data yet"));
    let of_all = site.get("/data").is(200).body;
    assert!(of_all.contains("1,234,567") && of_all.contains(">copy_<wbr>orders</a>"), "{of_all}");
    assert!(site.get("/data?dag=copy_orders").is(200).body.contains("1,234,567"));
    for none in ["/data?dag=quiet", "/data?target=elsewhere"] {
        assert!(site.get(none).is(200).body.contains("Nothing is written down that matches"), "{none}");
    }
}

#[test]
fn a_version_that_there_is_not_is_not_found() {
    let site = Site::start();
    let page = site.get("/dags/copy_orders/code?version=1").is(200).body;
    assert!(page.contains("version 1"), "{page}");
    site.get("/dags/copy_orders/code?version=7").is(404);
    site.get("/dags/copy_orders/code?version=x").is(422);
}

#[test]
fn instances_are_found_by_state_and_changed_together() {
    let site = Site::start();
    let failed = site.get("/task-instances?state=failed").is(200).body;
    assert!(failed.contains(">load<") && !failed.contains(">extract<"), "{failed}");
    assert!(site.get("/task-instances?pool=none_such").is(200).body.contains("No task instance matches"));
    site.get("/task-instances?state=green").is(422);

    let run = encoded(FAILED_RUN);
    let item = |task: &str| format!("item=copy_orders%0A{run}%0A{task}%0A-1");
    let fields = format!("action=clear&{}&{}", item("load"), item("notify"));
    let asked = post(&site, "/task-instances/change", &fields).is(200).body;
    assert!(asked.contains("<strong>2</strong> task instances in <strong>1</strong> run are changed"), "{asked}");
    let row = || site.get(&format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}")).json()["state"].clone();
    assert_eq!(row(), "failed", "looking changes nothing");
    post(&site, "/task-instances/change", &format!("{fields}&sure=yes")).is(303);
    assert_eq!(row(), "queued");

    for wrong in
        ["action=clear", "action=burn&item=a", "action=clear&item=a%0Ab%0Ac", "action=clear&item=a%0Ab%0Ac%0Ax"]
    {
        post(&site, "/task-instances/change", wrong).is(422);
    }
    let viewer = site.token_of("looks", "viewer");
    let headers = [("authorization", viewer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    site.call("POST", "/task-instances/change", &headers, Some(&fields)).is(403);
}

#[test]
fn runs_are_changed_together() {
    let site = Site::start();
    let list = site.get("/runs?state=failed").is(200).body;
    let run = encoded(FAILED_RUN);
    assert!(list.contains("name=\"item\" value=\"copy_orders&#10;"), "{list}");
    let state = || site.get(&format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}")).json()["state"].clone();
    let fields = |action: &str| format!("action={action}&of=runs&item=copy_orders%0D%0A{run}");
    let asked = post(&site, "/task-instances/change", &fields("rerun")).is(200).body;
    assert!(asked.contains("1 finished run goes back to the queue") && !asked.contains(">extract<"), "{asked}");
    assert!(asked.contains("href=\"&#x2f;runs\">Back") && asked.contains("name=\"of\" value=\"runs\""), "{asked}");
    let all = post(&site, "/task-instances/change", &fields("clear")).is(200).body;
    assert!(all.contains(">extract<"), "a whole run is cleared whole: {all}");
    assert_eq!(state(), "failed", "looking changes nothing");
    post(&site, "/task-instances/change", &fields("skipped")).is(422);
    post(&site, "/task-instances/change", &format!("{}&sure=yes", fields("success"))).is(303);
    assert_eq!(state(), "success");
    let viewer = site.token_of("looks", "viewer");
    let headers = [("authorization", viewer.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    site.call("POST", "/task-instances/change", &headers, Some(&fields("clear"))).is(403);
    assert!(!site.call("GET", "/runs", &headers[..1], None).is(200).body.contains("name=\"item\""));
}

/// One of two runs is gone meanwhile: the other is changed, and both are told of.
#[test]
fn what_is_refused_of_many_is_told_beside_what_is_done() {
    let site = Site::start();
    let list = "/dags/copy_orders/runs?state=failed&run_type=scheduled";
    let fields = |sure: &str| {
        let items = [format!("copy_orders\n{FAILED_RUN}"), "copy_orders\nzzz".to_owned()];
        let items: Vec<String> = items.iter().map(|item| format!("item={}", encoded(item))).collect();
        format!("action=success&of=runs&back={}&{}{sure}", encoded(list), items.join("&"))
    };
    let asked = post(&site, "/task-instances/change", &fields("")).is(200).body;
    assert!(asked.contains("Of these runs nothing can be changed.") && asked.contains(">zzz</span>"), "{asked}");
    assert!(!asked.contains("value=\"copy_orders&#10;zzz\""), "it is not asked for again: {asked}");
    let done = post(&site, "/task-instances/change", &fields("&sure=yes")).is(200).body;
    assert!(done.contains("These runs were refused") && done.contains(">zzz</span>"), "{done}");
    assert!(!done.contains("class=\"primary\">Mark what"), "nothing is left to be sure of: {done}");
    let run = site.get(&format!("/api/v1/dags/copy_orders/dagRuns/{}", FAILED_RUN.replace('+', "%2B"))).json();
    assert_eq!(run["state"], "success");
    // Whoever is done is back where they were, and nowhere else.
    let mark = |state: &str, back: &str| {
        let fields = format!(
            "action={state}&of=runs&sure=yes&back={}&item={}",
            encoded(back),
            encoded(&format!("copy_orders\n{FAILED_RUN}"))
        );
        post(&site, "/task-instances/change", &fields).is(303).header("location").to_owned()
    };
    assert_eq!(mark("failed", list), list);
    assert_eq!(mark("success", "//elsewhere.example/"), "/runs");
}

/// The tasks of the run are as they were: it is the run that is called something else.
#[test]
fn a_run_is_marked_though_none_of_its_tasks_changes() {
    let site = Site::start();
    let item = encoded(&format!("copy_orders\n{FAILED_RUN}"));
    post(&site, "/task-instances/change", &format!("action=success&of=runs&sure=yes&item={item}")).is(303);
    let asked = post(&site, "/task-instances/change", &format!("action=failed&of=runs&item={item}")).is(200).body;
    assert!(asked.contains("class=\"primary\">Mark what was chosen failed"), "{asked}");
}

/// Home leads to the failed runs of a day: the list says so, and what has not ended is not looked for by its end.
#[test]
fn a_list_says_from_which_end_its_runs_are() {
    let site = Site::start();
    let page = site.get("/runs?state=failed&ended_from=2024-03-01T00:00:00Z").is(200).body;
    assert!(page.contains("name=\"ended_from\" value=\"2024-03-01T00:00:00Z\""), "{page}");
    let tab = |state: &str| {
        let start = page.find(&format!("&#x2f;runs?state={state}")).unwrap();
        page[start..].split('"').next().unwrap().to_owned()
    };
    assert!(!tab("running").contains("ended_from") && !tab("queued").contains("ended_from"), "{page}");
    assert!(tab("success").contains("ended_from=2024"), "{page}");
    site.get("/runs?ended_from=soon").is(422);
}

/// Groups that were unfolded until there was no picture any more are folded again.
#[test]
fn a_graph_that_is_too_large_can_be_folded_again() {
    let site = Site::start();
    let task = |n: usize| Task {
        group: Some(TaskId::new_unchecked("load")),
        ..Task::new(TaskId::new_unchecked(format!("load.t{n}")), "empty")
    };
    let mut wide = dag("wide", "none", "UTC", &[], &[("begin", "empty", &[], 0)]);
    wide.groups = vec![serde_json::from_value(json!({"group_id": "load"})).unwrap()];
    wide.tasks.extend((0..1_100).map(task));
    site.runtime.block_on(site.plant.sync(wide, true, now()));
    let folded = site.get("/dags/wide/graph").is(200).body;
    assert!(folded.contains("<svg class=\"graph\"") && !folded.contains("Fold all groups"), "{folded}");
    let open = site.get("/dags/wide/graph?open=load").is(200).body;
    assert!(
        open.contains("too many to be drawn")
            && open.contains("<a class=\"button\" href=\"&#x2f;dags&#x2f;wide&#x2f;graph\">Fold all groups")
    );
    assert!(open.contains("href=\"&#x2f;dags&#x2f;wide&#x2f;graph?shut=load\">load</a>"), "each group by itself, too");
}

#[test]
fn the_audit_page_says_who_did_what() {
    let site = Site::start();
    site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({"dag_run_id": "mine"})).is(200);
    let page = site.get("/audit?dag=quiet").is(200).body;
    assert!(page.contains("trigger") && page.contains("rest:"), "{page}");
    let failed = FAILED_RUN.replace('+', "%2B");
    let task = format!("/api/v1/dags/copy_orders/dagRuns/{failed}/taskInstances/load");
    site.send("PATCH", &task, &json!({"new_state": "success"})).is(200);
    let of_task = site.get("/audit?task=load").is(200).body;
    assert!(of_task.contains("data-label=\"Task\">load<") && !of_task.contains(">trigger<"), "{of_task}");
    assert_eq!(site.get("/api/v1/eventLogs?task_id=load").json()["total_entries"], 1);
    assert!(site.get("/audit?actor=nobody").is(200).body.contains("Nothing is written down that matches"));
}

#[test]
fn variables_are_kept_and_secret_ones_not_shown() {
    let site = Site::start();
    post(&site, "/variables", "key=region&value=eu&description=where").is(303);
    post(&site, "/variables", "key=api_token&value=hunter22hunter22").is(303);
    let page = site.get("/variables").is(200).body;
    assert!(page.contains("region") && page.contains(">eu<"), "{page}");
    assert!(!page.contains("hunter22") && page.contains("***"), "{page}");
    let wrong = post(&site, "/variables", "key=&value=secretvalue").is(422).body;
    assert!(wrong.contains("role=\"alert\"") && !wrong.contains("secretvalue"), "{wrong}");
    post(&site, "/variables/delete/region", "").is(303);
    assert!(!site.get("/variables").is(200).body.contains("region"));
}

#[test]
fn people_are_managed_and_tokens_shown_once() {
    let site = Site::start();
    post(&site, "/users", "username=ada&password=correct+horse+battery&role=viewer").is(303);
    let twice = post(&site, "/users", "username=ada&password=correct+horse+battery&role=viewer");
    assert!(twice.status == 409 || twice.status == 422, "{}", twice.status);
    assert!(twice.body.contains("role=\"alert\""), "{}", twice.body);
    post(&site, "/users/ada", "deed=grant&role=operator&kind=tag&of=finance").is(303);
    post(&site, "/users/ada", "deed=role&role=editor").is(303);
    let page = site.get("/users").is(200).body;
    assert!(page.contains("operator of what is tagged finance"), "{page}");
    assert_eq!(site.get("/api/v1/users/ada").json()["role"], "editor");
    post(&site, "/users/ada", "deed=dance").is(422);
    post(&site, "/users/ada", "deed=disable").is(303);
    assert!(site.get("/users").is(200).body.contains("shut out"));
    post(&site, "/users/ada", "deed=delete").is(303);
    site.get("/api/v1/users/ada").is(404);

    let made = post(&site, "/account", "deed=token&label=etl&scope=viewer&days=7").is(200).body;
    let main = made.split("<main").nth(1).unwrap();
    let token = main.split("<code>").nth(1).unwrap().split("</code>").next().unwrap().to_owned();
    let bearer = format!("Bearer {token}");
    site.call("GET", "/api/v1/dags", &[("authorization", &bearer)], None).is(200);
    let after = site.get("/account").is(200).body;
    assert!(after.contains("etl") && !after.contains(&token), "{after}");
}

#[test]
fn an_admin_sees_everybodys_tokens_and_ends_one() {
    let site = Site::start();
    let theirs = site.token_of("ada", "operator");
    let look = || site.call("GET", "/api/v1/version", &[("authorization", &theirs)], None).status;
    assert_eq!(look(), 200);
    let page = site.get("/tokens").is(200).body;
    let row = page.split("<tr>").find(|row| row.contains("<strong>ada</strong>")).unwrap();
    assert!(row.contains("all that its person may") && row.contains("Last used\"><time"), "{row}");
    let address = row.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#x2f;", "/");
    post(&site, &address, "").is(303);
    assert_eq!(look(), 401);
    assert!(!site.get("/tokens").is(200).body.contains("<strong>ada</strong>"));
    assert!(post(&site, &address, "").is(404).body.contains("There is no token"));
}

#[test]
fn the_roles_page_says_who_may_what() {
    let page = Site::start().get("/roles").is(200).body;
    let row = |act: &str| {
        let row = page.split("<tr>").find(|row| row.contains(&format!(">{act}<"))).unwrap().to_owned();
        row.matches(">yes<").count()
    };
    // Of four roles, and whether a grant may give it.
    assert_eq!((row("dags:read"), row("runs:trigger"), row("variables:write"), row("audit:read")), (5, 4, 2, 1));
}

#[test]
fn the_configuration_is_shown_to_admins_and_masked() {
    let site = Site::start();
    let page = site.get("/configuration").is(200).body;
    assert!(page.contains("8080") && !page.contains("configured-secret"), "{page}");
    let editor = site.token_of("edits", "editor");
    site.call("GET", "/configuration", &[("authorization", &editor)], None).is(403);
    site.get("/operators/nothing").is(404);
}

#[test]
fn webhooks_are_made_by_whoever_may_and_their_secret_is_shown_once() {
    let site = Site::start();
    for wrong in [
        "name=in&kind=dag&of=nothing",
        "name=in&kind=run&of=quiet",
        "name=in&kind=dag&of=quiet&days=soon",
        "name=in&kind=dag&of=quiet&days=1000",
        "name=in&kind=dag&of=quiet&username=nobody",
        "name=..&kind=dag&of=quiet",
        "name=&kind=asset&of=",
    ] {
        let refused = post(&site, "/webhooks", wrong);
        assert!([404, 422].contains(&refused.status) && refused.body.contains("role=\"alert\""), "{wrong}");
    }
    let made = post(&site, "/webhooks", "name=in&kind=dag&of=quiet&days=7").is(200).body;
    let secret = made.split("id=\"webhook-secret\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(secret.starts_with("mrw_"), "{made}");
    let page = site.get("/webhooks").is(200).body;
    assert!(page.contains("&#x2f;dags&#x2f;quiet") && !page.contains(secret), "{page}");
    let bearer = format!("Bearer {secret}");
    site.call("POST", "/api/v1/webhooks/in", &[("authorization", &bearer)], Some("{}")).is(200);

    // One's own only; a viewer none at all, and is not led there.
    let operator = site.token_of("ada", "operator");
    let own = site.call("GET", "/webhooks", &[("authorization", &operator)], None).is(200).body;
    assert!(!own.contains("delete&#x2f;in\"") && !own.contains("name=\"username\""), "{own}");
    let viewer = site.token_of("looks", "viewer");
    site.call("GET", "/webhooks", &[("authorization", &viewer)], None).is(403);
    let home = site.call("GET", "/", &[("authorization", &viewer)], None).is(200).body;
    assert!(!home.contains("href=\"/webhooks\""), "{home}");

    post(&site, "/webhooks/delete/in", "").is(303);
    post(&site, "/webhooks/delete/in", "").is(404);
    site.call("POST", "/api/v1/webhooks/in", &[("authorization", &bearer)], Some("{}")).is(401);
}

#[test]
fn the_graph_draws_groups_that_fold_and_counts_instances() {
    let site = Site::start();
    let task = |id: &str, before: &[&str]| Task {
        depends_on: before.iter().map(|id| TaskId::new_unchecked(*id)).collect(),
        group: id.strip_prefix("g.").map(|_| TaskId::new_unchecked("g")),
        ..Task::new(TaskId::new_unchecked(id), "bash")
    };
    let each = Task {
        expand: Some(serde_json::from_value(json!({"each": {"list": [1, 2, 3, 4]}})).unwrap()),
        ..task("each", &[])
    };
    let mut drawn = dag("drawn", "none", "UTC", &[], &[]);
    drawn.groups = vec![serde_json::from_value(json!({"group_id": "g"})).unwrap()];
    drawn.tasks = vec![each, task("g.one", &["each"]), task("g.two", &["g.one"])];
    site.runtime.block_on(site.plant.sync(drawn, true, now()));
    let graph = |query: &str| part(&site, &format!("/dags/drawn/graph{query}"), "graph").replace("&#x2f;", "/");
    let count = |page: &str| ["class=\"frame\"", "class=\"node ", "class=\"edge\""].map(|it| page.matches(it).count());

    let before = graph("");
    assert_eq!(count(&before), [1, 3, 2], "{before}");
    assert!(before.contains(">mapped</text>") && before.contains(">2 tasks</text>"), "{before}");
    site.send("POST", "/api/v1/dags/drawn/dagRuns", &json!({"dag_run_id": "r"})).is(200);
    let one = "/api/v1/dags/drawn/dagRuns/r/taskInstances/each/1";
    site.send("PATCH", one, &json!({"new_state": "failed"})).is(200);
    let open = graph("");
    assert!(open.contains(">1 of 4 failed</text>") && open.contains("each (bash): 1 failed, 3 not started"), "{open}");
    assert!(open.contains("href=\"/dags/drawn/graph?run=r&amp;shut=g#group-g\" aria-expanded=\"true\""), "{open}");
    assert!(open.contains("data-cell=\"r|g.two\"") && open.contains(">two</text>"), "{open}");

    let folded = graph("?run=r&shut=g");
    assert_eq!(count(&folded), [0, 2, 1], "{folded}");
    assert!(folded.contains(">2 of 2 not started</text>") && !folded.contains("g.two"), "{folded}");
    assert!(folded.contains("href=\"/dags/drawn/graph?run=r&amp;open=g#group-g\" aria-expanded=\"false\""), "{folded}");
    assert!(folded.contains("data-src=\"/dags/drawn/graph?run=r&amp;shut=g\""), "drawn anew it stays so: {folded}");
}
