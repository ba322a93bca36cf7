use std::collections::BTreeMap;

use anyhow::{Context, Result};
use chrono::{DateTime, Utc};
use millrace_model::change::{
    Batch, NewInstance, NewRun, NextRun, PassedSlots, PutOffs, RunMove, SchedulePointer, SlotOutcome, TaskMove,
    TryOutcome,
};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::ledger::{Checked, LedgerEntry, RowsRead, RowsWritten, WriteMethod};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_store::{DateSpan, RunFilter, RunOrder, RunRequest, StoreError, XcomFilter};
use serde_json::json;

use crate::bench::{Bench, at, claim, dag, day, failed, finish, new_run, step, task};

pub async fn a_run_walks_from_created_to_success(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let batch = Batch { new_runs: vec![new_run(world.version, 0)], ..Batch::default() };
    let report = world.commit(&batch, at(1)).await?;
    let created = report.created[0].clone().context("created")?;
    assert_eq!(created.instances.len(), 3);

    let active = world.store.active_runs().await?;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].row.state, RunState::Queued);
    assert_eq!(active[0].row.logical_date, day(0));
    assert_eq!(active[0].row.queued_at, Some(at(1)), "to the microsecond");
    let names: Vec<_> = active[0].instances.iter().map(|it| it.task_id.as_str()).collect();
    assert_eq!(names, ["extract", "load", "check"], "in the order of the DAG");
    assert_eq!(active[0].instances.iter().map(|it| it.key).collect::<Vec<_>>(), created.instances);
    assert_eq!(active[0].instances[1].max_tries, 2);

    let start = RunMove { run: created.run, from: RunState::Queued, to: RunState::Running, reason: None };
    let claims = vec![claim(created.instances[0], TaskState::None, 1)];
    let batch = Batch { run_moves: vec![start], claims, ..Batch::default() };
    assert_eq!(world.commit(&batch, at(10)).await?.stale_count(), 0);
    let running = world.store.running_instances().await?;
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].run_id, active[0].row.run_id);
    let lease = running[0].row.lease.clone().context("leased")?;
    assert_eq!((lease.owner.as_str(), lease.expires_at), ("job-1", at(300)));

    // One commit: this finished, that is skipped, the next begins.
    let mut done = finish(&batch.claims[0], TryOutcome::Success, TaskState::Success);
    done.completion.results =
        vec![("return_value".to_owned(), json!({"rows": 7})), ("nothing".to_owned(), json!(null))];
    done.completion.shown_results = vec![("return_value".to_owned(), json!({"rows": "***"}))];
    done.completion.rendered = Some(json!({"query": "SELECT 1"}));
    let next = Batch {
        finishes: vec![done],
        task_moves: vec![step(created.instances[2], TaskState::None, TaskState::Skipped)],
        claims: vec![claim(created.instances[1], TaskState::None, 1)],
        ..Batch::default()
    };
    assert_eq!(world.commit(&next, at(20)).await?.stale_count(), 0);
    assert_eq!(world.states(created.run).await?, "success running skipped");
    let value = world.store.xcom(created.run, "extract", -1, "return_value").await?;
    assert_eq!(value, Some(json!({"rows": 7})), "tasks work with it as it is");
    let shown = ("return_value".to_owned(), json!({"rows": "***"}));
    assert_eq!(world.store.xcoms(created.instances[0]).await?, std::slice::from_ref(&shown));
    let listed = world.store.list_xcoms(&XcomFilter { limit: 10, ..XcomFilter::default() }).await?;
    assert_eq!(listed.iter().map(|row| &row.value).collect::<Vec<_>>(), [&shown.1]);
    assert_eq!(world.store.xcom(created.run, "extract", -1, "nothing").await?, None, "null is not kept");
    let tries = world.store.tries(created.instances[0]).await?;
    assert_eq!(tries.len(), 1);
    assert_eq!(tries[0].state, TaskState::Success);
    assert_eq!((tries[0].start_date, tries[0].end_date), (Some(at(11)), Some(at(19))));
    assert_eq!(tries[0].rendered, Some(json!({"query": "SELECT 1"})));

    let last = Batch {
        finishes: vec![finish(&next.claims[0], TryOutcome::Success, TaskState::Success)],
        run_moves: vec![RunMove { run: created.run, from: RunState::Running, to: RunState::Success, reason: None }],
        ..Batch::default()
    };
    assert_eq!(world.commit(&last, at(30)).await?.stale_count(), 0);
    assert!(world.store.active_runs().await?.is_empty());
    let run = world.store.run_by_key(created.run).await?.context("there")?;
    assert_eq!((run.state, run.start_date, run.end_date), (RunState::Success, Some(at(10)), Some(at(30))));
    let interval = world.store.last_automated_interval(&DagId::new_unchecked("daily")).await?;
    assert_eq!(interval, Some(DataInterval { start: day(0), end: day(1) }));
    Ok(())
}

