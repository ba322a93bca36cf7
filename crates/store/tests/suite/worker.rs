use anyhow::Result;
use millrace_model::change::{Batch, TryOutcome};
use millrace_model::ids::DagId;
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_model::state::TaskState;
use millrace_store::{LedgerFilter, RemoteStatement, RemoteStatementState};
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
        world.store.record_checkpoint(held.instance, number, &checkpoint(name, Some(7))).await?;
    }
    let all = world.store.checkpoints(held.instance, None).await?;
    assert_eq!(all.iter().map(|it| it.checkpoint.name.as_str()).collect::<Vec<_>>(), ["query", "upload", "query"]);
    let first = world.store.checkpoints(held.instance, Some(1)).await?;
    assert_eq!(first.len(), 2);
    assert_eq!(first[0].checkpoint, checkpoint("query", Some(7)));

    world.store.put_rendered(held.instance, "wrong token", &json!({"a": 1})).await?;
    assert_eq!(world.store.tries(held.instance).await?[0].rendered, None);
    world.store.put_rendered(held.instance, &held.token, &json!({"a": 2})).await?;
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
    let ids = "SELECT remote_id FROM remote_statement WHERE client_token = 'a'";
    assert_eq!(bench.query(ids).await?, [["id-1"]], "an id that is known stays");
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

pub async fn the_ledger_is_listed_by_what_is_asked(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let claims = [claim(run.instances[0], TaskState::None, 1), claim(run.instances[1], TaskState::None, 1)];
    world.commit(&Batch { claims: claims.to_vec(), ..Batch::default() }, at(1)).await?;
    let entry = |stage: &str, target: &str, ended: i64| LedgerEntry {
        stage: stage.to_owned(),
        source: "mysql_prod: SELECT 1".to_owned(),
        target: target.to_owned(),
        ended_at: at(ended),
        ..crate::commit::entry()
    };
    let mut first = finish(&claims[0], TryOutcome::Success, TaskState::Success);
    first.completion.ledger = vec![entry("extract", "s3://bucket/nps.csv", 10)];
    let mut second = finish(&claims[1], TryOutcome::Success, TaskState::Success);
    second.completion.ledger = vec![
        entry("load", "pg_dw: public.nps", 20),
        entry("load", "pg_dw: public.nps_old", 30),
        entry("load", "lite: nps", 40),
    ];
    world.commit(&Batch { finishes: vec![first, second], ..Batch::default() }, at(2)).await?;

    let found = async |filter: LedgerFilter| -> Result<(Vec<String>, u64)> {
        let page = world.store.ledger_lines(&LedgerFilter { limit: filter.limit.max(2), ..filter }).await?;
        Ok((page.rows.into_iter().map(|line| line.row.entry.target).collect(), page.total))
    };
    let any = LedgerFilter::default;
    let of = |names: &[&str], total: u64| (names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), total);
    assert_eq!(found(any()).await?, of(&["lite: nps", "pg_dw: public.nps_old"], 4), "the newest, and how many in all");
    assert_eq!(found(LedgerFilter { offset: 2, ..any() }).await?.0, ["pg_dw: public.nps", "s3://bucket/nps.csv"]);
    let target = |text: &str| LedgerFilter { target: Some(text.to_owned()), ..any() };
    assert_eq!(found(target("nps")).await?, of(&["lite: nps", "pg_dw: public.nps"], 2), "not nps_old");
    assert_eq!(found(target("public.nps")).await?, of(&["pg_dw: public.nps"], 1));
    assert_eq!(found(target("s3://bucket/nps.csv")).await?.1, 1);
    assert_eq!(found(target("ps")).await?.1, 0, "a part of a name is not the name");
    assert_eq!(found(LedgerFilter { stage: Some("extract".to_owned()), ..any() }).await?.1, 1);
    assert_eq!(found(LedgerFilter { since: Some(at(20)), until: Some(at(40)), ..any() }).await?.1, 2);
    let daily = DagId::new_unchecked("daily");
    let line = world
        .store
        .ledger_lines(&LedgerFilter { dag_id: Some(daily.clone()), limit: 1, ..any() })
        .await?
        .rows
        .remove(0);
    assert_eq!((line.dag_id, line.map_index, line.row.instance), (daily, -1, run.instances[1]));
    let task = LedgerFilter { task_id: Some(line.task_id.to_string()), run_id: Some(line.run_id.to_string()), ..any() };
    assert_eq!(found(task).await?.1, 3);
    assert_eq!(found(LedgerFilter { dag_id: Some(DagId::new_unchecked("other")), ..any() }).await?.1, 0);

    let task = ("daily", line.task_id.as_str());
    let read = crate::commit::entry().read;
    let last = async |stage, conn_id, target| world.store.last_read(task, (stage, conn_id), target).await;
    assert_eq!(last("load", "mysql_prod", Some("pg_dw: public.nps")).await?, read);
    assert_eq!(last("load", "mysql_prod", None).await?, read);
    for (stage, conn_id, target) in
        [("extract", "mysql_prod", None), ("load", "mysql", None), ("load", "mysql_prod", Some("pg_dw: nps"))]
    {
        assert_eq!(last(stage, conn_id, target).await?, None, "{stage} {conn_id} {target:?}");
    }
    Ok(())
}
