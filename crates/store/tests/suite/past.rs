//! The run before a run, and what a task chose.

use anyhow::{Context, Result};
use millrace_model::change::{Batch, NewRun, TryOutcome};
use millrace_model::choice::Choice;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::state::{RunType, TaskState};
use millrace_store::{AskingTry, RunRequest};

use crate::bench::{Bench, at, claim, day, finish, new_run, step};

pub async fn the_run_before_is_found_by_date_and_kind(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let (store, daily) = (&world.store, DagId::new_unchecked("daily"));
    let first = world.running_run(0).await?;
    let manual = NewRun { run_type: RunType::Manual, ..new_run(world.version, 1) };
    let report = world.commit(&Batch { new_runs: vec![manual], ..Batch::default() }, at(0)).await?;
    let manual = report.created.into_iter().flatten().next().context("the run is new")?;
    world.work(first.instances[0], TryOutcome::Success, TaskState::Success).await?;

    assert_eq!(store.run_before(&daily, day(0), false).await?, None);
    let before = store.run_before(&daily, day(2), false).await?.context("there is one")?;
    assert_eq!((before.run, before.logical_date), (manual.run, day(1)));
    let before = store.run_before(&daily, day(2), true).await?.context("there is one")?;
    assert_eq!(before.run, first.run);
    let names = [TaskId::new_unchecked("extract"), TaskId::new_unchecked("never")];
    assert_eq!(before.states[&names[0]], [TaskState::Success]);
    assert_eq!(store.tasks_before(&daily, day(1), &names).await?, [names[0].clone()].into());
    assert!(store.tasks_before(&daily, day(0), &names).await?.is_empty());
    // What was removed is as though it had never been there.
    let gone = step(manual.instances[0], TaskState::None, TaskState::Removed);
    world.commit(&Batch { task_moves: vec![gone], ..Batch::default() }, at(0)).await?;
    let before = store.run_before(&daily, day(2), false).await?.context("there is one")?;
    assert_eq!((before.run, before.states.get(&names[0])), (manual.run, None));
    assert!(store.tasks_before(&daily, day(2), &names[..1]).await?.contains(&names[0]), "the first run has it");

    // A task asked for it: nobody started it by hand.
    let asks = world.running_run(3).await?;
    let claim = claim(asks.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![claim.clone()], ..Batch::default() }, at(1)).await?;
    let asking = AskingTry { instance: claim.instance, generation: 0, token: claim.token };
    let run = NewRun { run_type: RunType::Manual, ..new_run(world.version, 4) };
    let asked = store.trigger_run(&asking, &RunRequest { run, note: None, actor: "a".into() }, at(2)).await?;
    let before = store.run_before(&daily, day(5), true).await?.context("there is one")?;
    assert_eq!((asked.run_type, before.run), (RunType::Manual, asked.key));
    Ok(())
}

pub async fn a_choice_is_kept_with_a_success_only_and_forgotten_when_cleared(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let choice = Some(Choice::Follow(vec!["load".to_owned()]));
    for (place, to, kept) in [(0, TaskState::Success, true), (1, TaskState::Failed, false)] {
        let claim = claim(run.instances[place], TaskState::None, 1);
        world.commit(&Batch { claims: vec![claim.clone()], ..Batch::default() }, at(1)).await?;
        let mut done = finish(&claim, TryOutcome::Success, to);
        done.completion.choice = choice.clone();
        world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
        let row = world.store.instance_by_key(run.instances[place]).await?.context("it exists")?;
        assert_eq!(row.choice, choice.clone().filter(|_| kept));
    }
    let request = millrace_store::ClearRequest::of_run(run.run, &[], "cli");
    world.store.clear_instances(&request, at(3)).await?;
    let row = world.store.instance_by_key(run.instances[0]).await?.context("it exists")?;
    assert_eq!(row.choice, None);
    Ok(())
}
