//! The protocol: requests, states, tokens, sessions, results, cancel, planned failures.

use std::time::Duration;

use aws_sdk_redshiftdata::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_redshiftdata::types::{ExecutionMode, SqlParameter, StatementStatusString, StatusString};
use millrace_devstack::Fault;
use millrace_testkit::wait_for;

use crate::stand::{Result, Stand, client, contains};

fn refusal<T, E: ProvideErrorMetadata, R>(result: std::result::Result<T, SdkError<E, R>>) -> Option<String> {
    let error = result.err()?;
    let error = error.as_service_error()?;
    Some(format!("{}: {}", error.code().unwrap_or_default(), error.message().unwrap_or_default()))
}

#[tokio::test]
async fn a_batch_is_one_transaction_with_a_result_for_each_statement() -> Result {
    let stand = Stand::start().await?;
    let done = stand
        .batch_runs(&[
            "CREATE TABLE t (id INT, name VARCHAR(10))",
            "INSERT INTO t VALUES (1, 'a'), (2, NULL)",
            "SELECT * FROM t ORDER BY id",
        ])
        .await?;
    assert_eq!(done.has_result_set(), Some(true));
    let rows: Vec<i64> = done.sub_statements().iter().map(|sub| sub.result_rows()).collect();
    assert_eq!(rows, [0, 2, 2]);
    let last = done.sub_statements()[2].id();
    assert_eq!(last, format!("{}:3", done.id()));
    assert_eq!(stand.result(last).await?, ["1|a", "2|∅"]);

    let failed = stand.batch(&["INSERT INTO t VALUES (3, 'c')", "INSERT INTO t VALUES ('x', 'd')", "SELECT 1"]).await?;
    assert_eq!(failed.status(), Some(&StatusString::Failed));
    contains(failed.error().unwrap_or_default(), "Query #2 failed with ERROR: invalid input syntax");
    let states: Vec<_> = failed.sub_statements().iter().filter_map(|sub| sub.status().cloned()).collect();
    assert_eq!(
        states,
        [StatementStatusString::Finished, StatementStatusString::Failed, StatementStatusString::Aborted]
    );
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["2"]);

    let apart = stand
        .client
        .batch_execute_statement()
        .workgroup_name("w")
        .database("dev")
        .execution_mode(ExecutionMode::AutoCommit)
        .sqls("INSERT INTO t VALUES (3, 'c')")
        .sqls("INSERT INTO t VALUES ('x', 'd')")
        .send()
        .await?;
    assert_eq!(stand.wait(apart.id().ok_or("no id")?).await?.status(), Some(&StatusString::Failed));
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["3"]);
    Ok(())
}

#[tokio::test]
async fn a_client_token_names_one_statement() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    let send = |sql: &'static str| {
        stand.client.execute_statement().cluster_identifier("c").database("dev").client_token("try-1").sql(sql).send()
    };
    let first = send("INSERT INTO t VALUES (1)").await?;
    let again = send("INSERT INTO t VALUES (1)").await?;
    assert_eq!(first.id(), again.id());
    stand.wait(first.id().ok_or("no id")?).await?;
    let late = send("INSERT INTO t VALUES (1)").await?;
    assert_eq!(first.id(), late.id());
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["1"]);
    let other = refusal(send("INSERT INTO t VALUES (2)").await).unwrap_or_default();
    contains(&other, "ValidationException");
    Ok(())
}

#[tokio::test]
async fn requests_are_checked_before_anything_runs() -> Result {
    let stand = Stand::start().await?;
    let execute = || stand.client.execute_statement().database("dev").sql("SELECT 1");
    let both = execute().cluster_identifier("c").workgroup_name("w").send().await;
    contains(&refusal(both).unwrap_or_default(), "Exactly one of ClusterIdentifier and WorkgroupName");
    contains(&refusal(execute().send().await).unwrap_or_default(), "Exactly one of");
    let long = format!("SELECT '{}'", "x".repeat(100 * 1024));
    let long = execute().cluster_identifier("c").sql(long).send().await;
    contains(&refusal(long).unwrap_or_default(), "100 KB");
    let many = vec!["SELECT 1".to_owned(); 41];
    let many = stand.client.batch_execute_statement().cluster_identifier("c").database("dev").set_sqls(Some(many));
    contains(&refusal(many.send().await).unwrap_or_default(), "between 1 and 40");
    let stranger = client(&stand.redshift, "stranger").list_statements().send().await;
    contains(&refusal(stranger).unwrap_or_default(), "UnrecognizedClientException");
    let unknown = stand.client.describe_statement().id("00000000-0000-0000-0000-000000000000").send().await;
    contains(&refusal(unknown).unwrap_or_default(), "ResourceNotFoundException");

    let elsewhere = stand.client.execute_statement().cluster_identifier("c").database("other").sql("SELECT 1");
    let elsewhere = elsewhere.wait_time_seconds(30).send().await?;
    assert_eq!(elsewhere.status(), Some(&StatementStatusString::Failed));
    contains(&stand.fails("SELECT 1; SELECT 2").await?, "cannot insert multiple commands");
    contains(&stand.fails("BEGIN").await?, "transaction control is not allowed here");
    Ok(())
}

