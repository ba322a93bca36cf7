//! Statements that are throttled, refused, aborted, or whose answer is lost.

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use millrace_devstack::Fault;
use millrace_operator_api::TaskError;
use serde_json::json;

use crate::copies::databases::{Database, Kind};
use crate::tasks::{METHODS, Rows, Target, Task, extract, impatient, may_try_again, patient, source};
use crate::world::World;

const CONFLICT: &str =
    "ERROR: 1023 DETAIL: Serializable isolation violation on table - 100, transactions forming the cycle are: 1, 2";

/// Where, what, and how many uses are spared at most.
fn faults() -> Vec<(&'static str, Fault, u32)> {
    let mut faults = vec![
        ("BatchExecuteStatement", Fault::Throttle, 2),
        ("BatchExecuteStatement", Fault::LoseAnswer, 12),
        ("BatchExecuteStatement", Fault::ExpiredCredentials, 1),
        ("DescribeStatement", Fault::InternalError, 1),
        ("GetStatementResult", Fault::CutConnection, 1),
    ];
    for verb in ["COPY", "CREATE", "INSERT", "DELETE", "UPDATE", "LOCK", "ALTER", "DROP", "COMMIT"] {
        faults.push((verb, Fault::AbortStatement, 3));
    }
    for verb in ["LOCK", "COMMIT"] {
        faults.push((verb, Fault::FailStatement(CONFLICT.to_owned()), 2));
    }
    faults
}

struct Scene {
    world: World,
    source: Database,
    target: Target,
}

impl Scene {
    async fn start() -> Result<Self> {
        let world = World::start().await?;
        let source = source(&world).await?;
        let target = Target::start(&world, Kind::Redshift).await?;
        Ok(Self { world, source, target })
    }

    /// At whichever of its statements it is struck, the task has done nothing or all. Says how often it was.
    async fn struck_anywhere<'a>(
        &'a self,
        told: &str,
        faults: Vec<(&'static str, Fault, u32)>,
        task: impl Fn() -> Task<'a>,
        expected: Rows,
    ) -> Result<usize> {
        let Self { world, target, .. } = self;
        let strikes = target.database.redshift()?.faults();
        let mut struck = 0;
        for (operation, fault, most) in faults {
            // At the first use of the operation, then at the second, until there is no such use any more.
            for spared in 0..most {
                let told = format!("{told}: {operation} {fault:?} after {spared}");
                target.fill().await?;
                let load = task();
                strikes.inject(operation, Fault::Delay(std::time::Duration::ZERO), spared);
                strikes.inject(operation, fault.clone(), 1);
                impatient(world, &target.database.conn_id);
                let first = load.run(1).await;
                patient(world, &target.database.conn_id);
                let is_struck = strikes.pending() == 0;
                strikes.clear();
                let found = target.rows().await.context(told.clone())?;
                match &first {
                    Ok(_) => assert_eq!(found, expected, "{told}"),
                    Err(TaskError::Retry(message)) => {
                        assert!(found == Target::before() || found == expected, "{told}: {message}: {found:?}");
                    }
                    Err(other) => bail!("{told}: {other:?}"),
                }
                if !is_struck {
                    first?;
                    break;
                }
                struck += 1;
                load.run(2).await.context(told.clone())?;
                assert_eq!(target.rows().await?, expected, "{told}");
                assert!(target.leftovers()?.is_empty(), "{told}: {:?}", target.leftovers()?);
                for prefix in ["_millrace/", "staging/"] {
                    assert!(world.keys(prefix).await?.is_empty(), "{told}: {:?}", world.keys(prefix).await?);
                }
            }
        }
        Ok(struck)
    }
}

async fn a_load_struck_anywhere(method: &str) -> Result<()> {
    let scene = Scene::start().await?;
    let said = extract(&scene.world, &scene.source, "small", "in.csv", json!({"max_rows_per_file": 7})).run(1).await?;
    let load = || scene.target.load(&scene.world, method, &said, json!({}));
    let struck = scene.struck_anywhere(method, faults(), load, Target::after(method)).await?;
    assert!(struck > 15, "{struck}");
    Ok(())
}

#[tokio::test]
async fn an_append_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    a_load_struck_anywhere(METHODS[0]).await
}

#[tokio::test]
async fn a_replace_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    a_load_struck_anywhere(METHODS[1]).await
}

#[tokio::test]
async fn a_swap_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    a_load_struck_anywhere(METHODS[2]).await
}

#[tokio::test]
async fn an_upsert_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    a_load_struck_anywhere(METHODS[3]).await
}

#[tokio::test]
async fn a_copy_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    let scene = Scene::start().await?;
    let parameters = json!({
        "source_conn_id": scene.source.conn_id, "target_conn_id": scene.target.database.conn_id,
        "s3_staging": "s3://lake/staging", "s3_conn_id": "s3", "direct_rows": 0,
        "tables": {"source": "main.small", "target": "dw.moved", "primary_key": "id", "sync_mode": "full_sync"},
    });
    let copy = || Task::new(&scene.world, "table_copy", parameters.clone());
    let struck = scene.struck_anywhere("table_copy", faults(), copy, Target::after("replace")).await?;
    assert!(struck > 12, "{struck}");
    Ok(())
}

