//! Every address, and what lies around them all.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{Method, StatusCode, Uri};
use millrace_model::error_code::ErrorCode;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use crate::guard::BODY_LIMIT;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::rendering::Wishes;
use crate::server::Shared;
use crate::{api, assets, events, guard, pages, sign_in};

/// For one answer; streams have none.
const TIMEOUT: Duration = Duration::from_mins(1);

pub(crate) fn all(server: Shared) -> Router {
    let answers = Router::new()
        .nest("/api/v1", api::routes())
        .merge(pages::routes())
        .route("/sign-in", get(sign_in::page).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/static/{*name}", get(assets::serve))
        .route(
            "/favicon.ico",
            get(async || assets::serve(axum::extract::Path("mark.svg".to_owned()), http::HeaderMap::new()).await),
        )
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT));
    let streams = Router::new()
        .route("/events", get(events::changes))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}/log-events", get(events::log));
    answers
        .merge(streams)
        .layer(from_fn_with_state(server.clone(), guard::guard))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(CatchPanicLayer::custom(|_| {
            let text = "something failed inside Millrace; its log tells more";
            Problem::new(ErrorCode::INTERNAL, text).into_response()
        }))
        .layer(from_fn_with_state(server.clone(), problems_as_pages))
        .layer(CompressionLayer::new())
        .layer(from_fn(guard::secure))
        .with_state(server)
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
