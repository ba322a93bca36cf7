//! SIGKILL of the program at each of its effects on others, before it and after: tables that move are whole all the same.

use std::time::Duration;

use millrace_devstack::{Fault, Faults};
use millrace_testkit::wait_until_blocking;

use crate::support::{Comparison, PATIENCE, Source, TestHome, Warehouse};

const ROWS: &str = "id <= 3000";

/// By files that one task writes and another loads.
const BY_FILES: &str = "
schedule: none
default_args: {retries: 2, retry_delay: 0}
tasks:
  extract:
    operator: sql_to_s3
    sql_conn_id: mysql_prod
    query: SELECT id, created_at, score FROM prod.nps WHERE id <= 3000
    s3_bucket: warehouse-landing
    s3_key: nps/{{ run_id }}.csv
    max_rows_per_file: 1500
  load:
    operator: copy
    depends_on: [extract]
    warehouse_conn_id: redshift_dev
    from_task: extract
    schema: analytics
    table: nps
    method: replace
";

/// By one task, whose files come and go.
const BY_COPY: &str = "
schedule: none
default_args: {retries: 2, retry_delay: 0}
tasks:
  copy:
    operator: table_copy
    source_conn_id: mysql_prod
    target_conn_id: redshift_dev
    s3_staging: s3://warehouse-landing/staging
    s3_conn_id: aws_default
    direct_rows: 0
    tables: {source: prod.nps, target: analytics.nps, primary_key: id, sync_mode: full_sync, custom_where: id <= 3000}
";

#[derive(Debug, Clone, Copy)]
enum At {
    S3,
    Redshift,
}

/// What is under way when the program is killed: how many such operations have gone well, and whether this one is done.
type Moment = (At, &'static str, u32, bool);

const OF_FILES: &[Moment] = &[
    (At::S3, "PutObject", 0, false),
    (At::S3, "PutObject", 0, true),
    // The list of the files, and the manifest of the load.
    (At::S3, "PutObject", 2, true),
    (At::S3, "PutObject", 3, true),
];
const OF_BOTH: &[Moment] = &[
    (At::Redshift, "BatchExecuteStatement", 0, false),
    (At::Redshift, "BatchExecuteStatement", 0, true),
    (At::Redshift, "BatchExecuteStatement", 1, true),
    (At::Redshift, "COPY", 0, false),
    (At::Redshift, "LOCK", 0, false),
];
const OF_COPY: &[Moment] = &[
    (At::S3, "PutObject", 0, false),
    (At::S3, "PutObject", 0, true),
    (At::S3, "PutObject", 1, true),
    (At::S3, "DeleteObjects", 0, true),
];

struct Moving {
    home: TestHome,
    source: Source,
    warehouse: Warehouse,
}

impl Moving {
    fn new() -> Self {
        let (source, warehouse) = (Source::shared(), Warehouse::start());
        let mut home = TestHome::new();
        home.set("MILLRACE__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false");
        home.ok(&["db", "migrate"]);
        home.run_with_input(&["connections", "add", "mysql_prod", "--conn-json", "-"], &source.connection()).exits(0);
        warehouse.connect(&mut home);
        Warehouse::create_tables(&home);
        home.write_dag("by_files.yaml", BY_FILES);
        home.write_dag("by_copy.yaml", BY_COPY);
        home.ok(&["dags", "list"]);
        Self { home, source, warehouse }
    }

    /// Starts a run, kills the program at the moment, and lets the next one finish it.
    fn survives(&self, dag_id: &str, run_id: &str, moment: Moment) {
        let (at, operation, before, is_done) = moment;
        let faults: &Faults = match at {
            At::S3 => self.warehouse.s3_faults(),
            At::Redshift => self.warehouse.faults(),
        };
        // So that it shows whether anything was done.
        self.warehouse.query("DELETE FROM analytics.nps WHERE id % 7 = 0");
        if before > 0 {
            faults.inject(operation, Fault::Delay(Duration::ZERO), before);
        }
        // A statement that was sent goes on without whoever sent it.
        let fault = if is_done { Fault::LoseAnswer } else { Fault::Delay(Duration::from_secs(1)) };
        faults.inject(operation, fault, 1);
        let mut daemon = self.home.scheduler();
        self.home.ok(&["dags", "trigger", dag_id, "--run-id", run_id]);
        wait_until_blocking("it is under way", PATIENCE, || faults.pending() == 0)
            .unwrap_or_else(|error| panic!("{dag_id} {moment:?}: {error}\n{}", daemon.stderr()));
        daemon.kill().unwrap();
        let mut next = self.home.scheduler();
        wait_until_blocking("the run ends", PATIENCE, || {
            let state = self.home.run(&["dags", "state", dag_id, run_id]).stdout;
            assert_ne!(state, "failed\n", "{dag_id} {moment:?}:\n{}", next.stderr());
            state == "success\n"
        })
        .unwrap();
        assert!(next.terminate(PATIENCE).unwrap().success());
        Comparison::assert_equal(&self.source.rows_where(ROWS), &self.warehouse.rows());
        let left = "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'analytics' \
                    AND relkind = 'r' AND relname NOT IN ('nps', 'millrace_load_marker')";
        assert_eq!(self.warehouse.query(left), Vec::<Vec<String>>::new(), "{dag_id} {moment:?}");
    }

    fn survives_all(&self, dag_id: &str, moments: impl Iterator<Item = &'static Moment>) {
        for (number, moment) in moments.enumerate() {
            eprintln!("{dag_id}: {moment:?}");
            self.survives(dag_id, &format!("r{number}"), *moment);
        }
    }
}

#[test]
fn files_that_move_survive_a_kill_at_every_effect() {
    Moving::new().survives_all("by_files", OF_FILES.iter().chain(OF_BOTH));
}

#[test]
fn a_table_that_is_copied_survives_a_kill_at_every_effect() {
    Moving::new().survives_all("by_copy", OF_COPY.iter().chain(OF_BOTH));
}
