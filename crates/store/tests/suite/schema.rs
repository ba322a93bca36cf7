use anyhow::Result;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_store::{Store, StoreError, schema};
use sqlx::{Connection, PgConnection};

use crate::bench::{Bench, at};

pub async fn migrates_and_seeds_once(bench: Bench) -> Result<()> {
    let applied = schema::migrate(&bench.url, true, at(0)).await?;
    assert_eq!(applied.len(), schema::status(&bench.url).await?.len());
    assert!(schema::migrate(&bench.url, true, at(1)).await?.is_empty(), "a second time does nothing");
    schema::check(&bench.url).await?;
    for status in schema::status(&bench.url).await? {
        assert_eq!(status.applied_at.map(|at| at.timestamp()), Some(at(0).timestamp()), "{}", status.name);
        assert!(!status.description.is_empty());
    }
    let pools = bench.query("SELECT name, slots FROM pool").await?;
    assert_eq!(pools, [["default_pool", "128"]]);

    let store = bench.again().await?;
    let id = store.installation_id().await?;
    schema::migrate(&bench.url, true, at(2)).await?;
    assert_eq!(bench.again().await?.installation_id().await?, id, "an installation keeps its id");
    Ok(())
}

pub async fn goes_down_and_up_with_data(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.store.close().await;
    drop(world);

    let later: Vec<&str> = millrace_migrations::KNOWN.iter().map(|known| known.name).skip(1).collect();
    let taken_back = schema::downgrade(&bench.url, "m0001_dags_and_runs", true).await?;
    assert_eq!(taken_back, later.iter().rev().copied().collect::<Vec<_>>());
    assert!(matches!(schema::check(&bench.url).await, Err(StoreError::SchemaPending { .. })));
    assert_eq!(bench.number("SELECT COUNT(*) FROM task_instance").await?, 3, "what is left keeps its rows");

    assert_eq!(schema::migrate(&bench.url, true, at(5)).await?, later);
    let store = bench.again().await?;
    assert_eq!(store.instances(run.run).await?.len(), 3);
    store.close().await;

    schema::downgrade(&bench.url, "", true).await?;
    schema::migrate(&bench.url, true, at(6)).await?;
    assert_eq!(bench.number("SELECT COUNT(*) FROM task_instance").await?, 0);
    let unknown = schema::downgrade(&bench.url, "m9", true).await;
    assert!(matches!(unknown, Err(StoreError::UnknownMigration { .. })));
    Ok(())
}

pub async fn two_at_once_both_succeed(bench: Bench) -> Result<()> {
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let url = bench.url.clone();
            tokio::spawn(async move { schema::migrate(&url, true, at(0)).await })
        })
        .collect();
    let mut applied = Vec::new();
    for task in tasks {
        applied.push(task.await??.len());
    }
    applied.sort_unstable();
    let all = schema::status(&bench.url).await?.len();
    assert_eq!(applied, [0, 0, 0, all], "one did it, the others waited and found nothing to do");
    Ok(())
}

pub async fn a_second_one_does_not_wait_when_told_so(bench: Bench) -> Result<()> {
    schema::migrate(&bench.url, true, at(0)).await?;
    if bench.is_postgres() {
        let mut other = PgConnection::connect(&bench.url).await?;
        sqlx::query("SELECT pg_advisory_lock(x'6D696C6C0001'::bigint)").execute(&mut other).await?;
        let refused = schema::migrate(&bench.url, false, at(0)).await;
        assert!(matches!(refused, Err(StoreError::MigrationInProgress)), "{refused:?}");
    } else {
        let file = std::fs::File::open(bench.home.path().join("millrace.db.lock"))?;
        file.lock()?;
        let refused = schema::migrate(&bench.url, false, at(0)).await;
        assert!(matches!(refused, Err(StoreError::MigrationInProgress)), "{refused:?}");
    }
    Ok(())
}

