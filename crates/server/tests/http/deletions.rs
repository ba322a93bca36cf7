//! Deleting what is no more.

use std::io::Write;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use millrace_logs::Level;
use millrace_model::state::{RunState, TaskState};

use crate::plant::{Part, dag};
use crate::site::{ADMIN, Site, now};

#[test]
fn who_hangs_up_leaves_no_half_of_a_dag() {
    let site = Site::start();
    let long_ago = now() - TimeDelta::days(300);
    site.runtime.block_on(async {
        let version = site.plant.sync(dag("gone", "@daily", "UTC", &[], &[("only", "empty", &[], 0)]), true, long_ago);
        let version = version.await;
        for day in 0..120 {
            let at = long_ago + TimeDelta::days(day);
            let part = Part::new("only", TaskState::Success, 1).line(Level::Info, "an old line");
            site.plant.run(&version, at, at, Some(RunState::Success), &[part]).await;
        }
        site.plant.store.mark_stale(&[], &[], now()).await.unwrap();
    });
    let logs = site.plant.logs.root().join("dag_id=gone");
    assert_eq!(std::fs::read_dir(&logs).unwrap().count(), 120);
    // A folder that an earlier deletion has left.
    std::fs::create_dir_all(logs.join("run_id=left/task_id=only")).unwrap();
    let mut socket = site.connect();
    let request = format!("DELETE /api/v1/dags/gone HTTP/1.1\r\nhost: x\r\nauthorization: {ADMIN}\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    // Once it has begun, its caller is gone.
    let patience = Instant::now() + Duration::from_mins(2);
    let runs = || site.runtime.block_on(site.plant.store.run_counts(&["gone"])).unwrap().values().sum::<u64>();
    while runs() == 120 {
        assert!(Instant::now() < patience, "the deletion does not begin");
    }
    drop(socket);
    while site.get("/api/v1/dags/gone").status != 404 || logs.exists() {
        assert!(Instant::now() < patience, "{} runs and their logs are left", runs());
    }
}
