//! How the server asks others: given from outside, as this crate opens no connection itself.

use std::sync::Arc;

use futures::future::BoxFuture;

/// One request.
#[derive(Clone)]
pub struct WebRequest {
    pub method: http::Method,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

#[derive(Debug, Clone)]
pub struct WebAnswer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Asks, or says why there is no answer.
pub type Web = Arc<dyn Fn(WebRequest) -> BoxFuture<'static, Result<WebAnswer, String>> + Send + Sync>;
