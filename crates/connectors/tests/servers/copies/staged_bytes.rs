//! Bytes on their way into Redshift: by files too, but where one of no bytes would become NULL.

use anyhow::Result;
use millrace_operator_api::connection::Connection;
use serde_json::{Value, json};

use super::databases::{Database, Kind, run};
use super::{SOURCES, copying, table};
use crate::world::{World, extra, some};

#[tokio::test]
async fn bytes_go_into_redshift_by_files_unless_there_are_none() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Redshift, "target").await?;
    let known = target.connection(&world)?;
    let mut more = known.extra.0.clone();
    more.insert("s3_staging".to_owned(), json!("s3://lake/staging"));
    more.insert("s3_conn_id".to_owned(), json!("s3"));
    world.add(Connection { conn_id: "staged".to_owned(), extra: extra(Value::Object(more)), ..known });
    let steps = |name: &str| world.journal.all().iter().filter(|row| row.step == name).count();
    for (generation, kind) in (1..).step_by(10).zip(SOURCES) {
        let source = Database::start(&world, kind, "source").await?;
        // More than one INSERT can hold.
        let (type_name, bytes, none) = match kind {
            Kind::Maria => ("longblob", "REPEAT(x'00ff', 100000)", "x''"),
            Kind::Postgres => ("bytea", "decode(repeat('00ff', 100000), 'hex')", "''"),
            _ => ("blob", "zeroblob(200000)", "x''"),
        };
        source.run(&format!("CREATE TABLE files (id int PRIMARY KEY, body {type_name}, digest {type_name})")).await?;
        source.run(&format!("INSERT INTO files VALUES (1, {bytes}, NULL), (2, NULL, {bytes})")).await?;
        let into = format!("dw.files_{kind:?}").to_lowercase();
        let copy = async |number: u32, more: Value| {
            let mut base = json!({"primary_key": "id", "verify": ["counts", "keys"]});
            base.as_object_mut()
                .into_iter()
                .for_each(|base| base.extend(more.as_object().cloned().unwrap_or_default()));
            let mut parameters = copying(&source, &target, table(&format!("{}.files", source.schema), &into, base));
            (parameters["target_conn_id"], parameters["direct_rows"]) = (json!("staged"), json!(0));
            run(&world, generation + number, parameters).await
        };
        let (files, inserts) = (steps("stage"), steps("rows:1"));
        copy(0, json!({})).await?;
        assert_eq!((steps("stage"), steps("rows:1")), (files + 1, inserts), "{kind:?}: by COPY");
        let lengths = format!("SELECT id, LENGTH(body), LENGTH(digest) FROM {into} ORDER BY id");
        let whole = [Some("1"), Some("200000"), None].map(|cell| cell.map(str::to_owned));
        assert_eq!(target.rows(&lengths).await?[0], whole, "{kind:?}");
        // A value of no bytes is none to COPY.
        source.run(&format!("UPDATE files SET body = NULL, digest = {none}")).await?;
        copy(1, json!({})).await?;
        assert_eq!((steps("stage"), steps("rows:1")), (files + 1, inserts + 1), "{kind:?}: by INSERT");
        let counted = target.rows(&format!("SELECT COUNT(digest), COUNT(body) FROM {into}")).await?;
        assert_eq!(counted, [some(&["2", "0"])], "{kind:?}: and it stays what it is");
        // It is looked for among the rows that come.
        source.run(&format!("UPDATE files SET body = {bytes}, digest = NULL WHERE id = 1")).await?;
        copy(2, json!({"custom_where": "id = 1"})).await?;
        assert_eq!(steps("stage"), files + 2, "{kind:?}");
        assert_eq!(world.keys("staging").await?, Vec::<String>::new(), "{kind:?}");
    }
    Ok(())
}
