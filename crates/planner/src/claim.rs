//! Which ready instances get the free slots.

use millrace_model::change::{Assignment, Claim, RunKey};
use millrace_model::state::TaskState;

use crate::run::Rank;
use crate::turn::Turn;

impl Turn<'_> {
    /// Gives the executor's free slots to the ready, best rank first among those whose pool has room. A lane that does
    /// not fit is passed over: it holds up nobody else.
    pub(crate) fn claim(&mut self) {
        for _ in 0..self.limits.free_slots {
            let fitting =
                self.view.lanes.iter().filter(|(lane, _)| self.view.free_slots(&lane.pool) >= i64::from(lane.slots));
            let Some(rank) = fitting.filter_map(|(_, heads)| heads.first()).min().copied() else { return };
            self.claim_one(rank);
        }
    }

    fn claim_one(&mut self, rank: Rank) {
        let Rank { run: key, instance: place, .. } = rank;
        self.view.hide(key);
        self.begin_try(key, place);
        self.view.show(key);
    }

    fn begin_try(&mut self, key: RunKey, place: usize) {
        self.view.claims_made += 1;
        let token = format!("{}.{}", self.limits.owner, self.view.claims_made);
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        run.take_ready(place);
        let instance = &mut run.instances[place];
        let from = instance.state;
        instance.try_number += 1;
        instance.token = Some(token.clone());
        instance.next_try_at = None;
        instance.stopping = None;
        self.plan.batch.claims.push(Claim {
            instance: instance.key,
            from,
            try_number: instance.try_number,
            owner: self.limits.owner.clone(),
            token: token.clone(),
            lease_expires_at: self.now + self.limits.lease_ttl,
            queued_at: self.now,
        });
        self.plan.assignments.push(Assignment {
            instance: instance.key,
            token,
            dag: run.version.dag.clone(),
            task_index: instance.task,
            run: run.facts.clone(),
            map_index: instance.map_index,
            try_number: instance.try_number,
            max_tries: instance.max_tries,
            generation: instance.generation,
        });
        self.view.set_state(key, place, TaskState::Running);
    }
}