pub async fn a_run_is_unique_by_id_and_by_date(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let first = new_run(world.version, 0);
    let same_date = NewRun { run_id: RunId::new_unchecked("other"), ..first.clone() };
    let same_id = NewRun { logical_date: day(9), ..first.clone() };
    let batch = Batch {
        new_runs: vec![first.clone(), same_date.clone(), same_id.clone(), new_run(world.version, 1)],
        ..Batch::default()
    };
    let report = world.commit(&batch, at(0)).await?;
    let made: Vec<bool> = report.created.iter().map(Option::is_some).collect();
    assert_eq!(made, [true, false, false, true]);
    let by_hand = NewRun {
        run_id: RunId::new_unchecked("manual__2"),
        run_type: RunType::Manual,
        data_interval: DataInterval { start: day(1), end: day(2) },
        ..new_run(world.version, 2)
    };
    world.commit(&Batch { new_runs: vec![by_hand], ..Batch::default() }, at(0)).await?;
    let shifted = PassedSlots {
        dag_id: DagId::new_unchecked("daily"),
        first: day(2),
        last: day(2),
        data_interval: new_run(world.version, 2).data_interval,
        count: 1,
        outcome: SlotOutcome::Shifted,
        reason: "closed; the run starts later".to_owned(),
    };
    let wanted = Batch {
        new_runs: vec![new_run(world.version, 1), new_run(world.version, 2)],
        passed_slots: vec![shifted],
        ..Batch::default()
    };
    world.commit(&wanted, at(0)).await?;
    let records = world.store.passed_slots("daily", 10, 0).await?.rows;
    let reasons: Vec<(DateTime<Utc>, SlotOutcome, &str)> =
        records.iter().map(|row| (row.slots.first, row.slots.outcome, row.slots.reason.as_str())).collect();
    let covers = "the run manual__2 was there already; it covers 2024-01-02T00:00:00.000000Z to \
                  2024-01-03T00:00:00.000000Z, so what this date covers was moved by no run of its own";
    let there = format!("the run {} was there already", first.run_id);
    let expected = [(day(2), SlotOutcome::Taken, covers), (day(0), SlotOutcome::Taken, there.as_str())];
    assert_eq!(reasons, expected, "no record of the schedule's own run, committed again, nor two of a date");
    assert_eq!(report.stale_count(), 2);

    let ask = |run: NewRun| RunRequest { run, note: None, actor: "cli".to_owned() };
    let refused = world.store.create_run(&ask(same_id), at(1)).await;
    assert!(matches!(&refused, Err(StoreError::RunExists { run_id, .. }) if *run_id == first.run_id), "{refused:?}");
    let refused = world.store.create_run(&ask(same_date), at(1)).await;
    assert!(
        matches!(&refused, Err(StoreError::LogicalDateExists { run_id, .. }) if *run_id == first.run_id),
        "{refused:?}"
    );
    let page = world.store.runs(&RunFilter { limit: 1, ..RunFilter::default() }).await?;
    assert_eq!((page.rows.len(), page.total), (1, 3));
    assert_eq!(page.rows[0].logical_date, day(2), "newest first");
    let filter = RunFilter {
        dag_ids: vec![first.dag_id.clone()],
        states: vec![RunState::Queued, RunState::Running],
        run_type: Some(RunType::Scheduled),
        logical_date: DateSpan { from: Some(day(0)), before: Some(day(1)) },
        limit: 10,
        ..RunFilter::default()
    };
    assert_eq!(world.store.runs(&filter).await?.total, 1);
    for order in RunOrder::NAMES.iter().filter_map(|name| RunOrder::parse(name)) {
        // Active ones are found in another way than others.
        let active =
            RunFilter { order, ascending: true, limit: 10, states: filter.states.clone(), ..RunFilter::default() };
        let any = RunFilter { states: Vec::new(), ..active.clone() };
        let (active, any) = (world.store.runs(&active).await?, world.store.runs(&any).await?);
        assert_eq!((active.total, &active.rows), (3, &any.rows), "{order:?}");
    }
    assert_eq!(world.store.run_at("daily", day(1)).await?.map(|run| run.logical_date), Some(day(1)));
    Ok(())
}

