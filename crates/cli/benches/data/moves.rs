//! Tables on their way.

use chrono::{TimeDelta, Utc};
use millrace_testkit::{most_memory, own_memory};

use crate::figure::{Figures, Target};
use crate::home::{Home, timed};
use crate::sources::Sources;

/// Of each the best counts: what else the machine does can only add.
const REPEATS: usize = 3;
/// What moving may need beside what an idle daemon has. The rows are small.
const MOST_MEMORY: f64 = 64.0;

pub struct Bench {
    pub home: Home,
    pub sources: Sources,
    pub figures: Figures,
    /// MiB of the idle daemon.
    idle: f64,
}

/// Seconds, and MiB at the most.
pub struct Moved {
    pub run_id: String,
    pub took: f64,
    memory: f64,
}

impl Bench {
    pub fn new(mut home: Home, sources: Sources, figures: Figures) -> Self {
        let idle = mib(own_memory(home.daemon().pid()).unwrap());
        Self { home, sources, figures, idle }
    }

    pub fn csv_of_mariadb(&mut self, table: &str, factor: f64) {
        let read = format!("SELECT * FROM {table}");
        let limit = |sources: &Sources| timed(|| sources.read_out(&read));
        let name = format!("MariaDB {table} to CSV on S3 (mariadb --quick --batch)");
        self.beside(&name, (limit, |_: &Sources| {}), (&format!("mariadb_{table}"), None), factor);
    }

    pub fn csv_of_postgres(&mut self, table: &str) {
        let name = format!("PostgreSQL {table} to CSV on S3 (psql COPY TO STDOUT)");
        let limit = |sources: &Sources| timed(|| sources.copy_out(table, None));
        self.beside(&name, (limit, |_: &Sources| {}), (&format!("postgres_{table}"), None), 1.2);
    }

    /// The limit is the extract and `psql COPY FROM`, one after the other.
    pub fn table_to_table(&mut self, table: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        self.sources.copy_out(table, Some(file.path()));
        let read = format!("SELECT * FROM {table}");
        let limit = |sources: &Sources| {
            timed(|| {
                sources.read_out(&read);
                sources.copy_in(&format!("warehouse.{table}"), file.path());
            })
        };
        let empty = |sources: &Sources| sources.empty_target(table);
        let name = format!("MariaDB {table} through S3 into PostgreSQL with a primary key (extract + COPY FROM)");
        self.beside(&name, (limit, empty), (&format!("table_{table}"), None), 1.3);
    }

    /// Reading and writing overlap: the limit is the longer of the two, each alone.
    pub fn without_objects(&mut self, table: &str) {
        let file = tempfile::NamedTempFile::new().unwrap();
        self.sources.copy_out(table, Some(file.path()));
        let read = format!("SELECT * FROM {table}");
        let limit = |sources: &Sources| {
            let reading = timed(|| sources.read_out(&read));
            reading.max(timed(|| sources.copy_in(&format!("warehouse.{table}"), file.path())))
        };
        let empty = |sources: &Sources| sources.empty_target(table);
        for (dag, operator) in [("copy", "table_copy"), ("direct", "copy without objects")] {
            let name = format!(
                "{operator}: MariaDB {table} into PostgreSQL with a primary key (the longer of extract and COPY FROM)"
            );
            self.beside(&name, (limit, empty), (&format!("{dag}_{table}"), None), 1.15);
        }
    }

    /// The limit is COPY into a temporary table and INSERT ON CONFLICT.
    pub fn upsert(&mut self) {
        let file = tempfile::NamedTempFile::new().unwrap();
        self.sources.empty_target("nps");
        self.sources.psql("INSERT INTO warehouse.nps SELECT * FROM prod.nps");
        self.sources.psql("VACUUM ANALYZE warehouse.nps");
        let rows = self.sources.rows;
        let changes = format!(
            "COPY (SELECT id + {}, created_at, score FROM prod.nps WHERE id <= {}) TO STDOUT",
            rows.shift(),
            rows.changes
        );
        let mut read = self.sources.psql_client(&changes);
        assert!(read.stdout(file.reopen().unwrap()).status().unwrap().success());
        let sql = "CREATE TEMPORARY TABLE changes (LIKE warehouse.nps); COPY changes FROM STDIN; \
                   INSERT INTO warehouse.nps SELECT * FROM changes ON CONFLICT (id) DO UPDATE SET \
                   created_at = excluded.created_at, score = excluded.score";
        let limit = |sources: &Sources| {
            let mut client = sources.psql_client(sql);
            timed(|| assert!(client.stdin(file.reopen().unwrap()).status().unwrap().success()))
        };
        let without_new =
            |sources: &Sources| sources.psql(&format!("DELETE FROM warehouse.nps WHERE id > {}", rows.nps));
        let name = format!("upsert of {} rows into {} (COPY and INSERT ON CONFLICT)", rows.changes, rows.nps);
        self.beside(&name, (limit, without_new), ("upsert", Some("upsert")), 1.2);
    }

    /// A limit in seconds and then the DAG (or one task of it), several times in turn, each on what `prepare` leaves.
    fn beside(
        &mut self,
        name: &str,
        (limit, prepare): (impl Fn(&Sources) -> f64, impl Fn(&Sources)),
        (dag, task): (&str, Option<&str>),
        factor: f64,
    ) {
        let (mut limits, mut runs) = (Vec::new(), Vec::new());
        for _ in 0..REPEATS {
            prepare(&self.sources);
            limits.push(limit(&self.sources));
            prepare(&self.sources);
            runs.push(self.moved(dag, task));
        }
        let limit = limits.into_iter().fold(f64::INFINITY, f64::min);
        let took = runs.iter().map(|run| run.took).fold(f64::INFINITY, f64::min);
        let memory = runs.iter().map(|run| run.memory).fold(0.0, f64::max);
        self.figures.say(name, took, "s", Some(limit), Target::AtMost(limit * factor));
        let name = format!("{name}: memory above idle");
        self.figures.say(&name, memory - self.idle, "MiB", Some(self.idle), Target::AtMost(MOST_MEMORY));
    }

    /// A run, or one task of it.
    pub fn moved(&mut self, dag: &str, task: Option<&str>) -> Moved {
        let pid = self.home.daemon().pid();
        let run_id = format!("bench-{}", Utc::now().timestamp_micros());
        let run = || self.home.run(&["dags", "trigger", dag, "--run-id", &run_id, "--wait"]);
        let (_, memory) = most_memory(pid, run).unwrap();
        let took = self.home.ask(async |store| {
            let run = store.run(dag, &run_id).await.unwrap().unwrap();
            let instances = store.instances(run.key).await.unwrap();
            match task {
                None => seconds(run.end_date.unwrap() - run.start_date.unwrap()),
                Some(task) => {
                    let one = instances.iter().find(|instance| instance.task_id.as_str() == task).unwrap();
                    seconds(one.end_date.unwrap() - one.start_date.unwrap())
                }
            }
        });
        Moved { run_id, took, memory: mib(memory) }
    }
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.num_microseconds().unwrap() as f64 / 1e6
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
