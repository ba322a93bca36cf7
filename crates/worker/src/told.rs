//! What those who watch are told of a try that has ended: counts for the metrics, and a span.

use millrace_model::change::{Assignment, Completion, TryOutcome};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::span::SPANS;
use millrace_store::{Counted, Store};

/// Of an error, in a span.
const SHOWN: usize = 200;

/// Of what try it is told.
pub(crate) struct Told {
    dag_id: DagId,
    run_id: RunId,
    task_id: TaskId,
    operator: String,
    map_index: i32,
}

impl Told {
    pub fn of(assignment: &Assignment) -> Option<Self> {
        let task = assignment.dag.tasks.get(assignment.task_index)?;
        Some(Self {
            dag_id: assignment.dag.dag_id.clone(),
            run_id: assignment.run.run_id.clone(),
            task_id: task.task_id.clone(),
            operator: task.operator.clone(),
            map_index: assignment.map_index,
        })
    }

    /// `lost_lines`: of its log, that could not be written.
    pub fn tell(&self, store: &Store, completion: &Completion, lost_lines: u64) {
        let (operator, outcome) = (self.operator.as_str(), outcome(&completion.outcome));
        let took = (completion.ended_at - completion.started_at).num_microseconds().unwrap_or(0);
        store.count(Counted::Tries, &[operator, outcome], 1);
        store.count(Counted::TryTime, &[operator], u64::try_from(took).unwrap_or(0));
        store.count(Counted::LogLinesLost, &[], lost_lines);
        for entry in &completion.ledger {
            // Tables only: names of objects hold dates, and would never end.
            if entry.written.is_some() {
                let labels = [self.dag_id.as_str(), self.task_id.as_str(), entry.target.as_str()];
                store.mark(Counted::Loaded, &labels, entry.ended_at);
                if let Some(up_to) = entry.read.as_ref().and_then(|read| read.up_to) {
                    store.mark(Counted::LoadedUpTo, &labels, up_to);
                }
            }
            let stage = entry.stage.as_str();
            let rows = [
                ("read", entry.rows_read),
                ("written", entry.rows_written),
                ("inserted", entry.rows_inserted),
                ("updated", entry.rows_updated),
                ("deleted", entry.rows_deleted),
                ("rejected", entry.rows_rejected),
            ];
            for (what, count) in rows {
                store.count(Counted::Rows, &[stage, what], count.unwrap_or(0));
            }
            store.count(Counted::Bytes, &[stage], entry.bytes.unwrap_or(0));
        }
        let error = completion.error.as_deref().and_then(|error| error.lines().next()).unwrap_or_default();
        tracing::trace!(
            target: SPANS,
            begin = completion.started_at.timestamp_micros(),
            end = completion.ended_at.timestamp_micros(),
            dag = self.dag_id.as_str(),
            run = self.run_id.as_str(),
            task = self.task_id.as_str(),
            map_index = self.map_index,
            r#try = completion.try_number,
            operator,
            outcome,
            error = error.chars().take(SHOWN).collect::<String>().as_str(),
            "try"
        );
    }
}

fn outcome(outcome: &TryOutcome) -> &'static str {
    match outcome {
        TryOutcome::Success => "success",
        TryOutcome::Skipped { .. } => "skipped",
        TryOutcome::Failed { .. } => "failed",
        TryOutcome::Cancelled { .. } => "cancelled",
        TryOutcome::PutOff { .. } => "put_off",
        TryOutcome::LostWorker => "lost",
    }
}
