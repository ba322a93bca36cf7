//! PostgreSQL: one shared by all tests, or one of a test's own.

use std::ops::Deref;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio_postgres::error::SqlState;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::binaries;
use crate::private_server::PrivateServer;
use crate::shared_server::{self, Stopped};
use crate::site::{Endpoint, Engine, Site, USER, database_name};

const PACKAGE: &str = "postgresql";
/// How long to wait for a free connection when many tests run at once.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
pub(crate) enum PostgresEngine {
    /// For tests: what was committed survives the server's death, but not the machine's.
    Quick,
    /// For measuring: every commit reaches the disk, as it does where somebody relies on it.
    Durable,
    /// Copies the server on this port of the same machine, which has the same password.
    Standby { primary: u16 },
}

impl Engine for PostgresEngine {
    const NAME: &'static str = "postgres";
    const ACCOUNT: &'static str = "postgres";
    const STOP_SIGNAL: &'static str = "INT";

    fn prepare(&self, site: &Site) -> Result<()> {
        if let Self::Standby { primary } = self {
            let program = binaries::find("pg_basebackup", &binaries::postgres_folders(), PACKAGE)?;
            let mut command = site.account.command(&program);
            command.args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--host=127.0.0.1"]);
            command.args(["--username", USER, "--no-password", "--port", &primary.to_string(), "--pgdata"]);
            command.arg(&site.data).env("PGPASSWORD", &site.endpoint.password);
            return site.run(command);
        }
        let password = site.write("password", &site.endpoint.password)?;
        let initdb = binaries::find("initdb", &binaries::postgres_folders(), PACKAGE)?;
        let mut command = site.account.command(&initdb);
        command.args(["--no-sync", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--username", USER]);
        command.arg("--pwfile").arg(&password).arg("--pgdata").arg(&site.data);
        site.run(command)
    }

    fn command(&self, site: &Site) -> Result<Command> {
        let program = binaries::find("postgres", &binaries::postgres_folders(), PACKAGE)?;
        let mut command = site.account.command(&program);
        command.arg("-D").arg(&site.data).args(["-p", &site.endpoint.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            // No socket file: its path would have to be short, and nobody needs it.
            "unix_socket_directories=",
            "max_connections=200",
            "shared_buffers=64MB",
            "log_statement=none",
            "timezone=UTC",
        ] {
            command.args(["-c", setting]);
        }
        if matches!(self, Self::Quick) {
            // The operating system keeps what a killed process wrote, so a test may still kill the server and find
            // everything committed: synchronous_commit stays on.
            for setting in ["fsync=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0"] {
                command.args(["-c", setting]);
            }
        }
        Ok(command)
    }

    fn answers(&self, endpoint: &Endpoint) -> Result<()> {
        match run_sql(endpoint, "postgres", "SELECT 1") {
            // All connections taken: it lives.
            Err(SqlFailure::Database(error)) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }
}

/// A running PostgreSQL with user `millrace`, a superuser. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Postgres {
    endpoint: Endpoint,
}

impl Postgres {
    /// The PostgreSQL that all tests of this user share; started by the first who asks. Make a database of your own
    /// with [`Postgres::create_database`]. Roles and settings of the server are common to all: do not change them.
    pub fn shared() -> Result<Self> {
        static SHARED: Mutex<Option<Postgres>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(postgres) = &*shared {
            return Ok(postgres.clone());
        }
        let postgres = Self { endpoint: shared_server::attach(&PostgresEngine::Quick)? };
        Ok(shared.insert(postgres).clone())
    }

    /// A PostgreSQL of this test alone, which may be stopped, killed and started again.
    pub fn private() -> Result<PrivatePostgres> {
        Self::start_private(PostgresEngine::Quick)
    }

    /// As [`Postgres::private`], with PostgreSQL's own settings for what must survive a power cut: for measuring.
    pub fn durable() -> Result<PrivatePostgres> {
        Self::start_private(PostgresEngine::Durable)
    }

    fn start_private(engine: PostgresEngine) -> Result<PrivatePostgres> {
        let server = PrivateServer::new(engine)?;
        let postgres = Self { endpoint: server.site().endpoint.clone() };
        Ok(PrivatePostgres { postgres, server })
    }

    /// Stops the shared server, unless another process uses it.
    pub fn stop_shared() -> Result<Stopped> {
        shared_server::stop::<PostgresEngine>()
    }

    /// A new, empty database with a name that nobody else has. It is dropped with the value, even if somebody is still
    /// connected.
    pub fn create_database(&self) -> Result<TestDatabase> {
        let name = database_name()?;
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .with_context(|| format!("cannot create the test database {name}"))?;
        Ok(TestDatabase { postgres: self.clone(), name })
    }

    /// As [`Postgres::create_database`], with all that is in another one, to which nobody may be connected meanwhile.
    pub fn copy_database(&self, from: &TestDatabase) -> Result<TestDatabase> {
        let name = database_name()?;
        self.admin(&format!("CREATE DATABASE {name} TEMPLATE {}", from.name))
            .with_context(|| format!("cannot copy the test database {} to {name}", from.name))?;
        Ok(TestDatabase { postgres: self.clone(), name })
    }

    /// The address of a database of this server: `postgres://millrace:…@127.0.0.1:PORT/NAME`.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", self.endpoint.password, self.endpoint.port)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.endpoint.port
    }

    /// The superuser's name.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The superuser's password.
    pub fn password(&self) -> &str {
        &self.endpoint.password
    }

    fn admin(&self, sql: &str) -> Result<()> {
        let deadline = Instant::now() + BUSY_TIMEOUT;
        loop {
            match run_sql(&self.endpoint, "postgres", sql) {
                // A database whose last session has just ended is in use for a moment longer.
                Err(SqlFailure::Database(error))
                    if [Some(&SqlState::TOO_MANY_CONNECTIONS), Some(&SqlState::OBJECT_IN_USE)]
                        .contains(&error.code())
                        && Instant::now() < deadline =>
                {
                    std::thread::sleep(Duration::from_millis(100));
                }
                other => return Ok(other.map(|_| ())?),
            }
        }
    }
}

/// A PostgreSQL of one test alone. Dropping it kills the server and removes its data.
#[derive(Debug)]
pub struct PrivatePostgres {
    postgres: Postgres,
    server: PrivateServer<PostgresEngine>,
}

impl PrivatePostgres {
    /// Shuts down in order; connections are cut.
    pub fn stop(&mut self) -> Result<()> {
        self.server.stop(Signal::INT)
    }

    /// A hot standby that is sent what is written here, a [`Postgres::durable`], as it happens.
    pub fn standby(&self) -> Result<PrivatePostgres> {
        let engine = PostgresEngine::Standby { primary: self.port() };
        let server = PrivateServer::with_password(engine, Some(self.password()))?;
        Ok(PrivatePostgres { postgres: Postgres { endpoint: server.site().endpoint.clone() }, server })
    }

    /// SIGKILL, as if the machine had taken it. What was committed is there after [`PrivatePostgres::start`].
    pub fn kill(&mut self) -> Result<()> {
        self.server.kill()
    }

    /// Starts it again on the same port and data, and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        self.server.start()
    }
}

impl Deref for PrivatePostgres {
    type Target = Postgres;

