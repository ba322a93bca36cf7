//! What is asked before a run: the form and the door for programs refuse the same.

use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{ADMIN, Answer, Site, now};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn asking() -> Site {
    let site = Site::start();
    let mut dag = dag("asking", "none", "Asia/Seoul", &[], &[("only", "empty", &[], 0)]);
    let params = json!({
        "table": {"type": "string", "pattern": "^[a-z_]+$", "description": "what <b>is</b> copied"},
        "days": {"type": "integer", "default": 3, "minimum": 1, "maximum": 9},
        "until": {"type": ["string", "null"], "format": "date"},
        "region": {"enum": ["eu", 2], "default": "eu"},
        "full": {"type": "boolean", "default": false},
        "db_password": {"type": "string", "default": "default-hidden"},
    });
    dag.params = params.as_object().cloned().unwrap_or_default();
    site.runtime.block_on(site.plant.sync(dag, true, now()));
    site
}

fn ask(site: &Site, cookie: &str, page: &str, body: &str) -> Answer {
    let (_, after) = page.split_once("name=\"csrf_token\" value=\"").unwrap();
    let token = after.split_once('"').unwrap().0;
    let body = format!("csrf_token={token}&has_fields=yes&{body}");
    site.call("POST", "/dags/asking/trigger", &[("cookie", cookie), FORM], Some(&body))
}

fn conf_of(site: &Site, run: &str) -> Value {
    site.get(&format!("/api/v1/dags/asking/dagRuns/{run}")).is(200).json()["conf"].clone()
}

#[test]
fn what_does_not_fit_is_shown_beside_its_field_and_what_was_typed_stays() {
    let site = asking();
    let cookie = site.sign_in();
    let page = site.call("GET", "/dags/asking/trigger", &[("cookie", &cookie)], None).is(200).body;
    assert!(page.contains("what &lt;b&gt;is&lt;"), "{page}");
    assert!(!page.contains("default-hidden"), "a secret default is shown");
    assert!(page.contains("type=\"date\""), "{page}");

    let body = "param.table=Orders!&param.days=30&param.until=soon&param.region=us&dag_run_id=r1&param.db_password=***";
    let refused = ask(&site, &cookie, &page, body).is(422).body;
    for said in ["must match ^[a-z_]+$", "must be at most 9", "must be a date like 2024-01-31", "must be one of: eu, 2"]
    {
        assert!(refused.contains(said), "{said:?} is not in {refused}");
    }
    assert_eq!(refused.matches("aria-invalid=\"true\"").count(), 4, "{refused}");
    for kept in ["value=\"Orders!\"", "value=\"30\"", "value=\"soon\"", "value=\"r1\""] {
        assert!(refused.contains(kept), "{kept} is lost: {refused}");
    }
    site.get("/api/v1/dags/asking/dagRuns/r1").is(404);

    let body = "param.table=orders&param.days=5&param.until=&param.region=2&param.full=true&dag_run_id=r2&param.db_password=***&conf=%7B%22more%22%3A1%7D";
    let made = ask(&site, &cookie, &page, body).is(303);
    assert_eq!(made.header("location"), "/dags/asking/runs/r2");
    let expected = json!({"table": "orders", "days": 5, "region": 2, "full": true, "more": 1});
    assert_eq!(conf_of(&site, "r2"), expected, "what is as it was stays the DAG's");

    // The id is taken: said beside the others, and nothing is lost.
    let again = ask(&site, &cookie, &page, body).is(422).body;
    assert!(again.contains("role=\"alert\"") && again.contains("value=\"orders\""), "{again}");
    let bare = ask(&site, &cookie, &page, "dag_run_id=r3").is(422).body;
    assert!(bare.contains("must be given"), "{bare}");
    let broken = ask(&site, &cookie, &page, "param.table=a&param.days=3&param.region=eu&conf=[1]").is(422).body;
    assert!(broken.contains("Must be a JSON object"), "{broken}");
    let wrong_date = "param.table=a&param.days=3&param.region=eu&logical_date=yesterday";
    let wrong_date = ask(&site, &cookie, &page, wrong_date).is(422).body;
    assert!(wrong_date.contains("value=\"yesterday\"") && wrong_date.contains("aria-invalid"), "{wrong_date}");
}

#[test]
fn a_person_reads_it_in_her_language() {
    let site = asking();
    let cookie = format!("{}; millrace_language=ko", site.sign_in());
    let page = site.call("GET", "/dags/asking/trigger", &[("cookie", &cookie)], None).is(200).body;
    let refused = ask(&site, &cookie, &page, "param.table=Orders!&param.days=x&param.region=eu").is(422).body;
    assert!(refused.contains("형식이 ^[a-z_]+$에 맞아야 합니다"), "{refused}");
    assert!(refused.contains("정수만 가능합니다 (지금: 텍스트)"), "{refused}");
}

#[test]
fn programs_are_refused_the_same() {
    let site = asking();
    let runs = "/api/v1/dags/asking/dagRuns";
    let wrong = json!({"conf": {"days": "5", "table": "Orders!", "other": 1}});
    let refused = site.send("POST", runs, &wrong).is(422).json();
    let expected = json!([
        {"name": "days", "message": "must be a whole number, not a text"},
        {"name": "table", "message": "must match ^[a-z_]+$"},
    ]);
    assert_eq!((&refused["errors"], &refused["path"]), (&expected, &json!("conf")), "{refused}");
    let missing = site.send("POST", runs, &json!({})).is(422).json();
    assert_eq!(missing["detail"], "DAG asking cannot run with this: table: must be given");
    site.send("POST", runs, &json!({"conf": {"table": "orders"}})).is(200);
    let answer = site.call("GET", "/api/v1/dags/asking", &[("authorization", ADMIN)], None).is(200);
    assert!(!answer.body.contains("default-hidden"), "{}", answer.body);
}
