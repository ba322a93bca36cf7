//! A past: 20,000 finished runs of 50 tasks each, made by the database itself.

use sqlx::{AssertSqlSafe, Connection, Executor};

use crate::home::Home;

const RUNS: u32 = 20_000;
const TASKS: u32 = 50;

pub fn add(home: &Home) {
    execute(home, statements(home.url.starts_with("postgres")));
}

/// A million, too, but 200 runs of five tasks for each of a thousand DAGs; some of them failed.
pub fn add_to_every_dag(home: &Home) {
    let is_postgres = home.url.starts_with("postgres");
    let (runs, tasks) = (numbers(is_postgres, "r", 200), numbers(is_postgres, "t", 5));
    let at = "(1577836800000000 + CAST(r.n AS BIGINT) * 86400000000)";
    let mut statements = vec![
        format!(
            "INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, \
             data_interval_end, run_after, queued_at, start_date, end_date, conf, version_id, made_by_schedule, \
             triggered_by, created_at) SELECT v.dag_id, 'past__' || r.n, 'scheduled', \
             CASE WHEN (v.id + r.n) % 37 = 0 THEN 'failed' ELSE 'success' END, {at}, {at}, {at}, {at}, {at}, {at}, \
             {at} + 60000000, '{{}}', v.id, TRUE, 'scheduler', {at} FROM {runs} CROSS JOIN dag_version v"
        ),
        format!(
            "INSERT INTO task_instance (run_id, task_id, map_index, operator, state, try_number, max_tries, pool, \
             pool_slots, priority_weight, queued_at, start_date, end_date) SELECT d.id, 't' || (t.n - 1), -1, 'noop', \
             CASE WHEN d.state = 'failed' AND t.n = 3 THEN 'failed' WHEN d.state = 'failed' AND t.n > 3 \
             THEN 'upstream_failed' ELSE 'success' END, 1, 0, 'default_pool', 1, 1, d.run_after, d.run_after, \
             d.run_after FROM dag_run d CROSS JOIN {tasks}"
        ),
        "INSERT INTO task_try (instance_id, try_number, generation, state, owner, queued_at, start_date, end_date) \
         SELECT i.id, 1, 0, i.state, 'past', i.queued_at, i.start_date, i.end_date FROM task_instance i \
         WHERE i.state <> 'upstream_failed'"
            .to_owned(),
    ];
    settle(is_postgres, &mut statements);
    execute(home, statements);
}

fn execute(home: &Home, statements: Vec<String>) {
    home.block_on(async {
        if home.url.starts_with("postgres") {
            let mut connection = sqlx::PgConnection::connect(&home.url).await.unwrap();
            for statement in statements {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.unwrap();
            }
        } else {
            let mut connection = sqlx::SqliteConnection::connect(&home.url).await.unwrap();
            for statement in statements {
                connection.execute(sqlx::raw_sql(AssertSqlSafe(statement))).await.unwrap();
            }
        }
    });
}

/// The numbers up to `count` as a table.
fn numbers(is_postgres: bool, name: &str, count: u32) -> String {
    if is_postgres {
        return format!("generate_series(1, {count}) AS {name}(n)");
    }
    format!(
        "(WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < {count}) \
         SELECT n FROM counted) AS {name}"
    )
}

fn settle(is_postgres: bool, statements: &mut Vec<String>) {
    if is_postgres {
        statements.push("VACUUM ANALYZE".to_owned());
        statements.push("CHECKPOINT".to_owned());
    } else {
        statements.push("PRAGMA wal_checkpoint(TRUNCATE)".to_owned());
    }
}

fn statements(is_postgres: bool) -> Vec<String> {
    // Microseconds; a run of each hour, the first in 2000.
    let at = "(946684800000000 + CAST(r.n AS BIGINT) * 3600000000)";
    let runs = numbers(is_postgres, "r", RUNS);
    let tasks = numbers(is_postgres, "t", TASKS);
    let mut statements = vec![
        "INSERT INTO dag_version (dag_id, number, content_hash, data, file_path, source, created_at) \
         SELECT 'history', 1, 'history', '{}', 'history.yaml', '', 0"
            .to_owned(),
        format!(
            "INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, \
             data_interval_end, run_after, queued_at, start_date, end_date, conf, version_id, made_by_schedule, \
             triggered_by, created_at) SELECT 'history', 'past__' || r.n, 'scheduled', 'success', {at}, {at}, {at}, \
             {at}, {at}, {at}, {at}, '{{}}', v.id, TRUE, 'scheduler', {at} FROM {runs} CROSS JOIN dag_version v \
             WHERE v.dag_id = 'history'"
        ),
        format!(
            "INSERT INTO task_instance (run_id, task_id, map_index, operator, state, try_number, max_tries, pool, \
             pool_slots, priority_weight, queued_at, start_date, end_date) SELECT d.id, 'task_' || t.n, -1, 'noop', \
             'success', 1, 0, 'default_pool', 1, 1, d.run_after, d.run_after, d.run_after FROM dag_run d \
             CROSS JOIN {tasks} WHERE d.dag_id = 'history'"
        ),
        "INSERT INTO task_try (instance_id, try_number, generation, state, owner, queued_at, start_date, end_date) \
         SELECT i.id, 1, 0, 'success', 'past', i.queued_at, i.start_date, i.end_date FROM task_instance i \
         WHERE i.run_id IN (SELECT id FROM dag_run WHERE dag_id = 'history')"
            .to_owned(),
    ];
    settle(is_postgres, &mut statements);
    statements
}
