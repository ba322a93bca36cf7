//! Owners of tries that give no sign of life, told from those whose clock is another.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::stage::{Stage, dag};
use crate::world::daemon::{Daemon, LEASE};
use crate::world::failures::PlannedFaults;

/// A leader that is not known to be dead has begun `a`, and another leads.
async fn left_behind(stage: &Stage, calm: &Arc<PlannedFaults>) -> Daemon {
    stage.put(&dag("d", Value::Null, &["a"])).await;
    let mut first = Daemon::leading(stage, 1, true, calm).await;
    stage.trigger("d").await;
    first.turn(stage, calm, false).await.unwrap();
    assert_eq!(first.executor.names(), ["a#1"]);
    first.release();
    first
}

async fn looks(leader: &mut Daemon, stage: &Stage, calm: &Arc<PlannedFaults>) -> Vec<String> {
    leader.turn(stage, calm, true).await.unwrap();
    leader.executor.names()
}

#[tokio::test]
async fn leaders_that_change_faster_than_leases_run_out_give_a_lost_try_again_together() {
    let stage = Stage::new(1).await;
    let calm = Arc::new(PlannedFaults::default());
    left_behind(&stage, &calm).await;
    // Each leads for a third of a lease; the first look of each counts nothing.
    for (number, expected) in [&[][..], &[], &["a#2"]].into_iter().enumerate() {
        let mut leader = Daemon::leading(&stage, 1, false, &calm).await;
        assert!(looks(&mut leader, &stage, &calm).await.is_empty(), "leader {number} has watched nothing yet");
        stage.clock.advance(LEASE / 3 - TimeDelta::seconds(5));
        assert!(looks(&mut leader, &stage, &calm).await.is_empty(), "leader {number}");
        stage.clock.advance(TimeDelta::seconds(5));
        assert_eq!(looks(&mut leader, &stage, &calm).await, expected, "leader {number}");
        leader.release();
        // While nobody leads nobody watches.
        stage.clock.advance(TimeDelta::hours(1));
    }
}

#[tokio::test]
async fn one_sign_of_life_makes_all_that_was_watched_before_count_for_nothing() {
    let stage = Stage::new(1).await;
    let calm = Arc::new(PlannedFaults::default());
    let first = left_behind(&stage, &calm).await;
    let mut second = Daemon::leading(&stage, 1, false, &calm).await;
    assert!(looks(&mut second, &stage, &calm).await.is_empty());
    for _ in 0..5 {
        stage.clock.advance(LEASE - TimeDelta::seconds(1));
        assert!(looks(&mut second, &stage, &calm).await.is_empty());
        let now = stage.now();
        stage.store.heartbeat(&first.job_id, now).await.unwrap();
        assert!(looks(&mut second, &stage, &calm).await.is_empty());
    }
    stage.clock.advance(LEASE);
    assert_eq!(looks(&mut second, &stage, &calm).await, ["a#2"]);
}

/// Its leases have always ended, or never end, by the clock of whoever leads.
#[tokio::test]
async fn an_owner_whose_clock_is_another_keeps_its_try_for_as_long_as_it_lives_and_no_longer() {
    for other in [TimeDelta::hours(-2), TimeDelta::hours(2)] {
        let stage = Stage::new(1).await;
        let calm = Arc::new(PlannedFaults::default());
        let first = left_behind(&stage, &calm).await;
        let mut second = Daemon::leading(&stage, 1, false, &calm).await;
        let beat = async |now: DateTime<Utc>| stage.store.heartbeat(&first.job_id, now).await.unwrap();
        for _ in 0..6 {
            beat(stage.now() + other).await;
            assert!(looks(&mut second, &stage, &calm).await.is_empty(), "it lives, {other} from here");
            stage.clock.advance(LEASE / 2);
        }
        assert!(looks(&mut second, &stage, &calm).await.is_empty());
        stage.clock.advance(LEASE / 2);
        assert_eq!(looks(&mut second, &stage, &calm).await, ["a#2"], "it is silent, {other} from here");
    }
}

#[tokio::test]
async fn what_was_not_watched_because_the_database_failed_does_not_count() {
    use millrace_store::faults::{Fault, FaultPoint};

    let stage = Stage::new(1).await;
    let calm = Arc::new(PlannedFaults::default());
    left_behind(&stage, &calm).await;
    let faults = Arc::new(PlannedFaults::default());
    let mut second = Daemon::leading(&stage, 1, false, &calm).await;
    assert!(looks(&mut second, &stage, &calm).await.is_empty());
    stage.clock.advance(LEASE * 2);
    faults.plan(FaultPoint::Statement, Fault::Outage, 0, 1);
    second.turn(&stage, &faults, true).await.unwrap_err();
    assert!(looks(&mut second, &stage, &calm).await.is_empty(), "its owner may not have reached it either");
    stage.clock.advance(LEASE);
    assert_eq!(looks(&mut second, &stage, &calm).await, ["a#2"]);
}
