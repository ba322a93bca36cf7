//! The target is locked, full, or not what it was when the rows were read; rows are bad.

use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use millrace_devstack::Fault;
use millrace_operator_api::TaskError;
use millrace_testkit::{Postgres, wait_until};
use serde_json::json;

use crate::copies::databases::{Database, Kind};
use crate::tasks::{METHODS, PATIENCE, Target, Task, extract, may_try_again, source};
use crate::world::World;

/// Somebody else's transaction that holds the table.
pub struct Holder {
    client: tokio_postgres::Client,
}

impl Holder {
    pub async fn of(target: &Target) -> Result<Self> {
        let url = target.database.postgres()?.url();
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(&format!("BEGIN; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", target.place())).await?;
        Ok(Self { client })
    }

    pub async fn release(self) -> Result<()> {
        Ok(self.client.batch_execute("ROLLBACK").await?)
    }
}

/// Whether somebody waits for the lock.
pub fn is_waited_for(target: &Target) -> bool {
    let statement =
        "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = 'moved' AND NOT granted";
    target.database.postgres().and_then(|database| database.query(statement)).is_ok_and(|rows| !rows.is_empty())
}

#[tokio::test]
async fn a_load_waits_for_whoever_holds_the_table() -> Result<()> {
    for kind in [Kind::Postgres, Kind::Redshift] {
        let world = World::start().await?;
        let source = source(&world).await?;
        let target = Target::start(&world, kind).await?;
        let said = extract(&world, &source, "small", "in.csv", json!({})).run(1).await?;
        let loads = METHODS.map(|method| (method, method, target.load(&world, method, &said, json!({}))));
        let conn_id = &target.database.conn_id;
        let copied = json!({
            "source_conn_id": source.conn_id, "target_conn_id": conn_id,
            "tables": {"source": "main.small", "target": "dw.moved", "primary_key": "id", "sync_mode": "full_sync"},
        });
        let select: Vec<String> = (1..=20).map(|id| format!("SELECT {id} AS id, 'row {id}' AS note")).collect();
        let built = json!({
            "warehouse_conn_id": conn_id, "schema": "dw", "table": "moved", "select": select.join(" UNION ALL "),
        });
        let others = [
            ("table_copy", "replace", Task::new(&world, "table_copy", copied)),
            ("summary_table", "swap", Task::new(&world, "summary_table", built)),
        ];
        for (told, like, task) in loads.into_iter().chain(others) {
            target.fill().await?;
            let holder = Holder::of(&target).await?;
            let release = async {
                wait_until("the load waits", PATIENCE, async || is_waited_for(&target)).await?;
                holder.release().await
            };
            let (loaded, released) = tokio::join!(task.run(1), release);
            released.with_context(|| format!("{kind:?} {told}: {loaded:?}"))?;
            loaded.with_context(|| format!("{kind:?} {told}"))?;
            assert_eq!(target.rows().await?, Target::after(like), "{kind:?} {told}");
        }
    }
    Ok(())
}

/// SQLite has one writer at a time, of all programs.
#[tokio::test]
async fn a_load_into_sqlite_waits_for_whoever_writes() -> Result<()> {
    use sqlx::Connection as _;
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Target::start(&world, Kind::Lite).await?;
    let said = extract(&world, &source, "small", "in.csv", json!({})).run(1).await?;
    let path = target.database.connection(&world)?.schema.context("a path")?;
    for method in METHODS {
        target.fill().await?;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut holder = sqlx::SqliteConnection::connect_with(&options).await?;
        sqlx::raw_sql("BEGIN IMMEDIATE; DELETE FROM moved").execute(&mut holder).await?;
        world.s3.faults().inject("GetObject", Fault::Delay(Duration::ZERO), 1);
        let load = target.load(&world, method, &said, json!({}));
        let release = async {
            // It has looked at the file by then, or waits already before it does.
            let begun = async || world.s3.faults().pending() == 0;
            let _ = wait_until("the load has begun", Duration::from_secs(2), begun).await;
            anyhow::Ok(holder.close().await?)
        };
        let (loaded, released) = tokio::join!(load.run(1), release);
        released?;
        loaded.context(method)?;
        world.s3.faults().clear();
        assert_eq!(target.rows().await?, Target::after(method), "{method}");
    }
    Ok(())
}

