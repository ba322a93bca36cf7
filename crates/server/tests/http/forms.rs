//! Forms of things that somebody else has changed, made or deleted since they were drawn.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use crate::site::{Answer, Site};

/// Sends forms as a person who has signed in, and gives what a page shows.
pub struct Browser<'a> {
    site: &'a Site,
    cookie: String,
}

impl<'a> Browser<'a> {
    pub fn new(site: &'a Site) -> Self {
        Self { site, cookie: site.sign_in() }
    }

    fn get(&self, path: &str) -> String {
        self.site.call("GET", path, &[("cookie", &self.cookie)], None).is(200).body
    }

    /// The value of a field, in the form of which this is a part.
    fn field(page: &str, near: &str, name: &str) -> String {
        let (_, after) = page.split_once(near).unwrap_or_else(|| panic!("no {near} in {page}"));
        let (_, after) = after.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        after.split('"').next().unwrap().to_owned()
    }

    pub fn post(&self, path: &str, fields: &str) -> Answer {
        let token = Self::field(&self.get("/pools"), "<form", "csrf_token");
        let headers = [("cookie", self.cookie.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        self.site.call("POST", path, &headers, Some(&format!("csrf_token={token}&{fields}")))
    }
}

/// Where a form leads whose text holds this, and its hidden fields, as a browser without scripts sends them.
fn filled(page: &str, near: &str) -> (String, Vec<(String, String)>) {
    let plain = |text: &str| {
        let text = text.replace("&#x2f;", "/").replace("&#x27;", "'").replace("&quot;", "\"");
        text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    };
    let of = |tag: &str, name: &str| {
        tag.split_once(&format!("{name}=\"")).map(|(_, value)| plain(value.split('"').next().unwrap()))
    };
    let forms = page.split("<form").skip(1).map(|form| form.split("</form>").next().unwrap());
    let form = forms.into_iter().find(|form| plain(form).contains(near)).unwrap_or_else(|| panic!("no {near}: {page}"));
    let hidden = form.split("<input type=\"hidden\"").skip(1);
    let fields = hidden.map(|tag| (of(tag, "name").unwrap(), of(tag, "value").unwrap())).collect();
    let button = form.rsplit_once("<button").unwrap().1;
    (of(button, "formaction").or_else(|| of(form, "action")).unwrap(), fields)
}

#[test]
fn without_scripts_a_page_asks_before_anything_is_deleted() {
    let site = Site::start();
    let browser = Browser::new(&site);
    let send = |(path, fields): (String, Vec<(String, String)>)| {
        let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value))).collect();
        browser.post(&path, &fields.join("&"))
    };
    let secret = site.token_of("eve", "viewer");
    site.send("POST", "/api/v1/variables", &json!({"key": "a/b \"c\"", "value": "eu"})).is(201);
    site.send("POST", "/api/v1/pools", &json!({"name": "etl", "slots": 3})).is(201);
    site.send("POST", "/api/v1/connections", &json!({"connection_id": "shop", "conn_type": "sqlite"})).is(201);
    site.send("POST", "/api/v1/webhooks", &json!({"name": "in", "dag_id": "copy_orders"})).is(201);
    site.send("POST", "/api/v1/tokens", &json!({"label": "laptop"})).is(201);
    let grant = json!({"username": "eve", "role": "editor", "dag_id": "copy_orders"});
    site.send("POST", "/api/v1/grants", &grant).is(201);
    let span = json!({"dag_id": "copy_orders", "from_date": "2024-02-01", "to_date": "2024-02-03"});
    site.send("POST", "/api/v1/backfills", &span).is(200);
    for (page, question) in [
        ("/variables", "Delete the variable a/b \"c\"?"),
        ("/pools", "Delete the pool etl?"),
        ("/connections", "Delete the connection shop?"),
        ("/webhooks", "Delete the webhook in?"),
        ("/account", "Delete the token laptop?"),
        ("/tokens", "Delete the token test of eve?"),
        ("/users", "Take editor of copy_orders away from eve?"),
        ("/users", "Shut eve out?"),
        ("/users", "Delete the user eve?"),
        ("/dags/copy_orders/backfills", "Cancel the backfill from 2024-02-01"),
        ("/backfills", "Cancel the backfill from 2024-02-05"),
    ] {
        if page == "/backfills" {
            let span = json!({"dag_id": "copy_orders", "from_date": "2024-02-05", "to_date": "2024-02-07"});
            site.send("POST", "/api/v1/backfills", &span).is(200);
        }
        let before = site.audit().len();
        let asked = send(filled(&browser.get(page), question)).is(200).body;
        assert!(asked.contains(&format!("href=\"{}\"", page.replace('/', "&#x2f;"))), "no way back: {asked}");
        assert_eq!(site.audit().len(), before, "{question} was only asked");
        let done = send(filled(&asked, "class=\"danger\"")).is(303);
        assert_eq!(done.header("location"), page);
        assert_eq!(site.audit().len(), before + 1, "{question} was answered");
    }
    site.send_as(&secret, "GET", "/api/v1/account", &json!({})).is(401);
    let elsewhere = "sure.to=%2F%2Felsewhere%2F&sure.back=%2F&sure.question=q&sure.what=w&sure.yes=y";
    browser.post("/sure", elsewhere).is(422);
}

