//! Addresses of our own pages and resources.

use http::{HeaderMap, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

const SEGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':').remove(b'+');

/// One segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// A value in a query.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

pub(crate) fn dag(dag_id: &str) -> String {
    format!("/dags/{}", segment(dag_id))
}

pub(crate) fn run(dag_id: &str, run_id: &str) -> String {
    format!("{}/runs/{}", dag(dag_id), segment(run_id))
}

pub(crate) fn task(dag_id: &str, run_id: &str, task_id: &str) -> String {
    format!("{}/tasks/{}", run(dag_id, run_id), segment(task_id))
}

/// One instance of a mapped task; -1: of another.
pub(crate) fn instance(dag_id: &str, run_id: &str, task_id: &str, map_index: i32) -> String {
    let href = task(dag_id, run_id, task_id);
    if map_index < 0 { href } else { format!("{href}?map_index={map_index}") }
}

/// Where a task of a run is cleared or marked; what is to be done to it is still to be said.
pub(crate) fn change(dag_id: &str, run_id: &str, task_id: &str) -> String {
    format!("{}/change?task={}", run(dag_id, run_id), encode(task_id))
}

pub(crate) fn backfills(dag_id: &str) -> String {
    format!("{}/backfills", dag(dag_id))
}

pub(crate) fn api_run(dag_id: &str, run_id: &str) -> String {
    format!("/api/v1/dags/{}/dagRuns/{}", segment(dag_id), segment(run_id))
}

pub(crate) fn api_webhook(name: &str) -> String {
    format!("/api/v1/webhooks/{}", segment(name))
}

pub(crate) fn api_connection(conn_id: &str) -> String {
    format!("/api/v1/connections/{}", segment(conn_id))
}

/// An address, if it is one of this server: a browser takes `//elsewhere` and `/\elsewhere` for other people's.
pub(crate) fn local(path: &str) -> Option<&str> {
    let is_elsewhere = path.starts_with("//") || path.contains(|it: char| it == '\\' || it.is_control());
    (path.starts_with('/') && !is_elsewhere).then_some(path)
}

/// Where to go after signing in: an address of ours, whatever was asked for.
pub(crate) fn onward(next: Option<&str>) -> &str {
    next.and_then(local).unwrap_or("/")
}

/// The page that a form stood on, if it was ours.
pub(crate) fn back(headers: &HeaderMap, otherwise: &str) -> String {
    let referer = headers.get(header::REFERER).and_then(|referer| referer.to_str().ok());
    let path = referer.and_then(|referer| {
        let (_, rest) = referer.split_once("://")?;
        Some(&rest[rest.find('/')?..])
    });
    match path {
        Some(path) => onward(Some(path)).to_owned(),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_one_segment() {
        assert_eq!(
            run("a/../b", "manual__2024-01-01T00:00:00+00:00"),
            "/dags/a%2F..%2Fb/runs/manual__2024-01-01T00:00:00+00:00"
        );
        assert_eq!(dag("매출?x=1"), "/dags/%EB%A7%A4%EC%B6%9C%3Fx%3D1");
    }

    #[test]
    fn leads_nobody_elsewhere() {
        for good in ["/", "/dags/a?x=1", "/pools/delete/x"] {
            assert_eq!((local(good), onward(Some(good))), (Some(good), good));
        }
        let elsewhere = ["//evil.example", "/\\evil.example", "/a\\b", "/\t/evil.example", "https://evil.example"];
        for bad in elsewhere.into_iter().chain(["", "pools", "/a\r\nb"]) {
            assert_eq!((local(bad), onward(Some(bad))), (None, "/"), "{bad}");
        }
        assert_eq!(onward(None), "/");
    }

    #[test]
    fn goes_back_to_pages_of_ours() {
        let of = |referer: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::REFERER, referer.parse().unwrap());
            back(&headers, "/dags/a")
        };
        assert_eq!(of("http://127.0.0.1:8080/?q=x"), "/?q=x");
        assert_eq!(of("http://evil.example//evil.example"), "/");
        assert_eq!(of("nonsense"), "/dags/a");
        assert_eq!(back(&HeaderMap::new(), "/dags/a"), "/dags/a");
    }
}
