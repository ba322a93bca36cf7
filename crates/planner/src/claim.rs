//! Which ready instances get the free slots.

use millrace_model::change::{Assignment, Claim, RunKey};
use millrace_model::notice::NoticeEvent;
use millrace_model::state::TaskState;

use crate::lines::Rank;
use crate::turn::Turn;

impl Turn<'_> {
    /// Gives the executor's free slots to the ready: normal runs before backfills, the most urgent first, and among equals
    /// that of the DAG of which least is running; of a DAG the heaviest, and of the pool of which least is in use. What does not fit its pool is passed over: it holds up nobody
    /// else, and a large task waits until so many slots are free at once.
    pub(crate) fn claim(&mut self) {
        // Some may have been given back already.
        for _ in self.plan.resumptions.len()..self.limits.free_slots {
            let fitting = self
                .view
                .lines
                .fronts()
                .filter(|(class, _)| self.view.free_slots(&class.pool) >= i64::from(class.slots))
                .map(|(class, front)| {
                    let in_use = self.view.pool_use(&class.pool);
                    ((front.is_backfill, front.urgency, front.running, front.rank.weight, in_use), front.rank)
                });
            let Some((_, rank)) = fitting.min() else { return };
            self.claim_one(rank);
        }
    }

    fn claim_one(&mut self, rank: Rank) {
        let Rank { run: key, instance: place, .. } = rank;
        let Some(run) = self.view.runs.get(&key) else { return };
        let instance = &run.instances[place];
        let Some(lane) = instance.stands_in.clone() else { return };
        let is_back = instance.state == TaskState::Deferred;
        self.view.lines.remove(&run.dag_id, &lane, &rank);
        if is_back {
            return self.resume(key, place);
        }
        self.begin_try(key, place);
        let Some(run) = self.view.runs.get(&key) else { return };
        // Only this line has moved on, unless the run is full now: one with many lines is not shown anew for each claim.
        if !run.has_room() {
            self.view.hide(key);
        } else if let Some(next) = run.ready.get(&lane).and_then(|line| line.first()) {
            self.view.lines.insert(&run.dag_id, &lane, *next);
        }
    }

    fn begin_try(&mut self, key: RunKey, place: usize) {
        self.view.claims_made += 1;
        let token = format!("{}.{}", self.limits.owner, self.view.claims_made);
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        run.take_ready(place);
        let (task, map_index) = (run.instances[place].task, run.instances[place].map_index);
        let items = if map_index < 0 { None } else { run.items(task) };
        let item = items.and_then(|items| items.get(usize::try_from(map_index).ok()?).copied());
        let instance = &mut run.instances[place];
        instance.item = item;
        let from = instance.state;
        // One that was put off goes on where it was.
        if instance.put_offs.is_none() {
            instance.try_number += 1;
        }
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
            item,
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
            put_offs: instance.put_offs,
        });
        let (begins, try_number) = (instance.put_offs.is_none(), instance.try_number);
        self.view.set_state(key, place, TaskState::Running);
        if begins {
            self.tell_of_try(key, place, NoticeEvent::Execute, try_number, None);
        }
    }
}
