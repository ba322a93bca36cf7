//! MariaDB, shared by all tests; it stands for every MySQL.

use std::io::Write;
use std::ops::Deref;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use crate::binaries;
use crate::private_server::PrivateServer;
use crate::shared_server::{self, Stopped};
use crate::site::{Endpoint, Engine, Site, USER, database_name};

const SERVER_PACKAGE: &str = "mariadb-server";
const CLIENT_PACKAGE: &str = "mariadb-client";

#[derive(Debug, Default)]
struct MariaDbEngine {
    /// A certificate and its key, as PEM.
    identity: Option<(String, String)>,
    /// Whether others may copy it.
    is_primary: bool,
}

impl Engine for MariaDbEngine {
    const NAME: &'static str = "mariadb";
    const ACCOUNT: &'static str = "mysql";
    const STOP_SIGNAL: &'static str = "TERM";

    fn prepare(&self, site: &Site) -> Result<()> {
        let program = binaries::find("mariadb-install-db", &[], SERVER_PACKAGE)?;
        let mut command = site.account.command(&program);
        command.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        command.arg(format!("--datadir={}", site.data.display())).arg(format!("--tmpdir={}", site.data.display()));
        site.run(command)
    }

    fn command(&self, site: &Site) -> Result<Command> {
        let password = &site.endpoint.password;
        // The server reads this at every start, so each statement may be repeated.
        let first_statements = site.write(
            "first.sql",
            &format!(
                "CREATE OR REPLACE USER '{USER}'@'%' IDENTIFIED BY '{password}';\n\
                 GRANT ALL PRIVILEGES ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n\
                 ALTER USER 'root'@'localhost' IDENTIFIED BY '{password}';\n\
                 DROP USER IF EXISTS ''@'localhost';\n"
            ),
        )?;
        let program = binaries::find("mariadbd", &[], SERVER_PACKAGE)?;
        let data = site.data.display();
        let mut command = site.account.command(&program);
        command.arg("--no-defaults").args([
            format!("--datadir={data}"),
            format!("--tmpdir={data}"),
            format!("--socket={data}/server.sock"),
            format!("--pid-file={data}/server.pid"),
            format!("--port={}", site.endpoint.port),
            format!("--init-file={}", first_statements.display()),
        ]);
        command.args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--character-set-server=utf8mb4",
            "--collation-server=utf8mb4_unicode_ci",
            "--max-connections=200",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-buffer-pool-size=64M",
        ]);
        if self.is_primary {
            command.args(["--log-bin=written", "--server-id=1"]);
        }
        if let Some((certificate, key)) = &self.identity {
            for (option, name, text) in [("cert", "server.pem", certificate), ("key", "server.key", key)] {
                command.arg(format!("--ssl-{option}={}", site.write(name, text)?.display()));
            }
        }
        Ok(command)
    }

    fn answers(&self, endpoint: &Endpoint) -> Result<()> {
        run_sql(endpoint, None, "SELECT 1").map(|_| ())
    }
}

/// A running MariaDB with user `millrace`, who may do everything. Cheap to clone.
#[derive(Debug, Clone)]
pub struct MariaDb {
    endpoint: Endpoint,
}

impl MariaDb {
    /// The MariaDB that all tests of this user share; started by the first who asks. Make a database of your own with
    /// [`MariaDb::create_database`]. Users and settings of the server are common to all: do not change them.
    pub fn shared() -> Result<Self> {
        static SHARED: Mutex<Option<MariaDb>> = Mutex::new(None);
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(mariadb) = &*shared {
            return Ok(mariadb.clone());
        }
        let mariadb = Self { endpoint: shared_server::attach(&MariaDbEngine::default())? };
        Ok(shared.insert(mariadb).clone())
    }

    /// A MariaDB of this test alone, whose users and settings it may change.
    pub fn private() -> Result<PrivateMariaDb> {
        Self::start_private(MariaDbEngine::default())
    }

    /// As [`MariaDb::private`], number 1 of those that copy each other: it writes down what changes.
    pub fn primary() -> Result<PrivateMariaDb> {
        Self::start_private(MariaDbEngine { is_primary: true, ..MariaDbEngine::default() })
    }