#[tokio::test]
async fn results_come_typed_and_in_pages() -> Result {
    let stand = Stand::start().await?;
    let done = stand
        .execute(
            "SELECT 1::smallint AS i, 2.50::numeric(5,2) AS n, 0.5::float8 AS f, true AS b, DATE '2026-01-02' AS d, \
             TIMESTAMP '2026-01-02 03:04:05' AS t, 'x'::varchar(3) AS \"Mixed\", NULL::int AS nothing",
        )
        .await?;
    assert_eq!(done.has_result_set(), Some(true));
    let page = stand.client.get_statement_result().id(done.id()).send().await?;
    let types: Vec<_> = page
        .column_metadata()
        .iter()
        .map(|column| format!("{} {}", column.name().unwrap_or_default(), column.type_name().unwrap_or_default()))
        .collect();
    let expected =
        ["i int2", "n numeric", "f float8", "b bool", "d date", "t timestamp", "mixed varchar", "nothing int4"];
    assert_eq!(types, expected);
    assert_eq!(stand.result(done.id()).await?, ["1|2.50|0.5|true|2026-01-02|2026-01-02 03:04:05|x|∅"]);

    stand.run("CREATE TABLE ten (n INT)").await?;
    stand.run("INSERT INTO ten VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9)").await?;
    let many = stand
        .execute("SELECT a.n * 1000 + b.n * 100 + c.n * 10 + d.n FROM ten a, ten b, ten c, ten d ORDER BY 1")
        .await?;
    let first = stand.client.get_statement_result().id(many.id()).send().await?;
    assert!(first.next_token().is_some());
    assert_eq!(first.total_num_rows(), 10_000);
    let all = stand.result(many.id()).await?;
    assert_eq!((all.len(), all[9_999].as_str()), (10_000, "9999"));
    Ok(())
}

#[tokio::test]
async fn parameters_are_bound_as_values() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, name VARCHAR(40))").await?;
    let parameter = |name: &str, value: &str| SqlParameter::builder().name(name).value(value).build();
    let sent = stand
        .client
        .execute_statement()
        .cluster_identifier("c")
        .database("dev")
        .sql("INSERT INTO t VALUES (:id, :name)")
        .parameters(parameter("id", "7")?)
        .parameters(parameter("name", "it's a \\ '); DROP TABLE t")?)
        .send()
        .await?;
    assert_eq!(stand.wait(sent.id().ok_or("no id")?).await?.error(), None);
    assert_eq!(stand.rows("SELECT id, name FROM t").await?, ["7|it's a \\ '); DROP TABLE t"]);
    Ok(())
}

#[tokio::test]
async fn a_session_keeps_its_temporary_tables_and_its_transaction() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    let first = stand
        .client
        .execute_statement()
        .cluster_identifier("c")
        .database("dev")
        .session_keep_alive_seconds(600)
        .sql("CREATE TABLE #staging (id INT)")
        .send()
        .await?;
    assert_eq!(stand.wait(first.id().ok_or("no id")?).await?.error(), None);
    let session = first.session_id().ok_or("no session")?;
    for sql in ["INSERT INTO #staging VALUES (1)", "BEGIN", "INSERT INTO t SELECT id FROM #staging"] {
        let sent = stand.client.execute_statement().session_id(session).sql(sql).send().await?;
        assert_eq!(stand.wait(sent.id().ok_or("no id")?).await?.error(), None, "{sql}");
    }
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["0"], "not committed yet");
    let sent = stand.client.execute_statement().session_id(session).sql("COMMIT").send().await?;
    assert_eq!(stand.wait(sent.id().ok_or("no id")?).await?.error(), None);
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["1"]);
    contains(&stand.fails("SELECT * FROM #staging").await?, "does not exist");

    stand.redshift.faults().inject("SELECT", Fault::Delay(Duration::from_mins(10)), 1);
    let busy = stand.client.execute_statement().session_id(session).sql("SELECT 1").send().await?;
    let second = stand.client.execute_statement().session_id(session).sql("SELECT 2").send().await;
    contains(&refusal(second).unwrap_or_default(), "busy");
    stand.client.cancel_statement().id(busy.id().ok_or("no id")?).send().await?;
    let expired = stand.client.execute_statement().session_id("00000000").sql("SELECT 2").send().await;
    contains(&refusal(expired).unwrap_or_default(), "does not exist or has expired");
    Ok(())
}

