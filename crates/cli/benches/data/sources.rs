//! The two tables that are moved, made by MariaDB itself and copied into PostgreSQL, and the clients of both.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use millrace_testkit::{MariaDatabase, MariaDb, PrivatePostgres};

const MARIADB: &str = include_str!("mariadb.sql");
const POSTGRES: &str = include_str!("postgres.sql");

pub struct Sources {
    pub mariadb: MariaDatabase,
    /// Of PostgreSQL, which is both a source and the warehouse.
    pub url: String,
    pub rows: Rows,
}

/// How large the tables are.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    pub nps: u64,
    pub orders: u64,
    /// Of an upsert; half of them are there already.
    pub changes: u64,
}

impl Rows {
    pub fn new(is_small: bool) -> Self {
        let part = if is_small { 20 } else { 1 };
        Self { nps: 5_000_000 / part, orders: 1_000_000 / part, changes: 100_000 / part }
    }

    pub fn of(self, table: &str) -> u64 {
        if table == "nps" { self.nps } else { self.orders }
    }

    /// What is added to the ids of the first rows to make those of the changes.
    pub fn shift(self) -> u64 {
        self.nps - self.changes / 2
    }
}

impl Sources {
    pub fn build(server: &PrivatePostgres, rows: Rows) -> Self {
        let mariadb = MariaDb::shared().unwrap().create_database().unwrap();
        let made = MARIADB
            .replace("5000001", &(rows.nps + 1).to_string())
            .replace("seq_1_to_5000000", &format!("seq_1_to_{}", rows.nps))
            .replace("seq_1_to_1000000", &format!("seq_1_to_{}", rows.orders));
        mariadb.execute(&made).unwrap();
        let database = server.create_database().unwrap();
        let url = database.url();
        // The server goes away as a whole.
        std::mem::forget(database);
        let sources = Self { mariadb, url, rows };
        sources.psql(POSTGRES);
        for table in ["nps", "orders"] {
            let mut read = sources.mariadb_client(&format!("SELECT * FROM {table}"));
            let mut reading = read.arg("--skip-column-names").stdout(Stdio::piped()).spawn().unwrap();
            let copy = format!("COPY prod.{table} FROM STDIN WITH (NULL 'NULL')");
            let mut load = sources.psql_client(&copy);
            assert!(load.stdin(reading.stdout.take().unwrap()).status().unwrap().success());
            assert!(reading.wait().unwrap().success());
        }
        sources.psql("VACUUM ANALYZE prod.nps");
        sources.psql("VACUUM ANALYZE prod.orders");
        sources
    }

    /// `mariadb --quick --batch`: rows as they come, as text.
    pub fn mariadb_client(&self, sql: &str) -> Command {
        let server = self.mariadb.server();
        let mut client = Command::new("mariadb");
        client.args(["--protocol=tcp", "--host=127.0.0.1", "--default-character-set=utf8mb4", "--quick", "--batch"]);
        client.arg(format!("--port={}", server.port())).arg(format!("--user={}", server.user()));
        client.env("MYSQL_PWD", server.password()).args(["--execute", sql, self.mariadb.name()]);
        client.stdin(Stdio::null());
        client
    }

    /// What `mariadb` alone takes to read.
    pub fn read_out(&self, sql: &str) {
        assert!(self.mariadb_client(sql).stdout(Stdio::null()).status().unwrap().success());
    }

    pub fn psql_client(&self, sql: &str) -> Command {
        let mut client = Command::new("psql");
        client.env("PGOPTIONS", "-c client_min_messages=warning");
        client.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", &self.url, "--command", sql]);
        client
    }

    pub fn psql(&self, sql: &str) {
        assert!(self.psql_client(sql).stdout(Stdio::null()).status().unwrap().success(), "{sql}");
    }

    fn number(&self, sql: &str) -> u64 {
        let output = self.psql_client(sql).args(["--tuples-only", "--no-align"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }

    pub fn count(&self, table: &str) -> u64 {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }

    /// COPYs that run.
    pub fn copies(&self) -> u64 {
        self.number("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY %'")
    }

    /// An empty table like the source's, logged and with its primary key.
    pub fn empty_target(&self, table: &str) {
        self.psql(&format!(
            "CREATE SCHEMA IF NOT EXISTS warehouse; DROP TABLE IF EXISTS warehouse.{table}; \
             CREATE TABLE warehouse.{table} (LIKE prod.{table} INCLUDING ALL)"
        ));
    }

    /// What `psql` alone takes to read a table.
    pub fn copy_out(&self, table: &str, to: Option<&Path>) {
        let to = to.map_or_else(Stdio::null, |path| File::create(path).unwrap().into());
        let mut read = self.psql_client(&format!("COPY (SELECT * FROM prod.{table}) TO STDOUT"));
        assert!(read.stdout(to).status().unwrap().success());
    }

    /// What `psql` alone takes to fill a table.
    pub fn copy_in(&self, table: &str, from: &Path) {
        let mut load = self.psql_client(&format!("COPY {table} FROM STDIN"));
        assert!(load.stdin(File::open(from).unwrap()).status().unwrap().success());
    }
}