/// A small disk, with a file that takes all that is left.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted_on(place: &Path) -> Result<Self> {
        std::fs::create_dir_all(place)?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(place).status()?;
        ensure!(mounted.success(), "root can mount a file system of its own");
        Ok(Self(place.to_owned()))
    }

    fn fill(&self) -> Result<()> {
        let mut file = std::fs::File::create(self.0.join("filler"))?;
        while file.write_all(&[7; 512]).is_ok() {}
        Ok(())
    }

    fn empty(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.0.join("filler"))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_try_and_nothing_else() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let disk = SmallDisk::mounted_on(&world.folder.path().join("scratch"))?;
    // The run's files and the warehouse lie on the full disk.
    let target = Target::start(&world, Kind::Lite).await?;
    let path = disk.0.join("warehouse.db");
    std::fs::File::create(&path)?;
    world.change(&target.database.conn_id, |connection| connection.schema = Some(path.display().to_string()));
    let target = Target { database: target.database.reopened(&world).await? };
    target.database.run("CREATE TABLE moved (id bigint, note text)").await?;

    let query = json!({"sql_conn_id": source.conn_id, "query": "SELECT id, note FROM small"});
    let large =
        json!({"sql_conn_id": source.conn_id, "query": "SELECT id, note FROM large LIMIT 4", "file": "large.csv"});
    let filed = Task::new(&world, "extract", query).run(1).await?;
    let upload = json!({"from_task": "before", "s3_bucket": "lake", "s3_key": "in.csv", "aws_conn_id": "s3"});
    let said = Task::new(&world, "upload", upload).after(&filed).run(1).await?;
    for method in METHODS {
        target.fill().await?;
        let load = target.load(&world, method, &said, json!({}));
        let to_file = Task::new(&world, "extract", large.clone());
        disk.fill()?;
        let message = may_try_again(to_file.run(1).await)?;
        assert!(message.contains("No space left on device"), "{message}");
        let message = may_try_again(load.run(1).await).context(method)?;
        assert!(message.contains("disk"), "{method}: {message}");
        disk.empty()?;
        assert_eq!(target.rows().await?, Target::before(), "{method}");
        load.run(2).await?;
        assert_eq!(target.rows().await?, Target::after(method), "{method}");
        to_file.run(2).await?;
    }
    Ok(())
}

/// The target's tables lie on a full disk, and what is staged for them with them or elsewhere.
#[tokio::test]
async fn a_full_disk_of_postgres_leaves_the_table_as_it_was() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let said = extract(&world, &source, "large", "in.csv", json!({})).run(1).await?;
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let disk = SmallDisk::mounted_on(&folder.path().join("small"))?;
    let (server, database) = tokio::task::spawn_blocking(|| {
        let server = Postgres::private()?;
        let database = server.create_database()?;
        anyhow::Ok((server, database))
    })
    .await??;
    let data = database.query("SHOW data_directory")?[0][0].clone().context("a folder")?;
    let owner = std::fs::metadata(data)?;
    std::os::unix::fs::chown(&disk.0, Some(owner.uid()), Some(owner.gid()))?;
    database.execute(&format!("CREATE TABLESPACE small LOCATION '{}'", disk.0.display()))?;
    database.execute(&format!("ALTER DATABASE {} SET default_tablespace TO small", database.name()))?;
    let name = database.name().to_owned();
    let target = Target::of(Database::of_postgres(&world, "target", database).await?).await?;
    for is_staged_there in [false, true] {
        let place = if is_staged_there { "small" } else { "pg_default" };
        target.database.postgres()?.execute(&format!("ALTER DATABASE {name} SET temp_tablespaces TO {place}"))?;
        for method in METHODS {
            let told = format!("{method}, staged there: {is_staged_there}");
            target.fill().await?;
            let load = target.load(&world, method, &said, json!({}));
            disk.fill()?;
            let message = may_try_again(load.run(1).await).context(told.clone())?;
            assert!(message.contains("No space left on device"), "{told}: {message}");
            disk.empty()?;
            assert_eq!(target.rows().await?, Target::before(), "{told}");
            assert!(target.leftovers()?.is_empty(), "{told}: {:?}", target.leftovers()?);
            load.run(2).await.context(told.clone())?;
            let rows = target.rows().await?;
            assert_eq!(rows.iter().filter(|(_, note)| note.len() == 1_000_000).count(), 10, "{told}");
            let others = match method {
                "append" => 2,
                "upsert" => 1,
                _ => 0,
            };
            assert_eq!(rows.len(), 10 + others, "{told}");
        }
    }
    drop(target);
    drop(server);
    Ok(())
}

