//! The stand-ins for S3 and Redshift, over a folder and a real PostgreSQL database.

use std::sync::Arc;

use millrace_devstack::{
    Faults, RedshiftConfig, RunningRedshift, RunningS3, RunningSts, S3Config, StsConfig, serve_redshift, serve_s3,
    serve_sts,
};
use millrace_testkit::{Postgres, TestDatabase};
use tempfile::TempDir;

use super::TestHome;

pub const ACCESS_KEY: &str = "AKIAMILLRACETEST";
/// Must never be seen in any output.
pub const SECRET_KEY: &str = "s3cret/of+the+warehouse";

const BUCKET: &str = "warehouse-landing";

/// Made before any run; the target as the examples' comments say.
const TABLES: &str = "
description: Makes the target tables
schedule: none
tasks:
  create_tables:
    operator: sql
    sql_conn_id: redshift_dev
    sql:
      - CREATE SCHEMA analytics
      - CREATE TABLE analytics.nps (id INT NOT NULL PRIMARY KEY, created_at TIMESTAMP, score SMALLINT)
";

/// Runs in the test's process, so that it outlives the daemons that are killed.
pub struct Warehouse {
    runtime: tokio::runtime::Runtime,
    s3: RunningS3,
    redshift: RunningRedshift,
    database: TestDatabase,
    objects: TempDir,
}

impl Warehouse {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let database = Postgres::shared().and_then(|server| server.create_database()).expect("a PostgreSQL");
        let objects = tempfile::Builder::new().prefix("millrace-s3-").tempdir().expect("a temporary folder");
        let (s3, redshift) = runtime.block_on(async {
            let s3 = serve_s3(S3Config {
                root: objects.path().to_owned(),
                access_key: ACCESS_KEY.to_owned(),
                secret_key: SECRET_KEY.to_owned(),
                listen: ([127, 0, 0, 1], 0).into(),
                buckets: vec![BUCKET.to_owned()],
            })
            .await
            .expect("the S3 stand-in starts");
            let redshift = serve_redshift(RedshiftConfig {
                listen: ([127, 0, 0, 1], 0).into(),
                postgres_url: database.url(),
                database: "dev".to_owned(),
                objects: Arc::clone(&s3.storage()) as Arc<dyn millrace_devstack::ObjectSource>,
                access_key: ACCESS_KEY.to_owned(),
            })
            .await
            .expect("the Redshift stand-in starts");
            (s3, redshift)
        });
        Self { runtime, s3, redshift, database, objects }
    }

    /// Gives the home its connections `aws_default`, by the environment, and `redshift_dev`, by the command line.
    pub fn connect(&self, home: &mut TestHome) {
        let aws = serde_json::json!({
            "conn_type": "aws", "login": ACCESS_KEY, "password": SECRET_KEY,
            "extra": {"endpoint_url": self.s3.endpoint_url(), "region_name": "us-east-1"},
        });
        home.set("MILLRACE_CONN_AWS_DEFAULT", aws.to_string());
        let redshift = serde_json::json!({
            "conn_type": "redshift", "schema": "dev",
            "extra": {
                "endpoint_url": self.redshift.endpoint_url(), "region_name": "us-east-1",
                "workgroup_name": "dev", "role_arn": "arn:aws:iam::123456789012:role/redshift-read-s3",
                "aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY,
            },
        });
        home.run_with_input(&["connections", "add", "redshift_dev", "--conn-json", "-"], &redshift.to_string())
            .exits(0);
    }

    /// An STS for the keys of this S3, where this role may be taken.
    pub fn sts(&self, role_arn: &str) -> RunningSts {
        let config = StsConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            role_arn: role_arn.to_owned(),
            external_id: None,
            lifetime: std::time::Duration::from_hours(1),
        };
        self.runtime.block_on(serve_sts(config, self.s3.sessions())).expect("the STS stand-in starts")
    }

    pub fn s3_url(&self) -> String {
        self.s3.endpoint_url()
    }

    pub fn redshift_url(&self) -> String {
        self.redshift.endpoint_url()
    }

    /// Makes the target tables through the connection, as a person would.
    pub fn create_tables(home: &TestHome) {
        home.write_dag("create_tables.yaml", TABLES);
        home.ok(&["tasks", "test", "create_tables", "create_tables", "2024-01-01"]);
    }

    /// Failures to come of the S3 stand-in.
    pub fn s3_faults(&self) -> &Faults {
        self.s3.faults()
    }

    /// Failures to come of the Redshift stand-in.
    pub fn faults(&self) -> &Faults {
        self.redshift.faults()
    }

    /// The keys of all objects.
    pub fn keys(&self) -> Vec<String> {
        let storage = self.s3.storage() as Arc<dyn millrace_devstack::ObjectSource>;
        let found = self.runtime.block_on(storage.list(BUCKET, "")).expect("the bucket is there");
        found.into_iter().map(|object| object.key).collect()
    }

    /// Uploads in parts that were neither completed nor dropped.
    pub fn unfinished_uploads(&self) -> usize {
        let folder = self.objects.path().join("buckets").join(BUCKET).join("uploads");
        std::fs::read_dir(folder).expect("the bucket is there").count()
    }

    /// The database behind the stand-in.
    pub fn database_url(&self) -> String {
        self.database.url()
    }

    /// Straight to the database behind the stand-in.
    pub fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let rows = self.database.query(sql).expect("the warehouse's database answers");
        let text = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
        rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
    }

    /// All of `analytics.nps`, by id; rows that are there twice are twice in it.
    pub fn rows(&self) -> Vec<Vec<String>> {
        self.query(
            "SELECT id, to_char(created_at, 'YYYY-MM-DD HH24:MI:SS.US'), score FROM analytics.nps ORDER BY id, created_at, score",
        )
    }
}

/// Two dumps that must be equal.
pub struct Comparison;

impl Comparison {
    /// Fails with the first difference, not with 200,000 rows.
    #[track_caller]
    pub fn assert_equal(source: &[Vec<String>], target: &[Vec<String>]) {
        assert!(!source.is_empty(), "nothing to compare: the source has no such rows");
        let differs = source.iter().zip(target).position(|(left, right)| left != right);
        if let Some(at) = differs {
            panic!("row {at} differs: {:?} in the source, {:?} in the target", source[at], target[at]);
        }
        assert_eq!(source.len(), target.len(), "rows of source and target");
    }
}
