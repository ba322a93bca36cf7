//! Rows that break a rule of the table, where some rows may be refused: what counts, and that nothing is half done.

use anyhow::Result;
use serde_json::json;

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::operate;
use crate::world::{World, some};

#[tokio::test]
async fn a_broken_rule_ends_a_load_that_may_refuse_values_and_says_so() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE q (id int PRIMARY KEY, v text, n text)").await?;
    source.run("INSERT INTO q VALUES (1, 'a', '1'), (2, 'too long for it', '2'), (3, 'c', 'no number')").await?;
    for (generation, kind) in [(1, Kind::Postgres), (10, Kind::Lite)] {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place("q");
        target
            .run(&format!("CREATE TABLE {place} (id int PRIMARY KEY, v varchar(100) CHECK (length(v) < 11), n int)"))
            .await?;
        target.run(&format!("INSERT INTO {place} VALUES (7, 'there', 7)")).await?;
        let load = |query: &str, options: &[&str]| {
            let mut load = json!({
                "warehouse_conn_id": target.conn_id, "table": "q", "sql_conn_id": source.conn_id, "query": query,
                "copy_options": options,
            });
            if place.contains('.') {
                load["schema"] = json!("dw");
            }
            load
        };
        let refusing = ["csv", "maxerror 5"];
        let told = "maxerror counts rows with a value that its column cannot hold, and a rule of the table";
        let cases = ["SELECT id, v, n FROM q", "SELECT id + 6 AS id, 'b' AS v, n FROM q WHERE id <> 2"];
        for (number, query) in (generation..).zip(cases) {
            let error = operate(&world, number, "copy", load(query, &refusing)).await.unwrap_err().to_string();
            assert!(error.contains(told), "{kind:?}: {error}");
        }
        let error = operate(&world, generation + 3, "copy", load("SELECT id, v FROM q", &["csv"])).await.unwrap_err();
        assert!(!error.to_string().contains("maxerror"), "{kind:?}: {error}");
        let whole_name = if place.contains('.') { place.clone() } else { format!("main.{place}") };
        let copy = json!({
            "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
            "tables": {"source": "public.q", "target": whole_name, "primary_key": "id", "max_error": 5,
                       "custom_select": "SELECT id, v, 4 AS n FROM q"},
        });
        let error = run(&world, generation + 4, copy).await.unwrap_err().to_string();
        assert!(error.contains("max_error counts rows"), "{kind:?}: {error}");
        let rows = format!("SELECT id, v, n FROM {place}");
        assert_eq!(target.rows(&rows).await?, [some(&["7", "there", "7"])], "{kind:?}");
        // A value alone is refused alone.
        let loaded = operate(&world, generation + 5, "copy", load("SELECT * FROM q WHERE id <> 2", &refusing)).await?;
        assert_eq!((&loaded["rows_inserted"], &loaded["rows_rejected"]), (&json!(1), &json!(1)), "{kind:?}: {loaded}");
    }
    Ok(())
}
