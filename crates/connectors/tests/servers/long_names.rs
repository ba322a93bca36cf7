//! Names that a target would cut are refused before a row is read: two of them would meet.

use anyhow::Result;
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{LoadMethod, TableName};
use serde_json::json;

use crate::copies::databases::{Database, Kind, run};
use crate::postgres;
use crate::world::{World, refused};

#[tokio::test]
async fn columns_that_would_meet_are_refused_before_a_row_is_read() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    // Alike in the first 63 bytes, in the first 127 the other two.
    let names = |length: usize| ["가", "나"].map(|end| format!("{}{end}", "주".repeat(length)));
    for (table, length) in [("orders", 21), ("wide", 42)] {
        let [one, other] = names(length);
        source.run(&format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, \"{one}\" TEXT, \"{other}\" TEXT)")).await?;
        source.run(&format!("INSERT INTO {table} VALUES (1, 'one', 'other')")).await?;
    }
    for (kind, table, length, most) in [(Kind::Postgres, "orders", 66, 63), (Kind::Redshift, "wide", 129, 127)] {
        let target = Database::start(&world, kind, "target").await?;
        let copy = async |generation: u32, dry_run: bool| {
            let table = json!({
                "source": format!("main.{table}"), "target": "dw.orders", "primary_key": "id", "new_columns": "add",
            });
            let copying = json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": [table], "dry_run": dry_run,
            });
            let text = run(&world, generation, copying).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(&format!("{length} bytes")), "{kind:?}, dry run: {dry_run}: {text}");
            text
        };
        let made = async || target.rows("SELECT relname FROM pg_class WHERE relname = 'orders'").await;
        copy(1, true).await;
        let text = copy(2, false).await;
        for part in ["table dw.orders", &names(length / 3 - 1)[0], &format!("{length} bytes"), &format!("keeps {most}")]
        {
            assert!(text.contains(part), "{kind:?}: {part} in {text}");
        }
        assert!(text.contains("AS shorter_name"), "{kind:?}: {text}");
        assert!(made().await?.is_empty(), "{kind:?}: nothing was made");

        // The same for a column that comes to a table which is there.
        target.run("CREATE TABLE dw.orders (id bigint NOT NULL)").await?;
        copy(3, true).await;
        copy(4, false).await;
        let columns = "SELECT attname FROM pg_attribute WHERE attrelid = 'dw.orders'::regclass AND attnum > 0";
        let columns = target.postgres()?.query(columns)?;
        assert_eq!(columns.len(), 1, "{kind:?}: {columns:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_table_whose_name_would_be_cut_is_not_taken_for_another() -> Result<()> {
    let long = "주".repeat(22);
    let cut = "주".repeat(21);
    let (database, world, subject) =
        postgres::start(&format!("CREATE TABLE \"{cut}\" (id int); INSERT INTO \"{cut}\" VALUES (7)")).await?;
    for method in [LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap] {
        let error = refused(subject.warehouse.load(world.request(&long, method, &[("a.csv", "1\n")]).await?).await)?;
        assert_eq!(error.kind, PortErrorKind::Invalid);
        assert!(error.message.contains("66 bytes") && error.message.contains("keeps 63"), "{}", error.message);
    }
    let table = TableName { schema: None, name: long.clone() };
    assert!(refused(subject.warehouse.describe(&table).await)?.message.contains("66 bytes"));
    let mut request = world.request(&cut, LoadMethod::Append, &[("a.csv", "1\n")]).await?;
    request.quarantine = Some(table);
    assert!(refused(subject.warehouse.load(request).await)?.message.contains("66 bytes"));
    assert_eq!(database.query(&format!("SELECT id FROM \"{cut}\""))?, [[Some("7".to_owned())]]);
    Ok(())
}
