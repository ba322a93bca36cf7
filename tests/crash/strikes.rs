//! A shop, a warehouse of one of three kinds, and a daemon that is killed at a chosen moment of a load; the next one is to
//! finish it, and is the one that is killed at the next moment.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_devstack::Fault;
use millrace_testkit::{Cable, Daemon, Postgres, Stop, TestDatabase, wait_until_blocking};
use serde_json::json;
use sqlx::Connection as _;

use crate::support::{Comparison, PATIENCE, TestHome, Warehouse};

/// Where the rows go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Redshift,
    Postgres,
    Lite,
}

/// What is under way when the program is killed.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// So many requests of this name to S3 have gone well, and this one is done or not.
    S3(&'static str, u32, bool),
    /// As many to Redshift; also the first word of a statement.
    Redshift(&'static str, u32, bool),
    /// The source has this, and its answer does not come.
    Read(fn(&[u8]) -> bool),
    /// The target has this for the so-manieth time, from 1, and its answer does not come.
    Written(fn(&[u8]) -> bool, u32),
    /// The target waits for somebody else who holds its table.
    Locked,
    /// The transaction is open, and half of the rows are in it.
    InTransaction,
}

pub fn holds(piece: &[u8], words: &[&str]) -> bool {
    words.iter().all(|word| piece.windows(word.len()).any(|window| window == word.as_bytes()))
}

/// What a load is to leave.
pub struct Load {
    pub dag: &'static str,
    /// `{target}` is its connection, `{schema}` the parameter, `{table}` the table and `{copied}` the same for `table_copy`.
    pub tasks: &'static str,
    pub moments: &'static [Moment],
    /// Rows of the source go away between two runs, and have to go from the target.
    pub with_deletes: bool,
    /// Rows only come to those that are there.
    pub appends: bool,
    /// Each line of the ledger: the task and the stage.
    pub ledger: &'static [(&'static str, &'static str)],
}

const SOURCE: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, changed_at timestamp NOT NULL, note varchar(60));
    INSERT INTO orders SELECT n, timestamp '2026-01-01' + n * interval '1 minute', 'order ' || n
        FROM generate_series(1, 2000) AS n";
const ROWS: &str = "SELECT id, to_char(changed_at, 'YYYY-MM-DD HH24:MI:SS'), note FROM {table} ORDER BY 1, 2, 3";
const LITE_ROWS: &str = "SELECT CAST(id AS TEXT), substr(replace(changed_at, 'T', ' '), 1, 19), note FROM orders \
                         ORDER BY id, changed_at, note";

pub struct Strikes {
    into: Kind,
    home: TestHome,
    warehouse: Warehouse,
    source: TestDatabase,
    source_cable: Cable,
    target: TestDatabase,
    target_cable: Cable,
    daemon: Option<Daemon>,
    /// Each a day of the shop.
    runs: u32,
    runtime: tokio::runtime::Runtime,
}

impl Strikes {
    pub fn new(into: Kind) -> Self {
        let database = || Postgres::shared().and_then(|server| server.create_database()).unwrap();
        let (source, target) = (database(), database());
        let [source_cable, target_cable] =
            [&source, &target].map(|database| Cable::to(database.server().port()).unwrap());
        source.execute(SOURCE).unwrap();
        let warehouse = Warehouse::start();
        let mut home = TestHome::new();
        home.set("MILLRACE__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false");
        home.ok(&["db", "migrate"]);
        for (conn_id, database, cable) in [("shop", &source, &source_cable), ("pg", &target, &target_cable)] {
            let server = database.server();
            let form = json!({"conn_type": "postgres", "host": "127.0.0.1", "port": cable.port, "login": server.user(),
                              "password": server.password(), "schema": database.name()});
            home.run_with_input(&["connections", "add", conn_id, "--conn-json", "-"], &form.to_string()).exits(0);
        }
        let file = home.file("lite.db");
        std::fs::write(&file, "").unwrap();
        home.ok(&["connections", "add", "lite", "--conn-type", "sqlite", "--conn-schema", file.to_str().unwrap()]);
        warehouse.connect(&mut home);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let strikes =
            Self { into, home, warehouse, source, source_cable, target, target_cable, daemon: None, runs: 0, runtime };
        let schema = if into == Kind::Lite { "" } else { "      - CREATE SCHEMA dw\n" };
        strikes.write_dag(
            "make",
            &format!(
                "  make:\n    operator: sql\n    sql_conn_id: {{target}}\n    sql:\n{schema}      - CREATE TABLE {{table}} \
                 (id int NOT NULL PRIMARY KEY, changed_at timestamp, note varchar(60))\n"
            ),
        );
        strikes.home.ok(&["tasks", "test", "make", "make", "2026-01-01"]);
        strikes
    }

