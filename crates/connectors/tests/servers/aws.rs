//! Credentials as teams have them, against the STS and S3 stand-ins.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_connectors::aws_identity;
use millrace_devstack::{RunningSts, StsConfig, serve_sts};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{ByteStream, Ports, PutOptions};
use serde_json::{Value, json};

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
