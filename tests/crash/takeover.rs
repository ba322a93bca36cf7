//! Two schedulers: one leads, the other stands by.

use std::process::Command;
use std::time::Duration;

use millrace_testkit::{Daemon, Postgres};

use crate::busy::Busy;
use crate::support::PATIENCE;

/// How soon a standby leads when the leader's process has died.
const TAKEOVER: Duration = Duration::from_secs(10);

fn signal(daemon: &Daemon, name: &str) {
    let done = Command::new("kill").args([name, &daemon.pid().to_string()]).status().unwrap();
    assert!(done.success(), "kill {name}");
}

fn two(busy: &Busy) -> (Daemon, Daemon) {
    let leader = busy.home.scheduler();
    let mut standby = busy.daemon();
    standby.wait_for_line("standing by", PATIENCE).unwrap();
    (leader, standby)
}

#[test]
fn a_standby_takes_over_from_a_leader_that_is_killed() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    for mut busy in [Busy::new(Some(database.url())), Busy::new(None)] {
        let (mut leader, mut standby) = two(&busy);
        busy.backfill("2024-01-01", "2024-01-10");
        busy.wait_for_effects(20);
        leader.kill().unwrap();
        standby.wait_for_line("this scheduler leads", TAKEOVER).unwrap();
        // Asked for at the very moment of the change.
        busy.trigger("fan");
        busy.wait_until_all_ended(&mut standby);
        busy.check();
    }
}

/// Its lock is that of a session which lives as long as its process does. It gives no sign of life: after the time that a
/// lease holds, the standby closes that session.
#[test]
fn a_standby_takes_over_from_a_leader_that_hangs_and_that_stands_by_when_it_wakes() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let mut busy = Busy::new(Some(database.url()));
    let (mut first, mut second) = two(&busy);
    busy.backfill("2024-01-01", "2024-01-10");
    busy.wait_for_effects(10);
    signal(&first, "-STOP");
    second.wait_for_line("its lock was taken away", PATIENCE).unwrap();
    second.wait_for_line("this scheduler leads", PATIENCE).unwrap();
    busy.trigger("fan");
    signal(&first, "-CONT");
    first.wait_for_line("and standing by", PATIENCE).unwrap();
    first.wait_for_line("another scheduler leads; standing by", PATIENCE).unwrap();
    busy.wait_until_all_ended(&mut second);
    busy.check();
    // And back again.
    second.kill().unwrap();
    busy.trigger("chain");
    busy.wait_until_all_ended(&mut first);
    busy.check();
    assert!(first.terminate(PATIENCE).unwrap().success());
}
