//! Credentials and certificates as teams have them, against the STS, S3 and Redshift stand-ins.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_connectors::aws_identity;
use millrace_devstack::{RunningSts, StsConfig, serve_sts};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{ByteStream, Ports, PutOptions};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::copies::databases::{Database, Kind};
use crate::tls::authority;
use crate::world::{World, connection, extra, refused};

const ROLE: &str = "arn:aws:iam::000000000000:role/loader";
const MIB: usize = 1024 * 1024;

async fn sts(world: &World, lifetime: Duration) -> Result<RunningSts> {
    let config = StsConfig {
        listen: "127.0.0.1:0".parse()?,
        role_arn: ROLE.to_owned(),
        external_id: Some("team-7".to_owned()),
        lifetime,
    };
    Ok(serve_sts(config, world.s3.sessions()).await?)
}

fn add(world: &World, conn_id: &str, sts: &RunningSts, more: Value) {
    let mut settings = json!({
        "endpoint_url": world.s3.endpoint_url(), "sts_endpoint_url": sts.endpoint_url(), "role_arn": ROLE,
    });
    if let (Some(settings), Some(more)) = (settings.as_object_mut(), more.as_object()) {
        settings.extend(more.clone());
    }
    world.add(Connection {
        login: Some("standin".to_owned()),
        password: Some("standin-secret".into()),
        extra: extra(settings),
        ..connection(conn_id, "aws")
    });
}

fn body(mib: usize) -> ByteStream {
    stream::iter((0..mib).map(|_| Ok(Bytes::from(vec![b'x'; MIB])))).boxed()
}

#[tokio::test]
async fn a_role_is_taken_with_its_external_id() -> Result<()> {
    let world = World::start().await?;
    let sts = sts(&world, Duration::from_hours(1)).await?;
    add(&world, "role", &sts, json!({"external_id": "team-7"}));
    add(
        &world,
        "as_in_airflow",
        &sts,
        json!({"assume_role_kwargs": {"ExternalId": "team-7", "RoleSessionName": "nps"}}),
    );
    add(&world, "stranger", &sts, json!({"external_id": "team-8"}));
    add(&world, "no_role", &sts, json!({"role_arn": "loader"}));
    let context = world.context(1);
    for conn_id in ["role", "as_in_airflow"] {
        let store = world.connectors.objects(&context, conn_id).await?;
        store.put("lake", conn_id, body(1), PutOptions::default()).await?;
        let back: Vec<Bytes> = store.get("lake", conn_id).await?.try_collect().await?;
        assert_eq!(back.concat().len(), MIB);
    }
    assert_eq!(sts.given(), 2, "keys are kept while they are good");
    let store = world.connectors.objects(&context, "stranger").await?;
    let error = refused(store.put("lake", "k", body(1), PutOptions::default()).await)?;
    assert_eq!(error.kind, PortErrorKind::Denied, "{}", error.message);
    assert!(error.message.contains("sts:AssumeRole"), "{}", error.message);
    let error = refused(world.connectors.objects(&context, "no_role").await)?;
    assert!(error.message.contains("\"loader\" is no role"), "{}", error.message);
    Ok(())
}

#[tokio::test]
async fn credentials_that_expire_in_the_middle_of_an_upload_are_renewed() -> Result<()> {
    let world = World::start().await?;
    // Shorter than the time before the end at which the SDK renews: every request finds its keys too old.
    let sts = sts(&world, Duration::from_secs(5)).await?;
    add(&world, "role", &sts, json!({"external_id": "team-7"}));
    let store = world.connectors.objects(&world.context(1), "role").await?;
    store.put("lake", "k", body(40), PutOptions::default()).await?;
    let back: Vec<Bytes> = store.get("lake", "k").await?.try_collect().await?;
    assert_eq!(back.concat().len(), 40 * MIB);
    assert!(sts.given() > 2, "taken {} times", sts.given());
    Ok(())
}

#[tokio::test]
async fn redshift_takes_a_role_under_a_name_for_a_while() -> Result<()> {
    let world = World::start().await?;
    let sts = sts(&world, Duration::from_hours(1)).await?;
    let identity = async |more: Value| {
        let mut settings = json!({
            "sts_endpoint_url": sts.endpoint_url(), "region_name": "eu-west-1", "external_id": "team-7",
            "aws_access_key_id": "standin", "aws_secret_access_key": "standin-secret",
        });
        if let (Some(settings), Some(more)) = (settings.as_object_mut(), more.as_object()) {
            settings.extend(more.clone());
        }
        Box::pin(aws_identity(&Connection { extra: extra(settings), ..connection("rs", "redshift") })).await
    };
    // The role that the cluster reads S3 with is not ours to take.
    let own = identity(json!({"role_arn": ROLE})).await?.arn.unwrap_or_default();
    assert!(own.ends_with("/standin") && sts.given() == 0, "{own}");
    let taken = json!({"assume_role_arn": ROLE, "role_session_name": "nightly", "role_duration_seconds": 1800});
    let arn = identity(taken).await?.arn.unwrap_or_default();
    assert!(!arn.ends_with("/standin"), "{arn}");
    assert_eq!(sts.last(), Some(("nightly".to_owned(), Some(1800))));
    identity(json!({"assume_role_arn": ROLE})).await?;
    assert_eq!(sts.last().map(|(name, _)| name).as_deref(), Some("millrace"));
    let error = refused(identity(json!({"assume_role_arn": ROLE, "role_duration_seconds": 60})).await)?;
    assert!(error.message.contains("from 900 to 43200"), "{}", error.message);
    Ok(())
}

