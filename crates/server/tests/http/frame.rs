//! Language, zone of the times, and the lists that the bar leads to.

use crate::site::{ADMIN, FAILED_RUN, Site, now};

fn page(site: &Site, path: &str, headers: &[(&str, &str)]) -> String {
    let all: Vec<(&str, &str)> = [("authorization", ADMIN)].into_iter().chain(headers.iter().copied()).collect();
    site.call("GET", path, &all, None).is(200).body
}

#[test]
fn pages_speak_the_language_of_the_browser_or_the_choice() {
    let site = Site::start();
    let english = page(&site, "/dags", &[]);
    assert!(english.contains("<html lang=\"en\"") && english.contains("Last runs"), "{english}");
    let korean = page(&site, "/dags", &[("accept-language", "ko-KR,ko;q=0.9,en;q=0.8")]);
    assert!(korean.contains("<html lang=\"ko\"") && korean.contains("최근 런"), "{korean}");
    assert!(!korean.contains("Last runs"), "{korean}");
    let chosen = page(&site, "/dags", &[("accept-language", "ko"), ("cookie", "millrace_language=en")]);
    assert!(chosen.contains("Last runs"), "{chosen}");
    let fault = serde_json::json!({"message": "unknown key 'retires' in task 'load' (copy)", "hint": "did you mean 'retries'?", "line": 1});
    site.runtime.block_on(site.plant.store.set_import_error("odd.yaml", &[fault], now())).unwrap();
    for of_files in ["/", "/import-errors"] {
        let told = page(&site, of_files, &[("accept-language", "ko")]);
        assert!(told.contains("(copy)에 모르는 키") && told.contains("쓰려던 것인가요?"), "{told}");
        assert!(!told.contains("unknown key"), "{told}");
    }
    let door = site.call("GET", "/sign-in", &[("accept-language", "ko")], None).is(200).body;
    assert!(door.contains("비밀번호"), "{door}");
    let missing = site.call("GET", "/nowhere", &[("authorization", ADMIN), ("accept-language", "ko")], None).is(404);
    assert!(missing.body.contains("DAG 목록으로"), "{}", missing.body);
    let api = site.call("GET", "/api/v1/health", &[("accept-language", "ko")], None).is(200).body;
    assert!(api.is_ascii(), "the API speaks English: {api}");
}

#[test]
fn a_choice_is_kept_in_a_cookie_and_leads_back() {
    let site = Site::start();
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("referer", "http://127.0.0.1/dags?q=copy")];
    let answer = site.call("POST", "/view", &headers, Some("language=ko")).is(303);
    assert_eq!(answer.header("location"), "/dags?q=copy");
    assert!(answer.header("set-cookie").starts_with("millrace_language=ko; Path=/"), "{}", answer.header("set-cookie"));
    let answer = site.call("POST", "/view", &headers, Some("zone=Asia%2FSeoul")).is(303);
    assert!(answer.header("set-cookie").starts_with("millrace_zone=Asia/Seoul;"), "{}", answer.header("set-cookie"));
    for nonsense in ["language=xx", "zone=Mars%0d%0aSet-Cookie%3A+x", "zone="] {
        assert_eq!(site.call("POST", "/view", &headers, Some(nonsense)).is(303).header("set-cookie"), "", "{nonsense}");
    }
}

#[test]
fn times_are_in_the_zone_that_was_chosen() {
    let site = Site::start();
    let path = format!("/dags/copy_orders/runs/{FAILED_RUN}");
    let utc = page(&site, &path, &[("cookie", "millrace_zone=UTC")]);
    let seoul = page(&site, &path, &[("cookie", "millrace_zone=Asia/Seoul")]);
    assert!(utc.contains(" UTC") && !utc.contains("Asia/Seoul</"), "{utc}");
    assert!(seoul.replace("&#x2f;", "/").contains(" Asia/Seoul ("), "{seoul}");
}

#[test]
fn the_list_is_searched_and_filtered() {
    let site = Site::start();
    let has = |path: &str, dag: &str| page(&site, path, &[]).contains(&format!("id=\"row-{dag}\""));
    assert!(has("/dags", "copy_orders") && has("/dags", "quiet"));
    assert!(has("/dags?q=COPY", "copy_orders") && !has("/dags?q=COPY", "quiet"));
    assert!(has("/dags?state=paused", "quiet") != has("/dags?state=on", "quiet"));
    assert!(has("/dags?state=running", "copy_orders") && !has("/dags?state=running", "quiet"));
    assert!(!has("/dags?owner=nobody", "copy_orders") && !has("/dags?tag=nothing", "copy_orders"));
    assert!(page(&site, "/dags?tag=nothing", &[]).contains("No DAG matches"));
    page(&site, "/dags?offset=18446744073709551615&state=nonsense", &[]);
}

#[test]
fn favourites_are_the_browser_s() {
    let site = Site::start_with(|options| options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let path = "/dags/copy_orders/favourite";
    site.call("POST", path, &[("authorization", ADMIN)], Some("")).is(403);
    let token = page(&site, "/dags", &[]);
    let token = token.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [("authorization", ADMIN), ("x-csrf-token", token.as_str())];
    let answer = site.call("POST", path, &headers, Some("")).is(303);
    assert!(!answer.header("set-cookie").contains("Secure"), "{}", answer.header("set-cookie"));
    let https = [headers[0], headers[1], ("x-forwarded-proto", "https")];
    let over_https = site.call("POST", path, &https, Some("")).is(303);
    assert!(over_https.header("set-cookie").ends_with("; Secure"), "{}", over_https.header("set-cookie"));
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let list = page(&site, "/dags?state=favourites", &[("cookie", &cookie)]);
    assert!(list.contains("id=\"row-copy_orders\"") && !list.contains("id=\"row-quiet\""), "{list}");
    let again = [headers[0], headers[1], ("cookie", cookie.as_str())];
    let answer = site.call("POST", path, &again, Some("")).is(303);
    assert!(answer.header("set-cookie").starts_with("millrace_favourites=;"), "{}", answer.header("set-cookie"));
    // More than a browser keeps: the one that was chosen now is among them.
    let many: Vec<String> = (0..99).map(|number| format!("a{number:040}")).collect();
    let many = format!("millrace_favourites={}", many.join("."));
    let answer = site.call("POST", path, &[headers[0], headers[1], ("cookie", many.as_str())], Some("")).is(303);
    let cookie = answer.header("set-cookie");
    assert!(cookie.len() < 4096 && cookie.contains("copy%5Forders") && cookie.contains("a000"), "{cookie}");
}
