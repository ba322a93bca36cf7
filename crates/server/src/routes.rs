//! Every address, and what lies around them all.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode, Uri, header};
use millrace_model::error_code::ErrorCode;
use millrace_model::span::SPANS;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::limit::RequestBodyLimitLayer;

use crate::access::guard::{ANSWER_WITHIN, BODY_LIMIT, Gate};
use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::access::{guard, oidc, sign_in};
use crate::api::LINES;
use crate::doors::{Door, DoorPlan, Doors};
use crate::etags::Versions;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::rendering::Wishes;
use crate::server::Shared;
use crate::{api, etags, events, intake, metrics, pages, viewer, web_files};

fn answers() -> Doors {
    api::doors()
        .merge(pages::doors())
        .merge(Doors::new().get("/sign-in", Access::Open, sign_in::page).post(
            "/sign-in",
            Access::Open,
            sign_in::sign_in,
        ))
        .merge(Doors::new().get("/sign-in/oidc", Access::Open, oidc::leave).get(
            oidc::CALLBACK,
            Access::Open,
            oidc::come_back,
        ))
        // The language of the sign-in page is chosen before signing in.
        .merge(Doors::new().post("/view", Access::Open, viewer::choose))
        .merge(Doors::new().get("/metrics", Act::ReadSystem, metrics::metrics))
        .merge(Doors::new().post("/sign-out", Act::OwnAccount, sign_in::sign_out))
        .merge(Doors::new().get("/static/{*name}", Access::Open, web_files::serve).get(
            "/favicon.ico",
            Access::Open,
            async || web_files::serve(axum::extract::Path("mark.svg".to_owned()), http::HeaderMap::new()).await,
        ))
}

fn streams() -> Doors {
    let changes = Doors::under("/api/v1").get("/events", Act::ReadDags, events::changes).does(
        op("Follow changes of states, as server-sent events")
            .query("dag", Kind::Text, "Of this DAG only")
            .header("Last-Event-ID", "The id of the last event that came: what came since is told first")
            .gives_text("text/event-stream"),
    );
    Doors::new().merge(changes).get("/events", Act::ReadDags, events::changes).get(
        "/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log-events",
        Act::ReadLogs,
        events::log,
    )
}

/// The addresses of all pages, with names in braces.
pub fn page_addresses() -> Vec<String> {
    pages::doors().list().iter().filter(|door| door.method == http::Method::GET).map(|door| door.path.clone()).collect()
}

/// Every address with its method and what it asks for.
pub fn doors() -> Vec<Door> {
    [answers().list(), streams().list()].concat()
}

pub(crate) fn all(server: Shared) -> Router {
    let (answers, answers_plan) = answers().open();
    let (streams, streams_plan) = streams().open();
    let plan = DoorPlan::of(answers_plan.into_iter().chain(streams_plan));
    let gate = Gate { server: server.clone(), doors: Arc::new(plan) };
    let versions = Versions { server: server.clone(), routes: answers.clone().with_state(server.clone()) };
    let answers = answers.layer(from_fn_with_state(versions, etags::versions)).layer(from_fn(intake::body));
    let answers = answers.fallback(nothing_here).method_not_allowed_fallback(no_such_method).layer(from_fn(in_time));
    answers
        .merge(streams)
        .layer(from_fn_with_state(gate, guard::guard))
        .layer(from_fn(intake::address))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(|_| {
            let text = "something failed inside Millrace; its log tells more";
            Problem::new(ErrorCode::INTERNAL, text).into_response()
        }))
        .layer(from_fn(plain_errors_as_problems))
        .layer(from_fn_with_state(server.clone(), problems_as_pages))
        .layer(from_fn(viewer::introduce))
        // A line that waits in a compressor for the next one is no line.
        .layer(CompressionLayer::new().compress_when(DefaultPredicate::new().and(NotForContentType::const_new(LINES))))
        .layer(from_fn_with_state(server.clone(), counted))
        .layer(from_fn(guard::secure))
        .with_state(server)
}

async fn counted(State(server): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let span = RequestSpan::of(&server, &request);
    let response = next.run(request).await;
    server.answered.note(response.status().as_u16(), began.elapsed());
    if let Some(span) = span {
        span.end(response.status().as_u16(), began.elapsed());
    }
    response
}

