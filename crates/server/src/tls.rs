//! HTTPS: certificate and key from files, and the begin of a connection.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::listener::Patient;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM: the server's certificate first, then those that vouch for it.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{given} is set and {missing} is not: HTTPS takes both")]
    Half { given: &'static str, missing: &'static str },
    #[error("{setting}: cannot read {path}", path = path.display())]
    Unreadable { setting: &'static str, path: PathBuf, source: io::Error },
    #[error("server.tls_certificate: {path} is no certificate: {message}", path = path.display())]
    NoCertificate { path: PathBuf, message: String },
    #[error("server.tls_key: {path} is no private key: {message}", path = path.display())]
    NoKey { path: PathBuf, message: String },
    #[error(
        "server.tls_key: {key} does not belong to the certificate in {certificate}, or is of a kind that cannot be used; \
         both are made together: RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519",
        key = key.display(), certificate = certificate.display()
    )]
    Mismatch { certificate: PathBuf, key: PathBuf, source: rustls::Error },
}

/// What a connection is encrypted with. Two are the same when certificate and key are.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    certificates: Vec<CertificateDer<'static>>,
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.certificates == other.certificates
    }
}

impl TlsFiles {
    /// TLS 1.2 and 1.3.
    pub fn load(&self) -> Result<Tls, TlsError> {
        let certificates = self.certificates()?;
        let key = self.key()?;
        let mismatch =
            |source| TlsError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone(), source };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?
            .with_no_client_auth()
            .with_single_cert(certificates.clone(), key)
            .map_err(mismatch)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config), certificates })
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let text = read("server.tls_certificate", &self.certificate)?;
        let bad = |message: String| TlsError::NoCertificate { path: self.certificate.clone(), message };
        let found: Vec<_> =
            CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().map_err(|error| bad(error.to_string()))?;
        if found.is_empty() {
            return Err(bad("it holds no block that begins with -----BEGIN CERTIFICATE-----".to_owned()));
        }
        Ok(found)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let text = read("server.tls_key", &self.key)?;
        PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
            let is_encrypted = String::from_utf8_lossy(&text).contains("ENCRYPTED");
            let message = match error {
                _ if is_encrypted => "it is encrypted; `openssl pkey -in FILE -out PLAIN_FILE` decrypts it".to_owned(),
                pem::Error::NoItemsFound => "it holds no block that begins with -----BEGIN PRIVATE KEY-----".to_owned(),
                other => other.to_string(),
            };
            TlsError::NoKey { path: self.key.clone(), message }
        })
    }
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable { setting, path: path.to_owned(), source })
}

/// The first byte of a TLS connection says "handshake".
const HANDSHAKE: u8 = 22;
/// How long whoever spoke plain HTTP may take the hint.
const HINT_TAKEN_WITHIN: Duration = Duration::from_secs(2);

impl Tls {
    /// None: it was none, and the other end was told so.
    pub(crate) async fn accept(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        (head, take): (Duration, Duration),
    ) -> Option<TlsStream<Patient<TcpStream>>> {
        let mut first = [0];
        match timeout(head, stream.peek(&mut first)).await {
            Ok(Ok(1)) if first[0] == HANDSHAKE => {}
            Ok(Ok(1)) => {
                // Whether the hint arrives is nothing to us.
                let _ = timeout(HINT_TAKEN_WITHIN, hint(&mut stream)).await;
                return None;
            }
            _ => return None,
        }
        let acceptor = TlsAcceptor::from(self.config.clone());
        match timeout(head, acceptor.accept(Patient::new(stream, take))).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                tracing::debug!(%peer, error = &error as &dyn std::error::Error, "no TLS came about");
                None
            }
            Err(_) => {
                tracing::debug!(%peer, "a TLS handshake took too long");
                None
            }
        }
    }
}

const HINT: &str = "This port speaks HTTPS: use an address that begins with https://\n";

/// As plain HTTP, then the rest of the request is taken: closing before would take the hint away again.
async fn hint(stream: &mut TcpStream) -> io::Result<()> {
    let length = HINT.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{HINT}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}
