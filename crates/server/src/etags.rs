//! Which version of a thing an answer shows, and changes that hold for that version only.
//!
//! A GET of the API says `ETag`, a digest of what it answers; `If-None-Match` with the same one is answered with 304 and
//! no body. A change with `If-Match` is made only if a GET of the same address would still answer that: of two people who
//! change what both of them saw, the second is told. Where an answer hides secrets, it is [`Versioned`] by what it hides.
//!
//! Connections, variables and pools are read, merged with what a request names, and written: whoever changes one waits for
//! whoever does already, with `If-Match` or without.

use std::fmt::Debug;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use millrace_model::error_code::ErrorCode;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::intake;
use crate::problem::{Answer, Problem};
use crate::server::Shared;

/// Longer answers have no ETag: they are streams of logs.
const LONGEST: usize = 8 * 1024 * 1024;

/// The routes themselves, for a look at what an address shows.
#[derive(Clone)]
pub(crate) struct Versions {
    pub server: Shared,
    pub routes: Router,
}

/// An answer that does not show all that makes it another one.
pub(crate) struct Versioned<T> {
    pub shown: Json<T>,
    /// Of what is stored.
    pub version: String,
}

/// Goes into the ETag beside the body.
#[derive(Clone)]
struct Version(String);

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        (Extension(Version(self.version)), self.shown).into_response()
    }
}

/// Of rows as they are stored. Secrets are sealed anew whenever they are written: another one shows, though it is drawn as
/// `***`, and nobody can try what it is by guessing.
pub(crate) fn version_of(rows: &impl Debug) -> String {
    digest(format!("{rows:?}").as_bytes())
}

pub(crate) async fn versions(State(versions): State<Versions>, mut request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    if is_api && request.method() == Method::HEAD {
        // What a GET would answer has the ETag; who routes takes the body off.
        *request.method_mut() = Method::GET;
    }
    let (method, headers) = (request.method().clone(), request.headers());
    if is_api && method == Method::GET {
        // One that cannot be read matches nothing: the answer is sent whole.
        let known = list(headers, &header::IF_NONE_MATCH).unwrap_or_default();
        return with_tag(next.run(request).await, &known).await;
    }
    let wanted = match list(headers, &header::IF_MATCH) {
        Ok(wanted) => wanted,
        Err(problem) => return problem.into_response(),
    };
    let has_condition = is_api && !wanted.is_empty();
    let is_change = !matches!(method, Method::GET | Method::HEAD | Method::OPTIONS);
    if !is_change || !(has_condition || is_merged(request.extensions().get())) {
        return next.run(request).await;
    }
    // It changes nothing, and may take as long as somebody else likes: it must keep nobody waiting.
    if request.extensions().get() == Some(&Access::Act(Act::TestConnections)) {
        return nothing_to_see().into_response();
    }
    // Whoever else changes something that was looked at waits, here and in other processes: between the look and the change
    // nothing comes. The body is here already, so that nobody waits for a slow sender.
    let _alone_here = versions.server.changing.lock().await;
    let _alone = match versions.server.store().alone().await {
        Ok(alone) => alone,
        Err(error) => return Problem::from(error).into_response(),
    };
    if !has_condition {
        return next.run(request).await;
    }
    // A request's body is nobody else's: what the look needs of it is taken out.
    let (uri, person) = (request.uri().clone(), request.extensions().get::<Person>().cloned());
    match shown(&versions, uri, person).await {
        Ok(tag) if wanted.iter().any(|wanted| wanted == "*" || *wanted == tag) => next.run(request).await,
        Ok(tag) => {
            let text = "it was changed since it was read; read it again, and send the new ETag as If-Match";
            Problem::new(ErrorCode::PRECONDITION_FAILED, text).header(header::ETAG, &tag).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// Whether what the address changes is read, merged and written, by the API or by a page. Trying a connection is another
/// act: it changes nothing, and takes its time.
fn is_merged(access: Option<&Access>) -> bool {
    use Act::{WriteConnections, WritePools, WriteVariables};
    matches!(access, Some(Access::Act(WriteConnections | WritePools | WriteVariables)))
}

fn nothing_to_see() -> Problem {
    let text = "If-Match is for addresses that show what they change, and there is nothing to see at this one";
    Problem::new(ErrorCode::PRECONDITION_FAILED, text)
}

/// The ETag that a GET of the same address has now.
async fn shown(versions: &Versions, uri: Uri, person: Option<Person>) -> Answer<String> {
    let mut look = Request::new(Body::empty());
    *look.uri_mut() = uri;
    if let Some(person) = person {
        look.extensions_mut().insert(person);
    }
    let Ok(response) = TowerToHyperService::new(versions.routes.clone()).call(look).await;
    if !response.status().is_success() {
        return Err(nothing_to_see());
    }
    let version = response.extensions().get().cloned();
    let body = to_bytes(response.into_body(), LONGEST).await;
    body.map(|body| tag_of(&body, version.as_ref()))
        .map_err(|_| Problem::new(ErrorCode::PRECONDITION_FAILED, "it is too long to compare"))
}

async fn with_tag(response: Response, known: &[String]) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    if response.status() != StatusCode::OK || !kind.starts_with(b"application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, LONGEST).await else {
        let text = "the answer is too long; ask for less with limit";
        return Problem::new(ErrorCode::BODY_TOO_LARGE, text).into_response();
    };
    let tag = tag_of(&body, parts.extensions.get());
    let is_known = known.iter().any(|known| known == "*" || *known == tag);
    if let Ok(value) = HeaderValue::from_str(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return Response::from_parts(parts, Body::empty());
    }
    Response::from_parts(parts, Body::from(body))
}

fn tag_of(body: &Bytes, version: Option<&Version>) -> String {
    match version {
        None => format!("\"{}\"", digest(body)),
        Some(Version(version)) => format!("\"{}\"", digest(&[version.as_bytes(), body].concat())),
    }
}

/// Enough of SHA-256 to tell versions of a thing apart, in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes)[..16])
}

/// The tags of `If-Match` or `If-None-Match`. Compression makes weak ones of ours: they mean the same here.
fn list(headers: &HeaderMap, name: &header::HeaderName) -> Answer<Vec<String>> {
    let tags = intake::texts(headers, name)?;
    let tags = tags.into_iter().flat_map(|text| text.split(','));
    Ok(tags.map(|tag| tag.trim().trim_start_matches("W/").to_owned()).filter(|tag| !tag.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_from_lists() {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static("\"a\", W/\"b\" ,, *"));
        headers.append(header::IF_MATCH, HeaderValue::from_static("\"c\""));
        assert_eq!(list(&headers, &header::IF_MATCH).unwrap(), ["\"a\"", "\"b\"", "*", "\"c\""]);
        let tag = |body: &'static str, version: Option<&str>| {
            tag_of(&Bytes::from_static(body.as_bytes()), version.map(|it| Version(it.to_owned())).as_ref())
        };
        let different = [tag("a", None), tag("b", None), tag("a", Some("1")), tag("a", Some("2")), tag("b", Some("2"))];
        assert_eq!(different.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{different:?}");
    }
}
