//! Dates that become no run, and windows in which nothing starts, across the death of a scheduler.

use std::sync::Arc;

use chrono::TimeDelta;
use millrace_model::change::TryOutcome;
use millrace_model::dag::Dag;
use millrace_model::schedule::Misfire;
use millrace_model::state::RunState;
use millrace_situation::{Asked, Surroundings, explain};
use serde_json::json;

use crate::stage::{Stage, dag};

/// What became of each date, the oldest first.
async fn outcomes(stage: &Stage) -> Vec<String> {
    let mut found: Vec<(String, String)> = stage
        .store
        .passed_slots("d", 0, 0)
        .await
        .unwrap()
        .rows
        .iter()
        .map(|row| {
            let slots = &row.slots;
            let date = slots.first.format("%m-%dT%H").to_string();
            (date.clone(), format!("{date} {} x{}", slots.outcome.as_str(), slots.count))
        })
        .collect();
    found.extend(stage.runs().await.iter().map(|run| {
        let date = run.logical_date.format("%m-%dT%H").to_string();
        (date.clone(), format!("{date} {}", run.state))
    }));
    found.sort();
    found.into_iter().map(|(_, text)| text).collect()
}

#[tokio::test]
async fn case_05_every_missed_date_has_one_record_however_often_the_scheduler_dies() {
    let mut stage = Stage::new(4).await;
    let hourly =
        Dag { start_date: Some(stage.now()), misfire: Some(Misfire::None), ..dag("d", json!("@hourly"), &["a"]) };
    stage.put(&hourly).await;
    stage.lead().await;
    let start = stage.now();
    stage.clock.advance(TimeDelta::hours(1));
    stage.turn().await;
    stage.end("a", TryOutcome::Success).await;
    let first = start.format("%m-%dT%H").to_string();
    assert_eq!(outcomes(&stage).await, [format!("{first} success")]);

    // Nothing runs for three hours; then one scheduler after another looks at what was missed, and dies.
    stage.kill();
    stage.clock.advance(TimeDelta::hours(3) + TimeDelta::minutes(10));
    for _ in 0..3 {
        stage.lead().await;
        stage.kill();
    }
    stage.lead().await;
    let hour = |later: i64| (start + TimeDelta::hours(later)).format("%m-%dT%H").to_string();
    let mut expected = vec![format!("{first} success")];
    expected.extend((1..=3).map(|later| format!("{} skipped x1", hour(later))));
    assert_eq!(outcomes(&stage).await, expected);

    stage.clock.advance(TimeDelta::minutes(50));
    stage.turn().await;
    expected.push(format!("{} running", hour(4)));
    assert_eq!(outcomes(&stage).await, expected, "the schedule goes on");
}

#[tokio::test]
async fn a_window_holds_what_is_due_even_for_the_next_scheduler() {
    let mut stage = Stage::new(4).await;
    let now = stage.now();
    let (from, to) = (now + TimeDelta::minutes(30), now + TimeDelta::minutes(150));
    let window = format!("{}..{}", from.format("%Y-%m-%dT%H:%M"), to.format("%Y-%m-%dT%H:%M"));
    let hourly = Dag {
        start_date: Some(now),
        max_active_runs: 1,
        maintenance: vec![window.parse().unwrap()],
        ..dag("d", json!("@hourly"), &["a"])
    };
    stage.put(&hourly).await;
    stage.lead().await;
    for _ in 0..2 {
        stage.clock.advance(TimeDelta::hours(1));
        let wake = stage.turn().await;
        assert!(wake.is_some_and(|at| at <= to), "it wakes when the window closes: {wake:?}");
        assert!(stage.executor.running().is_empty());
        stage.kill();
        stage.lead().await;
    }
    assert_eq!(stage.run_states().await, [RunState::Queued, RunState::Queued], "beyond max_active_runs, none is lost");

    stage.clock.advance(TimeDelta::minutes(30));
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 1);
    stage.end("a", TryOutcome::Success).await;
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success, RunState::Success]);
    assert_eq!(stage.store.passed_slots("d", 0, 0).await.unwrap().total, 0);
}

#[tokio::test]
async fn a_schedule_goes_on_when_the_runs_of_a_clock_that_was_ahead_are_deleted() {
    for catchup in [false, true] {
        let mut stage = Stage::new(8).await;
        stage.put(&Dag { catchup, ..dag("d", json!("@daily"), &["a"]) }).await;
        stage.lead().await;
        let end = async |stage: &mut Stage| {
            for running in stage.executor.running() {
                let ended = stage.executor.end(running.instance, TryOutcome::Success, stage.now());
                stage.engine.as_mut().unwrap().complete(ended);
            }
            stage.turn().await;
        };
        stage.clock.advance(TimeDelta::days(1));
        stage.turn().await;
        end(&mut stage).await;
        let last = stage.runs().await.remove(0);
        stage.clock.advance(TimeDelta::days(4));
        stage.turn().await;
        end(&mut stage).await;
        stage.clock.advance(TimeDelta::days(-4));
        stage.turn().await;

        let surroundings = Surroundings { parallelism: 8, maintenance: Arc::default() };
        let row = stage.store.dag("d", 0).await.unwrap().unwrap();
        let said = explain(&stage.store, Asked::Dag(&row), &surroundings, stage.now()).await.unwrap().answer;
        assert!(
            said.starts_with("its schedule stands still until 2024-01-06") && said.contains("dags delete d"),
            "{said}"
        );
        let ahead = stage.store.runs_to_come(None, stage.now()).await.unwrap();
        assert_eq!(ahead.len(), if catchup { 4 } else { 1 });
        for (dag_id, run_id) in &ahead {
            let run = stage.store.run(dag_id.as_str(), run_id.as_str()).await.unwrap().unwrap();
            stage.store.delete_run(run.key, "cli", stage.now()).await.unwrap();
        }
        let refused = stage.store.delete_run(last.key, "cli", stage.now()).await.unwrap_err();
        assert!(refused.to_string().contains("newest of the schedule"), "{refused}");
        stage.turn().await;
        assert_eq!(stage.runs().await.len(), 1, "nothing is due");
        stage.clock.advance(TimeDelta::days(1));
        stage.turn().await;
        let dates: Vec<_> = stage.runs().await.iter().map(|run| run.logical_date).collect();
        assert_eq!(dates, [last.logical_date, last.logical_date + TimeDelta::days(1)]);
        assert_eq!(
            stage.store.passed_slots("d", 0, 0).await.unwrap().rows.len(),
            0,
            "no date is said to be dealt with"
        );
    }
}
