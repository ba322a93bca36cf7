use anyhow::{Context, Result};
use millrace_model::change::TryOutcome;
use millrace_model::state::TaskState;
use millrace_store::{ConnectionRow, PoolRow, Store, Told};

use crate::bench::{Bench, at};

async fn exported(store: &Store) -> Result<String> {
    let mut out = Vec::new();
    store.export(&mut out, at(500)).await?;
    Ok(String::from_utf8(out)?)
}

async fn import(store: &Store, text: &str) -> Result<Vec<(String, u64)>, String> {
    store.import(&mut text.as_bytes(), "test", at(600)).await.map_err(|error| error.to_string())
}

/// Without what an import writes down of itself.
fn tables(text: &str) -> Vec<&str> {
    let (mut found, mut skips) = (Vec::new(), false);
    for line in text.lines().skip(1) {
        skips = match line {
            _ if line.contains("\"table\":\"audit_log\"") => true,
            _ if line.contains("\"table\":") => false,
            _ => skips,
        };
        if !skips {
            found.push(line);
        }
    }
    found
}

async fn full(bench: &Bench) -> Result<Store> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let pool = PoolRow {
        name: "größe \"x\"".to_owned(),
        slots: -1,
        description: Some("line\nbreak \\ 'quote'".to_owned()),
        include_deferred: true,
    };
    world.store.put_pool(&pool, "cli", at(0)).await?;
    let connection = ConnectionRow {
        conn_id: "c".to_owned(),
        conn_type: "mysql".to_owned(),
        description: None,
        host: None,
        login: Some(String::new()),
        schema: None,
        port: Some(65_535),
        sealed_password: Some("v1:abc".to_owned()),
        sealed_extra: None,
    };
    world.store.put_connection(&connection, Told::default(), "cli", at(0)).await?;
    Ok(world.store)
}

pub async fn everything_goes_to_either_kind_of_database_and_back(bench: Bench) -> Result<()> {
    let source = full(&bench).await?;
    let text = exported(&source).await?;
    for target in [Bench::sqlite()?, Bench::postgres()?] {
        let store = target.store().await?;
        let report = import(&store, &text).await.map_err(anyhow::Error::msg)?;
        assert!(report.iter().any(|(table, rows)| table == "task_instance" && *rows == 3), "{report:?}");
        let back = exported(&store).await?;
        assert_eq!(tables(&back), tables(&text));
        assert_eq!(store.installation_id().await?, source.installation_id().await?);
        // New rows get new ids.
        let version = store.dags(&millrace_store::DagFilter::default()).await?.rows[0].version_key;
        let new = crate::bench::new_run(version, 5);
        let lead = store.try_lead("job-2", at(0)).await?.context("nobody leads")?;
        let batch = millrace_model::change::Batch { new_runs: vec![new], ..Default::default() };
        let created = store.commit(&batch, lead.epoch, at(700)).await?.created;
        assert!(created.into_iter().flatten().next().context("it is new")?.run > 1);
    }
    Ok(())
}

pub async fn a_full_database_and_a_changed_file_are_refused(bench: Bench) -> Result<()> {
    let source = full(&bench).await?;
    let text = exported(&source).await?;
    let refused = import(&source, &text).await.err().context("it is refused")?;
    assert!(refused.contains("the database is not empty") && refused.contains("dag_run (1 rows)"), "{refused}");

    let target = if bench.is_postgres() { Bench::postgres()? } else { Bench::sqlite()? };
    let store = target.store().await?;
    for (changed, problem) in [
        (text.replace("65535", "65534"), "the rows of connection are not those that were exported"),
        (text.lines().take(20).collect::<Vec<_>>().join("\n"), "cut"),
        (text.replacen("\"millrace_export\":1", "\"millrace_export\":2", 1), "this Millrace reads form 1"),
        (text.replacen("m0001_", "m0000_", 1), "other migrations"),
        ("hello\n".to_owned(), "no export"),
    ] {
        let refused = import(&store, &changed).await.err().context("it is refused")?;
        assert!(refused.contains(problem), "{problem}: {refused}");
        assert_eq!(target.number("SELECT COUNT(*) FROM connection").await?, 0);
        assert_eq!(target.number("SELECT COUNT(*) FROM pool").await?, 1, "what was seeded is there again");
    }
    import(&store, &text).await.map_err(anyhow::Error::msg)?;
    Ok(())
}
