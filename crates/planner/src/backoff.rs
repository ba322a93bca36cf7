//! How long to wait before a failed try is repeated.

use chrono::TimeDelta;
use millrace_model::change::RunFacts;
use millrace_model::dag::Task;
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;

/// No back-off waits longer, whatever it grows to: a day.
const MAX_RETRY_DELAY: u64 = 86_400;

/// A failed try that will be repeated.
pub(crate) struct FailedTry<'a> {
    pub dag_id: &'a DagId,
    pub task: &'a Task,
    pub run: &'a RunFacts,
    pub try_number: u32,
    /// 1 for the first failure since the task was cleared; tries that cost nothing are not counted.
    pub failures: u32,
}

impl FailedTry<'_> {
    /// `retry_delay`, or with a back-off a time within `[base, 2 * base)`, where base grows with each failure. Where in
    /// it depends on the try alone: many tasks that failed together do not come back together, and the same try always
    /// waits for the same time.
    pub fn delay(&self) -> TimeDelta {
        let task = self.task;
        let Some(factor) = task.retry_exponential_backoff else { return task.retry_delay.as_delta() };
        let exponent = f64::from(self.failures.saturating_sub(1));
        let base = (task.retry_delay.as_seconds_f64() * factor.powf(exponent)).ceil();
        let mut delay = MAX_RETRY_DELAY;
        // Compared as numbers with a fraction: a base beyond all bounds is infinite.
        if base < MAX_RETRY_DELAY as f64 {
            let base = (base as u64).max(1);
            delay = delay.min(base + self.jitter() % base);
        }
        let delay = TimeDelta::seconds(delay as i64);
        task.max_retry_delay.map_or(delay, |most| delay.min(most.as_delta()))
    }

    /// FNV-1a of what names the try.
    fn jitter(&self) -> u64 {
        let name = format!(
            "{}#{}#{}#{}",
            self.dag_id,
            self.task.task_id,
            format_utc_micros(self.run.logical_date),
            self.try_number
        );
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        // The low bits of the product know little of the last letters; folding mixes the high ones in.
        hash ^ (hash >> 32)
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use millrace_model::duration::Span;
    use millrace_model::ids::{RunId, TaskId};
    use millrace_model::schedule::DataInterval;
    use millrace_model::state::RunType;

    use super::*;

    fn delay(task: &Task, try_number: u32) -> i64 {
        delay_of(task, try_number, "d")
    }

    fn delay_of(task: &Task, try_number: u32, dag_id: &str) -> i64 {
        let at = DateTime::from_timestamp(1_704_067_200, 0).unwrap();
        let run = RunFacts {
            run_key: 1,
            run_id: RunId::new_unchecked("r"),
            run_type: RunType::Manual,
            logical_date: at,
            data_interval: DataInterval { start: at, end: at },
            run_after: at,
            created_at: at,
            start_date: None,
            conf: serde_json::Map::new(),
            asset_events: Vec::new(),
        };
        let dag_id = &DagId::new_unchecked(dag_id);
        FailedTry { dag_id, task, run: &run, try_number, failures: try_number }.delay().num_seconds()
    }

    fn task(delay: u32, factor: f64) -> Task {
        Task {
            retry_delay: Span::from_seconds(delay),
            retry_exponential_backoff: Some(factor),
            ..Task::new(TaskId::new_unchecked("a"), "noop")
        }
    }

    #[test]
    fn case_55_waits_grow_within_their_bands() {
        let task = task(300, 2.0);
        for (failures, band) in [(1, 300..600), (2, 600..1200), (3, 1200..2400)] {
            for n in 0..100 {
                let wait = delay_of(&task, failures, &format!("dag_{n}"));
                assert!(band.contains(&wait), "{failures}: {wait}");
            }
        }
        let spread: std::collections::BTreeSet<i64> =
            (0..100).map(|n| delay_of(&task, 1, &format!("dag_{n}"))).collect();
        assert!(spread.len() > 60, "{spread:?}");
        assert_eq!(delay(&task, 1), delay(&task, 1));
    }

    #[test]
    fn case_55_caps_are_met_exactly_and_nothing_overflows() {
        let capped = Task { max_retry_delay: Some(Span::from_seconds(1800)), ..task(300, 2.0) };
        assert_eq!(delay(&capped, 4), 1800);
        assert_eq!(delay(&task(0, 2.0), 1), 1);
        assert_eq!(delay(&task(300, 2.0), 60), 86_400);
        assert_eq!(delay(&task(300, 1e300), 1_000_000), 86_400);
    }

    #[test]
    fn without_backoff_every_wait_is_the_same() {
        let plain = Task { retry_exponential_backoff: None, ..task(300, 2.0) };
        assert_eq!([delay(&plain, 1), delay(&plain, 7)], [300, 300]);
    }
}
