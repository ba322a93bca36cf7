//! The process is gone behind each thing that it sent to the target, which has done it, and nobody tidies up: the next try
//! leaves what one clean run leaves.

use anyhow::{Context, Result, ensure};
use millrace_testkit::{Cable, Stop, wait_until};
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::tasks::{METHODS, PATIENCE, Rows, Target, Task, extract, source};
use crate::world::World;

struct Scene {
    world: World,
    source: Database,
    target: Target,
    /// What the target stands behind, where it has a port of its own.
    cable: Option<Cable>,
}

impl Scene {
    async fn of(kind: Kind) -> Result<Self> {
        let world = World::start().await?;
        let source = source(&world).await?;
        let target = Target::start(&world, kind).await?;
        let conn_id = &target.database.conn_id;
        let port = world.known(conn_id).and_then(|known| known.port);
        let cable = port.map(Cable::to).transpose()?;
        if let Some(cable) = &cable {
            // What the test itself asks goes the old way.
            world.change(conn_id, |connection| connection.port = Some(cable.port));
        }
        Ok(Self { world, source, target, cable })
    }

    async fn extracted(&self) -> Result<Value> {
        Ok(extract(&self.world, &self.source, "small", "in.csv", json!({"max_rows_per_file": 7})).run(1).await?)
    }

    /// Parameters of `table_copy`; `more` is said of its table.
    fn copy(&self, more: &Value) -> Value {
        let mut table = json!({"source": "main.small", "target": "dw.moved", "primary_key": "id"});
        if let (Some(table), Some(more)) = (table.as_object_mut(), more.as_object()) {
            table.extend(more.clone());
        }
        json!({
            "source_conn_id": self.source.conn_id, "target_conn_id": self.target.database.conn_id, "tables": table,
        })
    }

    /// Everything as it was before the first try.
    async fn begin_anew(&self) -> Result<()> {
        self.target.database.run("DROP TABLE IF EXISTS dw.millrace_watermark").await?;
        self.target.fill().await
    }

    fn is_quiet(&self) -> bool {
        let others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' \
                      AND pid <> pg_backend_pid()";
        self.target.database.postgres().and_then(|database| database.query(others)).is_ok_and(|rows| rows.is_empty())
    }

    async fn is_as_expected(&self, expected: &Rows) -> Result<()> {
        let found = self.target.rows().await?;
        ensure!(found == *expected, "{found:?}");
        self.target.database.run("DROP TABLE IF EXISTS dw.millrace_watermark").await?;
        let left = self.target.leftovers()?;
        ensure!(left.is_empty(), "{left:?} are left");
        let keys: Vec<_> = self.world.keys("").await?.into_iter().filter(|key| !key.starts_with("in.csv")).collect();
        ensure!(keys.is_empty(), "{keys:?} are left");
        Ok(())
    }

    /// Runs the task until the target has done this statement of those that change something, and leaves it there. False: it
    /// ended before.
    async fn dies_behind(&self, task: &Task<'_>, number: u32) -> Result<bool> {
        let cable = self.cable.as_ref().context("a cable")?;
        cable.stop_at(Stop { counts: changes, number, arrives: true });
        let mut running = Box::pin(task.run(1));
        let is_dead = tokio::select! {
            ended = &mut running => {
                ended?;
                false
            }
            waited = wait_until("that has arrived", PATIENCE, async || cable.is_stopped()) => {
                waited?;
                true
            }
        };
        if is_dead {
            std::mem::forget(running);
        }
        cable.sever();
        Ok(is_dead)
    }

    /// Behind every other statement, until there is none; says how many.
    async fn survives<'a>(&'a self, told: &str, task: impl Fn() -> Task<'a>, expected: &Rows) -> Result<u32> {
        let mut number = 1;
        loop {
            let told = || format!("{told}, dead behind {number}");
            self.begin_anew().await?;
            let task = task();
            if !self.dies_behind(&task, number).await.with_context(told)? {
                self.is_as_expected(expected).await.with_context(told)?;
                return Ok(number - 1);
            }
            task.run(2).await.with_context(told)?;
            self.is_as_expected(expected).await.with_context(told)?;
            number += 2;
        }
    }

    /// As [`Scene::survives`], where a journal knows what was sent: at each write of it, before and behind in turns.
    async fn survives_its_journal<'a>(
        &'a self,
        told: &str,
        task: impl Fn() -> Task<'a>,
        expected: &Rows,
    ) -> Result<usize> {
        let mut number = 1;
        loop {
            let after = number % 2 == 0;
            let told = || format!("{told}, dead at {number}, after: {after}");
            self.begin_anew().await?;
            let task = task();
            let is_dead = task.run_and_die(1, number, after).await.is_err();
            if is_dead {
                wait_until("what was sent has ended", PATIENCE, async || self.is_quiet()).await?;
                task.run(2).await.with_context(told)?;
            }
            self.is_as_expected(expected).await.with_context(told)?;
            if !is_dead {
                return Ok(number - 1);
            }
            number += 1;
        }
    }
}

/// Whether that is a statement that does more than ask, or begin what a later one ends.
fn changes(piece: &[u8]) -> bool {
    let Some(text) = piece.strip_prefix(b"Q").and_then(|message| message.get(4..)) else { return false };
    let harmless = ["SELECT", "SET ", "SHOW", "BEGIN", "LOCK", "SAVEPOINT", "ROLLBACK", "ANALYZE"];
    !harmless.iter().any(|word| text.starts_with(word.as_bytes()))
}

