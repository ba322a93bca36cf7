//! Rows that the source has no more, and others that cannot come in while they are there: the target holds a column to be
//! unique that is not its key.

use anyhow::Result;
use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{LoadRequest, LoadRows, NewColumn, Ports, TableName, ValueType};
use millrace_operators::parts::copying::deletes::Reconciling;
use serde_json::{Value, json};

use super::databases::{Database, Kind};
use super::mended::left_behind;
use super::{TARGETS, message};
use crate::tasks::Task;
use crate::world::{Cells, World, some, stream_of, upsert, work};

const HINDERED: [Kind; 2] = [Kind::Postgres, Kind::Lite];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Files,
    Direct,
    Copy,
}

const WAYS: [Way; 3] = [Way::Files, Way::Direct, Way::Copy];

/// Accounts a and z, which the target has too; there `rules` hold.
struct Accounts {
    world: World,
    source: Database,
    target: Database,
    way: Way,
}

impl Accounts {
    async fn of(kind: Kind, way: Way, rules: &str) -> Result<Self> {
        let world = World::start().await?;
        let source = Database::start(&world, Kind::Postgres, "source").await?;
        let target = Database::start(&world, kind, "target").await?;
        source
            .run(
                "CREATE TABLE users (id varchar(9) PRIMARY KEY, u int, at timestamp NOT NULL); \
                 INSERT INTO users VALUES ('a', 1, '2024-01-01'), ('z', 9, '2024-01-01')",
            )
            .await?;
        let place = target.place("users");
        target.run(&format!("CREATE TABLE {place} (id varchar(9) PRIMARY KEY, u int, at timestamp{rules})")).await?;
        let accounts = Self { world, source, target, way };
        accounts.load(0).await?;
        Ok(accounts)
    }

    /// Every load is another task's.
    async fn load(&self, max_error: u32) -> Result<Value, TaskError> {
        let (source, target) = (&self.source.conn_id, &self.target.conn_id);
        if self.way == Way::Copy {
            let table = json!({
                "source": "public.users", "target": format!("{}.users", self.target.schema), "primary_key": "id",
                "sync_mode": "incremental_sync", "incremental_field": "at", "deletes": "reconcile", "max_error": max_error,
                "verify": [],
            });
            let copy = json!({"source_conn_id": source, "target_conn_id": target, "tables": table});
            return Ok(Task::new(&self.world, "table_copy", copy).run(1).await?["tables"][0].clone());
        }
        let query = "SELECT id, u, at FROM users ORDER BY id";
        let mut load = json!({
            "warehouse_conn_id": target, "table": "users", "upsert_keys": "id", "order_key": "at",
            "delete_missing": {"sql_conn_id": source, "query": "SELECT id FROM users"},
            "copy_options": ["csv", format!("maxerror {max_error}")],
        });
        if self.target.schema == "dw" {
            load["schema"] = json!("dw");
        }
        if self.way == Way::Direct {
            (load["sql_conn_id"], load["query"]) = (json!(source), json!(query));
            return Task::new(&self.world, "upsert", load).run(1).await;
        }
        let extract = json!({
            "sql_conn_id": source, "query": query, "aws_conn_id": "s3", "s3_bucket": "lake", "s3_key": "users.csv", "replace": true,
        });
        let said = Task::new(&self.world, "sql_to_s3", extract).run(1).await?;
        (load["aws_conn_id"], load["from_task"]) = (json!("s3"), json!("before"));
        Task::new(&self.world, "upsert", load).after(&said).run(1).await
    }

    /// The accounts in the target, each with its unique value.
    async fn rows(&self) -> Result<Cells> {
        self.target.rows(&format!("SELECT id, u FROM {} ORDER BY id", self.target.place("users"))).await
    }

    /// z goes, and c comes with what was z's.
    async fn make_again(&self) -> Result<()> {
        self.source.run("DELETE FROM users WHERE id = 'z'; INSERT INTO users VALUES ('c', 9, '2024-02-01')").await
    }
}

