//! Signing in, and whatever is agreed upon before.

use std::sync::Arc;

use secrecy::ExposeSecret;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::{Encryption, LONGEST_PACKET, Target, WireConnection, WireError};
use crate::parts::wire::tls::{Check, client_config};

const UTF8MB4: u8 = 45;

mod capability {
    pub const LONG_PASSWORD: u32 = 1;
    pub const CONNECT_WITH_DB: u32 = 1 << 3;
    /// As sqlx has it: a query means the same whoever sends it.
    pub const IGNORE_SPACE: u32 = 1 << 8;
    pub const PROTOCOL_41: u32 = 1 << 9;
    pub const SSL: u32 = 1 << 11;
    pub const TRANSACTIONS: u32 = 1 << 13;
    pub const SECURE_CONNECTION: u32 = 1 << 15;
    pub const MULTI_RESULTS: u32 = 1 << 17;
    pub const PLUGIN_AUTH: u32 = 1 << 19;
}

impl WireConnection {
    pub(super) async fn encrypt(&mut self, target: &Target, greeting: &Greeting) -> Result<bool, WireError> {
        let offers = greeting.capabilities & capability::SSL != 0;
        let check = match target.encryption {
            Encryption::Never => return Ok(false),
            Encryption::Preferred if !offers => return Ok(false),
            Encryption::Preferred => Check::Nothing,
            Encryption::Required(_) if !offers => {
                return Err(WireError::Tls("the server offers no encryption".to_owned()));
            }
            Encryption::Required(check) => check,
        };
        let authorities = target.authorities.as_deref().filter(|_| check != Check::Nothing);
        let config = client_config(check, authorities).map_err(WireError::Tls)?;
        let name = ServerName::try_from(target.host.clone()).map_err(|error| WireError::Tls(error.to_string()))?;
        let mut request = Vec::with_capacity(32);
        begin_answer(&mut request, target, capability::SSL);
        self.send(&request).await?;
        if !self.unread.is_empty() {
            return Err(WireError::Protocol("bytes before the encryption"));
        }
        let tcp = std::mem::replace(&mut self.stream, Box::new(tokio::io::empty()));
        self.stream = Box::new(TlsConnector::from(Arc::new(config)).connect(name, tcp).await?);
        Ok(true)
    }

    pub(super) async fn sign_in(
        &mut self,
        target: &Target,
        greeting: Greeting,
        encrypts: bool,
    ) -> Result<(), WireError> {
        let password = target.password.as_ref().map_or("", |password| password.expose_secret());
        // Another user's plugin is asked for by a switch.
        let mut plugin = Plugin::of(&greeting.plugin).unwrap_or(Plugin::Native);
        let mut answer = Vec::with_capacity(128);
        begin_answer(&mut answer, target, if encrypts { capability::SSL } else { 0 });
        answer.extend_from_slice(target.login.as_bytes());
        answer.push(0);
        let scrambled = plugin.scramble(password, &greeting.nonce);
        // At most 32 bytes.
        answer.push(scrambled.len() as u8);
        answer.extend_from_slice(&scrambled);
        if let Some(database) = &target.database {
            answer.extend_from_slice(database.as_bytes());
            answer.push(0);
        }
        answer.extend_from_slice(plugin.name().as_bytes());
        answer.push(0);
        self.send(&answer).await?;
        loop {
            let packet = self.packet().await?;
            match packet.first() {
                Some(0x00) => return Ok(()),
                Some(0xFE) => {
                    let (name, nonce) = until_nul(&packet[1..]).ok_or(WireError::Protocol("a switch of plugins"))?;
                    let name = String::from_utf8_lossy(name);
                    plugin = Plugin::of(&name).ok_or_else(|| WireError::OtherPlugin(name.into_owned()))?;
                    let nonce = nonce.strip_suffix(&[0]).unwrap_or(nonce);
                    self.send(&plugin.scramble(password, nonce)).await?;
                }
                // The server knows the password already.
                Some(0x01) if plugin == Plugin::CachingSha2 && packet.get(1) == Some(&3) => {}
                Some(0x01) if plugin == Plugin::CachingSha2 && packet.get(1) == Some(&4) && encrypts => {
                    let mut clear = password.as_bytes().to_vec();
                    clear.push(0);
                    self.send(&clear).await?;
                }
                Some(0x01) => return Err(WireError::OtherPlugin(plugin.name().to_owned())),
                _ => return Err(WireError::Protocol("an answer to the sign-in")),
            }
        }
    }
}

