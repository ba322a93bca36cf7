//! What a request brings is looked at once, before anything is done with it: what no database of ours keeps as it was sent
//! is refused for every address alike.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use millrace_model::error_code::ErrorCode;
use millrace_model::json_text::flaw;

use crate::access::guard::BODY_LIMIT;
use crate::problem::{Answer, Problem};

/// Path and query.
pub(crate) async fn address(request: Request, next: Next) -> Response {
    match without_nul(request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn without_nul(uri: &Uri) -> Answer<()> {
    let has_nul = |text: &str| text.contains("%00");
    if has_nul(uri.path()) || uri.query().is_some_and(has_nul) {
        let text = "the address holds the character NUL (%00), which no name and no value has";
        return Err(Problem::new(ErrorCode::BAD_REQUEST, text));
    }
    Ok(())
}

/// The body, read whole: whoever sends it slowly holds up nobody who changes something meanwhile.
pub(crate) async fn body(request: Request, next: Next) -> Response {
    match read(request).await {
        Ok(request) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn read(request: Request) -> Answer<Request> {
    let (parts, body) = request.into_parts();
    let too_large = |_| Problem::new(ErrorCode::BODY_TOO_LARGE, format!("a request may have {BODY_LIMIT} bytes"));
    let bytes = to_bytes(body, BODY_LIMIT).await.map_err(too_large)?;
    let kind = parts.headers.get(header::CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    if kind.starts_with(b"application/x-www-form-urlencoded") {
        // The API takes no forms. A delivery says what it likes of itself (`curl -d` says this), and is read as JSON.
        let is_form = !parts.uri.path().starts_with("/api/");
        if is_form && (bytes.windows(3).any(|three| three == b"%00") || bytes.contains(&0)) {
            return Err(Problem::invalid("a field of the form holds the character NUL, which cannot be kept"));
        }
    } else if let Some(flaw) = kind.starts_with(b"application/").then(|| flaw(&bytes)).flatten() {
        return Err(Problem::invalid(flaw.to_string()));
    }
    Ok(Request::from_parts(parts, Body::from(bytes)))
}

/// The texts of a header that may come more than once. One that is not plain ASCII means nothing that could be held to.
pub(crate) fn texts<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Answer<Vec<&'h str>> {
    let text = |value: &'h HeaderValue| {
        value.to_str().map_err(|_| {
            let text = format!("the header {name} can hold only letters, digits and signs of ASCII");
            Problem::new(ErrorCode::BAD_REQUEST, text)
        })
    };
    headers.get_all(name).iter().map(text).collect()
}

/// The text of a header that may come once.
pub(crate) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Answer<Option<&'h str>> {
    let texts = texts(headers, name)?;
    if texts.len() > 1 {
        let text = format!("the header {name} was sent {} times; send it once", texts.len());
        return Err(Problem::new(ErrorCode::BAD_REQUEST, text));
    }
    Ok(texts.first().copied())
}
