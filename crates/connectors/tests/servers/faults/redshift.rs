//! Statements that are throttled, refused, aborted, or whose answer is lost.

use anyhow::{Context, Result, bail};
use millrace_devstack::Fault;
use millrace_operator_api::TaskError;
use serde_json::json;

use crate::copies::databases::Kind;
use crate::tasks::{METHODS, Target, extract, impatient, patient, source};
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

/// At whichever of its statements it is struck, a load has done nothing or all.
async fn struck_anywhere(method: &str) -> Result<usize> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Target::start(&world, Kind::Redshift).await?;
    let said = extract(&world, &source, "small", "in.csv", json!({"max_rows_per_file": 7})).run(1).await?;
    let strikes = target.database.redshift()?.faults();
    let mut struck = 0;
    for (operation, fault, most) in faults() {
        // At the first use of the operation, then at the second, until there is no such use any more.
        for spared in 0..most {
            let told = format!("{method}: {operation} {fault:?} after {spared}");
            target.fill().await?;
            let load = target.load(&world, method, &said, json!({}));
            strikes.inject(operation, Fault::Delay(std::time::Duration::ZERO), spared);
            strikes.inject(operation, fault.clone(), 1);
            impatient(&world, &target.database.conn_id);
            let first = load.run(1).await;
            patient(&world, &target.database.conn_id);
            let is_struck = strikes.pending() == 0;
            strikes.clear();
            let found = target.rows().await.context(told.clone())?;
            match &first {
                Ok(_) => assert_eq!(found, Target::after(method), "{told}"),
                Err(TaskError::Retry(message)) => {
                    assert!(
                        found == Target::before() || found == Target::after(method),
                        "{told}: {message}: {found:?}"
                    );
                }
                Err(other) => bail!("{told}: {other:?}"),
            }
            if !is_struck {
                first?;
                break;
            }
            struck += 1;
            load.run(2).await.context(told.clone())?;
            assert_eq!(target.rows().await?, Target::after(method), "{told}");
            assert!(target.leftovers()?.is_empty(), "{told}: {:?}", target.leftovers()?);
            assert!(world.keys("_millrace/").await?.is_empty(), "{told}: {:?}", world.keys("_millrace/").await?);
        }
    }
    Ok(struck)
}

#[tokio::test]
async fn an_append_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    let struck = struck_anywhere(METHODS[0]).await?;
    assert!(struck > 15, "{struck}");
    Ok(())
}

#[tokio::test]
async fn a_replace_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    let struck = struck_anywhere(METHODS[1]).await?;
    assert!(struck > 15, "{struck}");
    Ok(())
}

#[tokio::test]
async fn a_swap_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    let struck = struck_anywhere(METHODS[2]).await?;
    assert!(struck > 15, "{struck}");
    Ok(())
}

#[tokio::test]
async fn an_upsert_struck_at_any_statement_is_done_once_or_not_at_all() -> Result<()> {
    let struck = struck_anywhere(METHODS[3]).await?;
    assert!(struck > 15, "{struck}");
    Ok(())
}
