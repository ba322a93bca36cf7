//! What every request passes: who is it, may they, and does it come from our own pages.

use std::sync::Arc;
use std::time::Duration;

use axum::Form;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, MatchedPath, Query, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use millrace_model::error_code::ErrorCode;
use tokio::time::timeout;

use crate::access::client::Client;
use crate::access::permission::Access;
use crate::access::person::{Person, Via};
use crate::access::sessions::{COOKIE, cookie};
use crate::doors::DoorPlan;
use crate::links;
use crate::listener::Peer;
use crate::problem::{Answer, Problem};
use crate::query::shortened;
use crate::server::{Server, Shared};

/// The largest request body, in bytes.
pub(crate) const BODY_LIMIT: usize = 1024 * 1024;
/// For one answer; streams have none.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_mins(1);

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
    if headers.contains_key(header::ETAG) && !is_static {
        // May be kept, and is asked for again each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    } else if !is_static {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Since then, only over HTTPS: for a year.
const HTTPS_ONLY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// What the guard knows.
#[derive(Clone)]
pub(crate) struct Gate {
    pub server: Shared,
    pub doors: Arc<DoorPlan>,
}

pub(crate) async fn guard(
    State(gate): State<Gate>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Response {
    let (from, trusted) = (peer.address.ip(), &gate.server.options.trusted_proxies);
    let client = Client::of((from, peer.is_tls), request.headers(), trusted);
    if Client::has_unnamed_proxy(from, request.headers(), trusted) {
        gate.server.proxy_told.call_once(|| {
            tracing::warn!(
                %from,
                "a proxy asks for others that server.trusted_proxies does not name: whoever comes through it counts as \
                 one address, and wrong passwords of some shut out all; name it there, if it is yours"
            );
        });
    }
    request.extensions_mut().insert(client.clone());
    // Hashing waits its turn, and a form may come slowly: both have their time.
    let admitted = match timeout(ANSWER_WITHIN, admit(&gate, &client, request)).await {
        Ok(admitted) => admitted,
        Err(_) => Err(too_late().into_response()),
    };
    let mut response = match admitted {
        Ok(admitted) => {
            let mut response = next.run(admitted.request).await;
            // For whoever draws a problem as a page.
            if let Some(person) = admitted.person {
                response.extensions_mut().insert(person);
            }
            if let Some(cookie) = admitted.cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok())
                && !response.headers().contains_key(header::SET_COOKIE)
            {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            response
        }
        Err(refused) => refused,
    };
    if client.is_https {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HTTPS_ONLY);
    }
    response
}

pub(crate) fn too_late() -> Problem {
    let text = format!("there was no answer within {} seconds", ANSWER_WITHIN.as_secs());
    Problem::new(ErrorCode::TIMED_OUT, text)
}

/// A request that may go on.
struct Admitted {
    request: Request,
    person: Option<Person>,
    /// With which the session goes on.
    cookie: Option<String>,
}

async fn admit(gate: &Gate, client: &Client, mut request: Request) -> Result<Admitted, Response> {
    let server = &gate.server;
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if changes && comes_from_elsewhere(request.headers(), client) {
        return Err(Problem::new(ErrorCode::FORBIDDEN, "the request was sent by another site").into_response());
    }
    let declared = request.extensions().get::<MatchedPath>().cloned();
    let access = declared.as_ref().and_then(|path| gate.doors.access(request.method(), path.as_str()));
    if access == Some(Access::Open) {
        return Ok(Admitted { request, person: None, cookie: None });
    }
    let identified = identify(server, request.headers(), client, Asked::of(&request)).await;
    let Some((person, cookie)) = identified.map_err(IntoResponse::into_response)? else {
        return Err(ask_to_sign_in(&request));
    };
    // What a problem is drawn for.
    let refuse = |problem: Problem| {
        let mut response = problem.into_response();
        response.extensions_mut().insert(person.clone());
        response
    };
    let (mut parts, body) = request.into_parts();
    authorize(server, &person, access, &mut parts).await.map_err(refuse)?;
    let known = declared.as_ref().and_then(|path| gate.doors.parameters(&parts.method, path.as_str()));
    if let Some(known) = known {
        check_parameters(&parts.uri, known).map_err(refuse)?;
    }
    request = Request::from_parts(parts, body);
    // Behind an address without an entry is nothing to protect: it is told that there is nothing.
    if changes && access.is_some() {
        request = check_form_token(&person, request).await.map_err(refuse)?;
    }
    request.extensions_mut().insert(person.clone());
    if let Some(access) = access {
        request.extensions_mut().insert(access);
    }
    Ok(Admitted { request, person: Some(person), cookie })
}

/// A filter that is not known would choose everything, and a change that should only have been tried would be made. A second
/// value where one is taken would leave out what it should choose.
fn check_parameters(uri: &Uri, known: &[(&str, bool)]) -> Answer<()> {
    let Ok(Query(given)) = Query::<Vec<(String, String)>>::try_from_uri(uri) else { return Ok(()) };
    for (place, (name, value)) in given.iter().enumerate() {
        let Some((known, is_many)) = known.iter().find(|(known, _)| known == name) else {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            let name = shortened(name);
            let there_are = if names.is_empty() { "none at all".to_owned() } else { names.join(", ") };
            let text = format!("there is no parameter '{name}' here; there are {there_are}");
            return Err(Problem::invalid(text).with("path", name.into()));
        };
        if !is_many && given[..place].iter().any(|(before, _)| before == name) {
            let text = format!("the parameter '{known}' is here more than once, and takes one value");
            return Err(Problem::invalid(text).with("path", (*known).into()));
        }
        // A page's form sends it empty where nothing was chosen; what a program sends is one of the document's names.
        if *known == "order_by" && value.is_empty() {
            let text = "the parameter 'order_by' is empty: leave it out, or name what to order by";
            return Err(Problem::invalid(text).with("path", (*known).into()));
        }
    }
    Ok(())
}

/// Whether this person may do what the address asks for; nothing is behind an address without an entry.
async fn authorize(server: &Server, person: &Person, access: Option<Access>, parts: &mut Parts) -> Answer<()> {
    match access {
        None | Some(Access::Open) => Ok(()),
        Some(Access::OfSomeDag(act)) if person.may_somewhere(act) => Ok(()),
        Some(Access::OfSomeDag(act)) => Err(person.refused(act)),
        Some(Access::Act(act)) if person.may(act) => Ok(()),
        Some(Access::Act(act)) => {
            let named = RawPathParams::from_request_parts(parts, &()).await.ok();
            let dag_id = named.iter().flatten().find(|(name, _)| *name == "dag_id").map(|(_, id)| id.to_owned());
            match dag_id {
                Some(dag_id) => server.require_on(person, act, &dag_id).await,
                None => Err(person.refused(act)),
            }
        }
    }
}

/// Browsers say so of themselves; programs don't send these headers.
fn comes_from_elsewhere(headers: &HeaderMap, client: &Client) -> bool {
    if headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site") {
        return true;
    }
    match (headers.get(header::ORIGIN).map(HeaderValue::to_str), &client.host) {
        (Some(Ok(origin)), Some(host)) => origin.split_once("://").is_none_or(|(_, from)| from != host),
        (Some(Err(_)), _) => true,
        _ => false,
    }
}