pub async fn a_failed_check_changes_nothing(bench: Bench) -> Result<()> {
    schema::migrate(&bench.url, true, at(0)).await?;
    schema::downgrade(&bench.url, "", true).await?;
    execute(&bench, "CREATE TABLE dag_run (id BIGINT)").await?;
    let before = tables(&bench).await?;
    let refused = schema::migrate(&bench.url, true, at(0)).await;
    let Err(StoreError::PreCheck { problems }) = refused else { panic!("{refused:?}") };
    assert!(problems[0].contains("dag_run"), "{problems:?}");
    assert_eq!(tables(&bench).await?, before);
    Ok(())
}

pub async fn a_newer_schema_is_refused(bench: Bench) -> Result<()> {
    schema::migrate(&bench.url, true, at(0)).await?;
    execute(&bench, "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_later', 0)").await?;
    for refused in [
        Store::open(&bench.options()).await.map(|_| ()),
        schema::check(&bench.url).await,
        schema::migrate(&bench.url, true, at(0)).await.map(|_| ()),
        schema::downgrade(&bench.url, "", true).await.map(|_| ()),
    ] {
        let Err(error @ StoreError::SchemaTooNew { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains("m9999_later"), "{error}");
    }
    assert_eq!(bench.number("SELECT COUNT(*) FROM pool").await?, 1, "nothing was changed");
    Ok(())
}

pub async fn pending_migrations_are_refused(bench: Bench) -> Result<()> {
    if !bench.is_postgres() {
        let refused = Store::open(&bench.options()).await.map(|_| ());
        assert!(matches!(refused, Err(StoreError::NoDatabase { .. })), "{refused:?}");
        assert!(schema::status(&bench.url).await?.iter().all(|it| it.applied_at.is_none()));
        assert!(!bench.home.path().join("millrace.db").exists(), "looking makes nothing");
    }
    schema::migrate(&bench.url, true, at(0)).await?;
    schema::downgrade(&bench.url, "m0002_settings_and_people", true).await?;
    let refused = Store::open(&bench.options()).await.map(|_| ());
    let Err(error @ StoreError::SchemaPending { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("m0003_processes") && error.to_string().contains("db migrate"), "{error}");
    Ok(())
}

pub async fn states_are_those_of_the_model(bench: Bench) -> Result<()> {
    let sql = schema::show_sql(&bench.url)?;
    let list = |words: Vec<&str>| format!("IN ('{}')", words.join("', '"));
    let flat = sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let tasks = list(TaskState::ALL.iter().map(|state| state.as_str()).collect());
    assert_eq!(flat.matches(&format!("CHECK (state {tasks})")).count(), 2, "task_instance and task_try");
    let runs = list(RunState::ALL.iter().map(|state| state.as_str()).collect());
    assert_eq!(flat.matches(&format!("CHECK (state {runs})")).count(), 1);
    let types = list(RunType::ALL.iter().map(|it| it.as_str()).collect());
    assert_eq!(flat.matches(&format!("CHECK (run_type {types})")).count(), 1);

    let world = bench.led().await?;
    world.running_run(0).await?;
    assert!(execute(&bench, "UPDATE task_instance SET state = 'sleeping'").await.is_err(), "the database minds");
    assert!(execute(&bench, "UPDATE dag_run SET state = 'sleeping'").await.is_err(), "the database minds");
    Ok(())
}

pub async fn reset_begins_anew(bench: Bench) -> Result<()> {
    schema::reset(&bench.url, at(0)).await?;
    let world = bench.led().await?;
    world.running_run(0).await?;
    world.store.close().await;
    schema::reset(&bench.url, at(0)).await?;
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 0);
    assert_eq!(bench.number("SELECT COUNT(*) FROM pool").await?, 1);
    Ok(())
}

async fn execute(bench: &Bench, sql: &str) -> Result<()> {
    bench.query(sql).await.map(|_| ())
}

async fn tables(bench: &Bench) -> Result<Vec<Vec<String>>> {
    bench
        .query(if bench.is_postgres() {
            "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
        } else {
            "SELECT name FROM sqlite_master ORDER BY 1"
        })
        .await
}
