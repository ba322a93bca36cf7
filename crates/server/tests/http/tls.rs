//! HTTPS on the port, by a real client with certificates made here.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_server::{Patience, Tls, TlsFiles};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tokio::sync::watch;

use crate::site::{ADMIN, Site};

/// Writes a new certificate and its key; gives the certificate.
fn make(folder: &Path, name: &str) -> (TlsFiles, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (files, made.cert.der().clone())
}

struct Secure {
    site: Site,
    folder: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    sender: watch::Sender<Tls>,
}

impl Secure {
    fn start(patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (files, certificate) = make(folder.path(), "first");
        let sender = watch::Sender::new(files.load().unwrap());
        let receiver = sender.subscribe();
        let site = Site::start_with(|options| {
            options.tls = Some(receiver);
            options.patience = patience;
        });
        Self { site, folder, certificate, sender }
    }

    /// Everything that is answered to a request, by a client that trusts this certificate only.
    fn ask(
        &self,
        trusted: &CertificateDer<'static>,
        versions: &[&'static SupportedProtocolVersion],
        request: &str,
    ) -> Result<String, String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(client, self.site.connect());
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn sign_in(&self, versions: &[&'static SupportedProtocolVersion]) -> Result<String, String> {
        let form = "username=admin&password=open+sesame";
        let length = form.len();
        let request = format!(
            "POST /sign-in HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
        );
        self.ask(&self.certificate, versions, &request)
    }
}

const HEALTH: &str = "GET /api/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[test]
fn https_is_spoken_with_secure_cookies_and_by_versions_of_today() {
    let secure = Secure::start(Patience::default());
    for version in BOTH {
        let answer = secure.sign_in(&[version]).unwrap().to_lowercase();
        assert!(answer.starts_with("http/1.1 303"), "{answer}");
        assert!(answer.contains("strict-transport-security: max-age=31536000"), "{answer}");
        let cookie = answer.lines().find(|line| line.starts_with("set-cookie: millrace_session=")).unwrap();
        assert!(cookie.contains("; secure") && cookie.contains("; httponly"), "{cookie}");
    }
    let view = "POST /view HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 11\r\n\
                Content-Type: application/x-www-form-urlencoded\r\n\r\nlanguage=ko";
    let answer = secure.ask(&secure.certificate, BOTH, view).unwrap();
    assert!(answer.contains("; Secure"), "{answer}");
    let (_, stranger) = make(secure.folder.path(), "stranger");
    let refused = secure.ask(&stranger, BOTH, HEALTH).unwrap_err();
    assert!(refused.contains("certificate"), "{refused}");
}

#[test]
fn tls_of_yesterday_is_refused() {
    let secure = Secure::start(Patience::default());
    // A ClientHello that offers TLS 1.1 and nothing else: the answer is an alert, protocol_version.
    let mut socket = secure.site.connect();
    let mut hello = vec![0x16, 0x03, 0x01, 0x00, 0x2f, 0x01, 0x00, 0x00, 0x2b, 0x03, 0x02];
    hello.extend([7; 32]);
    hello.extend([0x00, 0x00, 0x04, 0xc0, 0x13, 0x00, 0x2f, 0x01, 0x00]);
    socket.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
    assert_eq!(answer.get(5), Some(&2), "a fatal one: {answer:?}");
}

#[test]
fn plain_http_on_the_port_is_told_so() {
    let secure = Secure::start(Patience::default());
    let mut socket = secure.site.connect();
    socket
        .write_all(format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {ADMIN}\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("https://"), "{answer}");
}

#[test]
fn whoever_is_slow_at_the_handshake_is_dropped_and_holds_nobody_up() {
    let secure = Secure::start(Patience { head: Duration::from_millis(300), ..Patience::default() });
    let silent: Vec<TcpStream> = (0..20).map(|_| secure.site.connect()).collect();
    let mut half = secure.site.connect();
    half.write_all(&[0x16, 0x03]).unwrap();
    assert!(secure.ask(&secure.certificate, BOTH, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
    for mut socket in silent.into_iter().chain([half]) {
        let mut rest = Vec::new();
        // An end, or a reset: not a wait for a minute.
        if let Err(error) = socket.read_to_end(&mut rest) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
    }
}

#[test]
fn another_certificate_is_taken_without_a_restart() {
    let secure = Secure::start(Patience::default());
    assert!(secure.ask(&secure.certificate, BOTH, HEALTH).is_ok());
    let (files, second) = make(secure.folder.path(), "second");
    secure.sender.send_replace(files.load().unwrap());
    assert!(secure.ask(&secure.certificate, BOTH, HEALTH).is_err());
    assert!(secure.ask(&second, BOTH, HEALTH).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (good, _) = make(folder.path(), "good");
    let (other, _) = make(folder.path(), "other");
    let empty = folder.path().join("empty");
    fs::write(&empty, "nothing\n").unwrap();
    let damaged = folder.path().join("damaged");
    fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n").unwrap();
    let locked = folder.path().join("locked");
    fs::write(&locked, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let cases = [
        (folder.path().join("none"), good.key.clone(), "server.tls_certificate: cannot read "),
        (empty.clone(), good.key.clone(), "it holds no block that begins with -----BEGIN CERTIFICATE-----"),
        (damaged, good.key.clone(), "server.tls_certificate: "),
        (good.certificate.clone(), folder.path().join("none"), "server.tls_key: cannot read "),
        (good.certificate.clone(), empty, "it holds no block that begins with -----BEGIN PRIVATE KEY-----"),
        (good.certificate.clone(), locked, "it is encrypted; `openssl pkey -in FILE"),
        (good.certificate.clone(), other.key, "does not belong to the certificate in"),
    ];
    for (certificate, key, expected) in cases {
        let error = TlsFiles { certificate, key }.load().unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