    fn deref(&self) -> &Postgres {
        &self.postgres
    }
}

/// A database of one test, dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    postgres: Postgres,
    name: String,
}

impl TestDatabase {
    /// `postgres://millrace:…@127.0.0.1:PORT/NAME`
    pub fn url(&self) -> String {
        self.postgres.url(&self.name)
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it is on.
    pub fn server(&self) -> &Postgres {
        &self.postgres
    }

    /// Runs one or more statements on a connection of their own; several run as one transaction.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.query(sql).map(|_| ())
    }

    /// Runs statements and returns the rows of all of them, each value as text.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        run_sql(&self.postgres.endpoint, &self.name, sql)
            .with_context(|| format!("the test database {} refused: {sql}", self.name))
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Best effort: what stays is removed with the server.
        let _ = self.postgres.admin(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

#[derive(Debug, thiserror::Error)]
enum SqlFailure {
    #[error("cannot ask PostgreSQL: {0}")]
    Local(String),
    #[error("PostgreSQL says: {}", .0.as_db_error().map_or_else(|| .0.to_string(), ToString::to_string))]
    Database(#[source] tokio_postgres::Error),
}

/// Runs on a thread of its own: a test may be inside a runtime, where one cannot block on another.
fn run_sql(endpoint: &Endpoint, database: &str, sql: &str) -> Result<Vec<Vec<Option<String>>>, SqlFailure> {
    let mut config = tokio_postgres::Config::new();
    config.host("127.0.0.1").port(endpoint.port).user(USER).password(&endpoint.password).dbname(database);
    config.connect_timeout(Duration::from_secs(10));
    let conversation = async {
        let (client, connection) = config.connect(NoTls).await.map_err(SqlFailure::Database)?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(sql).await.map_err(SqlFailure::Database)?;
        drop(client);
        let _ = connection.await;
        Ok(messages.iter().filter_map(row_of_text).collect())
    };
    let answer = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| SqlFailure::Local(error.to_string()))?.block_on(conversation)
        });
        thread.join()
    });
    answer.unwrap_or_else(|_| Err(SqlFailure::Local("the thread that asked it panicked".to_owned())))
}

fn row_of_text(message: &SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    Some((0..row.len()).map(|column| row.get(column).map(ToOwned::to_owned)).collect())
}