/// Stands before a server that speaks plainly, with a certificate for `localhost`. Its port.
async fn encrypting(plain: String, certificate: &str, key: &str) -> Result<u16> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes())?],
            PrivateKeyDer::from_pem_slice(key.as_bytes())?,
        )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, plain) = (acceptor.clone(), plain.clone());
            tokio::spawn(async move {
                let mut outside = acceptor.accept(stream).await?;
                let mut inside = TcpStream::connect(plain).await?;
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    Ok(port)
}

#[tokio::test]
async fn an_endpoint_is_believed_by_the_authority_that_verify_names_and_by_no_other() -> Result<()> {
    let world = World::start().await?;
    let (own, other) = (authority("ours")?, authority("theirs")?);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &own)?;
    let plain = world.s3.endpoint_url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let port = encrypting(plain, &certificate.pem(), &key.serialize_pem()).await?;
    let file = |name: &str| world.folder.path().join(name).display().to_string();
    std::fs::write(file("ours.pem"), own.pem())?;
    std::fs::write(file("theirs.pem"), other.pem())?;
    let add = |conn_id: &str, host: &str, verify: Value| {
        world.add(Connection {
            login: Some("standin".to_owned()),
            password: Some("standin-secret".into()),
            extra: extra(json!({
                "endpoint_url": format!("https://{host}:{port}"), "verify": verify,
                "config_kwargs": {"retries": {"total_max_attempts": 1}},
            })),
            ..connection(conn_id, "aws")
        });
    };
    add("known", "localhost", json!(file("ours.pem")));
    let context = world.context(1);
    let store = world.connectors.objects(&context, "known").await?;
    store.put("lake", "by_tls", body(1), PutOptions::default()).await?;
    let back: Vec<Bytes> = store.get("lake", "by_tls").await?.try_collect().await?;
    assert_eq!(back.concat().len(), MIB);
    assert!(world.keys("by_tls").await?.contains(&"by_tls".to_owned()), "without TLS it is the same store");
    let strangers = [
        ("another authority", "localhost", json!(file("theirs.pem")), "UnknownIssuer"),
        ("those of the system", "localhost", json!(true), "UnknownIssuer"),
        ("another name", "127.0.0.1", json!(file("ours.pem")), "not valid for name"),
    ];
    for (what, host, verify, said) in strangers {
        add("stranger", host, verify);
        let store = world.connectors.objects(&context, "stranger").await?;
        let error = refused(store.put("lake", "k", body(1), PutOptions::default()).await)?;
        assert!(error.message.contains(said), "{what}: {}", error.message);
    }
    add("careless", "localhost", json!(false));
    let error = refused(world.connectors.objects(&context, "careless").await)?;
    assert!(error.message.contains("certificates are always checked"), "{}", error.message);
    add("lost", "localhost", json!(file("nowhere.pem")));
    let error = refused(world.connectors.objects(&context, "lost").await)?;
    assert!(error.message.contains("cannot read the authorities in"), "{}", error.message);
    assert_eq!(world.keys("k").await?, [""; 0]);
    Ok(())
}

#[tokio::test]
async fn the_data_api_is_asked_with_the_secret_of_the_connection_and_without_a_user_then() -> Result<()> {
    const SECRET: &str = "arn:aws:secretsmanager:eu-west-1:000000000000:secret:warehouse-AbCdEf";
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Redshift, "target").await?;
    // The stand-in refuses a user beside a secret, as the service does.
    world.change(&target.conn_id, |connection| {
        connection.extra.0.insert("secret_arn".to_owned(), json!(SECRET));
    });
    let target = target.reopened(&world).await?;
    let sent = || world.journal.all().into_iter().filter_map(|row| row.remote_id).collect::<Vec<_>>();
    let before = sent();
    target.run("CREATE TABLE dw.t (id int)").await?;
    let sent = sent().into_iter().find(|id| !before.contains(id)).context("a statement")?;
    let settings = aws_sdk_redshiftdata::Config::builder()
        .behavior_version_latest()
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .region(aws_sdk_redshiftdata::config::Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("standin", "standin-secret", None, None, "test"))
        .endpoint_url(target.redshift()?.endpoint_url())
        .build();
    let described = aws_sdk_redshiftdata::Client::from_conf(settings).describe_statement().id(sent).send().await?;
    assert_eq!((described.secret_arn(), described.db_user()), (Some(SECRET), None));
    Ok(())
}