#[tokio::test]
async fn a_table_that_changed_since_the_rows_were_read_is_filled_by_name_or_left_alone() -> Result<()> {
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
        let world = World::start().await?;
        let source = source(&world).await?;
        let target = Target::start(&world, kind).await?;
        let said = extract(&world, &source, "small", "in.csv", json!({})).run(1).await?;
        let place = target.place();
        let place = place.as_str();
        let again = |statements: &'static [&'static str]| {
            let target = &target;
            async move {
                target.database.run(&format!("DROP TABLE {place}")).await?;
                for statement in statements {
                    target.database.run(&statement.replace("TABLE moved", &format!("TABLE {place}"))).await?;
                }
                anyhow::Ok(())
            }
        };
        // Each statement of Redshift takes its time.
        let methods = if kind == Kind::Redshift { &METHODS[2..] } else { &METHODS[..] };
        for method in methods {
            let told = format!("{kind:?} {method}");
            // Another order, and a column more.
            again(&["CREATE TABLE moved (note varchar(200), more integer DEFAULT 7, id bigint)"]).await?;
            target.database.run(&format!("INSERT INTO {place} (id, note) VALUES (1, 'old'), (100, 'kept')")).await?;
            target.load(&world, method, &said, json!({})).run(1).await.context(told.clone())?;
            assert_eq!(target.rows().await?, Target::after(method), "{told}");
            let more = target.database.rows(&format!("SELECT COUNT(*) FROM {place} WHERE more = 7")).await?;
            assert_eq!(more[0][0].as_deref(), Some(Target::after(method).len().to_string().as_str()), "{told}");

            // A type that the values do not fit.
            again(&["CREATE TABLE moved (id bigint, note integer)"]).await?;
            target.database.run(&format!("INSERT INTO {place} VALUES (1, 0), (100, 5)")).await?;
            let before = target.rows().await?;
            let error = target.load(&world, method, &said, json!({})).run(1).await;
            let Err(TaskError::Retry(message)) = error else { anyhow::bail!("{told}: {error:?}") };
            assert!(message.contains("note") && message.contains("row 1"), "{told}: {message}");
            assert_eq!(target.rows().await?, before, "{told}");

            // A column that must have a value.
            again(&["CREATE TABLE moved (id bigint, note varchar(200), needed integer NOT NULL)"]).await?;
            target.database.run(&format!("INSERT INTO {place} VALUES (1, 'old', 1), (100, 'kept', 1)")).await?;
            let load = target.load(&world, method, &said, json!({}));
            let message = may_try_again(load.run(1).await).context(told.clone())?;
            assert!(message.contains("needed"), "{told}: {message}");
            assert_eq!(target.rows().await?, Target::before(), "{told}");

            // A column less: its values are passed over, unless that is not wanted.
            again(&["CREATE TABLE moved (id bigint)"]).await?;
            let strict = target.load(&world, method, &said, json!({"schema_drift": {"added": "fail"}})).run(1).await;
            let Err(TaskError::Fail(message)) = strict else { anyhow::bail!("{told}: {strict:?}") };
            assert!(message.contains("note"), "{told}: {message}");
            let done = target.load(&world, method, &said, json!({})).run(1).await;
            if *method == "upsert" {
                // Nothing but the key would be left of the rows.
                let Err(TaskError::Fail(message)) = done else { anyhow::bail!("{told}: {done:?}") };
                assert!(message.contains("nothing but the key (id)") && message.contains("note"), "{told}: {message}");
            } else {
                let done = done.context(told.clone())?;
                assert!(done["schema_drift"].to_string().contains("note"), "{told}: {done}");
            }

            // No table at all.
            again(&[]).await?;
            let message = may_try_again(target.load(&world, method, &said, json!({})).run(1).await)?;
            assert!(message.contains("moved"), "{told}: {message}");
            target.database.run(&format!("CREATE TABLE {place} (id bigint, note varchar(200))")).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn bad_rows_fail_the_load_by_name_or_are_counted() -> Result<()> {
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
        let world = World::start().await?;
        let target = Target::start(&world, kind).await?;
        let text: String = (1..=20).map(|id| format!("{id},row {id}\n")).collect();
        world.put("bad.csv", format!("x1,bad\n{text}12.5,bad\n").into_bytes()).await?;
        let place = json!({"from_task": null, "s3_bucket": "lake", "s3_key": "bad.csv", "columns": ["id", "note"]});
        for method in METHODS {
            let told = format!("{kind:?} {method}");
            target.fill().await?;
            let message = may_try_again(target.load(&world, method, &json!(null), place.clone()).run(1).await)?;
            for word in ["s3://lake/bad.csv", "line 1", "column id", "x1"] {
                assert!(message.contains(word), "{told}: {message}");
            }
            assert_eq!(target.rows().await?, Target::before(), "{told}");
            assert!(target.leftovers()?.is_empty(), "{told}: {:?}", target.leftovers()?);
            let mut allowed = place.clone();
            allowed["copy_options"] = json!(["csv", "maxerror 2"]);
            let done = target.load(&world, method, &json!(null), allowed).run(1).await.context(told.clone())?;
            assert_eq!((&done["rows_read"], &done["rows_rejected"]), (&json!(22), &json!(2)), "{told}");
            assert_eq!(target.rows().await?, Target::after(method), "{told}");
        }
    }
    Ok(())
}