#[test]
fn a_form_for_a_new_thing_replaces_none_that_is_there() {
    let site = Site::start();
    let browser = Browser::new(&site);
    browser.post("/variables", "key=plain&value=first&description=mine").is(303);
    let told = browser.post("/variables", "key=plain&value=second+one&description=yours").is(409).body;
    assert!(
        told.contains("There is a variable &#x27;plain&#x27; already") && told.contains("role=\"alert\""),
        "{told}"
    );
    assert!(told.contains("value=\"plain\"") && told.contains("value=\"yours\""), "what was typed stays: {told}");
    assert_eq!(site.get("/api/v1/variables/plain").json()["value"], "first");
    let told = browser.post("/pools", "name=default_pool&slots=1").is(409).body;
    assert!(told.contains("already") && told.contains("name=\"slots\" value=\"1\""), "{told}");
    assert_eq!(site.get("/api/v1/pools/default_pool").json()["slots"], 128);
    browser.post("/connections", "connection_id=shop&conn_type=mysql").is(303);
    assert!(browser.post("/connections", "connection_id=shop&conn_type=http").is(409).body.contains("already"));
}

#[test]
fn an_older_form_changes_nothing_and_shows_what_is_there_now() {
    let site = Site::start();
    let browser = Browser::new(&site);
    browser.post("/connections", "connection_id=shop&conn_type=mysql&host=old&password=first+secret").is(303);
    let edit = || browser.get("/connections/edit/shop");
    let mine = Browser::field(&edit(), "<form class=\"form\"", "seen");
    let theirs = format!("seen={mine}&connection_id=shop&conn_type=mysql&host=new&password=second+secret");
    browser.post("/connections", &theirs).is(303);

    let older = format!("seen={mine}&connection_id=shop&conn_type=mysql&host=old&password=***&description=said");
    let told = browser.post("/connections", &older).is(409).body;
    assert!(told.contains("was changed meanwhile"), "{told}");
    assert!(told.contains("<dt>Host</dt><dd class=\"mono\">new</dd>"), "what it is now is told: {told}");
    assert!(told.contains("value=\"said\"") && told.contains("value=\"old\""), "what was typed stays: {told}");
    assert_eq!(site.get("/api/v1/connections/shop").json()["host"], "new");
    // Who has seen that may decide so all the same.
    let now = Browser::field(&told, "<form class=\"form\"", "seen");
    browser.post("/connections", &older.replace(&mine, &now)).is(303);
    // Only the password is another one, and it is drawn as before.
    let mine = Browser::field(&edit(), "<form class=\"form\"", "seen");
    site.send("PATCH", "/api/v1/connections/shop", &json!({"password": "third secret"})).is(200);
    assert!(edit().contains("value=\"***\""));
    browser
        .post("/connections", &format!("seen={mine}&connection_id=shop&conn_type=mysql&host=a&password=***"))
        .is(409);
    site.send("DELETE", "/api/v1/connections/shop", &json!({})).is(204);
    let gone = browser.post("/connections", &format!("seen={mine}&connection_id=shop&conn_type=mysql&host=a"));
    assert!(gone.is(409).body.contains("was deleted meanwhile"));
}

#[test]
fn variables_and_pools_are_changed_as_they_were_seen() {
    let site = Site::start();
    let browser = Browser::new(&site);
    site.send("POST", "/api/v1/variables", &json!({"key": "region", "value": "eu", "description": "where"})).is(201);
    let seen = || Browser::field(&browser.get("/variables"), "name=\"key\" value=\"region\"", "seen");
    let mine = seen();
    browser.post("/variables", &format!("seen={mine}&key=region&value=us&description=")).is(303);
    let now = site.get("/api/v1/variables/region").json();
    assert_eq!((&now["value"], &now["description"]), (&json!("us"), &json!("")), "a description can be emptied");
    let told = browser.post("/variables", &format!("seen={mine}&key=region&value=ap&description=x")).is(409).body;
    assert!(told.contains("was changed meanwhile") && told.contains(">us<"), "{told}");
    let typed = |told: &str| told.contains("<details class=\"note\" open>");
    assert!(typed(&told) && told.contains(">ap</textarea>") && told.contains("value=\"x\""), "it stays: {told}");
    site.send("PATCH", "/api/v1/variables/region", &json!({"description": "here"})).is(200);
    let now = site.send("PATCH", "/api/v1/variables/region", &json!({"description": null})).is(200).json();
    assert_eq!((&now["value"], &now["description"]), (&json!("us"), &json!("")));

    site.send("POST", "/api/v1/pools", &json!({"name": "etl", "slots": 3, "description": "loads"})).is(201);
    let seen = || Browser::field(&browser.get("/pools"), "name=\"name\" value=\"etl\"", "seen");
    let mine = seen();
    browser.post("/pools", &format!("seen={mine}&name=etl&slots=5&description=loads")).is(303);
    let told = browser.post("/pools", &format!("seen={mine}&name=etl&slots=9&description=loads")).is(409).body;
    assert!(told.contains("was changed meanwhile") && typed(&told), "{told}");
    assert!(told.contains("name=\"slots\" value=\"9\""), "what was typed stays: {told}");
    assert_eq!(site.get("/api/v1/pools/etl").json()["slots"], 5);
    let now = site.send("PATCH", "/api/v1/pools/etl", &json!({"description": null})).is(200).json();
    assert_eq!((&now["slots"], &now["description"]), (&json!(5), &json!(null)));
    let changes: Vec<_> = site.audit().into_iter().filter(|row| row.action == "pool_changed").collect();
    let slots = |told: &Option<serde_json::Value>| told.as_ref().unwrap()["slots"].clone();
    assert_eq!((slots(&changes[1].before), slots(&changes[1].after)), (json!(3), json!(5)));
    site.send("DELETE", "/api/v1/pools/etl", &json!({})).is(204);
    let deleted = site.audit().into_iter().find(|row| row.action == "pool_deleted").unwrap();
    assert_eq!((slots(&deleted.before), deleted.after), (json!(5), None));
}