#[tokio::test]
async fn an_account_that_was_deleted_and_made_again_comes_in() -> Result<()> {
    for kind in HINDERED {
        for way in WAYS {
            for max_error in [0, 5] {
                let told = format!("{kind:?}, {way:?}, {max_error}");
                let accounts = Accounts::of(kind, way, ", UNIQUE (u)").await?;
                accounts.make_again().await?;
                let loaded = accounts.load(max_error).await?;
                assert_eq!(accounts.rows().await?, [some(&["a", "1"]), some(&["c", "9"])], "{told}: {loaded}");
                let found = ["rows_inserted", "rows_deleted", "rows_rejected"].map(|name| loaded[name].clone());
                assert_eq!(found, [json!(1), json!(1), json!(0)], "{told}: {loaded}");
                assert_eq!(left_behind(&accounts.target).await?, 0, "{told}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_load_that_fails_has_deleted_nothing() -> Result<()> {
    for kind in HINDERED {
        for way in WAYS {
            let told = format!("{kind:?}, {way:?}");
            let accounts = Accounts::of(kind, way, ", UNIQUE (u), CHECK (u < 100)").await?;
            accounts.make_again().await?;
            accounts.source.run("INSERT INTO users VALUES ('d', 100, '2024-02-01')").await?;
            message(accounts.load(0).await)?;
            assert_eq!(accounts.rows().await?, [some(&["a", "1"]), some(&["z", "9"])], "{told}");
            assert_eq!(left_behind(&accounts.target).await?, 0, "{told}");
            let loaded = accounts.load(1).await?;
            assert_eq!(accounts.rows().await?, [some(&["a", "1"]), some(&["c", "9"])], "{told}: {loaded}");
            let found = ["rows_deleted", "rows_rejected"].map(|name| loaded[name].clone());
            assert_eq!(found, [json!(1), json!(1)], "{told}: {loaded}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn accounts_that_are_there_and_exchange_a_value_are_refused_as_ever() -> Result<()> {
    for kind in HINDERED {
        for way in WAYS {
            let told = format!("{kind:?}, {way:?}");
            let accounts = Accounts::of(kind, way, ", UNIQUE (u)").await?;
            accounts
                .source
                .run("UPDATE users SET u = 10 - u, at = '2024-02-01'; INSERT INTO users VALUES ('c', 5, '2024-02-01')")
                .await?;
            message(accounts.load(0).await)?;
            assert_eq!(accounts.rows().await?, [some(&["a", "1"]), some(&["z", "9"])], "{told}");
            accounts.source.run("UPDATE users SET u = 9 WHERE id = 'a'; DELETE FROM users WHERE id = 'z'").await?;
            accounts.load(0).await?;
            assert_eq!(accounts.rows().await?, [some(&["a", "9"]), some(&["c", "5"])], "{told}: z has gone");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_source_without_a_row_or_with_other_keys_deletes_nothing() -> Result<()> {
    for kind in HINDERED {
        for (gone, said) in [
            ("DELETE FROM users", "the source has no row at all"),
            ("UPDATE users SET id = id || 'x', u = u + 100", "none of the keys that the source gives is in"),
        ] {
            let accounts = Accounts::of(kind, Way::Direct, ", UNIQUE (u)").await?;
            let mut load = json!({
                "warehouse_conn_id": accounts.target.conn_id, "table": "users", "upsert_keys": "id", "order_key": "at",
                "sql_conn_id": accounts.source.conn_id, "query": "SELECT id, u, at FROM users WHERE id = 'none'",
                "delete_missing": {"sql_conn_id": accounts.source.conn_id, "query": "SELECT id FROM users"},
            });
            if accounts.target.schema == "dw" {
                load["schema"] = json!("dw");
            }
            accounts.source.run(gone).await?;
            let text = message(Task::new(&accounts.world, "upsert", load).run(1).await)?;
            assert!(text.contains(said), "{kind:?}: {text}");
            assert_eq!(accounts.rows().await?, [some(&["a", "1"]), some(&["z", "9"])], "{kind:?}");
            assert_eq!(left_behind(&accounts.target).await?, 0, "{kind:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_others_refer_to_keeps_no_other_row_from_coming_in() -> Result<()> {
    let late = " DEFERRABLE INITIALLY DEFERRED";
    for (kind, when) in [(Kind::Postgres, ""), (Kind::Postgres, late), (Kind::Lite, ""), (Kind::Lite, late)] {
        let accounts = Accounts::of(kind, Way::Direct, ", UNIQUE (u)").await?;
        let (users, orders) = (accounts.target.place("users"), accounts.target.place("orders"));
        accounts.target.run(&format!("CREATE TABLE {orders} (of varchar(9) REFERENCES {users} (id){when})")).await?;
        accounts.target.run(&format!("INSERT INTO {orders} VALUES ('z')")).await?;
        accounts
            .source
            .run("DELETE FROM users WHERE id = 'z'; INSERT INTO users VALUES ('b', 2, '2024-02-01')")
            .await?;
        let text = message(accounts.load(0).await)?;
        assert!(text.contains("has no more") && text.to_lowercase().contains("foreign key"), "{kind:?}{when}: {text}");
        let all = [some(&["a", "1"]), some(&["b", "2"]), some(&["z", "9"])];
        assert_eq!(accounts.rows().await?, all, "{kind:?}{when}: b is loaded");
        accounts.target.run(&format!("DELETE FROM {orders} WHERE 1 = 1")).await?;
        assert_eq!(accounts.load(0).await?["rows_deleted"], 1, "{kind:?}{when}");
    }
    Ok(())
}

/// The keys are read once more only where that is of use: each reading leaves its marker.
#[tokio::test]
async fn keys_are_read_once_where_nothing_stands_in_the_way() -> Result<()> {
    for kind in HINDERED {
        for (rules, readings) in [("", 1), (", UNIQUE (id, u)", 1), (", UNIQUE (u)", 2)] {
            let accounts = Accounts::of(kind, Way::Direct, rules).await?;
            let marker = accounts.target.place("millrace_load_marker");
            let count = async || -> Result<u64> {
                let found = accounts.target.rows(&format!("SELECT COUNT(*) FROM {marker}")).await?;
                Ok(found[0][0].as_deref().unwrap_or_default().parse()?)
            };
            let before = count().await?;
            accounts.load(0).await?;
            assert_eq!(count().await? - before, 1 + readings, "{kind:?} {rules}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_comes_in_again_is_not_deleted_and_takes_nothing_along() -> Result<()> {
    for (generation, kind) in (1..).zip(TARGETS) {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        let (place, child) = (target.place("t"), target.place("child"));
        target.run(&format!("CREATE TABLE {place} (id bigint PRIMARY KEY, u bigint, kept bigint)")).await?;
        target.run(&format!("INSERT INTO {place} VALUES (1, 1, 7), (2, 2, 7), (3, 3, 7)")).await?;
        let refers =
            if kind == Kind::Redshift { String::new() } else { format!(" REFERENCES {place} (id) ON DELETE CASCADE") };
        target.run(&format!("CREATE TABLE {child} (of bigint{refers})")).await?;
        target.run(&format!("INSERT INTO {child} VALUES (2)")).await?;
        let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
        let integer = ValueType::Integer { bits: 64, signed: true };
        let rows = stream_of(&[("id", integer.clone()), ("u", integer)], &vec![some(&["2", "3"])]);
        let request = LoadRequest {
            columns: Some(vec!["id".to_owned(), "u".to_owned()]),
            gone: vec!["1 = 1".to_owned(), "1 = 0".to_owned()],
            ..LoadRequest::new(named(&target, "t"), upsert(&["id"], None), LoadRows::direct(rows), work(generation))
        };
        let report = warehouse.load(request).await?;
        assert_eq!((report.rows_deleted, report.rows_updated), (Some(2), Some(1)), "{kind:?}: {report:?}");
        let all = target.rows(&format!("SELECT id, u, kept FROM {place}")).await?;
        assert_eq!(all, [some(&["2", "3", "7"])], "{kind:?}");
        assert_eq!(target.rows(&format!("SELECT of FROM {child}")).await?, [some(&["2"])], "{kind:?}");
    }
    Ok(())
}

/// SQLite has no join but from row to row: without an index each row of the target would be held against every key.
#[tokio::test]
async fn keys_are_not_gone_through_for_every_row_of_sqlite() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Lite, "target").await?;
    target.run("CREATE TABLE t (id bigint PRIMARY KEY, at timestamp)").await?;
    target.run("INSERT INTO t VALUES (1, '2024-01-01 00:00:00'), (2, NULL)").await?;
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, &target.conn_id).await?;
    let wanted = Reconciling {
        context: &context,
        warehouse: &*warehouse,
        target: &named(&target, "t"),
        keys: vec![NewColumn { name: "id".to_owned(), type_name: "bigint".to_owned(), is_nullable: false }],
        field: Some("at".to_owned()),
        work: work(0),
    };
    let known = [("id", ValueType::Integer { bits: 64, signed: true })];
    let conditions = wanted.before_load(async { Ok(stream_of(&known, &vec![some(&["1"])])) }).await?;
    assert_eq!(conditions.len(), 2);
    for condition in conditions {
        let plan = target.rows(&format!("EXPLAIN QUERY PLAN DELETE FROM t WHERE {condition}")).await?;
        let plan: Vec<String> = plan.into_iter().filter_map(|row| row.into_iter().next_back()?).collect();
        for table in ["known", "k"] {
            let search = format!("SEARCH {table} USING ");
            assert!(plan.iter().any(|step| step.starts_with(&search)), "{table}: {plan:?}");
        }
        assert!(!plan.iter().any(|step| step.contains("AUTOMATIC")), "{plan:?}");
    }
    wanted.forget().await;
    assert_eq!(left_behind(&target).await?, 0);
    Ok(())
}

fn named(target: &Database, name: &str) -> TableName {
    TableName { schema: Some(target.schema.clone()).filter(|schema| schema == "dw"), name: name.to_owned() }
}

/// Whoever goes takes others along, by ways that lead back into the table.
#[tokio::test]
async fn what_goes_takes_no_row_along_that_the_source_has() -> Result<()> {
    for kind in HINDERED {
        let accounts = Accounts::of(kind, Way::Direct, ", own text, UNIQUE (u)").await?;
        let (users, teams) = (accounts.target.place("users"), accounts.target.place("teams"));
        let orders = accounts.target.place("orders");
        accounts
            .target
            .run(&format!(
                "CREATE TABLE {teams} (id int PRIMARY KEY, of varchar(9) REFERENCES {users} (id) ON DELETE CASCADE)"
            ))
            .await?;
        accounts.target.run(&format!("INSERT INTO {teams} VALUES (1, 'z')")).await?;
        let refers = "int REFERENCES {teams} (id) ON DELETE CASCADE DEFAULT NULL".replace("{teams}", &teams);
        accounts.target.run(&format!("ALTER TABLE {users} ADD COLUMN in_group {refers}")).await?;
        accounts.target.run(&format!("UPDATE {users} SET own = 'precious', in_group = 1 WHERE id = 'a'")).await?;
        accounts
            .target
            .run(&format!("CREATE TABLE {orders} (of varchar(9) REFERENCES {users} (id) ON DELETE CASCADE)"))
            .await?;
        accounts.target.run(&format!("INSERT INTO {orders} VALUES ('a')")).await?;
        // a leaves the group before z goes, which the deletion after the load minds.
        accounts
            .source
            .run(
                "ALTER TABLE users ADD COLUMN in_group int; DELETE FROM users WHERE id = 'z'; \
                  UPDATE users SET at = '2024-02-01'; INSERT INTO users VALUES ('c', 8, '2024-02-01', NULL)",
            )
            .await?;
        let mut load = json!({
            "warehouse_conn_id": accounts.target.conn_id, "table": "users", "upsert_keys": "id", "order_key": "at",
            "sql_conn_id": accounts.source.conn_id, "query": "SELECT id, u, at, in_group FROM users",
            "delete_missing": {"sql_conn_id": accounts.source.conn_id, "query": "SELECT id FROM users"},
        });
        if accounts.target.schema == "dw" {
            load["schema"] = json!("dw");
        }
        let loaded = Task::new(&accounts.world, "upsert", load).run(1).await?;
        assert_eq!(loaded["rows_updated"], 1, "{kind:?}: {loaded}");
        let rows = accounts.target.rows(&format!("SELECT id, own FROM {users} ORDER BY id")).await?;
        assert_eq!(rows[0], some(&["a", "precious"]), "{kind:?}: {rows:?}");
        assert_eq!((rows.len(), rows[1][0].as_deref()), (2, Some("c")), "{kind:?}: {rows:?}");
        assert_eq!(accounts.target.rows(&format!("SELECT of FROM {orders}")).await?, [some(&["a"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_table_whose_deletions_set_off_triggers_is_left_alone() -> Result<()> {
    for kind in HINDERED {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
        let (place, k) = (target.place("t"), ["k".to_owned()]);
        target.run(&format!("CREATE TABLE {place} (k text PRIMARY KEY, v text UNIQUE, up text)")).await?;
        assert!(warehouse.gone_rows_hinder(&named(&target, "t"), &k).await?, "{kind:?}");
        if kind == Kind::Lite {
            target.run("CREATE TRIGGER takes AFTER DELETE ON t BEGIN DELETE FROM t WHERE up = OLD.k; END").await?;
        } else {
            let made = "CREATE FUNCTION dw.takes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$";
            target.run(made).await?;
            target.run("CREATE TRIGGER takes AFTER DELETE ON dw.t FOR EACH ROW EXECUTE FUNCTION dw.takes()").await?;
        }
        assert!(!warehouse.gone_rows_hinder(&named(&target, "t"), &k).await?, "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_that_the_load_makes_room_for_comes_in() -> Result<()> {
    let accounts = Accounts::of(Kind::Postgres, Way::Direct, ", UNIQUE (u)").await?;
    accounts
        .source
        .run("ALTER TABLE users ALTER id TYPE varchar(20); INSERT INTO users VALUES ('a longer key', 8, '2024-02-01')")
        .await?;
    let load = json!({
        "warehouse_conn_id": accounts.target.conn_id, "schema": "dw", "table": "users", "upsert_keys": "id",
        "order_key": "at", "schema_drift": {"widened": "widen"},
        "sql_conn_id": accounts.source.conn_id, "query": "SELECT id, u, at FROM users",
        "delete_missing": {"sql_conn_id": accounts.source.conn_id, "query": "SELECT id FROM users"},
    });
    Task::new(&accounts.world, "upsert", load).run(1).await?;
    assert_eq!(accounts.rows().await?, [some(&["a", "1"]), some(&["a longer key", "8"]), some(&["z", "9"])]);
    Ok(())
}

#[tokio::test]
async fn a_key_in_other_letters_is_the_same_where_the_table_says_so() -> Result<()> {
    let accounts = Accounts::of(Kind::Lite, Way::Direct, "").await?;
    accounts.target.run("DROP TABLE users").await?;
    accounts.target.run("CREATE TABLE users (id varchar(9) PRIMARY KEY COLLATE NOCASE, u int, at timestamp)").await?;
    accounts.target.run("INSERT INTO users VALUES ('a', 1, '2024-01-01'), ('z', 9, '2024-01-01')").await?;
    accounts.source.run("UPDATE users SET id = 'Z', u = 10, at = '2024-02-01' WHERE id = 'z'").await?;
    accounts.load(0).await?;
    let rows = accounts.target.rows("SELECT lower(id), u FROM users ORDER BY 1").await?;
    assert_eq!(rows, [some(&["a", "1"]), some(&["z", "10"])]);
    Ok(())
}

/// The tables are made as the first says, with an index as the second says.
const RULES: [(&str, &str, &str, bool); 14] = [
    ("none", "k text, v text", "", false),
    ("own", "k text PRIMARY KEY, v text", "", false),
    ("wider", "k text, v text, UNIQUE (v, k)", "", false),
    ("plain_index", "k text, v text", "CREATE INDEX plain ON {t} (v)", false),
    ("other", "k text PRIMARY KEY, v text UNIQUE", "", true),
    ("another_key", "k text, v text PRIMARY KEY", "", true),
    ("a_number", "k text, v text, n integer PRIMARY KEY", "", true),
    ("worked_out", "k text, v text", "CREATE UNIQUE INDEX by_lower ON {t} (lower(v))", true),
    ("of_a_part", "k text, v text", "CREATE UNIQUE INDEX by_part ON {t} (v) WHERE v > 'm'", true),
    // It takes more values for one than the column does.
    ("in_another_way", "k text, v text", "CREATE UNIQUE INDEX any_case ON {t} (k COLLATE {any case})", true),
    ("takes_along", "k text PRIMARY KEY, v text UNIQUE, up text REFERENCES {t} (k) ON DELETE CASCADE", "", false),
    ("lets_go", "k text PRIMARY KEY, v text UNIQUE, up text REFERENCES {t} (k) ON DELETE SET NULL", "", false),
    (
        "looks_late",
        "k text PRIMARY KEY, v text UNIQUE, up text REFERENCES {t} (k) DEFERRABLE INITIALLY DEFERRED",
        "",
        false,
    ),
    ("stays", "k text PRIMARY KEY, v text UNIQUE, up text REFERENCES {t} (k)", "", true),
];

#[tokio::test]
async fn a_rule_that_two_keys_can_break_is_found() -> Result<()> {
    const ANY_CASE: &str =
        "CREATE COLLATION dw.any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    for kind in HINDERED {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
        let any_case = if kind == Kind::Lite { "NOCASE" } else { "dw.any_case" };
        if kind == Kind::Postgres {
            target.run(ANY_CASE).await?;
        }
        let k = ["k".to_owned()];
        for (table, columns, index, expected) in RULES {
            for made in [format!("CREATE TABLE {{t}} ({columns})"), index.to_owned()] {
                let made = made.replace("{t}", &target.place(table)).replace("{any case}", any_case);
                if !made.is_empty() {
                    target.run(&made).await?;
                }
            }
            let found = warehouse.gone_rows_hinder(&named(&target, table), &k).await?;
            assert_eq!(found, expected, "{kind:?} {table}");
        }
        assert!(!warehouse.gone_rows_hinder(&named(&target, "missing"), &k).await?, "{kind:?}");
        // A part of a key may be the same in two keys.
        let found = warehouse.gone_rows_hinder(&named(&target, "own"), &["k".to_owned(), "v".to_owned()]).await?;
        assert!(found, "{kind:?}: a part of the key");
    }
    Ok(())
}

#[tokio::test]
async fn a_rule_of_a_part_of_the_table_and_one_that_excludes_are_found() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
    target
        .run(
            "CREATE TABLE dw.whole (k int, v text) PARTITION BY RANGE (k); \
             CREATE TABLE dw.part PARTITION OF dw.whole FOR VALUES FROM (0) TO (9); CREATE UNIQUE INDEX ON dw.part (v); \
             CREATE TABLE dw.spans (k int, during int4range, EXCLUDE USING gist (during WITH &&))",
        )
        .await?;
    for table in ["whole", "spans"] {
        assert!(warehouse.gone_rows_hinder(&named(&target, table), &["k".to_owned()]).await?, "{table}");
    }
    Ok(())
}
