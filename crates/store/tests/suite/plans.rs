//! The statements of the hot path, asked of the database itself: does it use an index?

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use millrace_model::change::{Batch, RunMove, SchedulePointer, TryOutcome};
use millrace_model::ids::{DagId, TaskId};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{
    ActiveScope, ClearRequest, DagFilter, InstanceFilter, POSTGRES_WRITER_SETTINGS, RunChoice, RunFilter, Selection,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};
use tracing::field::{Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing_subscriber::layer::{Context as LayerContext, SubscriberExt};

use crate::bench::{Bench, at, claim, day, failed, finish, new_run, step};

#[derive(Clone, Default)]
struct Statements(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Statements {
    fn on_event(&self, event: &tracing::Event<'_>, _: LayerContext<'_, S>) {
        struct Sql(Option<String>);
        impl Visit for Sql {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "sql" {
                    self.0 = Some(value.to_owned());
                }
            }
            fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
        }
        if event.metadata().target() == "millrace_store::sql" {
            let mut sql = Sql(None);
            event.record(&mut sql);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(sql.0);
        }
    }
}

/// Every statement written by hand that this work sends.
pub async fn statements_of<T>(work: impl Future<Output = Result<T>>) -> Result<Vec<String>> {
    let statements = Statements::default();
    work.with_subscriber(tracing_subscriber::registry().with(statements.clone())).await?;
    let found = statements.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
    anyhow::ensure!(!found.is_empty(), "no statement was seen");
    Ok(found)
}

/// Tables that grow with history. The others are small, or are read whole on purpose.
const LARGE: &[&str] = &[
    "dag_run",
    "task_instance",
    "task_try",
    "task_checkpoint",
    "load_ledger",
    "xcom",
    "remote_statement",
    "dag_version",
    "asset_event",
    "notification",
    "schedule_slot",
    "audit_log",
    "alert",
];

#[expect(clippy::too_many_lines, reason = "a list of statements")]
pub async fn hot_statements_use_indexes(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let _listener = world.store.changes();
    let statements = statements_of(async {
        let store = &world.store;
        let run = world.running_run(0).await?;
        let claims: Vec<_> = run.instances.iter().map(|key| claim(*key, TaskState::None, 1)).collect();
        world.commit(&Batch { claims: claims.clone(), ..Batch::default() }, at(1)).await?;
        let mut done = finish(&claims[0], TryOutcome::Success, TaskState::Success);
        done.completion.results = vec![("return_value".to_owned(), serde_json::json!(1))];
        done.completion.ledger = vec![crate::commit::entry()];
        let finishes = vec![done, finish(&claims[1], failed(true), TaskState::UpForRetry)];
        let batch = Batch {
            finishes,
            task_moves: vec![step(run.instances[2], TaskState::Running, TaskState::Failed)],
            run_moves: vec![RunMove { run: run.run, from: RunState::Running, to: RunState::Failed, reason: None }],
            pointers: vec![SchedulePointer { dag_id: DagId::new_unchecked("daily"), next: None, passed: None }],
            signals_handled: vec![1],
            new_runs: vec![new_run(world.version, 1)],
            ..Batch::default()
        };
        world.commit(&batch, at(2)).await?;
        let daily = DagId::new_unchecked("daily");
        store.active_runs().await?;
        store.active_run(run.run).await?;
        store.last_automated_interval(&daily).await?;
        store.run_before(&daily, day(5), true).await?;
        store.tasks_before(&daily, day(5), &[TaskId::new_unchecked("extract")]).await?;
        store.scheduler_dags().await?;
        store.triggered_run(run.instances[0], 0).await?;
        store.triggered_by(run.run).await?;
        store.asking_task(run.run).await?;
        store.passed_slots("daily", 50, 0).await?;
        store.last_finished_runs(&daily, 3).await?;
        store.running_instances().await?;
        store.heartbeat("job-1", at(3)).await?;
        store.signals().await?;
        store.dag_list().await?;
        store.runs(&RunFilter { limit: 10, ..RunFilter::default() }).await?;
        store.dags_at_work().await?;
        store.failing_runs().await?;
        for state in [RunState::Failed, RunState::Queued, RunState::Running] {
            store.runs(&RunFilter { states: vec![state], limit: 10, ..RunFilter::default() }).await?;
        }
        store.runs(&RunFilter { dag_ids: vec![daily.clone()], limit: 10, ..RunFilter::default() }).await?;
        store.last_run_durations(&daily, 30).await?;
        store.active_runs_in(ActiveScope::OfDagAndHolders(&daily)).await?;
        store.active_runs_in(ActiveScope::OfDag(&daily)).await?;
        store.previous_success(&daily, day(5)).await?;
        store.assets().await?;
        store.queued_asset_events(&daily).await?;
        store.take_notifications(10, at(5), at(4)).await?;
        let between = RunChoice::Between { dag_id: daily.clone(), from: None, to: None };
        let mut selection = Selection::of(between, TaskChoice::All);
        selection.only_failed = true;
        let clear = ClearRequest { dry_run: true, ..ClearRequest::new(selection, "cli") };
        store.clear_instances(&clear, at(5)).await?;
        store.dags(&DagFilter { last_runs: 10, ..DagFilter::default() }).await?;
        store.instances_of_runs(&[run.run]).await?;
        store.tries(run.instances[0]).await?;
        store.checkpoints(run.instances[0], None).await?;
        store.ledger_of_run(run.run).await?;
        store.ledger_of_runs(&[run.run]).await?;
        store.last_read(("daily", "a"), ("load", "pg_dw"), None).await?;
        store.run_dates(&daily, day(0), day(9), 100).await?;
        for state in [TaskState::Failed, TaskState::UpstreamFailed, TaskState::UpForRetry] {
            let filter = InstanceFilter { states: vec![state], limit: 50, ..InstanceFilter::default() };
            store.list_instances(&filter).await?;
        }
        store.xcom(run.run, "extract", -1, "return_value").await?;
        store.earlier_run_with_result((&daily, day(5)), "extract", "return_value").await?;
        store.run("daily", "x").await?;
        store.unsettled_statements(run.instances[0], 0).await?;
        Ok(())
    })
    .await?;
    assert!(statements.len() > 30, "the list is not what it was: {}", statements.len());
    let mut problems = Vec::new();
    for sql in statements.iter().filter(|sql| !counts(sql)) {
        let plan = if bench.is_postgres() { postgres_plan(&bench, sql).await } else { sqlite_plan(&bench, sql).await };
        let plan = plan.with_context(|| sql.clone())?;
        problems.extend(
            plan.iter().filter(|line| is_full_scan(line, names_rows(sql))).map(|line| format!("{line}\n    in {sql}")),
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// A partial index is as long as what is active.
const BY_PARTIAL: &[&str] = &[
    "dag_run_unfinished",
    "dag_run_failed",
    "dag_run_ended",
    "task_instance_leased",
    "dag_run_by_schedule",
    "notification_due",
    "notification_unsent",
];

/// Walked from its end, as far as the page goes.
const BY_END: &[&str] = &["dag_run_latest"];

/// How many runs there are is counted, and costs what there is to count; the page itself does not.
fn counts(sql: &str) -> bool {
    sql.starts_with("SELECT COUNT(*)")
}

/// Whether a statement of PostgreSQL names its rows by keys; the others only read, and choose their rows themselves.
fn names_rows(sql: &str) -> bool {
    !sql.starts_with("SELECT") || sql.contains("jsonb_array_elements")
}

fn is_full_scan(line: &str, names_rows: bool) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let Some(at) = words.iter().position(|word| *word == "SCAN") {
        let table = words.get(at + 1).copied().unwrap_or_default();
        let alias = matches!(table, "r" | "i" | "l" | "v" | "n" | "c");
        let by = BY_PARTIAL.iter().chain(BY_END).any(|index| line.contains(index));
        return (LARGE.contains(&table) || alias) && !by;
    }
    // Where rows are named, an index that is walked from end to end is a full scan too.
    let is_whole = names_rows && line.contains("Scan using") && !line.contains("Index Cond");
    LARGE.iter().any(|table| {
        line.contains(&format!("Seq Scan on {table}"))
            || (is_whole
                && line.contains(&format!(" on {table} "))
                && !BY_PARTIAL.iter().any(|index| line.contains(index)))
    })
}

/// One DAG has all the runs there are, and another is asked for.
pub async fn the_newest_runs_of_a_dag_are_found_by_its_own_index(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    bench
        .query(&format!(
            "INSERT INTO dag_run (dag_id, run_id, run_type, state, logical_date, data_interval_start, data_interval_end, \
             run_after, conf, version_id, made_by_schedule, triggered_by, created_at) \
             WITH RECURSIVE c(n) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT n + 1 FROM c WHERE n < 20000) \
             SELECT 'daily', 'past__' || n, 'scheduled', 'success', n, n, n, n, '{{}}', {}, TRUE, 'scheduler', n FROM c",
            world.version
        ))
        .await?;
    let statements = statements_of(async { Ok(world.store.dag_list().await?) }).await?;
    let newest: Vec<&String> = statements.iter().filter(|sql| sql.contains("FROM dag_run n ")).collect();
    assert_eq!(newest.len(), 1, "{statements:?}");
    let plan = if bench.is_postgres() {
        bench.query("ANALYZE dag_run").await?;
        let mut connection = PgConnection::connect(&bench.url).await?;
        let prepare = format!("SET plan_cache_mode = force_custom_plan; PREPARE p AS {}", newest[0]);
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await?;
        let explain = "EXPLAIN EXECUTE p('[[\"hourly\"]]', 2)";
        let rows = sqlx::raw_sql(AssertSqlSafe(explain.to_owned())).fetch_all(&mut connection).await?;
        rows.iter().map(|row| Ok(row.try_get::<String, _>(0)?)).collect::<Result<Vec<_>>>()?
    } else {
        sqlite_plan(&bench, newest[0]).await?
    };
    let plan = plan.join("\n");
    assert!(plan.contains("dag_run_newest") && !plan.contains("dag_run_latest"), "{plan}");
    Ok(())
}

async fn sqlite_plan(bench: &Bench, sql: &str) -> Result<Vec<String>> {
    let mut connection = SqliteConnection::connect(&bench.url).await?;
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"))).fetch_all(&mut connection).await?;
    rows.iter().map(|row| Ok(row.try_get::<String, _>("detail")?)).collect()
}

/// What names its rows by keys is planned as on the writer's connections, on tables that are nearly empty: what is read
/// whole here is read whole when the tables have grown, because the plan is kept. What is only read is planned anew each
/// time; with sequential scans made dear, what is left of them has no index to use.
async fn postgres_plan(bench: &Bench, sql: &str) -> Result<Vec<String>> {
    if !["SELECT", "UPDATE", "INSERT", "DELETE"].iter().any(|verb| sql.starts_with(verb)) {
        return Ok(Vec::new());
    }
    let parameters = (1..=20).rev().find(|number| sql.contains(&format!("${number}"))).unwrap_or(0);
    let mut connection = PgConnection::connect(&bench.url).await?;
    let arguments = vec!["NULL"; parameters].join(", ");
    let execute = if parameters == 0 { "EXECUTE p".to_owned() } else { format!("EXECUTE p({arguments})") };
    let reading = "SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan";
    let settings = if names_rows(sql) { POSTGRES_WRITER_SETTINGS } else { reading };
    for prepare in [settings.to_owned(), format!("PREPARE p AS {sql}")] {
        sqlx::raw_sql(AssertSqlSafe(prepare)).execute(&mut connection).await?;
    }
    let rows = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN {execute}"))).fetch_all(&mut connection).await?;
    let lines = rows.iter().map(|row| Ok(row.try_get::<String, _>(0)?)).collect::<Result<Vec<_>>>()?;
    Ok(joined(&lines))
}

/// Each node of a plan on one line, with its conditions.
fn joined(lines: &[String]) -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for line in lines {
        match nodes.last_mut() {
            Some(node) if !line.contains("(cost=") => node.push_str(&format!("; {}", line.trim())),
            _ => nodes.push(line.clone()),
        }
    }
    nodes
}
