//! What is counted for the metrics. Counting is in memory and costs no statement; now and then what has come since is added
//! to the database, so that the counts of all processes are one, also after a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::sql::values;
use crate::{Result, Store, sql};

/// Seconds at which the parts of [`Counted::Turns`] end; slower ones are in the last, which has no end.
pub const TURN_ENDS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
/// The same for [`Counted::RunLengths`].
pub const RUN_ENDS: &[f64] = &[1.0, 10.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0];
/// The same for [`Counted::RunDelays`], [`Counted::TryWaits`] and [`Counted::ReturnWaits`].
pub const WAIT_ENDS: &[f64] = &[0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];

/// What is counted, with its labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    /// Tries that have ended: operator, outcome.
    Tries,
    /// Microseconds of tries: operator.
    TryTime,
    /// Tries whose worker was lost.
    Lost,
    /// Tries of other processes that a leader has found and looks after.
    Adopted,
    /// Runs that have ended: state.
    Runs,
    /// Stage of the movement, what became of them (`read`, `written`, `inserted`, `updated`, `deleted`, `rejected`).
    Rows,
    /// Stage of the movement.
    Bytes,
    /// Turns of the scheduler, by the index of the end in [`TURN_ENDS`].
    Turns,
    /// Microseconds of all turns.
    TurnTime,
    /// Runs that were created: type.
    RunsMade,
    /// Things that happened to assets: who did them (`task`, `person`).
    AssetEvents,
    /// Transactions in which the scheduler writes what it planned and workers have done.
    Commits,
    /// Microseconds of those.
    CommitTime,
    /// DAG files that were read and checked.
    FilesRead,
    /// Microseconds of that.
    ReadTime,
    /// Runs that have ended: state, index of the end in [`RUN_ENDS`].
    RunLengths,
    /// Microseconds of those: state.
    RunTime,
    /// Runs that have started, by how long after they were due: index of the end in [`WAIT_ENDS`].
    RunDelays,
    /// Microseconds of those.
    RunDelayTime,
    /// Tries that have started, by how long they waited for a slot: index of the end in [`WAIT_ENDS`].
    TryWaits,
    /// Microseconds of those.
    TryWaitTime,
    /// Tries that came back from outside and were given a slot again, by how long they waited for it: index of the end in
    /// [`WAIT_ENDS`].
    ReturnWaits,
    /// Microseconds of those.
    ReturnWaitTime,
    /// Looks at what waits: which tasks, runs and dates may go on.
    Plans,
    /// Microseconds of those.
    PlanTime,
    /// Lines of logs that could not be written.
    LogLinesLost,
    /// A mark: when the folder of DAG files was last looked through.
    FolderSeen,
    /// A mark: when rows were last loaded: DAG, task, target.
    Loaded,
    /// A mark: the newest moment among the rows that were loaded: DAG, task, target.
    LoadedUpTo,
}

impl Counted {
    pub const ALL: [Self; 29] = [
        Self::Tries,
        Self::TryTime,
        Self::Lost,
        Self::Adopted,
        Self::Runs,
        Self::Rows,
        Self::Bytes,
        Self::Turns,
        Self::TurnTime,
        Self::RunsMade,
        Self::AssetEvents,
        Self::Commits,
        Self::CommitTime,
        Self::FilesRead,
        Self::ReadTime,
        Self::RunLengths,
        Self::RunTime,
        Self::RunDelays,
        Self::RunDelayTime,
        Self::TryWaits,
        Self::TryWaitTime,
        Self::ReturnWaits,
        Self::ReturnWaitTime,
        Self::Plans,
        Self::PlanTime,
        Self::LogLinesLost,
        Self::FolderSeen,
        Self::Loaded,
        Self::LoadedUpTo,
    ];

    /// Of a mark the latest is kept, in microseconds since 1970, and nothing is added up.
    const fn is_mark(self) -> bool {
        matches!(self, Self::FolderSeen | Self::Loaded | Self::LoadedUpTo)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tries => "tries",
            Self::TryTime => "try_time",
            Self::Lost => "lost",
            Self::Adopted => "adopted",
            Self::Runs => "runs",
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Turns => "turns",
            Self::TurnTime => "turn_time",
            Self::RunsMade => "runs_made",
            Self::AssetEvents => "asset_events",
            Self::Commits => "commits",
            Self::CommitTime => "commit_time",
            Self::FilesRead => "files_read",
            Self::ReadTime => "read_time",
            Self::RunLengths => "run_lengths",
            Self::RunTime => "run_time",
            Self::RunDelays => "run_delays",
            Self::RunDelayTime => "run_delay_time",
            Self::TryWaits => "try_waits",
            Self::TryWaitTime => "try_wait_time",
            Self::ReturnWaits => "return_waits",
            Self::ReturnWaitTime => "return_wait_time",
            Self::Plans => "plans",
            Self::PlanTime => "plan_time",
            Self::LogLinesLost => "log_lines_lost",
            // Statements know the marks by how their names begin.
            Self::FolderSeen => "at_folder_seen",
            Self::Loaded => "at_loaded",
            Self::LoadedUpTo => "at_loaded_up_to",
        }
    }
}

/// One count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CounterRow {
    pub of: Counted,
    pub labels: Vec<String>,
    pub value: u64,
}