/// All that `incremental_sync` has to keep.
fn by_change(deletes: bool) -> Value {
    json!({
        "sync_mode": "incremental_sync", "incremental_field": "id", "incremental_field_type": "integer",
        "watermark": "stored", "deletes": if deletes { "reconcile" } else { "keep" },
    })
}

async fn a_load_dies(kind: Kind, method: &str) -> Result<()> {
    let scene = Scene::of(kind).await?;
    let said = scene.extracted().await?;
    let load = || scene.target.load(&scene.world, method, &said, json!({}));
    let deaths = scene.survives(method, load, &Target::after(method)).await?;
    // What is staged, what is written, the marker and COMMIT, at the least.
    ensure!(deaths > 3, "{method}: {deaths} deaths");
    Ok(())
}

#[tokio::test]
async fn an_append_into_postgres_survives_a_death_behind_any_change() -> Result<()> {
    a_load_dies(Kind::Postgres, METHODS[0]).await
}

#[tokio::test]
async fn a_replace_into_postgres_survives_a_death_behind_any_change() -> Result<()> {
    a_load_dies(Kind::Postgres, METHODS[1]).await
}

#[tokio::test]
async fn a_swap_into_postgres_survives_a_death_behind_any_change() -> Result<()> {
    a_load_dies(Kind::Postgres, METHODS[2]).await
}

#[tokio::test]
async fn an_upsert_into_postgres_survives_a_death_behind_any_change() -> Result<()> {
    a_load_dies(Kind::Postgres, METHODS[3]).await
}

#[tokio::test]
async fn an_upsert_into_redshift_by_wire_survives_a_death_behind_any_change() -> Result<()> {
    a_load_dies(Kind::Wire, METHODS[3]).await
}

#[tokio::test]
async fn copies_into_postgres_survive_a_death_behind_any_change() -> Result<()> {
    let scene = Scene::of(Kind::Postgres).await?;
    for (told, more, like) in [
        ("all rows", json!({"sync_mode": "full_sync"}), "replace"),
        ("by change", by_change(false), "upsert"),
        ("by change, with deletes", by_change(true), "replace"),
    ] {
        let parameters = scene.copy(&more);
        let copy = || Task::new(&scene.world, "table_copy", parameters.clone());
        let deaths = scene.survives(told, copy, &Target::after(like)).await?;
        ensure!(deaths > 3, "{told}: {deaths} deaths");
    }
    Ok(())
}

/// Row 5 can come in only when the row that has its note has gone.
#[tokio::test]
async fn a_copy_that_deletes_before_its_rows_come_in_survives_a_death_behind_any_change() -> Result<()> {
    let scene = Scene::of(Kind::Postgres).await?;
    scene.source.run("UPDATE small SET note = 'kept' WHERE id = 5").await?;
    scene.target.database.run("ALTER TABLE dw.moved ADD PRIMARY KEY (id), ADD UNIQUE (note)").await?;
    let mut expected = Target::after("replace");
    expected.iter_mut().filter(|(id, _)| *id == 5).for_each(|(_, note)| "kept".clone_into(note));
    let parameters = scene.copy(&by_change(true));
    let copy = || Task::new(&scene.world, "table_copy", parameters.clone());
    let deaths = scene.survives("deletion first", copy, &expected).await?;
    ensure!(deaths > 8, "{deaths} deaths");
    Ok(())
}

#[tokio::test]
async fn a_summary_in_postgres_survives_a_death_behind_any_change() -> Result<()> {
    let scene = Scene::of(Kind::Postgres).await?;
    let parameters = json!({
        "warehouse_conn_id": scene.target.database.conn_id, "schema": "dw", "table": "moved",
        "select": "SELECT n AS id, 'row ' || n AS note FROM generate_series(1, 20) AS n",
        "checks": {"unique": "id"},
    });
    let summary = || Task::new(&scene.world, "summary_table", parameters.clone());
    let deaths = scene.survives("a summary", summary, &Target::after("swap")).await?;
    ensure!(deaths > 3, "{deaths} deaths");
    Ok(())
}

#[tokio::test]
async fn a_swap_into_redshift_survives_a_death_at_any_write_of_its_journal() -> Result<()> {
    let scene = Scene::of(Kind::Redshift).await?;
    let said = scene.extracted().await?;
    let load = || scene.target.load(&scene.world, "swap", &said, json!({}));
    let deaths = scene.survives_its_journal("swap", load, &Target::after("swap")).await?;
    ensure!(deaths > 5, "{deaths} deaths");
    Ok(())
}

#[tokio::test]
async fn a_copy_by_files_into_redshift_survives_a_death_at_any_write_of_its_journal() -> Result<()> {
    let scene = Scene::of(Kind::Redshift).await?;
    let more = json!({"sync_mode": "full_sync"});
    let mut parameters = scene.copy(&more);
    parameters["direct_rows"] = json!(0);
    (parameters["s3_staging"], parameters["s3_conn_id"]) = (json!("s3://lake/staging"), json!("s3"));
    let copy = || Task::new(&scene.world, "table_copy", parameters.clone());
    let deaths = scene.survives_its_journal("by files", copy, &Target::after("replace")).await?;
    ensure!(deaths > 5, "{deaths} deaths");
    Ok(())
}
