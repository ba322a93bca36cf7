//! Databases that are copied from and into, alike to handle.

use std::sync::Arc;

use anyhow::{Context, Result};
use millrace_devstack::{RedshiftConfig, RunningRedshift, serve_redshift};
use millrace_operator_api::context::WorkId;
use millrace_operator_api::entry::find;
use millrace_operator_api::ports::{Ports, Warehouse};
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_testkit::{MariaDatabase, MariaDb, Postgres, TestDatabase};
use serde_json::{Value, json};

use crate::world::{Cells, World, cells, connection, extra, work};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Maria,
    Postgres,
    Lite,
    Redshift,
    /// Redshift by the PostgreSQL protocol.
    Wire,
}

impl Kind {
    pub fn is_redshift(self) -> bool {
        matches!(self, Self::Redshift | Self::Wire)
    }
}

/// A database of its own, under a connection of its own.
pub struct Database {
    pub kind: Kind,
    pub conn_id: String,
    /// Where tables are.
    pub schema: String,
    maria: Option<MariaDatabase>,
    /// Ends with the value.
    servers: (Option<TestDatabase>, Option<RunningRedshift>),
    warehouse: Option<Arc<dyn Warehouse>>,
}

impl Database {
    /// `role` begins the connection's name: `source`, `target`.
    pub async fn start(world: &World, kind: Kind, role: &str) -> Result<Self> {
        let conn_id = format!("{role}_{kind:?}");
        let mut database = Self {
            kind,
            schema: if role == "target" { "dw" } else { "public" }.to_owned(),
            conn_id,
            maria: None,
            servers: (None, None),
            warehouse: None,
        };
        let id = database.conn_id.clone();
        match kind {
            Kind::Maria => {
                let maria = tokio::task::spawn_blocking(|| MariaDb::shared()?.create_database()).await??;
                world.add_url(&id, "mysql", &maria.url())?;
                maria.name().clone_into(&mut database.schema);
                database.maria = Some(maria);
                return Ok(database);
            }
            Kind::Postgres => {
                let postgres = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
                world.add_url(&id, "postgres", &postgres.url())?;
                database.servers.0 = Some(postgres);
            }
            Kind::Lite => {
                let path = tempfile::NamedTempFile::new_in(world.folder.path())?.into_temp_path().keep()?;
                world.add(millrace_operator_api::connection::Connection {
                    schema: Some(path.display().to_string()),
                    ..connection(&id, "sqlite")
                });
                "main".clone_into(&mut database.schema);
            }
            Kind::Redshift | Kind::Wire => {
                let postgres = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
                let redshift = serve_redshift(RedshiftConfig {
                    listen: "127.0.0.1:0".parse()?,
                    postgres_url: postgres.url(),
                    database: "dev".to_owned(),
                    objects: world.s3.storage(),
                    access_key: "standin".to_owned(),
                })
                .await?;
                let mut by = connection(&id, "redshift");
                by.schema = Some("dev".into());
                by.extra = extra(if kind == Kind::Wire {
                    let address = redshift.serve_wire("127.0.0.1:0".parse()?).await?;
                    (by.host, by.port) = (Some(address.ip().to_string()), Some(address.port()));
                    (by.login, by.password) = (Some("loader".to_owned()), Some("any".into()));
                    json!({"sslmode": "disable", "iam_role": "arn:aws:iam::123456789012:role/load"})
                } else {
                    json!({
                        "cluster_identifier": "warehouse", "endpoint_url": redshift.endpoint_url(), "region_name": "eu-west-1",
                        "db_user": "loader", "aws_access_key_id": "standin", "aws_secret_access_key": "standin-secret",
                    })
                });
                world.add(by);
                database.servers = (Some(postgres), Some(redshift));
            }
        }
        database.warehouse = Some(world.connectors.warehouse(&world.context(1), &id).await?);
        if database.schema == "dw" {
            database.run("CREATE SCHEMA dw").await?;
        }
        Ok(database)
    }