type Key = (&'static str, Vec<String>);

/// Not in the database yet.
#[derive(Default)]
pub(crate) struct Counters {
    counts: Mutex<BTreeMap<Key, u64>>,
    /// While they are on their way into the database they are in neither place, or in both: nobody reads then.
    writing: tokio::sync::Mutex<()>,
}

/// What there was and what has come since.
fn merged(name: &str, before: u64, more: u64) -> u64 {
    let is_mark = Counted::ALL.into_iter().any(|of| of.is_mark() && of.name() == name);
    if is_mark { before.max(more) } else { before.saturating_add(more) }
}

impl Counters {
    fn add(&self, key: Key, by: u64) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let name = key.0;
        let count = counts.entry(key).or_default();
        *count = merged(name, *count, by);
    }

    fn take(&self) -> BTreeMap<Key, u64> {
        std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn copy(&self) -> BTreeMap<Key, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Store {
    pub fn count(&self, of: Counted, labels: &[&str], by: u64) {
        if by > 0 {
            let labels = labels.iter().map(|label| (*label).to_owned()).collect();
            self.inner.counters.add((of.name(), labels), by);
        }
    }

    /// Something of this kind happened then, if not later too.
    pub fn mark(&self, of: Counted, labels: &[&str], at: DateTime<Utc>) {
        debug_assert!(of.is_mark(), "{of:?} is added up");
        self.count(of, labels, u64::try_from(at.timestamp_micros()).unwrap_or(0));
    }

    /// A turn of the scheduler.
    pub fn count_turn(&self, took: Duration) {
        self.count_length((Counted::Turns, Counted::TurnTime), &[], TURN_ENDS, took);
    }

    /// A try that came back from outside was given a slot.
    pub fn count_return(&self, waited: Duration) {
        self.count_length((Counted::ReturnWaits, Counted::ReturnWaitTime), &[], WAIT_ENDS, waited);
    }

    /// A look at what may go on.
    pub fn count_plan(&self, took: Duration) {
        self.count(Counted::Plans, &[], 1);
        self.count(Counted::PlanTime, &[], u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Something that took so long: in which part it falls, and the sum.
    pub(crate) fn count_length(&self, of: (Counted, Counted), labels: &[&str], ends: &[f64], took: Duration) {
        let end = ends.iter().position(|end| took.as_secs_f64() <= *end).unwrap_or(ends.len());
        let part = end.to_string();
        self.count(of.0, &[labels, &[part.as_str()]].concat(), 1);
        self.count(of.1, labels, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds what was counted since to the database. After an error it is still to be added.
    pub async fn write_counts(&self) -> Result<()> {
        let _writing = self.inner.counters.writing.lock().await;
        let taken = self.inner.counters.take();
        let written = self.add_counts(&taken).await;
        if written.is_err() {
            for (key, by) in taken {
                self.inner.counters.add(key, by);
            }
        }
        written
    }

    async fn add_counts(&self, counts: &BTreeMap<Key, u64>) -> Result<()> {
        if counts.is_empty() {
            return Ok(());
        }
        let attempted = "add to the counters";
        let tx = self.begin(attempted).await?;
        // In the order of the key: two processes that do so wait for each other, and never both.
        for ((name, labels), by) in counts {
            let sql = "INSERT INTO counter (name, labels, value) VALUES ($1, $2, $3) \
                       ON CONFLICT (name, labels) DO UPDATE SET value = CASE WHEN excluded.name NOT LIKE 'at!_%' ESCAPE '!' \
                       THEN counter.value + excluded.value WHEN excluded.value > counter.value THEN excluded.value \
                       ELSE counter.value END";
            let labels = serde_json::to_string(labels).unwrap_or_default();
            let by = i64::try_from(*by).unwrap_or(i64::MAX);
            sql::run(&tx.inner, attempted, sql, values![*name, labels, by]).await?;
        }
        tx.commit().await
    }

    /// All counts, those of this process that are not written yet among them.
    pub async fn counts(&self) -> Result<Vec<CounterRow>> {
        let _nobody_writes = self.inner.counters.writing.lock().await;
        let sql = "SELECT name, labels, value FROM counter";
        let mut all: BTreeMap<(String, Vec<String>), u64> = BTreeMap::new();
        for row in sql::all(self.reader(), "read the counters", sql, vec![]).await? {
            let labels: Vec<String> =
                serde_json::from_str(&row.text("labels")?).map_err(|_| row.corrupt("labels", "not a list"))?;
            all.insert((row.text("name")?, labels), u64::try_from(row.int("value")?).unwrap_or(0));
        }
        for ((name, labels), by) in self.inner.counters.copy() {
            let count = all.entry((name.to_owned(), labels)).or_default();
            *count = merged(name, *count, by);
        }
        let known = |name: &str| Counted::ALL.into_iter().find(|of| of.name() == name);
        let rows =
            all.into_iter().filter_map(|((name, labels), value)| Some(CounterRow { of: known(&name)?, labels, value }));
        Ok(rows.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_tell_marks() {
        for of in Counted::ALL {
            assert_eq!(of.is_mark(), of.name().starts_with("at_"), "{of:?}");
            assert_eq!(Counted::ALL.iter().filter(|other| other.name() == of.name()).count(), 1, "{of:?}");
        }
    }
}
