//! What every request passes: who is it, may they, and does it come from our own pages.

use std::net::{IpAddr, SocketAddr};

use axum::Form;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use millrace_model::error_code::ErrorCode;

use crate::links;
use crate::person::{Person, Role, Via};
use crate::problem::{Answer, Problem};
use crate::server::{Server, Shared};
use crate::sessions::{COOKIE, Kind, cookie};

/// The largest request body, in bytes.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// On every answer.
pub(crate) async fn secure(request: Request, next: Next) -> Response {
    let is_static = request.uri().path().starts_with("/static/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "same-origin");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    if !is_static {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Open to all: health, static files, and the places where one signs in.
fn is_open(path: &str) -> bool {
    matches!(path, "/api/v1/health" | "/api/v1/auth/token" | "/sign-in" | "/favicon.ico")
        || path.starts_with("/static/")
}

pub(crate) async fn guard(
    State(server): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && comes_from_elsewhere(request.headers()) {
        return Problem::new(ErrorCode::FORBIDDEN, "the request was sent by another site").into_response();
    }
    if is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let person = match identify(&server, request.headers(), peer.ip()).await {
        Ok(Some(person)) => person,
        Ok(None) => return ask_to_sign_in(&request),
        Err(problem) => return problem.into_response(),
    };
    if changes {
        let signs_out = request.uri().path() == "/sign-out";
        if let Err(problem) = if signs_out { Ok(()) } else { person.require(Role::User) } {
            return problem.into_response();
        }
        match check_form_token(&person, request).await {
            Ok(checked) => request = checked,
            Err(problem) => return problem.into_response(),
        }
    }
    request.extensions_mut().insert(person.clone());
    let mut response = next.run(request).await;
    // For whoever draws a problem as a page.
    response.extensions_mut().insert(person);
    response
}

/// Browsers say so of themselves; programs don't send these headers.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") {
        return true;
    }
    match (headers.get(header::ORIGIN).map(HeaderValue::to_str), headers.get(header::HOST).map(HeaderValue::to_str)) {
        (Some(Ok(origin)), Some(Ok(host))) => origin.split_once("://").is_none_or(|(_, from)| from != host),
        (Some(Err(_)), _) => true,
        _ => false,
    }
}

async fn identify(server: &Server, headers: &HeaderMap, from: IpAddr) -> Answer<Option<Person>> {
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let text = authorization.to_str().unwrap_or_default();
        let (scheme, value) = text.split_once(' ').unwrap_or((text, ""));
        return match scheme.to_ascii_lowercase().as_str() {
            "basic" => match basic(value) {
                Some((name, password)) => server.person_of_password(from, &name, &password).await,
                None => Ok(None),
            },
            "bearer" => server.person_of_token(value.trim(), Kind::Bearer).await,
            _ => Ok(None),
        };
    }
    match cookie(headers, COOKIE) {
        Some(token) => server.person_of_token(token, Kind::Session).await,
        None => Ok(None),
    }
}

fn basic(value: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn ask_to_sign_in(request: &Request) -> Response {
    let headers = request.headers();
    // Our own pages ask without being asked for a password by the browser.
    let by_script = headers.contains_key("x-millrace-page");
    if request.uri().path().starts_with("/api/") || by_script || request.method() != Method::GET {
        let challenge =
            if by_script { "Bearer realm=\"Millrace\"" } else { "Basic realm=\"Millrace\", charset=\"UTF-8\"" };
        return Problem::new(
            ErrorCode::UNAUTHENTICATED,
            "sign in first: the credentials are missing, wrong or have ended",
        )
        .header(header::WWW_AUTHENTICATE, challenge)
        .into_response();
    }
    let wanted = request.uri().path_and_query().map_or("/", |target| target.as_str());
    Redirect::to(&format!("/sign-in?next={}", links::encode(wanted))).into_response()
}

/// Credentials that a browser adds by itself prove nothing about who made it send them: such a request must carry the
/// token of one of our pages, in a header or in the form.
async fn check_form_token(person: &Person, request: Request) -> Answer<Request> {
    let is_form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    // A bearer token is never sent by itself. Basic is, but not with JSON or PATCH across sites without asking first.
    if person.via == Via::Bearer || (person.via == Via::Basic && !is_form) {
        return Ok(request);
    }
    let refused = || {
        let text = "the request lacks the token of a page of ours; reload the page and try again";
        Problem::new(ErrorCode::FORBIDDEN, text)
    };
    if let Some(token) = request.headers().get("x-csrf-token") {
        let right = token.to_str().is_ok_and(|token| person.is_form_token(token));
        return if right { Ok(request) } else { Err(refused()) };
    }
    if !is_form {
        return Err(refused());
    }
    let (parts, body) = request.into_parts();
    let bytes = to_bytes(body, BODY_LIMIT)
        .await
        .map_err(|_| Problem::new(ErrorCode::BODY_TOO_LARGE, format!("a form may have {BODY_LIMIT} bytes")))?;
    let copy = Request::from_parts(parts.clone(), Body::from(bytes.clone()));
    let Form(fields) = Form::<Vec<(String, String)>>::from_request(copy, &()).await.map_err(|_| refused())?;
    let right = fields.iter().any(|(key, value)| key == "csrf_token" && person.is_form_token(value));
    if right { Ok(Request::from_parts(parts, Body::from(bytes))) } else { Err(refused()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn knows_requests_of_other_sites() {
        assert!(!comes_from_elsewhere(&headers(&[("host", "127.0.0.1:8080")])));
        assert!(!comes_from_elsewhere(&headers(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")])));
        assert!(comes_from_elsewhere(&headers(&[("host", "127.0.0.1:8080"), ("origin", "http://evil.example")])));
        assert!(comes_from_elsewhere(&headers(&[("host", "127.0.0.1:8080"), ("origin", "null")])));
        assert!(comes_from_elsewhere(&headers(&[("host", "a"), ("sec-fetch-site", "cross-site")])));
    }

    #[test]
    fn reads_basic_credentials_with_colons_in_the_password() {
        assert_eq!(basic(&STANDARD.encode("a:b:c")), Some(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(basic("!!"), None);
        assert_eq!(basic(&STANDARD.encode("nothing")), None);
    }

    #[test]
    fn only_a_few_places_are_open() {
        for open in ["/api/v1/health", "/static/app.css", "/sign-in", "/api/v1/auth/token"] {
            assert!(is_open(open), "{open}");
        }
        for closed in ["/", "/api/v1/dags", "/api/v1/healthy", "/events", "/sign-in/x", "/static", "/api/v1/version"] {
            assert!(!is_open(closed), "{closed}");
        }
    }
}
