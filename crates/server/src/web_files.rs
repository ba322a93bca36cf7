//! The files of `web`, in the binary: what browsers load, templates, translations.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use millrace_model::error_code::ErrorCode;
use rust_embed::RustEmbed;

use crate::problem::{Answer, Problem};

#[derive(RustEmbed)]
#[folder = "../../web/static"]
struct Static;

#[derive(RustEmbed)]
#[folder = "../../web/templates"]
struct Templates;

#[derive(RustEmbed)]
#[folder = "../../web/words"]
struct Words;

/// The translations into one language.
pub(crate) fn words(name: &str) -> Option<String> {
    Words::get(name).map(|file| String::from_utf8_lossy(&file.data).into_owned())
}

#[cfg(test)]
pub(crate) fn templates() -> Vec<String> {
    Templates::iter().map(|name| name.into_owned()).collect()
}

pub(crate) fn template(name: &str) -> Option<String> {
    Templates::get(name).map(|file| String::from_utf8_lossy(&file.data).into_owned())
}

fn hash(file: &rust_embed::EmbeddedFile) -> String {
    hex::encode(&file.metadata.sha256_hash()[..8])
}

/// The address of a file, which changes with its content.
pub(crate) fn address(name: &str) -> String {
    let version = Static::get(name).map(|file| hash(&file)).unwrap_or_default();
    format!("/static/{name}?v={version}")
}

pub(crate) async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Answer {
    let Some(file) = Static::get(&name) else {
        return Err(Problem::new(ErrorCode::NOT_FOUND, "there is no such file"));
    };
    let tag = format!("\"{}\"", hash(&file));
    let kind = match name.rsplit_once('.').map(|(_, end)| end) {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes());
    let mut response: Response =
        if known { StatusCode::NOT_MODIFIED.into_response() } else { file.data.into_owned().into_response() };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    Ok(response)
}
