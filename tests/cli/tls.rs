//! HTTPS by configuration: mistakes at the start, and another certificate while it runs.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

use crate::support::{PATIENCE, TestHome};

fn make(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(folder.join("certificate.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// The first line of the health page's answer, by a client that trusts this certificate only.
fn health(address: &str, trusted: &CertificateDer<'static>) -> Result<String, String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut stream = StreamOwned::new(client, socket);
    stream
        .write_all(b"GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .map_err(|error| error.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn a_certificate_is_read_at_the_start_and_again_when_asked() {
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    home.set("MILLRACE__SERVER__TLS_CERTIFICATE", "certificate.pem");
    let alone = home.run(&["server", "--port", "0"]).exits(2);
    assert!(alone.stderr.contains("server.tls_certificate is set and server.tls_key is not"), "{}", alone.stderr);
    home.set("MILLRACE__SERVER__TLS_KEY", "key.pem");
    let missing = home.run(&["server", "--port", "0"]).exits(2);
    let file = home.file("certificate.pem");
    assert!(missing.stderr.contains(&format!("server.tls_certificate: cannot read {}", file.display())));

    let first = make(home.path());
    let mut server = home.daemon(&["server", "--port", "0"]);
    let line = server.wait_for_line("serving https://", PATIENCE).unwrap();
    let address = line.split("https://").nth(1).unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(health(&address, &first).unwrap(), "HTTP/1.1 200 OK");

    let second = make(home.path());
    let answer = home.json(&["config", "reload"]);
    assert_eq!(answer[0]["applied"], json!(["server.tls_certificate"]), "{answer}");
    assert!(health(&address, &first).is_err());
    assert_eq!(health(&address, &second).unwrap(), "HTTP/1.1 200 OK");

    // What cannot be used changes nothing.
    fs::write(home.file("key.pem"), "no key\n").unwrap();
    let refused = home.run(&["config", "reload", "-o", "json"]).exits(1);
    assert!(refused.stdout.contains("server.tls_key: "), "{}", refused.stdout);
    assert_eq!(health(&address, &second).unwrap(), "HTTP/1.1 200 OK");
    server.terminate(Duration::from_secs(10)).unwrap();
}