pub async fn stale_items_are_left_out_and_the_others_stand(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let [extract, load, check] = run.instances[..] else { panic!("three tasks") };
    let ghost = 999_999;
    let batch = Batch {
        run_moves: vec![
            RunMove { run: ghost, from: RunState::Running, to: RunState::Failed, reason: None },
            RunMove { run: run.run, from: RunState::Queued, to: RunState::Running, reason: None },
        ],
        task_moves: vec![
            step(load, TaskState::Scheduled, TaskState::Skipped),
            step(check, TaskState::None, TaskState::Scheduled),
        ],
        claims: vec![claim(load, TaskState::UpForRetry, 2), claim(extract, TaskState::None, 1)],
        finishes: vec![finish(&claim(extract, TaskState::None, 1), TryOutcome::Success, TaskState::Success)],
        ..Batch::default()
    };
    let report = world.commit(&batch, at(1)).await?;
    assert_eq!(report.stale_finishes, [0], "it is not claimed yet: finishes come first");
    assert_eq!(report.stale_runs, [0, 1]);
    assert_eq!(report.stale_moves, [0]);
    assert_eq!(report.stale_claims, [0]);
    assert_eq!(world.states(run.run).await?, "running none scheduled");
    Ok(())
}

pub async fn an_illegal_step_is_left_out(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let batch = Batch {
        task_moves: vec![step(run.instances[0], TaskState::Success, TaskState::Scheduled)],
        claims: vec![claim(run.instances[0], TaskState::Success, 2)],
        run_moves: vec![RunMove { run: run.run, from: RunState::Running, to: RunState::Running, reason: None }],
        ..Batch::default()
    };
    let report = world.commit(&batch, at(1)).await?;
    assert_eq!((report.stale_moves, report.stale_claims, report.stale_runs), (vec![0], vec![0], vec![0]));
    assert_eq!(world.states(run.run).await?, "success none none");
    Ok(())
}

pub async fn of_two_claims_one_wins(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let instance = run.instances[0];
    let contenders = (0..8).map(|number| {
        let (store, epoch) = (world.store.clone(), world.lead.epoch);
        let mut wanted = claim(instance, TaskState::None, 1);
        wanted.token = format!("contender-{number}");
        tokio::spawn(async move {
            let batch = Batch { claims: vec![wanted.clone(), wanted], ..Batch::default() };
            store.commit(&batch, epoch, at(1)).await
        })
    });
    let mut won = 0;
    for contender in contenders.collect::<Vec<_>>() {
        let stale = contender.await??.stale_claims;
        assert!(stale.contains(&1), "the same claim twice in one batch is stale the second time");
        won += usize::from(!stale.contains(&0));
    }
    assert_eq!(won, 1);
    assert_eq!(world.store.tries(instance).await?.len(), 1);
    Ok(())
}

pub async fn a_foreign_token_finishes_nothing(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let mut late = finish(&held, TryOutcome::Success, TaskState::Success);
    "an older one".clone_into(&mut late.completion.token);
    late.completion.results = vec![("return_value".to_owned(), json!(1))];
    late.completion.ledger = vec![entry()];
    let good = finish(&held, failed(false), TaskState::Failed);
    let batch = Batch { finishes: vec![late.clone(), good.clone(), good, late], ..Batch::default() };
    let report = world.commit(&batch, at(2)).await?;
    assert_eq!(report.stale_finishes, [0, 2, 3], "only the holder, only once");
    assert_eq!(world.states(run.run).await?, "failed none none");
    assert!(world.store.xcoms(run.instances[0]).await?.is_empty());
    assert!(world.store.ledger(run.instances[0]).await?.is_empty());
    Ok(())
}