    /// A database of a server that the test has chosen.
    pub async fn of_postgres(world: &World, role: &str, postgres: TestDatabase) -> Result<Self> {
        let conn_id = format!("{role}_of_its_own");
        world.add_url(&conn_id, "postgres", &postgres.url())?;
        let database = Self {
            kind: Kind::Postgres,
            schema: "dw".to_owned(),
            conn_id,
            maria: None,
            servers: (Some(postgres), None),
            warehouse: None,
        };
        let database = database.reopened(world).await?;
        database.run("CREATE SCHEMA dw").await?;
        Ok(database)
    }

    /// After its connection was changed.
    pub async fn reopened(self, world: &World) -> Result<Self> {
        let warehouse = world.connectors.warehouse(&world.context(1), &self.conn_id).await?;
        Ok(Self { warehouse: Some(warehouse), ..self })
    }

    /// The PostgreSQL that this is, or that stands behind it.
    pub fn postgres(&self) -> Result<&TestDatabase> {
        self.servers.0.as_ref().context("a PostgreSQL")
    }

    pub fn maria(&self) -> Result<&MariaDatabase> {
        self.maria.as_ref().context("a MariaDB")
    }

    pub fn redshift(&self) -> Result<&RunningRedshift> {
        self.servers.1.as_ref().context("a stand-in")
    }

    pub fn connection(&self, world: &World) -> Result<millrace_operator_api::connection::Connection> {
        world.known(&self.conn_id).context("a connection")
    }

    pub fn quoted(&self, name: &str) -> String {
        let mark = if self.kind == Kind::Maria { "`" } else { "\"" };
        format!("{mark}{}{mark}", name.replace(mark, &mark.repeat(2)))
    }

    /// A quoted name with its schema, where the engine has such.
    pub fn place(&self, quoted: &str) -> String {
        if self.schema == "dw" { format!("dw.{quoted}") } else { quoted.to_owned() }
    }

    pub fn moment_type(&self) -> &'static str {
        if self.kind == Kind::Maria { "datetime(6)" } else { "timestamp" }
    }

    pub async fn run(&self, sql: &str) -> Result<()> {
        if let Some(maria) = &self.maria {
            return maria.execute(sql);
        }
        let warehouse = self.warehouse.as_ref().context("a warehouse")?;
        let statements = warehouse.split(sql)?;
        // Redshift remembers a task's statements: each of ours is another task's.
        let mut task = work(0);
        task.run_id = format!("by-hand-{}", next());
        warehouse.execute(&statements, false, &task).await?;
        Ok(())
    }

    pub async fn rows(&self, sql: &str) -> Result<Cells> {
        let warehouse = self.warehouse.as_ref().context("a warehouse")?;
        let mut task = work(0);
        task.run_id = format!("by-hand-{}", next());
        let mut answers = warehouse.execute(&[sql.to_owned()], false, &task).await?;
        Ok(answers.pop().context("an answer")?.rows)
    }

    /// All rows of a query, as a source gives them.
    pub async fn read(&self, world: &World, sql: &str) -> Result<Cells> {
        let source = world.connectors.source(&world.context(1), &self.conn_id).await?;
        cells(source.query(sql).await?).await
    }
}

fn next() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Runs `table_copy` as the worker does; each generation is another piece of work.
pub async fn run(world: &World, generation: u32, parameters: Value) -> Result<Value, TaskError> {
    run_try(world, generation, 1, parameters).await
}

pub async fn run_try(world: &World, generation: u32, number: u32, parameters: Value) -> Result<Value, TaskError> {
    run_as(world, work(generation), number, parameters).await
}

/// As a task of its own.
pub async fn run_as(world: &World, work: WorkId, number: u32, parameters: Value) -> Result<Value, TaskError> {
    run_in(&TaskContext { work, ..world.context(number) }, parameters).await
}

pub async fn run_in(context: &TaskContext, parameters: Value) -> Result<Value, TaskError> {
    let fail = |text: String| TaskError::Fail(text);
    let entry = find(millrace_operators::catalogue(), "table_copy").ok_or_else(|| fail("no operator".to_owned()))?;
    let operator = (entry.parse)(parameters).map_err(fail)?;
    let mut problems = Problems::default();
    operator.check(&mut problems);
    if !problems.is_empty() {
        return Err(fail(format!("{:?}", problems.into_items())));
    }
    let outcome = operator.run(context).await?;
    outcome.result.ok_or_else(|| fail("no result".to_owned()))
}
