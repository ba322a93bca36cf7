//! The looks of a command that waits for runs, and what it says when nothing happens.

use std::time::{Duration, Instant};

use anyhow::bail;
use millrace_model::state::RunState;
use millrace_situation::Asked;
use millrace_store::{RunRow, Store};

use crate::app::App;
use crate::commands::explain::explained;
use crate::output::notice;

/// How often a waiting command looks again: soon at first, then at most this often.
const LOOK: Duration = Duration::from_millis(100);
const FIRST_LOOK: Duration = Duration::from_millis(10);
/// Looking at a run of many tasks is work for the database that runs it: it takes at most one of so many moments.
const LOOK_SHARE: u32 = 20;
/// When nothing has changed for so long, it is said why.
const SILENCE: Duration = Duration::from_secs(30);

pub struct Looks {
    began: Instant,
    pause: Duration,
    /// Since then nothing has changed, or it was said why.
    quiet_since: Instant,
    said: Option<String>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { began: Instant::now(), pause: FIRST_LOOK, quiet_since: Instant::now(), said: None }
    }
}

impl Looks {
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    pub async fn pause(&mut self, store: &Store) -> anyhow::Result<()> {
        let pause = self.pause.max(self.began.elapsed() * LOOK_SHARE);
        self.pause = (self.pause * 2).min(LOOK);
        look_again(store, pause).await
    }

    /// Something of what is waited for has changed.
    pub fn note_change(&mut self) {
        self.quiet_since = Instant::now();
    }

    /// Whether it is time to say why nothing changes.
    pub fn are_silent(&self) -> bool {
        self.quiet_since.elapsed() >= SILENCE
    }

    /// Says in a line what a run waits for, if that is not what was said last.
    pub async fn explain(&mut self, app: &App, store: &Store, run: &RunRow) -> anyhow::Result<()> {
        self.quiet_since = Instant::now();
        let explanation = explained(app, store, Asked::Run(run)).await?;
        let line = match explanation.tasks.first().filter(|_| run.state == RunState::Running) {
            Some(task) => format!("{} waits for {} ({}): {}", run.run_id, task.name(), task.state, task.answer),
            None => format!("{} waits: {}", run.run_id, explanation.answer),
        };
        if self.said.as_ref() != Some(&line) {
            notice(&line);
            self.said = Some(line);
        }
        Ok(())
    }
}

/// Waits a little; fails when there is nobody left to do the work.
async fn look_again(store: &Store, pause: Duration) -> anyhow::Result<()> {
    tokio::time::sleep(pause).await;
    if !store.is_led().await? {
        // A scheduler that is being restarted gets a moment.
        for _ in 0..50 {
            tokio::time::sleep(LOOK).await;
            if store.is_led().await? {
                return Ok(());
            }
        }
        bail!("the scheduler has stopped; the work goes on when one is started again");
    }
    Ok(())
}