pub fn entry() -> LedgerEntry {
    LedgerEntry {
        stage: "load".to_owned(),
        source: "s3://bucket/key".to_owned(),
        target: "analytics.nps".to_owned(),
        rows_read: Some(200_000),
        rows_written: None,
        rows_inserted: Some(u64::from(u32::MAX) + 1),
        rows_updated: Some(0),
        rows_deleted: None,
        rows_rejected: Some(0),
        bytes: Some(1 << 40),
        checksum: Some("sha256:00".to_owned()),
        remote_ids: vec!["query-1".to_owned(), "query-2".to_owned()],
        started_at: at(11),
        ended_at: at(12),
        checks: vec![
            Checked { name: "rows >= 1".to_owned(), passed: true, found: "3 rows".to_owned() },
            Checked {
                name: "unique(번호)".to_owned(), passed: false, found: "1 keys occur more than once".to_owned()
            },
        ],
        read: Some(RowsRead {
            changed: BTreeMap::from([("email".to_owned(), "masked".to_owned())]),
            empty_as_null: vec!["note".to_owned()],
            conn_id: "mysql_prod".to_owned(),
            query: "SELECT 1".to_owned(),
            fingerprint: Some("rows1:1:f".to_owned()),
            up_to: Some(at(3)),
            clocks: BTreeMap::from([("at".to_owned(), "Asia/Seoul".to_owned())]),
        }),
        written: Some(RowsWritten {
            conn_id: "pg_dw".to_owned(),
            schema: None,
            table: "nps".to_owned(),
            columns: None,
            method: WriteMethod::Upsert,
            keys: vec!["id".to_owned()],
        }),
    }
}

pub async fn an_old_epoch_changes_nothing(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let old = world.lead.epoch;
    drop(world.lead);
    let lead = world.store.try_lead("job-2", at(1)).await?.context("the lead is free")?;
    assert_eq!(lead.epoch, old + 1);
    let batch = Batch {
        claims: vec![claim(run.instances[0], TaskState::None, 1)],
        new_runs: vec![new_run(world.version, 1)],
        ..Batch::default()
    };
    let refused = world.store.commit(&batch, old, at(2)).await;
    assert!(matches!(refused, Err(StoreError::StaleEpoch { held, current }) if held == old && current == old + 1));
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 1);
    assert_eq!(bench.number("SELECT COUNT(*) FROM task_try").await?, 0);
    assert_eq!(world.store.commit(&batch, lead.epoch, at(2)).await?.stale_count(), 0);
    Ok(())
}

pub async fn a_retry_keeps_its_history(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let load = run.instances[1];
    let first = claim(load, TaskState::None, 1);
    world.commit(&Batch { claims: vec![first.clone()], ..Batch::default() }, at(1)).await?;
    let mut broken = finish(&first, failed(true), TaskState::UpForRetry);
    broken.completion.error = Some("ERROR 1045 (28000)".to_owned());
    broken.reason = Some("broken".to_owned());
    world.commit(&Batch { finishes: vec![broken], ..Batch::default() }, at(2)).await?;
    let row = world.store.instance_by_key(load).await?.context("there")?;
    assert_eq!((row.state, row.try_number, row.next_try_at), (TaskState::UpForRetry, 1, Some(at(79))));
    assert_eq!(row.lease, None);

    world.work(load, TryOutcome::Success, TaskState::Success).await?;
    let tries = world.store.tries(load).await?;
    let story: Vec<_> = tries.iter().map(|it| (it.try_number, it.state, it.error.is_some())).collect();
    assert_eq!(story, [(1, TaskState::Failed, true), (2, TaskState::Success, false)]);
    let row = world.store.instance_by_key(load).await?.context("there")?;
    assert_eq!((row.try_number, row.next_try_at, row.state_reason), (2, None, None));
    Ok(())
}

