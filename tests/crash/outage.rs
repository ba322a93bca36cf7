//! PostgreSQL goes away and comes back under a daemon that goes on.

use millrace_testkit::{Postgres, wait_until_blocking};
use serde_json::Value;

use crate::busy::Busy;
use crate::support::PATIENCE;

#[test]
fn postgres_is_stopped_killed_and_cut_off_under_a_daemon_that_goes_on() {
    let mut postgres = Postgres::private().unwrap();
    let (database, beside) = (postgres.create_database().unwrap(), postgres.create_database().unwrap());
    let of_daemon = format!("FROM pg_stat_activity WHERE datname = '{}'", database.name());
    let let_in = |allowed| format!("ALTER DATABASE \"{}\" ALLOW_CONNECTIONS {allowed}", database.name());
    let mut busy = Busy::new(Some(database.url()));
    let mut daemon = busy.home.daemon(&["standalone", "--port", "0"]);
    let line = daemon.wait_for_line("address   http://127.0.0.1:", PATIENCE).unwrap();
    let health = format!("{}/api/v1/health", line.trim().strip_prefix("address").unwrap().trim());
    let scheduler = || -> Value { ureq::get(&health).call().unwrap().body_mut().read_json().unwrap() };
    wait_until_blocking("it is healthy", PATIENCE, || scheduler()["scheduler"]["status"] == "healthy").unwrap();

    busy.backfill("2024-01-01", "2024-01-12");
    for round in 0..4 {
        busy.trigger("fan");
        busy.trigger("chain");
        busy.wait_for_effects(10);
        let cut_off = || beside.execute(&format!("SELECT pg_terminate_backend(pid) {of_daemon}")).unwrap();
        match round {
            0 => postgres.stop().unwrap(),
            1 => postgres.kill().unwrap(),
            2 => {
                cut_off();
                continue;
            }
            // It answers, and lets nobody in.
            _ => {
                beside.execute(&let_in(false)).unwrap();
                cut_off();
            }
        }
        wait_until_blocking("it says that it is degraded", PATIENCE, || {
            scheduler()["scheduler"]["status"] == "degraded"
        })
        .unwrap();
        if round == 0 {
            // A command says what is the matter.
            let output = busy.home.run(&["dags", "list"]).exits(1);
            assert!(output.stderr.contains("cannot open the metadata database"), "{}", output.stderr);
            assert!(!output.stderr.contains(database.server().password()), "{}", output.stderr);
        }
        if round < 2 {
            postgres.start().unwrap();
        } else {
            beside.execute(&let_in(true)).unwrap();
        }
        wait_until_blocking("it works again", PATIENCE, || scheduler()["scheduler"]["status"] == "healthy").unwrap();
    }
    busy.wait_until_all_ended(&mut daemon);
    assert!(daemon.terminate(PATIENCE).unwrap().success());
    assert_eq!(busy.check(), 0, "what ran went on: no try was lost\n{}", daemon.stderr());
    assert_eq!(daemon.stderr().matches("this scheduler leads epoch=").count(), 1, "{}", daemon.stderr());
}

/// The machine of the database and that of the daemon fail together, and come back one after the other.
#[test]
fn a_daemon_that_is_killed_while_postgres_is_away_goes_on_when_both_are_back() {
    let mut postgres = Postgres::private().unwrap();
    let database = postgres.create_database().unwrap();
    let mut busy = Busy::new(Some(database.url()));
    busy.backfill("2024-01-01", "2024-01-08");
    for round in 0..3 {
        busy.trigger("fan");
        busy.trigger("chain");
        let mut daemon = busy.daemon();
        busy.wait_for_effects(8);
        match round {
            0 => postgres.stop().unwrap(),
            _ => postgres.kill().unwrap(),
        }
        // Once it has noticed, and as it may not have.
        if round < 2 {
            daemon.wait_for_line("the metadata database cannot be used", PATIENCE).unwrap();
        }
        daemon.kill().unwrap();
        postgres.start().unwrap();
    }
    let mut daemon = busy.daemon();
    busy.wait_until_all_ended(&mut daemon);
    assert!(daemon.terminate(PATIENCE).unwrap().success());
    busy.check();
}
