//! Signing in and out.

use axum::extract::{Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, Form, Json};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_model::error_code::ErrorCode;
use minijinja::Value;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::access::client::Client;
use crate::access::person::Person;
use crate::access::sessions::{COOKIE, cookie, session_cookie};
use crate::api::{Given, Instant, Whole, instant};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::rendering::{Wishes, merged, values};
use crate::server::{Server, Shared};
use crate::words::t;

#[derive(Deserialize)]
pub(crate) struct Next {
    pub next: Option<String>,
    signed_out: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Credentials {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: Option<String>,
}

pub(crate) async fn page(State(server): State<Shared>, Query(query): Query<Next>, headers: HeaderMap) -> Answer {
    let next = links::onward(query.next.as_deref());
    let signed_out = query.signed_out.as_ref().and_then(|_| server.oidc.as_ref()?.end_session_url());
    drawn(&server, &headers, values! { next, username => "", problem => (), end_session => signed_out }).await
}

/// With a problem, if there is one.
pub(crate) async fn draw(
    server: &Server,
    headers: &HeaderMap,
    next: &str,
    username: &str,
    problem: Option<String>,
) -> Answer {
    drawn(server, headers, values! { next, username, problem, end_session => () }).await
}

async fn drawn(server: &Server, headers: &HeaderMap, values: Value) -> Answer {
    let provider = server.oidc.as_ref().map(|provider| provider.options.label.as_str());
    server.page("sign_in.html", None, &Wishes::of(headers), merged(values, values! { provider })).await
}

pub(crate) async fn sign_in(
    State(server): State<Shared>,
    Extension(client): Extension<Client>,
    headers: HeaderMap,
    Form(given): Form<Credentials>,
) -> Answer {
    let next = links::onward(given.next.as_deref());
    let (status, problem) = match server.person_of_password(client.address, &given.username, &given.password).await {
        Ok(Some(person)) => {
            let (token, ends) = server.begin_session(&person.name, cookie(&headers, COOKIE)).await?;
            let seconds = (ends - server.now()).num_seconds();
            return with_cookie(Redirect::to(next).into_response(), &session_cookie(&client, &token, seconds));
        }
        Ok(None) => (StatusCode::UNAUTHORIZED, t("User name and password do not fit together.").to_owned()),
        Err(problem) if problem.code == ErrorCode::TOO_MANY_REQUESTS => (problem.status(), problem.detail),
        Err(problem) => return Err(problem),
    };
    let mut response = draw(&server, &headers, next, &given.username, Some(problem)).await?;
    *response.status_mut() = status;
    Ok(response)
}

pub(crate) async fn sign_out(
    State(server): State<Shared>,
    person: Person,
    Extension(client): Extension<Client>,
) -> Answer {
    server.end_session(&person).await?;
    let to = if server.oidc.is_some() { "/sign-in?signed_out=1" } else { "/sign-in" };
    with_cookie(Redirect::to(to).into_response(), &session_cookie(&client, "", 0))
}

fn with_cookie(mut response: Response, cookie: &str) -> Answer {
    let value = HeaderValue::from_str(cookie).map_err(|error| Problem::internal(&error))?;
    response.headers_mut().append(header::SET_COOKIE, value);
    Ok(response)
}

#[derive(Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "named as in OAuth")]
pub(crate) struct AccessToken {
    access_token: String,
    token_type: &'static str,
    expires_at: Instant,
}

/// `POST /api/v1/auth/token`
pub(crate) async fn token(
    State(server): State<Shared>,
    Extension(client): Extension<Client>,
    given: Given<Credentials>,
) -> Answer<(StatusCode, Json<AccessToken>)> {
    let Json(Whole(given)) = given
        .map_err(|_| Problem::new(ErrorCode::BAD_REQUEST, "send a JSON object with \"username\" and \"password\""))?;
    let Some(person) = server.person_of_password(client.address, &given.username, &given.password).await? else {
        return Err(Problem::new(ErrorCode::UNAUTHENTICATED, "user name and password do not fit together")
            .header(header::WWW_AUTHENTICATE, "Basic realm=\"Millrace\", charset=\"UTF-8\""));
    };
    let (token, ends) = server.begin_access(&person.name).await?;
    let body = AccessToken { access_token: token, token_type: "bearer", expires_at: instant(ends) };
    Ok((StatusCode::CREATED, Json(body)))
}