pub async fn a_lost_worker_costs_no_try(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let extract = run.instances[0];
    let allowed = world.store.instance_by_key(extract).await?.context("there")?.max_tries;
    for lost in 1..=2 {
        world.work(extract, TryOutcome::LostWorker, TaskState::UpForRetry).await?;
        let row = world.store.instance_by_key(extract).await?.context("there")?;
        assert_eq!((row.try_number, row.max_tries, row.lost_workers), (lost, allowed + lost, lost));
        assert_eq!(row.state_reason.as_deref(), Some("lost_worker"));
    }
    world.work(extract, TryOutcome::Success, TaskState::Success).await?;
    let tries = world.store.tries(extract).await?;
    let story: Vec<_> = tries.iter().map(|it| (it.try_number, it.state, it.state_reason.as_deref())).collect();
    let lost = |number| (number, TaskState::Failed, Some("lost_worker"));
    assert_eq!(story, [lost(1), lost(2), (3, TaskState::Success, None)], "each has its own row");
    // Nor does it when the run is given to a version that grants one try more.
    world.repin(run.run, &dag("daily", vec![task("extract", &[], allowed + 1)])).await?;
    assert_eq!(world.store.instance_by_key(extract).await?.context("there")?.max_tries, allowed + 1 + 2);
    Ok(())
}

pub async fn a_try_that_is_put_off_goes_on_under_its_number_and_remembers_its_first_start(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let extract = run.instances[0];
    let mut first_start = None;
    for count in 1..=2 {
        let row = world.store.instance_by_key(extract).await?.context("there")?;
        let look = claim(extract, row.state, 1);
        world.commit(&Batch { claims: vec![look.clone()], ..Batch::default() }, at(10 * i64::from(count))).await?;
        let until = at(100 * i64::from(count));
        let outcome = TryOutcome::PutOff { until, reason: "not there".to_owned() };
        let mut put_off = finish(&look, outcome, TaskState::UpForReschedule);
        put_off.next_try_at = Some(until);
        let started = *first_start.get_or_insert(put_off.completion.started_at);
        world.commit(&Batch { finishes: vec![put_off], ..Batch::default() }, at(20 * i64::from(count))).await?;
        let row = world.store.instance_by_key(extract).await?.context("there")?;
        assert_eq!((row.state, row.try_number, row.next_try_at), (TaskState::UpForReschedule, 1, Some(until)));
        assert_eq!(row.put_offs, Some(PutOffs { first_start: started, count }));
        assert_eq!(row.lease, None);
    }
    let tries = world.store.tries(extract).await?;
    let story: Vec<_> = tries.iter().map(|it| (it.try_number, it.state, it.end_date)).collect();
    assert_eq!(story, [(1, TaskState::UpForReschedule, None)], "the try has not ended");

    let last = claim(extract, TaskState::UpForReschedule, 1);
    world.commit(&Batch { claims: vec![last.clone()], ..Batch::default() }, at(300)).await?;
    let row = world.store.instance_by_key(extract).await?.context("there")?;
    assert_eq!(row.start_date, first_start, "it shows the whole wait");
    let end = finish(&last, TryOutcome::Success, TaskState::Success);
    world.commit(&Batch { finishes: vec![end], ..Batch::default() }, at(310)).await?;
    let row = world.store.instance_by_key(extract).await?.context("there")?;
    assert_eq!((row.state, row.put_offs, row.next_try_at), (TaskState::Success, None, None));
    Ok(())
}

pub async fn results_are_cleared_when_the_task_starts_again(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let extract = run.instances[0];
    let first = claim(extract, TaskState::None, 1);
    world.commit(&Batch { claims: vec![first.clone()], ..Batch::default() }, at(1)).await?;
    let mut done = finish(&first, failed(true), TaskState::UpForRetry);
    done.completion.results = vec![("half".to_owned(), json!(1)), ("done".to_owned(), json!("x"))];
    world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
    assert_eq!(world.store.xcoms(extract).await?.len(), 2);
    let second = claim(extract, TaskState::UpForRetry, 2);
    world.commit(&Batch { claims: vec![second], ..Batch::default() }, at(3)).await?;
    assert!(world.store.xcoms(extract).await?.is_empty());
    Ok(())
}

