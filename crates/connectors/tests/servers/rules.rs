//! Rows that break a rule of the table: named, and where some rows may be refused counted among them. Nothing is half done.

use anyhow::Result;
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest, Ports};
use millrace_operator_api::{PortError, PortErrorKind};
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::operate;
use crate::world::{Cells, World, refused, some, upsert, work};

/// Seven rows, of which one breaks nothing.
const ROWS: &str = "INSERT INTO q VALUES (1, 1, 'a', '1', 1), (2, 2, 'too long for it', '2', 1), (3, 3, 'c', 'no number', 1), \
                    (4, 7, 'b', '7', 1), (5, 1, 'again', '1', 1), (6, 6, 'f', NULL, 1), (7, 8, 'g', '8', 99)";

struct Place {
    target: Database,
    table: String,
}

impl Place {
    async fn start(world: &World, kind: Kind) -> Result<Self> {
        let target = Database::start(world, kind, "target").await?;
        let (table, parents) = (target.place("q"), target.place("parents"));
        target.run(&format!("CREATE TABLE {parents} (id int PRIMARY KEY); INSERT INTO {parents} VALUES (1)")).await?;
        target
            .run(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, v varchar(100) CONSTRAINT short CHECK (length(v) < 11), \
                 n int NOT NULL, parent int REFERENCES {parents}(id))"
            ))
            .await?;
        let place = Self { target, table };
        place.reset().await?;
        Ok(place)
    }

    /// One row is there.
    async fn reset(&self) -> Result<()> {
        self.target.run(&format!("DELETE FROM {0}; INSERT INTO {0} VALUES (7, 'there', 7, 1)", self.table)).await
    }

    fn load(&self, source: &Database, rows: &str, options: &[&str], more: Value) -> Value {
        let mut load = json!({
            "warehouse_conn_id": self.target.conn_id, "table": "q", "sql_conn_id": source.conn_id,
            "query": format!("SELECT id, v, n, parent FROM q WHERE {rows} ORDER BY at"), "copy_options": options,
        });
        if self.table.contains('.') {
            load["schema"] = json!("dw");
        }
        if let (Some(load), Some(more)) = (load.as_object_mut(), more.as_object()) {
            load.extend(more.clone());
        }
        load
    }

    async fn ids(&self) -> Result<String> {
        let rows = self.target.rows(&format!("SELECT id, v FROM {} ORDER BY id", self.table)).await?;
        Ok(rows
            .iter()
            .map(|row| row.iter().flatten().cloned().collect::<Vec<_>>().join("="))
            .collect::<Vec<_>>()
            .join(" "))
    }
}

