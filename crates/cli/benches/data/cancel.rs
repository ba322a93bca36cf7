//! A movement that is stopped in its middle.

use std::time::Instant;

use chrono::Utc;
use millrace_model::state::TaskState;

use crate::figure::Target;
use crate::home::wait_for;
use crate::lake::Lake;
use crate::moves::Bench;

/// Seconds from the command, which is a process of its own, until nothing runs anywhere any more.
const MOST: f64 = 1.0;

impl Bench {
    pub fn cancel(&mut self, lake: &Lake) {
        for (dag, task, what) in
            [("mariadb_nps", "extract", "an extract to S3"), ("copy_nps", "copy", "a table_copy into PostgreSQL")]
        {
            self.sources.empty_target("nps");
            let run_id = format!("cancel-{}", Utc::now().timestamp_micros());
            self.home.run(&["dags", "trigger", dag, "--run-id", &run_id]);
            // A small table fits into a single part.
            let is_small = self.sources.rows.nps < 5_000_000;
            let is_moving = || self.is_reading() && (is_small || self.is_writing(lake));
            wait_for("rows on their way", || is_moving().then_some(()));
            let began = Instant::now();
            self.home.run(&["tasks", "mark", dag, task, &run_id, "--state", "failed", "--yes"]);
            wait_for("nothing runs any more", || (!self.is_reading() && !self.is_writing(lake)).then_some(()));
            let took = began.elapsed().as_secs_f64();
            let state = self.home.ask(async |store| {
                let run = store.run(dag, &run_id).await.unwrap().unwrap();
                store.instances(run.key).await.unwrap()[0].state
            });
            assert_eq!(state, TaskState::Failed, "{dag} was over before it was stopped");
            let rows = self.sources.count("warehouse.nps");
            assert_eq!(rows, 0, "{dag}: nothing of it is in the table");
            self.figures.say(&format!("{what} is stopped"), took, "s", None, Target::AtMost(MOST));
        }
    }

    fn is_reading(&self) -> bool {
        let running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT%FROM%nps%' \
                       AND info NOT LIKE '%processlist%'";
        let found = self.sources.mariadb.query(running).unwrap();
        found.iter().flatten().any(|cell| cell.trim() != "0" && cell.parse::<u64>().is_ok())
    }

    fn is_writing(&self, lake: &Lake) -> bool {
        lake.unfinished() > 0 || self.sources.copies() > 0
    }
}