    /// As [`MariaDb::private`], one that encrypts, with this certificate and its key (PEM).
    pub fn with_certificate(certificate: &str, key: &str) -> Result<PrivateMariaDb> {
        Self::start_private(MariaDbEngine {
            identity: Some((certificate.to_owned(), key.to_owned())),
            ..MariaDbEngine::default()
        })
    }

    fn start_private(engine: MariaDbEngine) -> Result<PrivateMariaDb> {
        let server = PrivateServer::new(engine)?;
        let mariadb = Self { endpoint: server.site().endpoint.clone() };
        Ok(PrivateMariaDb { mariadb, _server: server })
    }

    /// Stops the shared server, unless another process uses it.
    pub fn stop_shared() -> Result<Stopped> {
        shared_server::stop::<MariaDbEngine>()
    }

    /// A new, empty database (utf8mb4) with a name that nobody else has, dropped with the value.
    pub fn create_database(&self) -> Result<MariaDatabase> {
        let name = database_name()?;
        run_sql(&self.endpoint, None, &format!("CREATE DATABASE {name}"))
            .with_context(|| format!("cannot create the test database {name}"))?;
        Ok(MariaDatabase { mariadb: self.clone(), name })
    }

    /// The address of a database of this server: `mysql://millrace:…@127.0.0.1:PORT/NAME`.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://{USER}:{}@127.0.0.1:{}/{database}", self.endpoint.password, self.endpoint.port)
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.endpoint.port
    }

    /// The user's name.
    pub fn user(&self) -> &'static str {
        USER
    }

    /// The user's password.
    pub fn password(&self) -> &str {
        &self.endpoint.password
    }
}

/// A MariaDB of one test alone. Dropping it kills the server and removes its data.
#[derive(Debug)]
pub struct PrivateMariaDb {
    mariadb: MariaDb,
    _server: PrivateServer<MariaDbEngine>,
}

impl Deref for PrivateMariaDb {
    type Target = MariaDb;

    fn deref(&self) -> &MariaDb {
        &self.mariadb
    }
}

/// A database of one test, dropped with this value.
#[derive(Debug)]
pub struct MariaDatabase {
    mariadb: MariaDb,
    name: String,
}

impl MariaDatabase {
    /// `mysql://millrace:…@127.0.0.1:PORT/NAME`
    pub fn url(&self) -> String {
        self.mariadb.url(&self.name)
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server it is on.
    pub fn server(&self) -> &MariaDb {
        &self.mariadb
    }

    /// Runs one or more statements through the `mariadb` client, stopping at the first error.
    pub fn execute(&self, sql: &str) -> Result<()> {
        self.query(sql).map(|_| ())
    }

    /// Runs statements and returns the rows of all of them as the client prints them: NULL is the text `NULL`, and
    /// tabs, newlines and backslashes inside of values are escaped by a backslash.
    pub fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        let text = run_sql(&self.mariadb.endpoint, Some(&self.name), sql)
            .with_context(|| format!("the test database {} refused its statements", self.name))?;
        Ok(text.lines().map(|line| line.split('\t').map(ToOwned::to_owned).collect()).collect())
    }
}

impl Drop for MariaDatabase {
    fn drop(&mut self) {
        // Best effort: what stays is removed with the server.
        let _ = run_sql(&self.mariadb.endpoint, None, &format!("DROP DATABASE IF EXISTS {}", self.name));
    }
}

fn run_sql(endpoint: &Endpoint, database: Option<&str>, sql: &str) -> Result<String> {
    let program = binaries::find("mariadb", &[], CLIENT_PACKAGE)?;
    let mut child = Command::new(program)
        .args(["--no-defaults", "--protocol=tcp", "--host=127.0.0.1", "--default-character-set=utf8mb4"])
        .args(["--batch", "--skip-column-names", "--connect-timeout=10", "--user", USER])
        .arg(format!("--port={}", endpoint.port))
        .args(database)
        // On the command line everybody could read it.
        .env("MYSQL_PWD", &endpoint.password)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the `mariadb` client")?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        // The client may answer while it still reads.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(sql.as_bytes())));
        child.wait_with_output().context("cannot wait for the `mariadb` client")
    })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let first: String = sql.chars().take(200).collect();
        bail!("MariaDB says: {} (the statements began with: {first})", message.trim());
    }
    String::from_utf8(output.stdout).context("the answer of MariaDB is not UTF-8")
}
