//! The source breaks off in the middle of a row.

use anyhow::{Context, Result};
use millrace_testkit::Cable;
use serde_json::json;

use crate::copies::databases::{Database, Kind};
use crate::tasks::{Target, Task, extract, may_try_again, no_upload_is_left};
use crate::world::World;

const LONG: &str = "repeat('x', 4000)";

/// A source behind a cable, with 300 rows of four thousand characters.
async fn behind_a_cable(world: &World, kind: Kind) -> Result<(Database, Cable)> {
    let source = Database::start(world, kind, "source").await?;
    let (port, numbers) = match kind {
        Kind::Maria => (source.maria()?.server().port(), "seq AS id FROM seq_1_to_300"),
        _ => (source.postgres()?.server().port(), "n AS id FROM generate_series(1, 300) n"),
    };
    let numbers = numbers.replace(" AS id", &format!(" AS id, {LONG} AS note"));
    source.run(&format!("CREATE TABLE many AS SELECT {numbers}")).await?;
    let cable = Cable::to(port)?;
    world.change(&source.conn_id, |connection| connection.port = Some(cable.port));
    Ok((source, cable))
}

fn is_whole(rows: &[(i64, String)]) -> bool {
    (1..).zip(rows).all(|(number, (id, note))| *id == number && note.len() == 4000) && rows.len() == 300
}

async fn a_cut_source_is_read_again(kind: Kind) -> Result<()> {
    let world = World::start().await?;
    let (source, cable) = behind_a_cable(&world, kind).await?;
    let target = Target::start(&world, Kind::Postgres).await?;
    for (key, more) in [("whole", json!({})), ("parts", json!({"max_rows_per_file": 20}))] {
        let task = extract(&world, &source, "many", key, more);
        cable.break_after(Some(500_123));
        let message = may_try_again(task.run(1).await).context(key)?;
        assert!(message.contains(&source.conn_id), "{message}");
        assert!(cable.is_broken());
        cable.break_after(None);
        assert!(world.keys(key).await?.is_empty(), "{:?}", world.keys(key).await?);
        no_upload_is_left(&world).await?;
        let said = task.run(2).await?;
        target.fill().await?;
        target.load(&world, "replace", &said, json!({})).run(1).await?;
        assert!(is_whole(&target.rows().await?));
    }
    for target in [target, Target::start(&world, Kind::Lite).await?, Target::start(&world, Kind::Redshift).await?] {
        target.fill().await?;
        let place = format!("{}.moved", target.database.schema);
        let many = format!("{}.many", source.schema);
        let task = Task::new(
            &world,
            "table_copy",
            json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.database.conn_id,
                "tables": {"source": many, "target": place, "sync_mode": "full_sync"},
            }),
        );
        // What is asked before the rows takes some, too.
        cable.break_after(Some(700_123));
        may_try_again(task.run(1).await).with_context(|| format!("{:?}", target.database.kind))?;
        assert!(cable.is_broken());
        cable.break_after(None);
        assert_eq!(target.rows().await?, Target::before());
        assert!(target.leftovers()?.is_empty(), "{:?}", target.leftovers()?);
        task.run(2).await?;
        assert!(is_whole(&target.rows().await?), "{:?}", target.database.kind);
        assert!(target.leftovers()?.is_empty(), "{:?}", target.leftovers()?);
    }
    Ok(())
}

#[tokio::test]
async fn mariadb_cut_in_the_middle_of_a_row_is_read_again() -> Result<()> {
    a_cut_source_is_read_again(Kind::Maria).await
}

#[tokio::test]
async fn postgres_cut_in_the_middle_of_a_row_is_read_again() -> Result<()> {
    a_cut_source_is_read_again(Kind::Postgres).await
}