/// What the client can do, and how it writes.
fn begin_answer(out: &mut Vec<u8>, target: &Target, more: u32) {
    let database = if target.database.is_some() { capability::CONNECT_WITH_DB } else { 0 };
    let capabilities = capability::LONG_PASSWORD
        | capability::IGNORE_SPACE
        | capability::PROTOCOL_41
        | capability::TRANSACTIONS
        | capability::SECURE_CONNECTION
        | capability::MULTI_RESULTS
        | capability::PLUGIN_AUTH
        | database
        | more;
    out.extend_from_slice(&capabilities.to_le_bytes());
    out.extend_from_slice(&(LONGEST_PACKET as u32).to_le_bytes());
    out.push(UTF8MB4);
    out.extend_from_slice(&[0; 23]);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Native,
    CachingSha2,
}

impl Plugin {
    fn of(name: &str) -> Option<Self> {
        match name {
            "mysql_native_password" => Some(Self::Native),
            "caching_sha2_password" => Some(Self::CachingSha2),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Native => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    fn scramble(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let xor = |left: &[u8], right: &[u8]| left.iter().zip(right).map(|(left, right)| left ^ right).collect();
        match self {
            Self::Native => {
                let once = Sha1::digest(password.as_bytes());
                let twice = Sha1::digest(once);
                xor(&once, &Sha1::new().chain_update(nonce).chain_update(twice).finalize())
            }
            Self::CachingSha2 => {
                let once = Sha256::digest(password.as_bytes());
                let twice = Sha256::digest(once);
                xor(&once, &Sha256::new().chain_update(twice).chain_update(nonce).finalize())
            }
        }
    }
}

/// The server's first packet.
pub(super) struct Greeting {
    pub session: u32,
    nonce: Vec<u8>,
    capabilities: u32,
    plugin: String,
}

impl Greeting {
    pub fn read(packet: &[u8]) -> Result<Self, WireError> {
        Self::of(packet).ok_or(WireError::Protocol("its greeting"))
    }

    fn of(packet: &[u8]) -> Option<Self> {
        let (10, rest) = packet.split_first()? else { return None };
        let (_, rest) = until_nul(rest)?;
        let session = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?);
        let mut nonce = rest.get(4..12)?.to_vec();
        let low = u16::from_le_bytes(rest.get(13..15)?.try_into().ok()?);
        let high = u16::from_le_bytes(rest.get(18..20)?.try_into().ok()?);
        let capabilities = u32::from(low) | u32::from(high) << 16;
        let length = usize::from(*rest.get(20)?).saturating_sub(8).max(13);
        let second = rest.get(31..31 + length)?;
        nonce.extend_from_slice(second.strip_suffix(&[0]).unwrap_or(second));
        let name = rest.get(31 + length..)?;
        let name = until_nul(name).map_or(name, |(name, _)| name);
        Some(Self { session, nonce, capabilities, plugin: String::from_utf8_lossy(name).into_owned() })
    }
}

/// The text before the NUL, and what comes after it.
fn until_nul(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, bytes)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// Worked out by the server's own way of checking: XOR with what it derives from the stored hash gives the hash of the
    /// password.
    #[test]
    fn the_server_can_check_a_scrambled_password() {
        let (password, nonce) = ("s3cret", &[7_u8; 20][..]);
        let scrambled = Plugin::Native.scramble(password, nonce);
        let stored = Sha1::digest(Sha1::digest(password.as_bytes()));
        let mask = Sha1::new().chain_update(nonce).chain_update(stored).finalize();
        let once: Vec<u8> = scrambled.iter().zip(mask).map(|(left, right)| left ^ right).collect();
        assert_eq!(Sha1::digest(once), stored);
        let scrambled = Plugin::CachingSha2.scramble(password, nonce);
        let stored = Sha256::digest(Sha256::digest(password.as_bytes()));
        let mask = Sha256::new().chain_update(stored).chain_update(nonce).finalize();
        let once: Vec<u8> = scrambled.iter().zip(mask).map(|(left, right)| left ^ right).collect();
        assert_eq!(Sha256::digest(once), stored);
        assert!(Plugin::Native.scramble("", nonce).is_empty());
    }

