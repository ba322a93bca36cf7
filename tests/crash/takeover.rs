//! Two schedulers: one leads, the other stands by.

use std::process::Command;
use std::time::Duration;

use millrace_model::state::TaskState;
use millrace_testkit::{Cable, Daemon, Postgres, wait_until_blocking};

use crate::busy::Busy;
use crate::support::PATIENCE;

/// How soon a standby leads when the leader's process has died.
const TAKEOVER: Duration = Duration::from_secs(10);

/// The first try works for long. One that finds another beside itself says so.
const SLOW: &str = r#"
schedule: none
default_args: {inherit_env: true}
tasks:
  slow:
    operator: bash
    bash_command: |
      flock -n -E 75 "$EFFECTS/slow" sh -c 'echo "begin $0" >> "$EFFECTS/log"; sleep $([ $0 = 1 ] && echo 60 || echo 0); echo "end $0" >> "$EFFECTS/log"' {{ try_number }} || { code=$?; [ $code != 75 ] || echo overlap >> "$EFFECTS/log"; exit $code; }
"#;

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

/// With the settings as they are when nobody has changed them. What it runs is left alone meanwhile: its leases hold for
/// longer.
#[test]
fn a_leader_that_hangs_is_replaced_within_ten_seconds() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let mut busy = Busy::new(Some(database.url()));
    for name in ["LEASE_TIMEOUT", "HEARTBEAT_INTERVAL", "SLOW_TICK"] {
        busy.home.unset(&format!("MILLRACE__SCHEDULER__{name}"));
    }
    busy.home.write_dag("slow.yaml", SLOW);
    let (first, mut second) = two(&busy);
    busy.trigger("slow");
    wait_until_blocking("it works", PATIENCE, || busy.log().contains("begin 1")).unwrap();
    signal(&first, "-STOP");
    second.wait_for_line("this scheduler leads", TAKEOVER).unwrap();
    let slow = busy.instances().into_iter().find(|row| row.task_id.as_str() == "slow").unwrap();
    assert_eq!((slow.state, slow.lost_workers), (TaskState::Running, 0), "nobody gave its try again yet");
    busy.trigger("fan");
    wait_until_blocking("the new leader works", PATIENCE, || busy.log().contains("end fan/")).unwrap();
    signal(&first, "-CONT");
    busy.wait_until_all_ended(&mut second);
    let log = busy.log();
    let of_slow: Vec<&str> = log.lines().filter(|line| !line.contains('/')).collect();
    assert_eq!(of_slow, ["begin 1", "begin 2", "end 2"], "the first try was stopped before the second began");
}

/// Neither it nor PostgreSQL is told that it is cut off. Its try would work for a minute more; the standby starts it again
/// as soon as its lease has run out.
#[test]
fn a_leader_that_is_cut_off_stops_its_tries_before_the_standby_starts_them_again() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let mut busy = Busy::new(Some(database.url()));
    let cable = Cable::to(database.server().port()).unwrap();
    let direct = format!(":{}/", database.server().port());
    assert!(database.url().contains(&direct), "a port to put another in the place of");
    busy.home.write_dag("slow.yaml", SLOW);
    busy.home.set("MILLRACE__DATABASE__URL", database.url().replace(&direct, &format!(":{}/", cable.port)));
    let mut leader = busy.home.scheduler();
    busy.home.set("MILLRACE__DATABASE__URL", database.url());
    let mut standby = busy.daemon();
    standby.wait_for_line("standing by", PATIENCE).unwrap();
    busy.trigger("slow");
    wait_until_blocking("it works", PATIENCE, || busy.log().contains("begin 1")).unwrap();

    cable.cut(true);
    leader.wait_for_line("before another scheduler may start it again", PATIENCE).unwrap();
    standby.wait_for_line("this scheduler leads", PATIENCE).unwrap();
    busy.wait_until_all_ended(&mut standby);
    let log = busy.log();
    // Those of the DAGs that run by their schedule name their run.
    let of_slow: Vec<&str> = log.lines().filter(|line| !line.contains('/')).collect();
    assert_eq!(of_slow, ["begin 1", "begin 2", "end 2"], "the first try was stopped before the second began");

    cable.cut(false);
    leader.wait_for_line("another scheduler leads; standing by", PATIENCE).unwrap();
    standby.kill().unwrap();
    leader.wait_for_line("this scheduler leads", PATIENCE).unwrap();
    busy.trigger("chain");
    busy.wait_until_all_ended(&mut leader);
    assert!(leader.terminate(PATIENCE).unwrap().success());
}
