//! Tells people and programs outside what has happened: a signed POST, or a command.

use std::process::Stdio;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use millrace_operator_api::connection::Connection;
use millrace_operator_api::{PortError, PortErrorKind};
use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::processes::ORDINARY;
use crate::web::{self, NoAnswer};

/// For one attempt, answer and all.
const PATIENCE: Duration = Duration::from_secs(20);
/// For one command.
const LONGEST_COMMAND: Duration = Duration::from_mins(1);
/// Bytes of an answer, or of what a command says, that an error repeats.
const SHOWN: u64 = 500;

/// Sends `body` to the address of the connection and waits for an answer of 200 to 299. With a password it is signed:
/// `X-Millrace-Signature: sha256=<hex>` is the HMAC-SHA256 of the body under it. `X-Millrace-Delivery` is the same at each
/// attempt, so that the receiver can tell a repetition.
pub async fn post_signed(connection: &Connection, delivery: i64, event: &str, body: String) -> Result<(), PortError> {
    let sent = tokio::time::timeout(PATIENCE, post(connection, delivery, event, body)).await;
    sent.unwrap_or_else(|_| Err(failed(connection, format!("no answer in {} s", PATIENCE.as_secs()))))
}

/// Whether somebody listens at the address. Sends nothing.
pub async fn reach(connection: &Connection) -> Result<String, PortError> {
    let uri = address(connection)?;
    let (host, port, _) = web::place(&uri);
    let socket = tokio::time::timeout(PATIENCE, TcpStream::connect((host.as_str(), port)));
    let socket = socket.await.map_err(|_| failed(connection, format!("no answer in {} s", PATIENCE.as_secs())))?;
    socket.map_err(|error| failed(connection, format!("cannot reach {host}:{port}: {error}")))?;
    Ok(format!("{host}:{port} takes connections; nothing was sent"))
}

fn failed(connection: &Connection, reason: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Unavailable, format!("webhook {:?}: {reason}", connection.conn_id))
}

fn invalid(connection: &Connection, reason: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Invalid, format!("connection {:?}: {reason}", connection.conn_id))
}

/// The address: `host` when it is a whole URL, else made of schema (https), host and port; `extra.path` comes behind.
fn address(connection: &Connection) -> Result<http::Uri, PortError> {
    let host = connection.host.as_deref().filter(|host| !host.is_empty());
    let host = host.ok_or_else(|| invalid(connection, "it has no host to send to"))?;
    let scheme = connection.schema.as_deref().filter(|schema| matches!(*schema, "http" | "https")).unwrap_or("https");
    let mut url = if host.contains("://") { host.to_owned() } else { format!("{scheme}://{host}") };
    let authority = url.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    if let Some(port) = connection.port.filter(|_| !authority.contains(['/', ':'])) {
        url.push_str(&format!(":{port}"));
    }
    if let Some(path) = connection.extra.text("path") {
        url = format!("{}/{}", url.trim_end_matches('/'), path.trim_start_matches('/'));
    }
    let uri: http::Uri = url.parse().map_err(|error| invalid(connection, format!("its address is no URL: {error}")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(uri),
        _ => Err(invalid(connection, "its address must begin with http:// or https://")),
    }
}

fn request(
    connection: &Connection,
    uri: &http::Uri,
    (delivery, event): (i64, &str),
    body: String,
) -> Result<http::Request<String>, PortError> {
    let mut request = web::request_to(uri, http::Method::POST)
        .header("content-type", "application/json")
        .header("x-millrace-event", event)
        .header("x-millrace-delivery", delivery);
    if let Some(secret) = connection.password.as_ref().filter(|secret| !secret.expose_secret().is_empty()) {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .map_err(|_| invalid(connection, "its password cannot sign"))?;
        mac.update(body.as_bytes());
        let signature = hex::encode(mac.finalize().into_bytes());
        request = request.header("x-millrace-signature", format!("sha256={signature}"));
    }
    if let Some(Value::Object(headers)) = connection.extra.0.get("headers") {
        for (name, value) in headers {
            request = request.header(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        }
    }
    request.body(body).map_err(|error| invalid(connection, format!("its extra.headers cannot be sent: {error}")))
}

async fn post(connection: &Connection, delivery: i64, event: &str, body: String) -> Result<(), PortError> {
    let uri = address(connection)?;
    let request = request(connection, &uri, (delivery, event), body)?;
    // What it says beside the status is of no interest, and may be long.
    let status =
        web::exchange(&uri, request, connection.extra.text("ca_file"), async |answer| Ok(answer.status())).await;
    match status {
        Ok(status) if status.is_success() => Ok(()),
        Ok(status) => Err(failed(connection, format!("it answered {status}"))),
        Err(NoAnswer::Settings(error)) => Err(invalid(connection, error)),
        Err(NoAnswer::Outside(error)) => Err(failed(connection, error)),
    }
}

/// Runs a command of bash with these variables in its environment, which holds nothing else of the daemon's but the
/// ordinary.
pub async fn run_command(command: &str, variables: &[(&str, String)]) -> Result<(), PortError> {
    let broken = |reason: String| PortError::new(PortErrorKind::Unavailable, format!("command: {reason}"));
    let ordinary = ORDINARY.iter().filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut child = Command::new("bash")
        .args(["-c", command])
        .env_clear()
        .envs(ordinary)
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| broken(format!("bash cannot be started: {error}")))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let said = child.stderr.take();
    let work = async {
        let mut text = Vec::new();
        if let Some(mut said) = said {
            // What it says is only for the error; the rest is read so that it need not wait.
            let _ = (&mut said).take(SHOWN).read_to_end(&mut text).await;
            let _ = tokio::io::copy(&mut said, &mut tokio::io::sink()).await;
        }
        let status = child.wait().await.map_err(|error| broken(error.to_string()))?;
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&text).trim().to_owned();
        Err(broken(if text.is_empty() { status.to_string() } else { format!("{status}: {text}") }))
    };
    let ended = tokio::time::timeout(LONGEST_COMMAND, work).await;
    ended.unwrap_or_else(|_| {
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        Err(broken(format!("it took longer than {} s", LONGEST_COMMAND.as_secs())))
    })
}
