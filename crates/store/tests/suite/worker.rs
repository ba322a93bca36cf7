use anyhow::Result;
use millrace_model::change::{Batch, TryOutcome};
use millrace_model::ledger::Checkpoint;
use millrace_model::state::TaskState;
use millrace_store::{RemoteStatement, RemoteStatementState};
use serde_json::json;

use crate::bench::{Bench, at, claim, finish};

pub async fn checkpoints_and_rendered_parameters(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let checkpoint = |name: &str, rows| Checkpoint {
        name: name.to_owned(),
        message: "going on".to_owned(),
        rows,
        bytes: None,
        total_rows: Some(200_000),
        at: at(2),
    };
    for (number, name) in [(1, "query"), (1, "upload"), (2, "query")] {
        world.store.record_checkpoint(held.instance, number, &checkpoint(name, Some(7)), at(2)).await?;
    }
    let all = world.store.checkpoints(held.instance, None).await?;
    assert_eq!(all.iter().map(|it| it.checkpoint.name.as_str()).collect::<Vec<_>>(), ["query", "upload", "query"]);
    let first = world.store.checkpoints(held.instance, Some(1)).await?;
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].checkpoint, checkpoint("query", Some(7)));

    world.store.put_rendered(held.instance, "wrong token", &json!({"a": 1}), at(3)).await?;
    assert_eq!(world.store.tries(held.instance).await?[0].rendered, None);
    world.store.put_rendered(held.instance, &held.token, &json!({"a": 2}), at(3)).await?;
    assert_eq!(world.store.tries(held.instance).await?[0].rendered, Some(json!({"a": 2})));
    let done = finish(&held, TryOutcome::Success, TaskState::Success);
    world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(4)).await?;
    assert_eq!(world.store.tries(held.instance).await?[0].rendered, Some(json!({"a": 2})), "kept by the finish");
    Ok(())
}

pub async fn remote_statements_are_attached_to_again(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let intent = |token: &str| RemoteStatement {
        instance: run.instances[0],
        generation: 0,
        client_token: token.to_owned(),
        conn_id: "redshift_dev".to_owned(),
        remote_id: None,
        state: RemoteStatementState::Intended,
        details: "{}".to_owned(),
    };
    world.store.record_remote_statement(&intent("a"), at(1)).await?;
    world.store.record_remote_statement(&intent("b"), at(1)).await?;
    let sent = RemoteStatement { remote_id: Some("id-1".to_owned()), state: RemoteStatementState::Sent, ..intent("a") };
    world.store.record_remote_statement(&sent, at(2)).await?;
    let done = RemoteStatement { state: RemoteStatementState::Succeeded, ..intent("b") };
    world.store.record_remote_statement(&done, at(3)).await?;
    assert_eq!(world.store.unsettled_statements(run.instances[0], 0).await?, std::slice::from_ref(&sent));
    assert!(world.store.unsettled_statements(run.instances[0], 1).await?.is_empty(), "another generation");

    let settled = RemoteStatement { remote_id: None, state: RemoteStatementState::Cancelled, ..sent };
    world.store.record_remote_statement(&settled, at(4)).await?;
    assert!(world.store.unsettled_statements(run.instances[0], 0).await?.is_empty());
    let all = world.store.remote_statements(run.instances[0], 0).await?;
    assert_eq!(all[0].remote_id.as_deref(), Some("id-1"), "an id that is known stays");
    Ok(())
}

pub async fn the_ledger_is_kept(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[1], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let mut done = finish(&held, TryOutcome::Success, TaskState::Success);
    done.completion.ledger = vec![crate::commit::entry(), crate::commit::entry()];
    world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
    let rows = world.store.ledger_of_run(run.run).await?;
    assert_eq!(rows.len(), 2);
    assert_eq!((rows[0].instance, rows[0].try_number), (held.instance, 1));
    assert_eq!(rows[0].entry, crate::commit::entry());
    assert_eq!(world.store.ledger(held.instance).await?, rows);
    Ok(())
}
