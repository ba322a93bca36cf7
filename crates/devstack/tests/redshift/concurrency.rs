//! Two transactions at a time: snapshots, locks, error 1023.

use std::time::Duration;

use aws_sdk_redshiftdata::types::{StatementStatusString, StatusString};
use millrace_testkit::wait_for;

use crate::stand::{Result, Stand, contains};

/// A session whose statements run one after the other.
struct Session<'a> {
    stand: &'a Stand,
    id: String,
}

impl<'a> Session<'a> {
    async fn open(stand: &'a Stand) -> Result<Self> {
        let sent =
            stand.client.execute_statement().cluster_identifier("c").database("dev").session_keep_alive_seconds(600);
        let sent = sent.sql("SELECT 1").wait_time_seconds(30).send().await?;
        Ok(Self { stand, id: sent.session_id().ok_or("no session")?.to_owned() })
    }

    async fn send(&self, sql: &str) -> Result<String> {
        let sent = self.stand.client.execute_statement().session_id(&self.id).sql(sql).send().await?;
        Ok(sent.id().ok_or("no id")?.to_owned())
    }

    async fn run(&self, sql: &str) -> Result {
        let id = self.send(sql).await?;
        let done = self.stand.wait(&id).await?;
        match done.error() {
            None => Ok(()),
            Some(error) => Err(format!("{sql}: {error}").into()),
        }
    }
}

/// Waits until PostgreSQL says that the statement waits for a lock.
async fn waits_for_a_lock(stand: &Stand, id: &str) -> Result {
    let pid = wait_for("a process id", Duration::from_secs(30), async || {
        let described = stand.client.describe_statement().id(id).send().await.ok()?;
        (described.status() == Some(&StatusString::Started) && described.redshift_pid() > 0)
            .then(|| described.redshift_pid())
    })
    .await?;
    let waiting = format!("SELECT COUNT(*) FROM pg_locks WHERE pid = {pid} AND NOT granted");
    wait_for("the statement to wait for a lock", Duration::from_secs(30), async || {
        (stand.rows(&waiting).await.ok()? == ["1"]).then_some(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_second_of_two_updates_of_a_row_fails_with_1023() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, v INT)").await?;
    stand.run("INSERT INTO t VALUES (1, 0)").await?;
    let first = Session::open(&stand).await?;
    first.run("BEGIN").await?;
    first.run("UPDATE t SET v = 1").await?;
    let second = Session::open(&stand).await?;
    let waiting = second.send("UPDATE t SET v = 2").await?;
    waits_for_a_lock(&stand, &waiting).await?;
    first.run("COMMIT").await?;
    let lost = stand.wait(&waiting).await?;
    assert_eq!(lost.status(), Some(&StatusString::Failed));
    contains(lost.error().unwrap_or_default(), "ERROR: 1023");
    contains(lost.error().unwrap_or_default(), "Serializable isolation violation on table");
    assert_eq!(stand.rows("SELECT v FROM t").await?, ["1"]);
    Ok(())
}

#[tokio::test]
async fn two_upserts_of_a_new_key_both_insert_it_unless_they_lock() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, PRIMARY KEY (id))").await?;
    for (lock, expected) in [("SELECT 1", "2"), ("LOCK t", "1")] {
        let upsert = [
            lock,
            "DELETE FROM t WHERE id = 1",
            "INSERT INTO t SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM t WHERE id = 1)",
        ];
        let first = Session::open(&stand).await?;
        first.run("BEGIN").await?;
        for sql in upsert {
            first.run(sql).await?;
        }
        let sqls = upsert.iter().map(|sql| (*sql).to_owned()).collect();
        let second =
            stand.client.batch_execute_statement().cluster_identifier("c").database("dev").set_sqls(Some(sqls));
        let second = second.send().await?.id().ok_or("no id")?.to_owned();
        waits_for_a_lock(&stand, &second).await?;
        first.run("COMMIT").await?;
        assert_eq!(stand.wait(&second).await?.error(), None);
        assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, [expected], "{lock}");
        stand.run("DELETE FROM t").await?;
    }
    Ok(())
}

#[tokio::test]
async fn lock_keeps_readers_out_and_waiting_can_be_cancelled() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    let owner = Session::open(&stand).await?;
    owner.run("BEGIN").await?;
    owner.run("LOCK TABLE t").await?;
    let reader = stand.client.execute_statement().cluster_identifier("c").database("dev").sql("SELECT * FROM t");
    let reader = reader.wait_time_seconds(1).send().await?;
    assert_eq!(reader.status(), Some(&StatementStatusString::Started), "the reader did not wait");
    let reader = reader.id().ok_or("no id")?;
    stand.client.cancel_statement().id(reader).send().await?;
    assert_eq!(stand.wait(reader).await?.status(), Some(&StatusString::Aborted));
    owner.run("ROLLBACK").await?;
    assert!(stand.rows("SELECT * FROM t").await?.is_empty());
    Ok(())
}