#[tokio::test]
async fn a_summary_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    let scene = Scene::start().await?;
    scene.target.database.run("CREATE TABLE dw.raw (id bigint, note varchar(100))").await?;
    let rows: Vec<String> = (1..=20).map(|id| format!("({id}, 'row {id}')")).collect();
    scene.target.database.run(&format!("INSERT INTO dw.raw VALUES {}", rows.join(", "))).await?;
    let parameters = json!({
        "warehouse_conn_id": scene.target.database.conn_id, "schema": "dw", "table": "moved",
        "select": "SELECT id, note FROM dw.raw", "checks": {"unique": "id"},
    });
    let summary = || Task::new(&scene.world, "summary_table", parameters.clone());
    let struck = scene.struck_anywhere("summary_table", faults(), summary, Target::after("swap")).await?;
    assert!(struck > 12, "{struck}");
    Ok(())
}

/// What an UNLOAD wrote, in order.
async fn unloaded(world: &World) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for key in world.keys("out/").await? {
        let store = world.store().await?;
        let body: Vec<bytes::Bytes> = store.get("lake", &key).await?.try_collect().await?;
        lines.extend(String::from_utf8(body.concat())?.lines().map(ToOwned::to_owned));
    }
    lines.sort();
    Ok(lines)
}

#[tokio::test]
async fn an_unload_that_is_struck_is_whole_at_its_next_try() -> Result<()> {
    let scene = Scene::start().await?;
    let strikes = scene.target.database.redshift()?.faults();
    let conn_id = &scene.target.database.conn_id;
    for (number, (is_of_store, operation, fault)) in [
        (false, "UNLOAD", Fault::AbortStatement),
        (false, "UNLOAD", Fault::FailStatement("ERROR: S3ServiceException:Access Denied,Status 403".to_owned())),
        (false, "*", Fault::Throttle),
        (false, "*", Fault::ExpiredCredentials),
        (false, "BatchExecuteStatement", Fault::LoseAnswer),
        (true, "ListObjectsV2", Fault::InternalError),
        (true, "PutObject", Fault::ExpiredCredentials),
        (true, "PutObject", Fault::LoseAnswer),
    ]
    .into_iter()
    .enumerate()
    {
        let told = format!("{operation} {fault:?}");
        let others = scene.world.keys("").await?;
        scene.world.store().await?.delete("lake", others).await?;
        let faults = if is_of_store { scene.world.s3.faults() } else { strikes };
        let parameters = json!({
            "warehouse_conn_id": conn_id, "query": "SELECT id, note FROM dw.moved", "s3_bucket": "lake",
            "s3_key": format!("out/{number}_"), "aws_conn_id": "s3", "unload_options": ["csv", "parallel off"],
        });
        let unload = Task::new(&scene.world, "unload", parameters);
        faults.inject(operation, fault, 1);
        for conn_id in [conn_id, "s3"] {
            impatient(&scene.world, conn_id);
        }
        let message = may_try_again(unload.run(1).await).context(told.clone())?;
        for conn_id in [conn_id, "s3"] {
            patient(&scene.world, conn_id);
        }
        assert_eq!(faults.pending(), 0, "{told}: {message}");
        unload.run(2).await.context(told.clone())?;
        assert_eq!(unloaded(&scene.world).await?, ["1,old", "100,kept"], "{told}");
        unload.run(3).await.context(told.clone())?;
        assert_eq!(unloaded(&scene.world).await?, ["1,old", "100,kept"], "{told}");
    }
    Ok(())
}

/// Files that a copy writes for itself on the way, and removes.
#[tokio::test]
async fn a_copy_by_files_that_the_store_fails_is_whole_at_its_next_try_and_leaves_none() -> Result<()> {
    let scene = Scene::start().await?;
    let parameters = json!({
        "source_conn_id": scene.source.conn_id, "target_conn_id": scene.target.database.conn_id,
        "s3_staging": "s3://lake/staging", "s3_conn_id": "s3", "direct_rows": 0,
        "tables": {"source": "main.small", "target": "dw.moved", "primary_key": "id", "sync_mode": "full_sync"},
    });
    for (operation, fault, spared) in [
        ("PutObject", Fault::InternalError, 0),
        ("PutObject", Fault::LoseAnswer, 0),
        ("PutObject", Fault::ExpiredCredentials, 1),
        ("PutObject", Fault::LoseAnswer, 1),
    ] {
        let told = format!("{operation} {fault:?} after {spared}");
        scene.target.fill().await?;
        let copy = Task::new(&scene.world, "table_copy", parameters.clone());
        let faults = scene.world.s3.faults();
        faults.inject(operation, Fault::Delay(std::time::Duration::ZERO), spared);
        faults.inject(operation, fault, 1);
        impatient(&scene.world, "s3");
        may_try_again(copy.run(1).await).context(told.clone())?;
        patient(&scene.world, "s3");
        assert_eq!(faults.pending(), 0, "{told}");
        assert_eq!(scene.target.rows().await?, Target::before(), "{told}");
        copy.run(2).await.context(told.clone())?;
        assert_eq!(scene.target.rows().await?, Target::after("replace"), "{told}");
        assert!(scene.world.keys("").await?.is_empty(), "{told}: {:?}", scene.world.keys("").await?);
        assert!(scene.target.leftovers()?.is_empty(), "{told}: {:?}", scene.target.leftovers()?);
    }
    Ok(())
}