async fn source(world: &World) -> Result<Database> {
    let source = Database::start(world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE q (at int, id int, v text, n text, parent int)").await?;
    source.run(ROWS).await?;
    Ok(source)
}

#[tokio::test]
async fn rows_that_a_rule_refuses_count_as_refused_and_go_to_the_quarantine() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    for (generation, kind) in [(1, Kind::Postgres), (20, Kind::Lite)] {
        let place = Place::start(&world, kind).await?;
        let asked = json!({"quarantine": "refused"});
        let loaded =
            operate(&world, generation, "copy", place.load(&source, "1 = 1", &["csv", "maxerror 6"], asked)).await?;
        assert_eq!((&loaded["rows_inserted"], &loaded["rows_rejected"]), (&json!(1), &json!(6)), "{kind:?}: {loaded}");
        assert_eq!(place.ids().await?, "1=a 7=there", "{kind:?}");
        let kept = format!(
            "SELECT line, column_name, value, reason, file, source_row FROM {} ORDER BY line",
            place.target.place("refused")
        );
        let kept = place.target.rows(&kept).await?;
        let told: Cells = kept.iter().map(|row| row[..3].to_vec()).collect();
        let check = if kind == Kind::Lite { ["2", "NULL", "NULL"] } else { ["2", "v", "too long for it"] };
        let others =
            [["3", "n", "no number"], ["4", "id", "7"], ["5", "id", "1"], ["6", "n", "NULL"], ["7", "parent", "99"]];
        let mut expected: Vec<[&str; 3]> = std::iter::once(check).chain(others).collect();
        if kind == Kind::Lite {
            // Which of its references is broken SQLite does not say.
            expected[5] = ["7", "NULL", "NULL"];
        }
        assert_eq!(told, expected.iter().map(|row| some(row)).collect::<Vec<_>>(), "{kind:?}");
        let reasons =
            ["short", "", "has a key that is there already", "has a key", "NULL", "refers to a row that is not there"];
        for (row, reason) in kept.iter().zip(reasons) {
            assert!(row[3].as_deref().unwrap_or_default().contains(reason), "{kind:?}: {row:?}");
            assert_eq!(row[4].as_deref(), Some("the source"), "{kind:?}");
        }
        let whole = kept[3][5].as_deref().unwrap_or_default();
        assert_eq!(serde_json::from_str::<Value>(whole)?, json!({"id": "1", "v": "again", "n": "1", "parent": "1"}));

        // One less is allowed: nothing was done.
        place.reset().await?;
        let few = place.load(&source, "1 = 1", &["csv", "maxerror 5"], json!({}));
        let error = operate(&world, generation + 1, "copy", few).await.unwrap_err().to_string();
        assert!(error.contains("6 rows were refused, and 5 may be (maxerror"), "{kind:?}: {error}");
        assert!(!error.contains("too long for it") && !error.contains("deferred"), "{kind:?}: {error}");
        assert_eq!(place.ids().await?, "7=there", "{kind:?}");

        for (number, (method, rows, inserted, refused, after)) in (generation + 2..).zip([
            ("replace", "1 = 1", 2, 5, "1=a 7=b"),
            ("swap", "1 = 1", 2, 5, "1=a 7=b"),
            ("upsert", "at <> 5", 1, 4, "1=a 7=b"),
        ]) {
            place.reset().await?;
            let keys = if method == "upsert" { json!({"upsert_keys": "id"}) } else { json!({}) };
            let load = place.load(&source, rows, &["csv", "maxerror 5"], keys);
            let loaded = operate(&world, number, method, load).await?;
            let counted = (&loaded["rows_inserted"], &loaded["rows_rejected"]);
            assert_eq!(counted, (&json!(inserted), &json!(refused)), "{kind:?} {method}: {loaded}");
            assert_eq!(place.ids().await?, after, "{kind:?} {method}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_counts_rows_that_a_rule_refuses_but_not_keys_that_name_several() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    for (generation, kind) in [(1, Kind::Postgres), (20, Kind::Lite)] {
        let place = Place::start(&world, kind).await?;
        let whole_name = if place.table.contains('.') { place.table.clone() } else { format!("main.{}", place.table) };
        let copy = |rows: &str, mode: Value| {
            let mut table = json!({"source": "public.q", "target": whole_name, "primary_key": "id", "max_error": 5,
                                   "custom_select": format!("SELECT id, v, 4 AS n, parent FROM q WHERE {rows}")});
            if let (Some(table), Some(mode)) = (table.as_object_mut(), mode.as_object()) {
                table.extend(mode.clone());
            }
            json!({"source_conn_id": source.conn_id, "target_conn_id": place.target.conn_id, "tables": table})
        };
        let error = run(&world, generation, copy("1 = 1", json!({}))).await.unwrap_err().to_string();
        assert!(error.contains("1 values of id come in 2 rows"), "{kind:?}: {error}");
        assert_eq!(place.ids().await?, "7=there", "{kind:?}");
        for (number, mode) in (generation + 1..).zip([
            json!({}),
            json!({"sync_mode": "incremental_sync", "incremental_field": "id", "incremental_field_type": "integer"}),
        ]) {
            place.target.run(&format!("DELETE FROM {}", place.table)).await?;
            run(&world, number, copy("at <> 5", mode.clone())).await?;
            assert_eq!(place.ids().await?, "1=a 3=c 6=f 7=b", "{kind:?} {mode}");
        }
    }
    Ok(())
}

async fn load(
    world: &World,
    target: &Database,
    generation: u32,
    (method, most): (LoadMethod, u32),
    files: &[(&str, &str)],
) -> Result<std::result::Result<LoadReport, PortError>> {
    let request = world.request(&target.place("t"), method, files).await?;
    let mut request = LoadRequest { work: work(generation), show_values: false, ..request };
    (request.format.max_error, request.format.ignore_header) = (most, 1);
    request.columns = Some(vec!["id".to_owned(), "v".to_owned()]);
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, &target.conn_id);
    Ok(warehouse.await?.load(request).await)
}

#[tokio::test]
async fn a_row_that_a_rule_refuses_is_told_by_file_and_line() -> Result<()> {
    let world = World::start().await?;
    let files = [("one.csv", "id,v\n1,a\n2,\"b\nc\"\n3,d\n"), ("two.csv", "id,v\n4,\"e\n\n\"\n5,f\n2,g\n")];
    for kind in [Kind::Lite, Kind::Postgres] {
        let target = Database::start(&world, kind, "target").await?;
        target.run(&format!("CREATE TABLE {} (id int PRIMARY KEY, v text)", target.place("t"))).await?;
        let report = load(&world, &target, 1, (LoadMethod::Append, 1), &files).await??;
        assert_eq!((report.rows_inserted, report.rows_rejected), (Some(5), Some(1)), "{kind:?}");
        let told = report.rejected[0].to_string();
        let place =
            "s3://lake/two.csv line 6, column id, value of 1 character, not shown: has a key that is there already";
        assert!(told.starts_with(place), "{kind:?}: {told}");
        let error = refused(load(&world, &target, 2, (LoadMethod::Append, 0), &files[..1]).await?)?;
        let which = if kind == Kind::Lite { "line 2, column id" } else { "constraint t_pkey" };
        for word in ["s3://lake/one.csv line 2", which, "has a key that is there already"] {
            assert!(error.message.contains(word), "{kind:?}: {word:?} is missing in: {}", error.message);
        }
        assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
        let rows = target.rows(&format!("SELECT COUNT(*) FROM {}", target.place("t"))).await?;
        assert_eq!(rows, [some(&["5"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn sqlite_names_the_row_of_the_source_that_it_refuses() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let place = Place::start(&world, Kind::Lite).await?;
    let cases = [
        (
            "copy",
            "at IN (1, 4)",
            json!({}),
            "row 2 of the source, column id, value of 1 character, not shown: has a key",
        ),
        (
            "copy",
            "at IN (1, 2)",
            json!({}),
            "row 2 of the source: is refused by a check of the table (CHECK constraint failed: short)",
        ),
        ("upsert", "at IN (1, 4, 6)", json!({"upsert_keys": "id"}), "row 3 of the source, column n: is NULL"),
        ("replace", "at IN (1, 7)", json!({}), "row 2 of the source: refers to a row that is not there"),
        ("swap", "at IN (1, 2)", json!({}), "row 2 of the source: is refused by a check"),
    ];
    for (generation, (operator, rows, more, words)) in (1..).zip(cases) {
        let error = operate(&world, generation, operator, place.load(&source, rows, &["csv"], more)).await.unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(words) && error.contains("; the row: id "),
            "{operator}: {words:?} is missing in: {error}"
        );
        assert!(!error.contains("maxerror"), "{error}");
        assert_eq!(place.ids().await?, "7=there", "{operator}");
    }
    Ok(())
}

#[tokio::test]
async fn few_bad_rows_among_many_are_found() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    for (generation, kind) in [(1, Kind::Postgres), (20, Kind::Lite)] {
        let target = Database::start(&world, kind, "target").await?;
        let table = target.place("t");
        target.run(&format!("CREATE TABLE {table} (id int PRIMARY KEY, v int UNIQUE CHECK (v % 1000 <> 7))")).await?;
        let load = |query: &str| {
            let mut load = json!({"warehouse_conn_id": target.conn_id, "table": "t", "sql_conn_id": source.conn_id,
                                  "query": query, "copy_options": ["csv", "maxerror 6"]});
            if table.contains('.') {
                load["schema"] = json!("dw");
            }
            load
        };
        let all = "SELECT i AS id, i AS v FROM generate_series(1, 5000) AS i ORDER BY i";
        let loaded = operate(&world, generation, "copy", load(all)).await?;
        assert_eq!((&loaded["rows_inserted"], &loaded["rows_rejected"]), (&json!(4995), &json!(5)), "{kind:?}");
        // Half of them are there; a value of another row is refused, that of the key is what is updated.
        let changed =
            "SELECT i AS id, CASE i WHEN 4000 THEN 1 ELSE i END AS v FROM generate_series(3001, 6000) AS i ORDER BY i";
        let mut upsert = load(changed);
        upsert["upsert_keys"] = json!("id");
        let loaded = operate(&world, generation + 1, "upsert", upsert).await?;
        let counts = ["rows_updated", "rows_inserted", "rows_rejected"].map(|name| loaded[name].as_u64());
        assert_eq!(counts, [Some(1997), Some(999), Some(4)], "{kind:?}: {loaded}");
        let found = target.rows(&format!("SELECT COUNT(*), MAX(v) FROM {table}")).await?;
        assert_eq!(found, [some(&["5994", "6000"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rules_that_cannot_be_asked_of_single_rows_end_the_load() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    for (generation, kind) in [(1, Kind::Postgres), (20, Kind::Lite)] {
        let place = Place::start(&world, kind).await?;
        place.target.run(&format!("DROP TABLE {}", place.table)).await?;
        place
            .target
            .run(&format!(
                "CREATE TABLE {0} (id int PRIMARY KEY, v varchar(100) CHECK (length(v) < 11), n int, parent int REFERENCES {0}(id))",
                place.table
            ))
            .await?;
        let load = place.load(&source, "at <= 2", &["csv", "maxerror 5"], json!({}));
        let error = operate(&world, generation, "copy", load).await.unwrap_err().to_string();
        assert!(error.contains("a table with a reference to itself"), "{kind:?}: {error}");
        assert_eq!(place.ids().await?, "", "{kind:?}");
        // Where none is broken nothing is in the way.
        let load = place.load(&source, "at IN (1, 4)", &["csv", "maxerror 5"], json!({}));
        let loaded = operate(&world, generation + 1, "copy", load).await?;
        assert_eq!(loaded["rows_inserted"], json!(2), "{kind:?}");
    }
    Ok(())
}

/// A row that is refused is as one that did not come, whatever refuses it.
#[tokio::test]
async fn the_next_best_row_of_a_key_goes_in_where_the_best_is_refused() -> Result<()> {
    // By their type 1, by NOT NULL 2, by the check 3 to 7: the newest first or last, two of them, all. Of 9 it is never asked.
    let rows = "1,a,1,1,1\n1,b,x,1,2\n2,a,1,1,1\n2,b,,1,2\n3,b,1,13,2\n3,a,1,1,1\n4,a,1,1,1\n4,c,1,13,3\n4,b,1,13,2\n\
                5,b,1,13,2\n7,a,1,1,4\n7,b,1,13,6\n8,a,1,1,1\n8,b,1,1,2\n9,a,1,13,1\n9,b,1,1,2\n";
    let of_copy: String = rows.split_inclusive('\n').filter(|row| !row.contains(",13,")).collect();
    let world = World::start().await?;
    for (kind, key) in [
        (Kind::Lite, "PRIMARY KEY"),
        (Kind::Lite, "NOT NULL"),
        (Kind::Postgres, "PRIMARY KEY"),
        (Kind::Postgres, "NOT NULL"),
        (Kind::Redshift, "NOT NULL"),
    ] {
        let target = Database::start(&world, kind, "target").await?;
        let (rows, check) = if kind == Kind::Redshift { (&*of_copy, "") } else { (rows, " CHECK (n <> 13)") };
        let table = target.place("t");
        target
            .run(&format!(
                "CREATE TABLE {table} (id int {key}, v varchar(9), m int NOT NULL, n int{check}, o int); \
                 INSERT INTO {table} VALUES (7, 'there', 1, 1, 5)"
            ))
            .await?;
        let mut request = world.request(&table, upsert(&["id"], Some("o")), &[("in.csv", rows)]).await?;
        request.format.max_error = 20;
        request.columns = Some(["id", "v", "m", "n", "o"].map(ToOwned::to_owned).to_vec());
        let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
        let report = warehouse.load(request).await?;
        let refused = if kind == Kind::Redshift { 2 } else { 7 };
        assert_eq!((report.rows_inserted, report.rows_rejected), (Some(6), Some(refused)), "{kind:?} {key}");
        assert_eq!(report.rows_updated, Some(0), "{kind:?} {key}");
        let found = target.rows(&format!("SELECT id, v FROM {table} ORDER BY id")).await?;
        let expected = [["1", "a"], ["2", "a"], ["3", "a"], ["4", "a"], ["7", "there"], ["8", "b"], ["9", "b"]]
            .map(|row| some(&row));
        assert_eq!(found, expected, "{kind:?} {key}");
    }
    Ok(())
}

/// The other end of a reference: nothing of the row refers to anything.
#[tokio::test]
async fn a_value_that_others_refer_to_is_told_as_such() -> Result<()> {
    let world = World::start().await?;
    for kind in [Kind::Lite, Kind::Postgres] {
        let target = Database::start(&world, kind, "target").await?;
        let (table, children) = (target.place("t"), target.place("children"));
        target
            .run(&format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, v varchar(9) UNIQUE); INSERT INTO {table} VALUES (1, 'a'), (2, 'b'); \
                 CREATE TABLE {children} (code varchar(9) CONSTRAINT of_code REFERENCES {table}(v)); \
                 INSERT INTO {children} VALUES ('a')"
            ))
            .await?;
        let changed = "id,v\n1,A\n2,B\n";
        let report = load(&world, &target, 1, (upsert(&["id"], None), 1), &[("in.csv", changed)]).await??;
        assert_eq!((report.rows_updated, report.rows_rejected), (Some(1), Some(1)), "{kind:?}");
        let told = &report.rejected[0];
        let words = match kind {
            Kind::Lite => "takes away a value that rows of another table still refer to (FOREIGN KEY",
            _ => "takes away a value that rows of dw.children still refer to (constraint of_code, SQLSTATE 23503)",
        };
        assert!(told.reason.starts_with(words), "{kind:?}: {told}");
        assert_eq!((told.line, told.column.as_deref(), told.value.as_deref()), (Some(2), None, None), "{kind:?}");
        let error = load(&world, &target, 2, (upsert(&["id"], None), 0), &[("in.csv", changed)]).await?.unwrap_err();
        assert!(error.message.contains("still refer to"), "{kind:?}: {error}");
        let found = target.rows(&format!("SELECT id, v FROM {table} ORDER BY id")).await?;
        assert_eq!(found, [some(&["1", "a"]), some(&["2", "B"])], "{kind:?}");
    }
    Ok(())
}

/// Rows in pieces stand behind savepoints, and yet a trigger that only changes them has not kept them.
#[tokio::test]
async fn rows_that_go_in_pieces_are_updated_whatever_a_trigger_makes_of_them() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target.postgres()?.execute(
        "CREATE TABLE dw.t (id int PRIMARY KEY, v text CHECK (length(v) < 5)); INSERT INTO dw.t VALUES (1, 'A'), (2, 'B'), (3, 'C'); \
         CREATE FUNCTION upper_v() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.id = 3 THEN RETURN NULL; END IF; NEW.v := upper(NEW.v); RETURN NEW; END'; \
         CREATE TRIGGER upper BEFORE UPDATE ON dw.t FOR EACH ROW EXECUTE FUNCTION upper_v()",
    )?;
    let rows = "id,v\n1,x\n2,too long\n3,y\n4,z\n";
    let report = load(&world, &target, 1, (upsert(&["id"], None), 2), &[("in.csv", rows)]).await??;
    assert_eq!((report.rows_inserted, report.rows_updated, report.rows_rejected), (Some(1), Some(1), Some(1)));
    assert_eq!(report.rows_kept, Some(1), "that of key 3 alone");
    let found = target.rows("SELECT id, v FROM dw.t ORDER BY id").await?;
    assert_eq!(found, [some(&["1", "X"]), some(&["2", "B"]), some(&["3", "C"]), some(&["4", "z"])]);
    Ok(())
}

/// The key of the upsert finds the row to update also where the same index takes two NULLs for one.
#[tokio::test]
async fn the_key_of_an_upsert_refuses_no_row() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target.postgres()?.execute(
        "CREATE TABLE dw.t (id int, v text CHECK (length(v) < 5), UNIQUE NULLS NOT DISTINCT (id)); INSERT INTO dw.t VALUES (NULL, 'A')",
    )?;
    let rows = "id,v\n1,x\n2,too long\n,y\n";
    let report = load(&world, &target, 1, (upsert(&["id"], None), 2), &[("in.csv", rows)]).await??;
    assert_eq!((report.rows_inserted, report.rows_updated, report.rows_rejected), (Some(1), Some(1), Some(1)));
    let found = target.rows("SELECT id, v FROM dw.t ORDER BY id").await?;
    assert_eq!(found, [some(&["1", "x"]), some(&["NULL", "y"])]);
    // Which of two is to stay is not for the pieces to say.
    let tied = "id,v\n1,too long\n,b\n,c\n3,d\n";
    let error = load(&world, &target, 2, (upsert(&["id"], None), 2), &[("tied.csv", tied)]).await?.unwrap_err();
    assert!(error.message.contains("come in several rows that differ"), "{error}");
    assert_eq!(target.rows("SELECT id, v FROM dw.t ORDER BY id").await?, found);
    // The next best of one that is refused is found by its NULL, too.
    let better = "id,v\n,yy\n,zz long\n";
    let report = load(&world, &target, 3, (upsert(&["id"], Some("v")), 2), &[("better.csv", better)]).await??;
    assert_eq!((report.rows_updated, report.rows_rejected), (Some(1), Some(1)));
    assert_eq!(target.rows("SELECT v FROM dw.t WHERE id IS NULL").await?, [some(&["yy"])]);
    Ok(())
}

/// A statement may break such a key before it ends, and a trigger's own statements are not the rows.
#[tokio::test]
async fn keys_that_can_be_deferred_and_what_triggers_do_elsewhere_end_the_load() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target.postgres()?.execute(
        "CREATE TABLE dw.t (id int PRIMARY KEY, v text CHECK (length(v) < 5) UNIQUE DEFERRABLE); \
         INSERT INTO dw.t VALUES (1, 'a'), (2, 'b'); CREATE TABLE dw.seen (v text CHECK (length(v) < 7))",
    )?;
    let exchanged = "id,v\n1,b\n2,a\n";
    let report = load(&world, &target, 1, (upsert(&["id"], None), 3), &[("exchanged.csv", exchanged)]).await??;
    assert_eq!((report.rows_updated, report.rows_rejected), (Some(2), Some(0)));
    let back = "id,v\n1,a\n2,b\n3,too long\n";
    let error = load(&world, &target, 2, (upsert(&["id"], None), 3), &[("back.csv", back)]).await?.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("23514"), "{error}");
    let found = target.rows("SELECT id, v FROM dw.t ORDER BY id").await?;
    assert_eq!(found, [some(&["1", "b"]), some(&["2", "a"])]);
    target.postgres()?.execute(
        "DROP TABLE dw.t; CREATE TABLE dw.t (id int, v text); \
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO dw.seen VALUES (NEW.v); RETURN NEW; END'; \
         CREATE TRIGGER see BEFORE INSERT ON dw.t FOR EACH ROW EXECUTE FUNCTION see()",
    )?;
    let error = load(&world, &target, 3, (LoadMethod::Append, 3), &[("seen.csv", back)]).await?.unwrap_err();
    assert_eq!(error.code.as_deref(), Some("23514"), "{error}");
    assert_eq!(target.rows("SELECT id FROM dw.t").await?, Cells::new());
    Ok(())
}

/// As far as SQLite tells whose rule is broken.
#[tokio::test]
async fn what_triggers_of_sqlite_do_elsewhere_ends_the_load() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Lite, "target").await?;
    target.run("CREATE TABLE t (id int, v text NOT NULL CONSTRAINT short CHECK (length(v) < 5))").await?;
    let seen = "CREATE TABLE seen (v text NOT NULL, n int UNIQUE CHECK (n < 5))";
    for (generation, (statement, code)) in (1..).zip([
        ("INSERT INTO seen VALUES (nullif(NEW.v, 'b'), NEW.id)", "1299"),
        ("INSERT INTO seen VALUES ('x', 1)", "2067"),
        ("INSERT INTO seen VALUES ('x', NEW.id + 3)", "275"),
        ("SELECT RAISE(ABORT, 'not this one') WHERE NEW.v = 'b'", "1811"),
    ]) {
        target.run(&format!("DROP TABLE IF EXISTS seen; {seen}")).await?;
        target.run(&format!("CREATE TRIGGER see AFTER INSERT ON t BEGIN {statement}; END")).await?;
        let rows = [("in.csv", "id,v\n1,a\n2,b\n")];
        let error = load(&world, &target, generation, (LoadMethod::Append, 2), &rows).await?.unwrap_err();
        assert_eq!(error.code.as_deref(), Some(code), "{statement}: {error}");
        assert_eq!(target.rows("SELECT id FROM t").await?, Cells::new(), "{statement}");
        target.run("DROP TRIGGER see").await?;
    }
    // The table's own rules are asked of each row all the same.
    target.run("DROP TABLE seen; CREATE TABLE seen (v text NOT NULL)").await?;
    target.run("CREATE TRIGGER see AFTER INSERT ON t BEGIN INSERT INTO seen VALUES (NEW.v); END").await?;
    let report = load(&world, &target, 9, (LoadMethod::Append, 2), &[("own.csv", "id,v\n1,a\n2,too long\n")]).await??;
    assert_eq!((report.rows_inserted, report.rows_rejected), (Some(1), Some(1)));
    Ok(())
}

#[tokio::test]
async fn columns_of_one_name_are_refused_before_anything_is_written() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Database::start(&world, Kind::Lite, "target").await?;
    target.run("CREATE TABLE t (id int, v text)").await?;
    let query = "SELECT a.id, b.id, a.v FROM q AS a JOIN q AS b ON b.at = a.at";
    let read = json!({"sql_conn_id": source.conn_id, "query": query});
    let with = |more: Value| {
        let mut parameters = read.clone();
        if let (Some(parameters), Some(more)) = (parameters.as_object_mut(), more.as_object()) {
            parameters.extend(more.clone());
        }
        parameters
    };
    let file = json!({"s3_bucket": "lake", "s3_key": "out/doubled", "aws_conn_id": "s3"});
    let mut parquet = file.clone();
    parquet["format"] = json!("parquet");
    let into = json!({"warehouse_conn_id": target.conn_id, "table": "t"});
    let cases = [("sql_to_s3", with(file)), ("sql_to_s3", with(parquet)), ("copy", with(into))];
    for (generation, (operator, parameters)) in (1..).zip(cases) {
        let error = operate(&world, generation, operator, parameters).await.unwrap_err().to_string();
        for word in ["several columns of the query are called id", "b.id AS other_id"] {
            assert!(error.contains(word), "{operator}: {word:?} is missing in: {error}");
        }
    }
    let copy = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": {"source": "public.q", "target": "main.made", "custom_select": query},
    });
    let error = run(&world, 9, copy).await.unwrap_err().to_string();
    assert!(error.contains("several columns of custom_select are called id"), "{error}");
    assert!(world.keys("out/").await?.is_empty());
    let made = "SELECT name FROM sqlite_master WHERE name IN ('made', 'millrace_load_marker')";
    assert!(target.rows(made).await?.is_empty());
    Ok(())
}