    fn table(&self) -> &'static str {
        if self.into == Kind::Lite { "orders" } else { "dw.orders" }
    }

    fn write_dag(&self, dag: &str, tasks: &str) {
        let (target, schema, copied) = match self.into {
            Kind::Redshift => ("redshift_dev", "schema: dw", "dw.orders"),
            Kind::Postgres => ("pg", "schema: dw", "dw.orders"),
            Kind::Lite => ("lite", "", "main.orders"),
        };
        let tasks = tasks.replace("{target}", target).replace("{schema}", schema).replace("{copied}", copied);
        let tasks = tasks.replace("{table}", self.table());
        let text = format!("schedule: none\ndefault_args: {{retries: 2, retry_delay: 0}}\ntasks:\n{tasks}");
        self.home.write_dag(&format!("{dag}.yaml"), &text);
    }

    /// Straight to the table, past what is struck.
    fn query(&self, sql: &str) -> Vec<Vec<String>> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "NULL".to_owned());
        match self.into {
            Kind::Redshift => self.warehouse.query(sql),
            Kind::Postgres => {
                let rows = self.target.query(sql).unwrap();
                rows.into_iter().map(|row| row.into_iter().map(text).collect()).collect()
            }
            Kind::Lite => self.runtime.block_on(async {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.home.file("lite.db"));
                let mut file = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).fetch_all(&mut file).await.unwrap();
                let cells = |row: &sqlx::sqlite::SqliteRow| -> Vec<String> {
                    use sqlx::Row as _;
                    (0..row.len()).map(|at| text(row.try_get::<Option<String>, _>(at).unwrap())).collect()
                };
                rows.iter().map(cells).collect()
            }),
        }
    }

    fn target_rows(&self) -> Vec<Vec<String>> {
        match self.into {
            Kind::Lite => self.query(LITE_ROWS),
            _ => self.query(&ROWS.replace("{table}", self.table())),
        }
    }

    fn source_rows(&self) -> Vec<Vec<String>> {
        let rows = self.source.query(&ROWS.replace("{table}", "orders")).unwrap();
        rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect()
    }

    /// The shop goes on between two runs.
    fn sell(&self, load: &Load) {
        let number = self.runs;
        let (changed, sold) = (number % 7, 5050 + number);
        self.source
            .execute(&format!(
                "UPDATE orders SET note = 'changed {number}', changed_at = timestamp '2026-02-01' + {number} * interval '1 hour' \
                 WHERE id % 7 = {changed}; INSERT INTO orders VALUES ({sold}, timestamp '2026-02-01' + {number} * interval '1 hour', 'new')"
            ))
            .unwrap();
        if load.with_deletes {
            self.source.execute(&format!("DELETE FROM orders WHERE id % 100 = {}", number % 100)).unwrap();
        }
        if load.appends {
            self.query(&format!("DELETE FROM {}", self.table()));
        }
    }

    pub fn survive(mut self, loads: &[Load]) {
        for load in loads {
            self.survives(load);
        }
    }

    /// Each of its moments, one after the other, after one run that nobody disturbs.
    fn survives(&mut self, load: &Load) {
        self.write_dag(load.dag, load.tasks);
        self.home.ok(&["dags", "list"]);
        let mut daemon = self.daemon.take().unwrap_or_else(|| self.home.scheduler());
        self.runs += 1;
        let run_id = format!("r{}", self.runs);
        self.sell(load);
        self.home.ok(&["dags", "trigger", load.dag, "--run-id", &run_id]);
        self.ends_well(load, &run_id, &mut daemon);
        for moment in load.moments {
            self.runs += 1;
            let told = format!("{} into {:?}, killed at {moment:?}", load.dag, self.into);
            eprintln!("{told}");
            let run_id = format!("r{}", self.runs);
            self.sell(load);
            daemon = self.strike(*moment, &told, daemon, || {
                self.home.ok(&["dags", "trigger", load.dag, "--run-id", &run_id]);
            });
            self.ends_well(load, &run_id, &mut daemon);
        }
        self.daemon = Some(daemon);
    }

    /// Kills the daemon at the moment, and starts another one.
    fn strike(&self, moment: Moment, told: &str, mut daemon: Daemon, trigger: impl FnOnce()) -> Daemon {
        match moment {
            Moment::S3(operation, before, is_done) | Moment::Redshift(operation, before, is_done) => {
                let is_s3 = matches!(moment, Moment::S3(..));
                let faults = if is_s3 { self.warehouse.s3_faults() } else { self.warehouse.faults() };
                if before > 0 {
                    faults.inject(operation, Fault::Delay(Duration::ZERO), before);
                }
                // A statement that was sent goes on without whoever sent it.
                let fault = if is_done { Fault::LoseAnswer } else { Fault::Delay(Duration::from_secs(1)) };
                faults.inject(operation, fault, 1);
                trigger();
                self.wait(told, &daemon, || faults.pending() == 0);
                daemon.kill().unwrap();
            }
            Moment::Read(counts) => {
                let stop = Stop { counts, number: 1, arrives: true };
                self.stop(told, &self.source_cable, stop, daemon, trigger);
            }
            Moment::Written(counts, number) => {
                let stop = Stop { counts, number, arrives: true };
                self.stop(told, &self.target_cable, stop, daemon, trigger);
            }
            Moment::Locked => self.lock_out(told, daemon, trigger),
            Moment::InTransaction => self.slow_down(told, daemon, trigger),
        }
        self.home.scheduler()
    }

    fn wait(&self, told: &str, daemon: &Daemon, condition: impl FnMut() -> bool) {
        wait_until_blocking("the moment comes", PATIENCE, condition).unwrap_or_else(|error| {
            let runs = self.home.run(&["data", "ledger"]).stdout;
            panic!("{told}: {error}\n{}\n{runs}", daemon.stderr());
        });
    }

    fn stop(&self, told: &str, cable: &Cable, stop: Stop, mut daemon: Daemon, trigger: impl FnOnce()) {
        cable.stop_at(stop);
        trigger();
        self.wait(told, &daemon, || cable.is_stopped());
        daemon.kill().unwrap();
        cable.sever();
    }

    /// Of PostgreSQL, also of the one behind Redshift.
    fn lock_out(&self, told: &str, mut daemon: Daemon, trigger: impl FnOnce()) {
        let url = if self.into == Kind::Redshift { self.warehouse.database_url() } else { self.target.url() };
        let mut holder = self.runtime.block_on(async {
            let mut holder = sqlx::PgConnection::connect(&url).await.unwrap();
            sqlx::raw_sql("BEGIN; LOCK TABLE dw.orders IN SHARE ROW EXCLUSIVE MODE")
                .execute(&mut holder)
                .await
                .unwrap();
            holder
        });
        trigger();
        // Whoever only reads does not wait.
        let waiting =
            "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'orders' AND NOT granted";
        self.wait(told, &daemon, || !self.query(waiting).is_empty());
        daemon.kill().unwrap();
        self.runtime.block_on(async {
            sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
        });
    }

    /// SQLite works for a very long time at one of the rows, until it is killed.
    fn slow_down(&self, told: &str, mut daemon: Daemon, trigger: impl FnOnce()) {
        let counting =
            "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 100000000000) SELECT n FROM s";
        self.query(&format!("CREATE VIEW long AS {counting}"));
        for event in ["INSERT", "UPDATE"] {
            self.query(&format!(
                "CREATE TRIGGER slow_{event} AFTER {event} ON orders WHEN NEW.id = 1001 OR NEW.id = 5050 + {} \
                 BEGIN SELECT MAX(n) FROM long; END",
                self.runs
            ));
        }
        trigger();
        // Longer than any other transaction of a load.
        let mut refused = 0;
        self.wait(told, &daemon, || {
            refused = if self.is_written_to() { refused + 1 } else { 0 };
            refused > 10
        });
        daemon.kill().unwrap();
        self.query("DROP TRIGGER slow_INSERT; DROP TRIGGER slow_UPDATE; DROP VIEW long");
    }

    fn is_written_to(&self) -> bool {
        self.runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.home.file("lite.db"));
            let mut file = sqlx::SqliteConnection::connect_with(&options.busy_timeout(Duration::ZERO)).await.unwrap();
            sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut file).await.is_err()
        })
    }

    fn ends_well(&self, load: &Load, run_id: &str, daemon: &mut Daemon) {
        let told = format!("{} into {:?}, {run_id}", load.dag, self.into);
        wait_until_blocking("the run ends", PATIENCE, || {
            let state = self.home.run(&["dags", "state", load.dag, run_id]).stdout;
            assert_ne!(state, "failed\n", "{told}:\n{}", daemon.stderr());
            state == "success\n"
        })
        .unwrap_or_else(|error| panic!("{told}: {error}\n{}", daemon.stderr()));
        Comparison::assert_equal(&self.source_rows(), &self.target_rows());
        self.left_nothing(&told);
        let mut told_once: BTreeMap<(String, String), u32> = BTreeMap::new();
        let lines = self.home.json(&["data", "ledger", "-d", load.dag, "-r", run_id]);
        for line in lines.as_array().unwrap() {
            let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            *told_once.entry((text("task_id"), text("stage"))).or_default() += 1;
        }
        let expected = load.ledger.iter().map(|(task, stage)| (((*task).to_owned(), (*stage).to_owned()), 1)).collect();
        assert_eq!(told_once, expected, "{told}: {lines}");
    }

    fn left_nothing(&self, told: &str) {
        let left = match self.into {
            Kind::Lite => {
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT IN ('orders', \
                           'millrace_load_marker', 'millrace_watermark') AND name NOT LIKE 'sqlite%'"
            }
            _ => {
                "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'dw' AND relkind IN \
                  ('r', 'v') AND relname NOT IN ('orders', 'millrace_load_marker', 'millrace_watermark')"
            }
        };
        assert_eq!(self.query(left), Vec::<Vec<String>>::new(), "{told}");
        // The note by which a later try of an unload knows what it wrote stays.
        let is_left = |key: &String| !key.starts_with("out/") && !key.ends_with(".unload");
        let keys: Vec<_> = self.warehouse.keys().into_iter().filter(is_left).collect();
        assert_eq!(keys, Vec::<String>::new(), "{told}");
        assert_eq!(self.warehouse.unfinished_uploads(), 0, "{told}");
        let is_empty = || self.home.files().keys().all(|name| !name.starts_with("scratch/"));
        wait_until_blocking("the run's files are gone", PATIENCE, is_empty).unwrap_or_else(|e| panic!("{told}: {e}"));
    }
}
