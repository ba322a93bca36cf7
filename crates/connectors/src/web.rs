//! One request to somebody's web server, and its whole answer, which is small.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::parts::wire::tls::{Check, client_config};

/// For one request, answer and all.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of an answer.
const LONGEST: usize = 1024 * 1024;

/// Status and body. `authorities` is a PEM file; without it the machine's own store is asked. The error is a sentence.
pub async fn ask(
    method: http::Method,
    url: &str,
    headers: &[(&str, String)],
    body: String,
    authorities: Option<&str>,
) -> Result<(u16, Vec<u8>), String> {
    let uri: http::Uri = url.parse().map_err(|error| format!("'{url}' is no address: {error}"))?;
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str))
        .header("host", uri.authority().map_or("", http::uri::Authority::as_str))
        .header("user-agent", "millrace");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.body(body).map_err(|error| format!("{url}: {error}"))?;
    let answered = tokio::time::timeout(PATIENCE, send(&uri, request, authorities)).await;
    answered
        .unwrap_or_else(|_| Err(format!("no answer in {} s", PATIENCE.as_secs())))
        .map_err(|error| format!("{url}: {error}"))
}

async fn send(
    uri: &http::Uri,
    request: http::Request<String>,
    authorities: Option<&str>,
) -> Result<(u16, Vec<u8>), String> {
    let is_tls = uri.scheme_str() == Some("https");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let socket = TcpStream::connect((host.as_str(), port)).await;
    let socket = socket.map_err(|error| format!("cannot reach {host}:{port}: {error}"))?;
    if !is_tls {
        return exchange(TokioIo::new(socket), request).await;
    }
    let config = client_config(Check::Full, authorities)?;
    let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
    let socket = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
    exchange(TokioIo::new(socket.map_err(|error| format!("TLS: {error}"))?), request).await
}

async fn exchange<S>(socket: TokioIo<S>, request: http::Request<String>) -> Result<(u16, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(socket).await;
    let (mut sender, transport) = handshake.map_err(|error| format!("no HTTP there: {error}"))?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let mut body = std::pin::pin!(answer.into_body());
        let mut bytes = Vec::new();
        while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
            if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
                bytes.extend_from_slice(&data);
            }
            if bytes.len() > LONGEST {
                return Err(format!("the answer is longer than {LONGEST} bytes"));
            }
        }
        Ok((status, bytes))
    };
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