pub async fn a_task_that_does_not_run_again_hands_on_nothing_of_what_it_left_before(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    for (which, to) in [TaskState::Skipped, TaskState::UpstreamFailed].into_iter().enumerate() {
        let instance = run.instances[which];
        let began = claim(instance, TaskState::None, 1);
        world.commit(&Batch { claims: vec![began.clone()], ..Batch::default() }, at(1)).await?;
        let mut done = finish(&began, failed(true), TaskState::UpForRetry);
        done.completion.results = vec![("return_value".to_owned(), json!("of before"))];
        world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
        let task_id = world.store.instance_by_key(instance).await?.context("there")?.task_id;
        let left = async || world.store.xcom(run.run, task_id.as_str(), -1, "return_value").await;
        assert_eq!(left().await?, Some(json!("of before")));
        let moves = vec![step(instance, TaskState::UpForRetry, to)];
        assert_eq!(world.commit(&Batch { task_moves: moves, ..Batch::default() }, at(3)).await?.stale_count(), 0);
        assert_eq!(left().await?, None, "{to}");
    }
    Ok(())
}

pub async fn several_steps_of_one_row_are_taken_in_order(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let created = world.commit(&Batch { new_runs: vec![new_run(world.version, 0)], ..Batch::default() }, at(0)).await?;
    let run = created.created[0].clone().context("created")?;
    let inline = TaskMove { counts_try: true, ..step(run.instances[0], TaskState::Scheduled, TaskState::Success) };
    let batch = Batch {
        run_moves: vec![
            RunMove { run: run.run, from: RunState::Queued, to: RunState::Running, reason: None },
            RunMove {
                run: run.run,
                from: RunState::Running,
                to: RunState::Failed,
                reason: Some("deadlock".to_owned()),
            },
        ],
        task_moves: vec![
            step(run.instances[0], TaskState::None, TaskState::Scheduled),
            step(run.instances[1], TaskState::None, TaskState::UpstreamFailed),
            inline,
        ],
        ..Batch::default()
    };
    assert_eq!(world.commit(&batch, at(5)).await?.stale_count(), 0);
    assert_eq!(world.states(run.run).await?, "success upstream_failed none");
    let row = world.store.instance_by_key(run.instances[0]).await?.context("there")?;
    assert_eq!((row.try_number, row.start_date, row.end_date), (1, Some(at(5)), Some(at(5))));
    let run = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((run.state, run.state_reason.as_deref()), (RunState::Failed, Some("deadlock")));
    Ok(())
}

pub async fn signals_are_deleted_with_the_batch_that_handled_them(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    for which in 0..2 {
        let request = RunRequest { run: new_run(world.version, which), note: None, actor: "cli".to_owned() };
        world.store.create_run(&request, at(0)).await?;
    }
    let signals = world.store.signals().await?;
    assert!(signals.len() >= 2);
    let (handled, left) = signals.split_at(signals.len() - 1);
    let batch = Batch { signals_handled: handled.iter().map(|signal| signal.id).collect(), ..Batch::default() };
    world.commit(&batch, at(1)).await?;
    assert_eq!(world.store.signals().await?, left);
    Ok(())
}

pub async fn pointers_are_read_back(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let dag_id = DagId::new_unchecked("daily");
    let next =
        NextRun { logical_date: day(4), data_interval: DataInterval { start: day(4), end: day(5) }, run_after: day(5) };
    for pointer in [Some(next), None] {
        let batch = Batch {
            pointers: vec![SchedulePointer { dag_id: dag_id.clone(), next: pointer, passed: None }],
            ..Batch::default()
        };
        world.commit(&batch, at(0)).await?;
        let dag = world.store.scheduler_dag(&dag_id).await?.context("there")?;
        assert_eq!(dag.pointer, pointer);
    }
    Ok(())
}

