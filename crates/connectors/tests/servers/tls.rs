//! Rows of a MariaDB that encrypts: who is believed, who is refused, and that what is read is encrypted indeed.

use anyhow::{Context, Result};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::Ports;
use millrace_testkit::{MariaDb, PrivateMariaDb};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

use crate::world::{Cells, World, cells, refused};

type Authority = CertifiedIssuer<'static, KeyPair>;

pub fn authority(name: &str) -> Result<Authority> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    Ok(CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?)
}

pub struct Encrypting {
    pub server: PrivateMariaDb,
    pub world: World,
    /// Files of two authorities: the one that signed, and another one.
    pub known: String,
    other: String,
}

impl Encrypting {
    /// A server whose certificate is for `localhost`, and for no address.
    pub async fn start() -> Result<Self> {
        let (own, other) = (authority("ours")?, authority("theirs")?);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &own)?;
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        let server = tokio::task::spawn_blocking(move || MariaDb::with_certificate(&certificate, &key)).await??;
        let world = World::start().await?;
        let file = |name: &str, authority: &Authority| {
            let path = world.folder.path().join(name);
            std::fs::write(&path, authority.pem())?;
            anyhow::Ok(path.display().to_string())
        };
        let (known, other) = (file("ours.pem", &own)?, file("theirs.pem", &other)?);
        Ok(Self { server, world, known, other })
    }

    /// A connection to `host`, with these extras.
    pub fn connect(&self, host: &str, extra: Value) -> Result<()> {
        self.world.add_url("tls", "mysql", &self.server.url("mysql"))?;
        self.world.change("tls", |connection| {
            connection.host = Some(host.to_owned());
            connection.extra = crate::world::extra(extra);
        });
        Ok(())
    }

    async fn read(&self, sql: &str) -> Result<Cells, millrace_operator_api::PortError> {
        let source = self.world.connectors.source(&self.world.context(1), "tls").await?;
        let rows = source.query(sql).await?;
        cells(rows).await.map_err(|error| match error.downcast() {
            Ok(error) => error,
            Err(error) => millrace_operator_api::PortError::new(PortErrorKind::Other, error.to_string()),
        })
    }
}

/// What encrypts the session that the rows come through.
const CIPHER: &str = "SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Ssl_cipher'";

#[tokio::test]
async fn rows_come_encrypted_from_whoever_is_believed_and_from_nobody_else() -> Result<()> {
    let mariadb = Encrypting::start().await?;
    let (known, other) = (json!(mariadb.known), json!(mariadb.other));
    let believed = [
        ("127.0.0.1", json!({"ssl_mode": "required"})),
        // Where the server offers it, and that is the default.
        ("127.0.0.1", json!({"ssl_mode": "preferred"})),
        ("127.0.0.1", json!({})),
        ("127.0.0.1", json!({"ssl_mode": "verify_ca", "ssl_ca": known})),
        ("localhost", json!({"ssl_mode": "verify-ca", "ssl_ca": known})),
        ("localhost", json!({"ssl_mode": "verify_identity", "ssl_ca": known})),
        ("localhost", json!({"sslmode": "VERIFY-FULL", "ssl_ca": known})),
    ];
    for (host, extra) in believed {
        mariadb.connect(host, extra.clone())?;
        let cipher = mariadb.read(CIPHER).await.with_context(|| format!("{host} {extra}"))?;
        let cipher = cipher[0][0].clone().unwrap_or_default();
        assert!(cipher.starts_with("TLS_") || cipher.contains("GCM"), "{host} {extra}: {cipher:?}");
    }
    let refusals = [
        ("127.0.0.1", json!({"ssl_mode": "verify_identity", "ssl_ca": known}), "not valid for name"),
        ("localhost", json!({"ssl_mode": "verify_ca", "ssl_ca": other}), "certificate"),
        ("localhost", json!({"ssl_mode": "verify_identity", "ssl_ca": other}), "certificate"),
        // Our authority is none of this machine's.
        ("localhost", json!({"ssl_mode": "verify_identity"}), "certificate"),
        ("localhost", json!({"ssl_mode": "verify_ca", "ssl_ca": "/nowhere/ca.pem"}), "/nowhere/ca.pem"),
        ("localhost", json!({"ssl_mode": "safe"}), "disabled, preferred, required, verify_ca, verify_identity"),
    ];
    for (host, extra, reason) in refusals {
        mariadb.connect(host, extra.clone())?;
        let error = refused(mariadb.read("SELECT 1").await).with_context(|| format!("{host} {extra}"))?;
        assert!(error.message.contains(reason), "{host} {extra}: {}", error.message);
    }
    mariadb.connect("127.0.0.1", json!({"ssl_mode": "disabled"}))?;
    assert_eq!(mariadb.read(CIPHER).await?[0][0].as_deref(), Some(""), "as it was asked for");
    Ok(())
}

/// Many rows, some of them longer than a packet: what encrypts cuts them in other places than the socket does.
#[tokio::test]
async fn long_rows_come_whole_through_the_encryption() -> Result<()> {
    let mariadb = Encrypting::start().await?;
    let database = mariadb.server.create_database()?;
    database.execute("SET GLOBAL max_allowed_packet = 67108864")?;
    mariadb.connect("localhost", json!({"ssl_mode": "verify_identity", "ssl_ca": mariadb.known}))?;
    let sql = "SELECT seq, IF(seq % 5000 = 0, REPEAT('\u{c8fc}', 6000000), CONCAT('row ', seq)), NULL, '' FROM seq_1_to_10000";
    let rows = mariadb.read(sql).await?;
    assert_eq!(rows.len(), 10_000);
    for (number, row) in (1..).zip(&rows) {
        let id = number.to_string();
        assert_eq!((row[0].as_deref(), row[2].as_deref(), row[3].as_deref()), (Some(id.as_str()), None, Some("")));
        let text = row[1].as_deref().unwrap_or_default();
        if number % 5000 == 0 {
            assert!(text.len() == 18_000_000 && text.chars().all(|character| character == '\u{c8fc}'), "row {number}");
        } else {
            assert_eq!(text, format!("row {number}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_not_read_where_that_is_asked_for() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| MariaDb::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("plain", "mysql", &database.url())?;
    for mode in ["required", "verify_ca", "verify_identity"] {
        world.change("plain", |connection| {
            connection.extra = crate::world::extra(json!({"ssl_mode": mode}));
        });
        let source = world.connectors.source(&world.context(1), "plain").await?;
        let error = refused(source.query("SELECT 1").await)?;
        assert!(
            error.message.contains("plain") && error.message.to_lowercase().contains("tls"),
            "{mode}: {}",
            error.message
        );
    }
    Ok(())
}