type Found = Option<(Person, Option<String>)>;

/// How somebody asks, which decides what becomes of their session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    ToRead,
    ToChange,
    /// A page that stands open, and perhaps nobody before it: a stream, a part that is drawn anew. It keeps no session alive.
    ByItself,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let has = |name: &str, value: &str| {
            request.headers().get(name).and_then(|it| it.to_str().ok()).is_some_and(|it| it.contains(value))
        };
        if has("x-millrace-page", "itself") || has("accept", "text/event-stream") {
            return Self::ByItself;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        if reads { Self::ToRead } else { Self::ToChange }
    }
}

pub(crate) async fn identify(server: &Server, headers: &HeaderMap, client: &Client, asked: Asked) -> Answer<Found> {
    if let Some(authorization) = headers.get(header::AUTHORIZATION) {
        let text = authorization.to_str().unwrap_or_default();
        let (scheme, value) = text.split_once(' ').unwrap_or((text, ""));
        let person = match scheme.to_ascii_lowercase().as_str() {
            "basic" => match basic(value) {
                Some((name, password)) => server.person_of_password(client.address, &name, &password).await?,
                None => None,
            },
            "bearer" => server.person_of_token(value.trim()).await?,
            _ => None,
        };
        return Ok(person.map(|person| (person, None)));
    }
    let Some(token) = cookie(headers, COOKIE) else { return Ok(None) };
    let is_use = asked != Asked::ByItself;
    let Some((person, session)) = server.person_of_session(token, is_use).await? else { return Ok(None) };
    let cookie = if asked == Asked::ToRead { server.rotated(&session, token, client).await? } else { None };
    Ok(Some((person, cookie)))
}

fn basic(value: &str) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    // No database is asked for a name that it could not hold.
    (!name.contains('\0')).then(|| (name.to_owned(), password.to_owned()))
}

fn ask_to_sign_in(request: &Request) -> Response {
    let headers = request.headers();
    // Our own pages ask without being asked for a password by the browser.
    let by_script = headers.contains_key("x-millrace-page");
    // Who sends credentials, or reads numbers, is a program: it would take the page for what it asked for.
    let by_program = headers.contains_key(header::AUTHORIZATION) || request.uri().path() == "/metrics";
    let is_api = request.uri().path().starts_with("/api/");
    if is_api || by_script || by_program || request.method() != Method::GET {
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
    let kind = request.headers().get(header::CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    let is_form = kind.starts_with(b"application/x-www-form-urlencoded");
    let is_json = kind.starts_with(b"application/json");
    // A bearer token is never sent by itself. Basic is, but the API's JSON, PUT, PATCH and DELETE not across sites without
    // asking first.
    let is_api = request.uri().path().starts_with("/api/");
    let asks_first = is_api && (is_json || *request.method() != Method::POST);
    if person.via == Via::Bearer || (person.via == Via::Basic && asks_first) {
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
    if is_api && person.via == Via::Basic {
        let text = "send the body as JSON, with Content-Type: application/json, also when it is empty";
        return Err(Problem::new(ErrorCode::BAD_REQUEST, text));
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
        let elsewhere = |pairs: &[(&'static str, &str)]| {
            let headers = headers(pairs);
            let client = Client::of(([127, 0, 0, 1].into(), false), &headers, &[]);
            comes_from_elsewhere(&headers, &client)
        };
        assert!(!elsewhere(&[("host", "127.0.0.1:8080")]));
        assert!(!elsewhere(&[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")]));
        assert!(elsewhere(&[("host", "127.0.0.1:8080"), ("origin", "http://evil.example")]));
        assert!(elsewhere(&[("host", "127.0.0.1:8080"), ("origin", "null")]));
        assert!(elsewhere(&[("host", "a"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn reads_basic_credentials_with_colons_in_the_password() {
        assert_eq!(basic(&STANDARD.encode("a:b:c")), Some(("a".to_owned(), "b:c".to_owned())));
        assert_eq!(basic("!!"), None);
        assert_eq!(basic(&STANDARD.encode("nothing")), None);
        assert_eq!(basic(&STANDARD.encode("a\0b:c")), None);
    }
}
