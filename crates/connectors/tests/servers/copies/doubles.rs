//! A key that names several rows of the source: the copy fails, says which, and leaves the target as it was.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::TARGETS;
use super::databases::Kind;
use crate::tasks::{Target, Task, source};
use crate::world::World;

fn copy<'a>(world: &'a World, target: &Target, place: &str, more: Value) -> Task<'a> {
    let mut table = json!({"source": "main.small", "target": place, "primary_key": "id"});
    if let (Some(table), Some(more)) = (table.as_object_mut(), more.as_object()) {
        table.extend(more.clone());
    }
    let parameters =
        json!({"source_conn_id": "source_Lite", "target_conn_id": target.database.conn_id, "tables": table});
    Task::new(world, "table_copy", parameters)
}

fn by_change() -> Value {
    json!({"sync_mode": "incremental_sync", "incremental_field": "id", "incremental_field_type": "integer"})
}

async fn refused(task: &Task<'_>) -> Result<String> {
    let error = task.run(1).await.err().context("it worked, but should not have")?;
    Ok(error.to_string())
}

#[tokio::test]
async fn a_key_that_names_several_rows_fails_the_copy_and_changes_nothing() -> Result<()> {
    for kind in TARGETS {
        let world = World::start().await?;
        let source = source(&world).await?;
        source.run("INSERT INTO small VALUES (7, 'row 7'), (5, 'another five'), (7, 'a third seven')").await?;
        let target = Target::start(&world, kind).await?;
        let place = format!("{}.moved", target.database.schema);
        for is_indexed in [false, true] {
            if is_indexed && kind != Kind::Redshift {
                target.database.run(&format!("CREATE UNIQUE INDEX by_id ON {} (id)", target.place())).await?;
            }
            for (told, more) in [("all rows", json!({})), ("by change", by_change())] {
                let told = || format!("{kind:?}, {told}, indexed: {is_indexed}");
                target.fill().await?;
                target.database.run(&format!("DELETE FROM {} WHERE id = 100", target.place())).await?;
                let before = target.rows().await?;
                // A row without a key is no row that comes twice; by change it has no place at all.
                source.run("INSERT INTO small VALUES (NULL, 'none')").await?;
                if more != json!({}) {
                    let message = refused(&copy(&world, &target, &place, more.clone())).await.with_context(told)?;
                    assert!(message.contains("would come in anew with every copy"), "{}: {message}", told());
                    assert_eq!(target.rows().await?, before, "{}", told());
                    source.run("DELETE FROM small WHERE id IS NULL").await?;
                }
                let message = refused(&copy(&world, &target, &place, more)).await.with_context(told)?;
                assert!(
                    message.contains("2 values of id come in 5 rows (id \"5\" in 2 rows)"),
                    "{}: {message}",
                    told()
                );
                assert!(message.contains("; name all columns that tell rows apart as the key"), "{message}");
                assert_eq!(target.rows().await?, before, "{}", told());
                let left = target.leftovers()?;
                assert!(left.is_empty(), "{}: {left:?}", told());
                source.run("DELETE FROM small WHERE id IS NULL").await?;
            }
        }
        // A target that the copy makes itself, and finds empty.
        let fresh = format!("{}.fresh", target.database.schema);
        let message = refused(&copy(&world, &target, &fresh, json!({}))).await?;
        assert!(message.contains("is to name one row of the source"), "{kind:?}: {message}");
        let rows = target.database.rows(&format!("SELECT COUNT(*) FROM {}", target.database.place("fresh"))).await?;
        assert_eq!(rows[0][0].as_deref(), Some("0"), "{kind:?}");
        // Whoever asks for no look at keys gets all rows.
        target.database.run(&format!("DROP TABLE {}", target.place())).await?;
        target.database.run(&format!("CREATE TABLE {} (id bigint, note varchar(100))", target.place())).await?;
        copy(&world, &target, &place, json!({"verify": ["counts"]})).run(1).await?;
        source.run("DELETE FROM small WHERE note IN ('another five', 'a third seven') OR id = 7").await?;
        source.run("INSERT INTO small VALUES (7, 'row 7')").await?;
        copy(&world, &target, &place, json!({})).run(1).await?;
        assert_eq!(target.rows().await?, Target::after("replace"), "{kind:?}");
    }
    Ok(())
}
