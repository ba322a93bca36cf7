//! SIGKILL at any moment of a busy time.

use std::time::Duration;

use millrace_testkit::{Postgres, wait_until_blocking};

use crate::busy::{Busy, Dice};
use crate::support::PATIENCE;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

fn kill_again_and_again(mut busy: Busy) {
    let mut dice = Dice(number("MILLRACE_KILLS_SEED").unwrap_or_else(|| std::process::id().into()));
    let kills = number("MILLRACE_KILLS").unwrap_or(5);
    let mut met_work = 0;
    eprintln!("MILLRACE_KILLS_SEED={}", dice.0);
    busy.backfill("2024-01-01", "2024-01-08");
    for kill in 0..kills {
        busy.trigger("chain");
        busy.trigger("fan");
        if kill % 10 == 9 {
            let day = 1 + kill / 10 % 20;
            // Refused while the one before goes on.
            busy.home.run(&[
                "dags",
                "backfill",
                "past",
                "-s",
                &format!("2024-02-{day:02}"),
                "-e",
                &format!("2024-03-{day:02}"),
            ]);
        }
        let before = busy.effects();
        let mut daemon = busy.daemon();
        match dice.roll(6) {
            // At least this one meets work.
            _ if kill == 0 => wait_until_blocking("tasks work", PATIENCE, || busy.effects() > before).unwrap(),
            // As it takes over what the one before left.
            0 => drop(daemon.wait_for_line("this scheduler leads", PATIENCE).unwrap()),
            // At a moment that nothing announces.
            1 | 2 => std::thread::sleep(Duration::from_millis(50 + dice.roll(600))),
            _ => busy.wait_for_effects(1 + dice.roll(25) as usize),
        }
        daemon.kill().unwrap();
        met_work += u64::from(busy.effects() > before);
    }
    let mut daemon = busy.daemon();
    busy.wait_until_all_ended(&mut daemon);
    assert!(daemon.terminate(PATIENCE).unwrap().success());
    let lost = busy.check();
    busy.check_ends();
    let runs = busy.runs().len();
    eprintln!("{runs} runs, {met_work} of {kills} kills met work, {lost} tries were lost and given again");
}

#[test]
fn case_60_a_busy_daemon_is_killed_again_and_again_on_sqlite() {
    kill_again_and_again(Busy::new(None));
}

#[test]
fn case_60_a_busy_daemon_is_killed_again_and_again_on_postgres() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    kill_again_and_again(Busy::new(Some(database.url())));
}