/// For whoever follows requests; the address with names in braces, as the query and the names are nobody else's business.
struct RequestSpan {
    method: Method,
    route: String,
    traceparent: String,
    begin: i64,
}

impl RequestSpan {
    /// None while nobody listens.
    fn of(server: &Shared, request: &Request) -> Option<Self> {
        if !tracing::enabled!(target: SPANS, tracing::Level::TRACE) {
            return None;
        }
        let route = request.extensions().get::<MatchedPath>().map_or("(none)", MatchedPath::as_str).to_owned();
        let traceparent = request.headers().get("traceparent").and_then(|it| it.to_str().ok()).unwrap_or_default();
        let (method, begin) = (request.method().clone(), server.now().timestamp_micros());
        Some(Self { method, route, traceparent: traceparent.to_owned(), begin })
    }

    fn end(&self, status: u16, took: Duration) {
        tracing::trace!(
            target: SPANS,
            begin = self.begin,
            end = self.begin + i64::try_from(took.as_micros()).unwrap_or(0),
            http.request.method = self.method.as_str(),
            http.route = self.route.as_str(),
            http.response.status_code = status,
            traceparent = self.traceparent.as_str(),
            error = if status >= 500 { "failed" } else { "" },
            "{} {}",
            self.method,
            self.route
        );
    }
}

async fn in_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(ANSWER_WITHIN, next.run(request)).await {
        Ok(response) => response,
        Err(_) => guard::too_late().into_response(),
    }
}

/// More of a refusal's own words is not read.
const LONGEST_WORDS: usize = 4096;

/// How the router begins its words about an address whose parts fit no types of its handler.
const NO_SUCH_ADDRESS: &str = "Invalid URL: Cannot parse";

/// What the libraries refuse by themselves (a path or form that can't be read, a body that is too large) says so in plain
/// text: here it becomes what every other refusal is.
async fn plain_errors_as_problems(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let is_refusal = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(b"".as_slice(), |kind| kind.as_bytes());
    let is_plain = kind.is_empty() || kind.starts_with(b"text/plain");
    if !is_refusal || !is_plain || response.extensions().get::<Problem>().is_some() {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let words = to_bytes(body, LONGEST_WORDS).await.ok().and_then(|words| String::from_utf8(words.to_vec()).ok());
    let words = words.filter(|words| !words.is_empty());
    let code = match status {
        // An address whose number is none: nothing is there.
        StatusCode::BAD_REQUEST if words.as_ref().is_some_and(|words| words.starts_with(NO_SUCH_ADDRESS)) => {
            ErrorCode::NOT_FOUND
        }
        StatusCode::NOT_FOUND => ErrorCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::METHOD_NOT_ALLOWED,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::BODY_TOO_LARGE,
        StatusCode::UNPROCESSABLE_ENTITY => ErrorCode::INVALID,
        status if status.is_client_error() => ErrorCode::BAD_REQUEST,
        _ => ErrorCode::INTERNAL,
    };
    let person = parts.extensions.remove::<Person>();
    let detail = match code.name {
        "body_too_large" => format!("a request may have {BODY_LIMIT} bytes"),
        "not_found" => format!("there is nothing at {path}"),
        _ => words.unwrap_or_else(|| code.explanation.to_owned()),
    };
    let mut response = Problem::new(code, detail).into_response();
    if let Some(person) = person {
        response.extensions_mut().insert(person);
    }
    response
}

async fn nothing_here(uri: Uri) -> Problem {
    Problem::new(ErrorCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Problem {
    Problem::new(ErrorCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()))
}

/// Outside of the API, a problem is shown as a page.
async fn problems_as_pages(State(server): State<Shared>, request: Request, next: Next) -> Response {
    let wants_page = !request.uri().path().starts_with("/api/") && !request.headers().contains_key("x-millrace-page");
    let wishes = Wishes::of(request.headers());
    let response = next.run(request).await;
    let (Some(problem), true) = (response.extensions().get::<Problem>().cloned(), wants_page) else { return response };
    let person = response.extensions().get::<Person>().cloned();
    let page: Answer = server.error_page(&problem, &wishes, person.as_ref());
    let mut page = page.unwrap_or(response);
    for (name, value) in problem.headers {
        page.headers_mut().append(name, value);
    }
    page
}