pub async fn passed_dates_are_kept_and_never_dealt_with_again(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let dag_id = DagId::new_unchecked("daily");
    let interval = DataInterval { start: day(8), end: day(9) };
    let slots = PassedSlots {
        dag_id: dag_id.clone(),
        first: day(1),
        last: day(8),
        data_interval: DataInterval { start: day(1), end: day(9) },
        count: 8,
        outcome: SlotOutcome::Skipped,
        reason: "missed by more than a minute (misfire: none)".to_owned(),
    };
    let pointer = SchedulePointer { dag_id: dag_id.clone(), next: None, passed: Some(interval) };
    let batch = Batch { pointers: vec![pointer.clone()], passed_slots: vec![slots.clone()], ..Batch::default() };
    world.commit(&batch, at(7)).await?;
    assert_eq!(world.store.last_automated_interval(&dag_id).await?, Some(interval));
    let found = world.store.passed_slots("daily", 10, 0).await?;
    assert_eq!(found.total, 1);
    assert_eq!((found.rows[0].slots.clone(), found.rows[0].created_at), (slots, at(7)));
    assert!(world.store.passed_slots("daily", 10, 1).await?.rows.is_empty());
    assert!(world.store.passed_slots("other", 0, 0).await?.rows.is_empty());

    let moved = Batch { pointers: vec![SchedulePointer { passed: None, ..pointer }], ..Batch::default() };
    world.commit(&moved, at(8)).await?;
    assert_eq!(world.store.last_automated_interval(&dag_id).await?, Some(interval), "a pointer alone does not move it");
    let later = NewRun { data_interval: DataInterval { start: day(9), end: day(10) }, ..new_run(world.version, 9) };
    world.commit(&Batch { new_runs: vec![later.clone()], ..Batch::default() }, at(9)).await?;
    assert_eq!(world.store.last_automated_interval(&dag_id).await?, Some(later.data_interval), "a newer run does");
    Ok(())
}

pub async fn changes_are_told_after_the_commit(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let mut changes = world.store.changes();
    let run = world.running_run(0).await?;
    let created = changes.recv().await?;
    assert_eq!((created.task_id, created.state.as_str()), (None, "running"));
    world
        .commit(&Batch { claims: vec![claim(run.instances[1], TaskState::None, 1)], ..Batch::default() }, at(1))
        .await?;
    let claimed = changes.recv().await?;
    assert_eq!(claimed.task_id, Some(TaskId::new_unchecked("load")));
    assert_eq!(claimed.state, "running");
    assert_eq!(claimed.dag_id, DagId::new_unchecked("daily"));
    let refused = world.store.commit(&Batch::default(), 0, at(1)).await;
    assert!(refused.is_err());
    assert!(changes.try_recv().is_err(), "what was not committed is not told");
    Ok(())
}

pub async fn texts_with_nul_and_any_script_are_kept(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let text = "매출 \u{1F600} 'quoted' \"double\" \\ back\n$1 ? :x";
    let mut done = finish(&held, failed(false), TaskState::Failed);
    done.completion.error = Some(format!("{text}\0"));
    done.completion.results = vec![("return_value".to_owned(), json!({"text": format!("{text}\0"), "n": u64::MAX}))];
    world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
    let tries = world.store.tries(run.instances[0]).await?;
    assert_eq!(tries[0].error.as_deref(), Some(format!("{text}\u{fffd}").as_str()));
    let value = world.store.xcom(run.run, "extract", -1, "return_value").await?;
    assert_eq!(value, Some(json!({"text": format!("{text}\0"), "n": u64::MAX})), "JSON keeps even NUL");
    Ok(())
}

pub async fn a_large_batch_takes_few_statements(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let wide = NewRun {
        state: RunState::Running,
        tasks: (0..1000)
            .map(|number| NewInstance {
                task_id: TaskId::new_unchecked(format!("t{number}")),
                map_index: -1,
                operator: "noop".to_owned(),
                pool: "default_pool".to_owned(),
                pool_slots: 1,
                priority_weight: 1,
                max_tries: 0,
            })
            .collect(),
        ..new_run(world.version, 0)
    };
    let report = world.commit(&Batch { new_runs: vec![wide], ..Batch::default() }, at(0)).await?;
    let run = report.created[0].clone().context("created")?;
    let claims: Vec<_> = run.instances.iter().map(|key| claim(*key, TaskState::None, 1)).collect();
    let statements = crate::plans::statements_of(async {
        world.commit(&Batch { claims: claims.clone(), ..Batch::default() }, at(1)).await
    })
    .await?;
    assert!(statements.len() <= 6, "{statements:#?}");
    let finishes: Vec<_> = claims.iter().map(|claim| finish(claim, TryOutcome::Success, TaskState::Success)).collect();
    let statements =
        crate::plans::statements_of(async { world.commit(&Batch { finishes, ..Batch::default() }, at(2)).await })
            .await?;
    assert!(statements.len() <= 6, "{statements:#?}");
    assert_eq!(bench.number("SELECT COUNT(*) FROM task_instance WHERE state = 'success'").await?, 1000);
    Ok(())
}