#[tokio::test]
async fn a_running_statement_can_be_cancelled_once() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    // Waits in PostgreSQL, not in the stand-in.
    let sent = stand
        .client
        .batch_execute_statement()
        .cluster_identifier("c")
        .database("dev")
        .sqls("INSERT INTO t VALUES (1)")
        .sqls("SELECT pg_sleep(600)")
        .send()
        .await?;
    let id = sent.id().ok_or("no id")?;
    wait_for("the second statement to run", Duration::from_secs(30), async || {
        let described = stand.client.describe_statement().id(id).send().await.ok()?;
        let second = described.sub_statements().get(1)?;
        (second.status() == Some(&StatementStatusString::Started)).then_some(())
    })
    .await?;
    let cancelled = stand.client.cancel_statement().id(id).send().await?;
    assert_eq!(cancelled.status(), Some(true));
    let done = stand.wait(id).await?;
    assert_eq!(done.status(), Some(&StatusString::Aborted));
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["0"]);
    let again = stand.client.cancel_statement().id(id).send().await;
    contains(&refusal(again).unwrap_or_default(), "already in ABORTED state");
    Ok(())
}

#[tokio::test]
async fn statements_are_listed_by_name_and_state() -> Result {
    let stand = Stand::start().await?;
    for (name, sql) in [("load-a", "SELECT 1"), ("load-b", "SELECT nothing"), ("other", "SELECT 3")] {
        let sent =
            stand.client.execute_statement().cluster_identifier("c").database("dev").statement_name(name).sql(sql);
        stand.wait(sent.send().await?.id().ok_or("no id")?).await?;
    }
    let names = async |status: Option<StatusString>| -> Result<Vec<String>> {
        let listed = stand.client.list_statements().statement_name("load").set_status(status).send().await?;
        Ok(listed.statements().iter().filter_map(|statement| statement.statement_name().map(str::to_owned)).collect())
    };
    assert_eq!(names(None).await?, ["load-a"], "without a state only what is finished is shown");
    assert_eq!(names(Some(StatusString::All)).await?, ["load-b", "load-a"]);
    assert_eq!(names(Some(StatusString::Failed)).await?, ["load-b"]);
    Ok(())
}

#[tokio::test]
async fn planned_failures_happen() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    let faults = stand.redshift.faults();
    let insert = |token: &'static str| {
        let request = stand.client.execute_statement().cluster_identifier("c").database("dev");
        request.client_token(token).sql("INSERT INTO t VALUES (1)").send()
    };
    faults.inject("ExecuteStatement", Fault::Throttle, 1);
    contains(&refusal(insert("a").await).unwrap_or_default(), "ThrottlingException");
    faults.inject("ExecuteStatement", Fault::LoseAnswer, 1);
    assert!(matches!(insert("b").await, Err(SdkError::DispatchFailure(_) | SdkError::ResponseError(_))));
    // The statement was taken: the token finds it again.
    let found = insert("b").await?;
    stand.wait(found.id().ok_or("no id")?).await?;
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["1"]);

    faults.inject(
        "COMMIT",
        Fault::FailStatement("ERROR: 1023\n  Detail: Serializable isolation violation on table - 1".to_owned()),
        1,
    );
    contains(&stand.fails("INSERT INTO t VALUES (2)").await?, "ERROR: 1023");
    faults.inject("INSERT", Fault::AbortStatement, 1);
    assert_eq!(stand.execute("INSERT INTO t VALUES (2)").await?.status(), Some(&StatusString::Aborted));
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["1"]);
    Ok(())
}

#[tokio::test]
async fn more_statements_than_connections_wait_their_turn() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    let sends = (0..120).map(|number| {
        let request = stand.client.execute_statement().cluster_identifier("c").database("dev");
        request.sql(format!("INSERT INTO t VALUES ({number})")).send()
    });
    for sent in futures::future::try_join_all(sends).await? {
        assert_eq!(stand.wait(sent.id().ok_or("no id")?).await?.error(), None);
    }
    assert_eq!(stand.rows("SELECT COUNT(*), MAX(id) FROM t").await?, ["120|119"]);
    Ok(())
}

#[tokio::test]
async fn a_shutdown_cancels_what_runs() -> Result {
    let stand = Stand::start().await?;
    let sent = stand.client.execute_statement().cluster_identifier("c").database("dev").sql("SELECT pg_sleep(600)");
    let sent = sent.send().await?;
    let id = sent.id().ok_or("no id")?.to_owned();
    wait_for("the statement to run", Duration::from_secs(30), async || {
        let described = stand.client.describe_statement().id(&id).send().await.ok()?;
        (described.status() == Some(&StatusString::Started)).then_some(())
    })
    .await?;
    let Stand { client, redshift, database, .. } = stand;
    redshift.shutdown().await;
    let running = tokio::task::spawn_blocking(move || {
        database.query(
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'",
        )
    });
    assert_eq!(running.await??, [[Some("0".to_owned())]], "the statement still runs in PostgreSQL");
    assert!(matches!(client.list_statements().send().await, Err(SdkError::DispatchFailure(_))), "it still listens");
    Ok(())
}
