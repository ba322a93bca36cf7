//! Both stand-ins, a client, and short words for what the tests do with them.

use std::sync::Arc;

use aws_sdk_redshiftdata::Client;
use aws_sdk_redshiftdata::config::retry::RetryConfig;
use aws_sdk_redshiftdata::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_redshiftdata::operation::describe_statement::DescribeStatementOutput;
use aws_sdk_redshiftdata::types::{Field, StatusString};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use millrace_devstack::{ObjectSource, RedshiftConfig, RunningRedshift, RunningS3, S3Config, serve_redshift, serve_s3};
use millrace_testkit::{Postgres, TestDatabase};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

pub(crate) const ROLE: &str = "IAM_ROLE 'arn:aws:iam::123456789012:role/load'";

pub(crate) struct Stand {
    pub(crate) client: Client,
    pub(crate) redshift: RunningRedshift,
    pub(crate) s3: RunningS3,
    _folder: tempfile::TempDir,
    // Dropped last: the others are connected to it.
    pub(crate) database: TestDatabase,
}

impl Stand {
    pub(crate) async fn start() -> Result<Self> {
        let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
        let folder = tempfile::tempdir()?;
        let s3 = serve_s3(S3Config {
            root: folder.path().to_owned(),
            access_key: "standin".to_owned(),
            secret_key: "standin-secret".to_owned(),
            listen: "127.0.0.1:0".parse()?,
            buckets: vec!["lake".to_owned()],
        })
        .await?;
        let redshift = serve_redshift(RedshiftConfig {
            listen: "127.0.0.1:0".parse()?,
            postgres_url: database.url(),
            database: "dev".to_owned(),
            objects: s3.storage(),
            access_key: "standin".to_owned(),
        })
        .await?;
        let client = client(&redshift, "standin");
        Ok(Self { client, redshift, s3, _folder: folder, database })
    }

    /// Sends one statement and waits for its end.
    pub(crate) async fn execute(&self, sql: &str) -> Result<DescribeStatementOutput> {
        let sent = self.client.execute_statement().cluster_identifier("c").database("dev").sql(sql).send().await?;
        self.wait(sent.id().ok_or("no id")?).await
    }

    /// Sends one statement that must succeed; returns the rows that it changed or found.
    pub(crate) async fn run(&self, sql: &str) -> Result<i64> {
        let done = self.execute(sql).await?;
        match done.status() {
            Some(StatusString::Finished) => Ok(done.result_rows()),
            status => Err(format!("{sql}: {status:?} {:?}", done.error()).into()),
        }
    }

    /// Sends one statement that must fail; returns the error.
    pub(crate) async fn fails(&self, sql: &str) -> Result<String> {
        let done = self.execute(sql).await?;
        match (done.status(), done.error()) {
            (Some(StatusString::Failed), Some(error)) => Ok(error.to_owned()),
            (status, _) => Err(format!("{sql} did not fail but is {status:?}").into()),
        }
    }

    /// Sends a batch and waits for its end.
    pub(crate) async fn batch(&self, sqls: &[&str]) -> Result<DescribeStatementOutput> {
        let sqls = sqls.iter().map(|sql| (*sql).to_owned()).collect();
        let sent = self
            .client
            .batch_execute_statement()
            .cluster_identifier("c")
            .database("dev")
            .set_sqls(Some(sqls))
            .send()
            .await?;
        self.wait(sent.id().ok_or("no id")?).await
    }

    pub(crate) async fn batch_runs(&self, sqls: &[&str]) -> Result<DescribeStatementOutput> {
        let done = self.batch(sqls).await?;
        match done.status() {
            Some(StatusString::Finished) => Ok(done),
            status => Err(format!("{sqls:?}: {status:?} {:?}", done.error()).into()),
        }
    }

    pub(crate) async fn wait(&self, id: &str) -> Result<DescribeStatementOutput> {
        loop {
            let described = self.client.describe_statement().id(id).wait_time_seconds(30).send().await?;
            let over = matches!(
                described.status(),
                Some(StatusString::Finished | StatusString::Failed | StatusString::Aborted)
            );
            if over {
                return Ok(described);
            }
        }
    }

    /// The rows of a query, one text for each: values separated by `|`, NULL as `∅`.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Vec<String>> {
        let done = self.execute(sql).await?;
        if done.status() != Some(&StatusString::Finished) {
            return Err(format!("{sql}: {:?} {:?}", done.status(), done.error()).into());
        }
        self.result(done.id()).await
    }

    pub(crate) async fn result(&self, id: &str) -> Result<Vec<String>> {
        let mut rows = Vec::new();
        let mut pages = self.client.get_statement_result().id(id).into_paginator().send();
        while let Some(page) = pages.next().await {
            for record in page?.records() {
                let values: Vec<String> = record.iter().map(text).collect();
                rows.push(values.join("|"));
            }
        }
        Ok(rows)
    }

    pub(crate) async fn put(&self, key: &str, body: impl Into<Vec<u8>>) -> Result {
        let body = futures::stream::iter([Ok(Bytes::from(body.into()))]).boxed();
        Ok(self.storage().put("lake", key, body).await?)
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Vec<u8>> {
        let body = self.storage().open("lake", key).await?;
        Ok(body
            .try_fold(Vec::new(), async |mut all, chunk| {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await?)
    }

    pub(crate) fn storage(&self) -> Arc<dyn ObjectSource> {
        self.s3.storage()
    }
}

pub(crate) fn client(redshift: &RunningRedshift, key: &str) -> Client {
    let config = aws_sdk_redshiftdata::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new(key, "any", None, None, "test"))
        .endpoint_url(redshift.endpoint_url())
        .retry_config(RetryConfig::disabled())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

fn text(field: &Field) -> String {
    match field {
        Field::IsNull(_) => "∅".to_owned(),
        Field::BooleanValue(value) => value.to_string(),
        Field::LongValue(value) => value.to_string(),
        Field::DoubleValue(value) => value.to_string(),
        Field::StringValue(value) => value.clone(),
        other => format!("{other:?}"),
    }
}

/// Fails with both texts when `part` is not in `text`.
pub(crate) fn contains(text: &str, part: &str) {
    assert!(text.contains(part), "`{part}` is not in `{text}`");
}
