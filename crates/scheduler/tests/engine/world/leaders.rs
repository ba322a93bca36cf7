//! Who leads: kills, leaders that were replaced and do not know it, and the signs of life that they give.

use std::time::Duration;

use millrace_model::change::{Executor, TryOutcome};
use millrace_planner::{FENCED_REASON, SHUTDOWN_REASON};
use millrace_store::faults::with_faults;

use super::World;
use super::daemon::{Daemon, LEASE};

impl World {
    /// Who lives says so before anybody looks at a lease: in truth that happens every few seconds.
    pub(super) async fn beat(&mut self) {
        for daemon in [Some(&self.leader), self.late.as_ref()].into_iter().flatten() {
            let now = self.stage.now();
            let says = || self.stage.store.heartbeat(&daemon.job_id, now);
            self.faults.begin();
            if let Err(error) = with_faults(self.faults.clone(), says()).await {
                assert!(self.faults.end().is_some(), "{}: {error:?}", self.place());
                says().await.unwrap();
            }
        }
    }

    pub(super) async fn kill(&mut self) {
        self.note("kill");
        self.leader.executor.die();
        self.leader.release();
        // What it was told and could not write down is gone with it.
        let job = self.leader.job_id.clone();
        self.owed.retain(|token, _| !token.starts_with(&job));
        // A late one that lives still holds its leases: the lock proves nothing of it.
        let proves = self.late.is_none();
        self.leader = Daemon::leading(&self.stage, self.slots, proves, &self.faults).await;
        self.turn().await;
    }

    pub(super) async fn usurp(&mut self) {
        if self.late.is_some() {
            return;
        }
        self.note("usurp");
        self.leader.release();
        let new = Daemon::leading(&self.stage, self.slots, false, &self.faults).await;
        self.late = Some(std::mem::replace(&mut self.leader, new));
        self.turn().await;
    }

    /// The late one can give no sign of life: it stops its tries while they hold, and then they run out.
    pub(super) async fn cut_off(&mut self) {
        let Some(late) = self.late.as_mut() else { return };
        let now = self.stage.now();
        late.executor.fence(FENCED_REASON, Duration::ZERO);
        for running in late.executor.everything() {
            let reason = FENCED_REASON.to_owned();
            late.engine.complete(late.executor.end(running.instance, TryOutcome::Cancelled { reason }, now));
        }
        self.note("cut off");
        self.stage.clock.advance(LEASE * 3);
        let now = self.stage.now();
        self.stage.store.heartbeat(&self.leader.job_id, now).await.unwrap();
        self.turn().await;
        self.check().await;
        // What it was told before and could not write down counts for nothing once others have its tries.
        let Some(late) = &self.late else { return };
        self.owed.retain(|token, _| !token.starts_with(&late.job_id));
    }

    /// Whatever it wants to write is refused; then it stops its tries, hands over what ended, and is gone.
    pub(super) async fn late_one_acts(&mut self) {
        let Some(mut late) = self.late.take() else { return };
        self.note("the late one acts");
        self.faults.begin();
        let result = late.turn(&self.stage, &self.faults, false).await;
        let struck = self.faults.end().is_some();
        let is_deposed = match result {
            Ok(()) => self.dice.roll(2) == 0,
            Err(error) => {
                let is_deposed = millrace_scheduler::Engine::is_deposed(&error);
                assert!(struck || is_deposed, "{}: {error:?}", self.place());
                is_deposed
            }
        };
        if !is_deposed {
            self.late = Some(late);
            return;
        }
        self.note("it stands down");
        late.engine.cancel_all(SHUTDOWN_REASON);
        let now = self.stage.now();
        for running in late.executor.everything() {
            let reason = SHUTDOWN_REASON.to_owned();
            let completion = late.executor.end(running.instance, TryOutcome::Cancelled { reason }, now);
            late.engine.complete(completion);
        }
        self.faults.begin();
        let handed = with_faults(self.faults.clone(), late.engine.hand_over(now)).await;
        let struck = self.faults.end().is_some();
        assert!(handed.is_ok() || struck, "{}: {handed:?}", self.place());
        let says = || self.stage.store.end_job(&late.job_id, now);
        self.faults.begin();
        if let Err(error) = with_faults(self.faults.clone(), says()).await {
            assert!(self.faults.end().is_some(), "{}: {error:?}", self.place());
            says().await.unwrap();
        }
        if handed.is_err() {
            self.owed.retain(|token, _| !token.starts_with(&late.job_id));
        }
    }
}
