//! One request to somebody's web server, and its whole answer, which is small.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::parts::wire::tls::{Check, client_config};

/// For one request, answer and all.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const LONGEST: usize = 1024 * 1024;

/// Why there is no answer, as a sentence.
#[derive(Debug)]
pub enum NoAnswer {
    /// What was asked for cannot be sent, however often.
    Settings(String),
    Outside(String),
}

impl NoAnswer {
    fn sentence(self) -> String {
        let (Self::Settings(sentence) | Self::Outside(sentence)) = self;
        sentence
    }

    fn outside(reason: impl std::fmt::Display) -> Self {
        Self::Outside(reason.to_string())
    }
}

/// Status and body. `authorities` is a PEM file; without it the machine's own store is asked. A name and a password in the
/// address are sent as Basic authorization, unless `headers` bring one. The error is a sentence.
pub async fn ask(
    method: http::Method,
    url: &str,
    headers: &[(&str, String)],
    body: String,
    authorities: Option<&str>,
) -> Result<(u16, Vec<u8>), String> {
    let uri: http::Uri = url.parse().map_err(|error| format!("'{url}' is no address: {error}"))?;
    let mut request = request_to(&uri, method);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(body).map_err(|error| format!("{url}: {error}"))?;
    let answered = tokio::time::timeout(PATIENCE, exchange(&uri, request, authorities, whole)).await;
    let late = || NoAnswer::Outside(format!("no answer in {} s", PATIENCE.as_secs()));
    answered.unwrap_or_else(|_| Err(late())).map_err(|error| format!("{url}: {}", error.sentence()))
}

/// A request to the address, with the headers that it makes itself.
pub fn request_to(uri: &http::Uri, method: http::Method) -> http::request::Builder {
    let authority = uri.authority().map_or("", http::uri::Authority::as_str);
    let host = authority.rsplit('@').next().unwrap_or_default();
    http::Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
        .header("host", host)
        .header("user-agent", "millrace")
}

/// The header `authorization` for the name and the password in an address, if there are any.
fn basic_authorization(uri: &http::Uri) -> Option<String> {
    let (person, _) = uri.authority()?.as_str().rsplit_once('@')?;
    let (name, password) = person.split_once(':').unwrap_or((person, ""));
    let plain: Vec<u8> =
        percent_decode_str(name).chain(b":".iter().copied()).chain(percent_decode_str(password)).collect();
    Some(format!("Basic {}", STANDARD.encode(plain)))
}

/// Host, port, and whether it speaks TLS.
pub fn place(uri: &http::Uri) -> (String, u16, bool) {
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    (host, uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 }), is_tls)
}

/// Sends a request of [`request_to`], and takes of the answer what `take` does.
pub async fn exchange<T, F>(
    uri: &http::Uri,
    mut request: http::Request<String>,
    authorities: Option<&str>,
    take: impl FnOnce(http::Response<Incoming>) -> F,
) -> Result<T, NoAnswer>
where
    F: Future<Output = Result<T, NoAnswer>>,
{
    if let Some(basic) =
        basic_authorization(uri).filter(|_| !request.headers().contains_key(http::header::AUTHORIZATION))
    {
        let basic = http::HeaderValue::from_str(&basic).map_err(|error| NoAnswer::Settings(error.to_string()))?;
        request.headers_mut().insert(http::header::AUTHORIZATION, basic);
    }
    let (host, port, is_tls) = place(uri);
    let socket = TcpStream::connect((host.as_str(), port)).await;
    let socket = socket.map_err(|error| NoAnswer::Outside(format!("cannot reach {host}:{port}: {error}")))?;
    if !is_tls {
        return over(TokioIo::new(socket), request, take).await;
    }
    let config = client_config(Check::Full, authorities).map_err(NoAnswer::Settings)?;
    let name = ServerName::try_from(host).map_err(|error| NoAnswer::Settings(error.to_string()))?;
    let socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    let socket = socket.map_err(|error| NoAnswer::Outside(format!("TLS: {error}")))?;
    over(TokioIo::new(socket), request, take).await
}

async fn over<S, T, F>(
    socket: TokioIo<S>,
    request: http::Request<String>,
    take: impl FnOnce(http::Response<Incoming>) -> F,
) -> Result<T, NoAnswer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<T, NoAnswer>>,
{
    let handshake = hyper::client::conn::http1::handshake(socket).await;
    let (mut sender, transport) = handshake.map_err(|error| NoAnswer::Outside(format!("no HTTP there: {error}")))?;
    // Ends with the answer, or when the sender is dropped.
    let exchange = async { take(sender.send_request(request).await.map_err(NoAnswer::outside)?).await };
    // A server that answers and hangs up at once ends both together: the answer counts.
    let transport = async {
        let _ = transport.await;
        std::future::pending().await
    };
    tokio::select! {
        done = exchange => done,
        never = transport => never,
    }
}

async fn whole(answer: http::Response<Incoming>) -> Result<(u16, Vec<u8>), NoAnswer> {
    let status = answer.status().as_u16();
    let mut body = std::pin::pin!(answer.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        if let Ok(data) = frame.map_err(NoAnswer::outside)?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > LONGEST {
            return Err(NoAnswer::Outside(format!("the answer is longer than {LONGEST} bytes")));
        }
    }
    Ok((status, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_stands_in_no_host() {
        for (url, host, basic) in [
            ("http://col:p%40ss@127.0.0.1:4318/v1", "127.0.0.1:4318", Some("Basic Y29sOnBAc3M=")),
            ("https://only@h", "h", Some("Basic b25seTo=")),
            ("https://[::1]:8443/a?b=c", "[::1]:8443", None),
        ] {
            let uri: http::Uri = url.parse().unwrap_or_default();
            let headers = request_to(&uri, http::Method::GET);
            assert_eq!(headers.headers_ref().and_then(|it| it["host"].to_str().ok()), Some(host));
            assert_eq!(basic_authorization(&uri).as_deref(), basic, "{url}");
        }
    }
}