    /// A server of MySQL 8 without TLS, as far as the sign-in: it knows the password and may have seen it before.
    async fn sign_in_server(has_seen_it: bool) -> (Target, tokio::task::JoinHandle<bool>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let nonce = *b"abcdefghijklmnopqrst";
            let capabilities = capability::LONG_PASSWORD
                | capability::PROTOCOL_41
                | capability::SECURE_CONNECTION
                | capability::PLUGIN_AUTH
                | capability::CONNECT_WITH_DB;
            let mut greeting = b"\x0a8.4.3\0\x07\0\0\0".to_vec();
            greeting.extend_from_slice(&nonce[..8]);
            greeting.push(0);
            greeting.extend_from_slice(&capabilities.to_le_bytes()[..2]);
            greeting.extend_from_slice(&[255, 2, 0]);
            greeting.extend_from_slice(&capabilities.to_le_bytes()[2..]);
            greeting.push(21);
            greeting.extend_from_slice(&[0; 10]);
            greeting.extend_from_slice(&nonce[8..]);
            greeting.extend_from_slice(b"\0caching_sha2_password\0");
            send_packet(&mut stream, 0, &greeting).await;
            let answer = read_packet(&mut stream).await;
            let stored = Sha256::digest(Sha256::digest(b"s3cret"));
            let mask = Sha256::new().chain_update(stored).chain_update(nonce).finalize();
            let login = memchr::memchr(0, &answer[32..]).unwrap() + 33;
            assert_eq!(answer[login], 32, "bytes of a scrambled password");
            let scrambled = &answer[login + 1..login + 33];
            let once: Vec<u8> = scrambled.iter().zip(mask).map(|(left, right)| left ^ right).collect();
            let is_right = Sha256::digest(once) == stored;
            if has_seen_it {
                send_packet(&mut stream, 2, &[1, 3]).await;
                send_packet(&mut stream, 3, &[0, 0, 0, 2, 0, 0, 0]).await;
            } else {
                send_packet(&mut stream, 2, &[1, 4]).await;
                // Whoever asks gets the key that the password is to be sent under.
                if read_packet(&mut stream).await == [2] {
                    send_packet(&mut stream, 4, b"\x01-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n").await;
                }
            }
            is_right
        });
        let target = Target {
            host: "127.0.0.1".to_owned(),
            port,
            address: None,
            login: "app".to_owned(),
            password: Some("s3cret".to_owned().into()),
            database: Some("prod".to_owned()),
            encryption: Encryption::Preferred,
            authorities: None,
        };
        (target, server)
    }

    async fn send_packet(stream: &mut TcpStream, sequence: u8, payload: &[u8]) {
        stream.write_all(&[payload.len() as u8, 0, 0, sequence]).await.unwrap();
        stream.write_all(payload).await.unwrap();
    }

    async fn read_packet(stream: &mut TcpStream) -> Vec<u8> {
        let mut head = [0; 4];
        if stream.read_exact(&mut head).await.is_err() {
            return Vec::new();
        }
        let mut payload = vec![0; usize::from(head[0])];
        stream.read_exact(&mut payload).await.unwrap();
        payload
    }

    #[tokio::test]
    async fn mysql_8_is_signed_in_to_where_the_server_has_seen_the_password() {
        let (target, server) = sign_in_server(true).await;
        assert_eq!(WireConnection::connect(&target).await.unwrap().session, 7);
        assert!(server.await.unwrap(), "the scrambled password is the right one");
        // Without encryption and with a password that the server has not seen, the driver is asked.
        let (target, server) = sign_in_server(false).await;
        let refused = WireConnection::connect(&target).await.err();
        assert!(
            matches!(&refused, Some(WireError::OtherPlugin(name)) if name == "caching_sha2_password"),
            "{refused:?}"
        );
        assert!(server.await.unwrap());
    }

    #[tokio::test]
    async fn a_password_that_needs_encryption_says_so() {
        use sqlx::ConnectOptions as _;
        let (target, server) = sign_in_server(false).await;
        let options = sqlx::mysql::MySqlConnectOptions::new().host(&target.host).port(target.port).username("app");
        let options = options.password("s3cret").ssl_mode(sqlx::mysql::MySqlSslMode::Disabled);
        let error = options.connect().await.expect_err("it has no way to send the password");
        let said = crate::mysql::refusal::failure("prod", "cannot connect", &error);
        assert!(said.message.contains("ssl_mode: required") && !said.message.contains("s3cret"), "{}", said.message);
        assert_eq!(said.kind, millrace_operator_api::PortErrorKind::Invalid);
        assert!(server.await.unwrap());
    }
}
